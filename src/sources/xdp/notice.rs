//! What the gate says of itself: in the log when it is attached or stood open, and in `/health`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde_json::json;
use tidegate_ebpf::Attached;
use tracing::{error, info, warn};

use super::{
    Config, FirewallMode, Role,
    heart::{Heart, Lapse, Signs},
    stand::{Stand, attachment},
};
use crate::{
    component::Context,
    gate::GateStore,
    host::Facts,
    metrics::{ERRORS, ErrorType, Holding},
    record::Timestamp,
    verdict::{Listed, Mode},
};

/// Says it.
#[derive(Debug)]
pub(super) struct Notice {
    config: Config,
    store: Arc<GateStore>,
    context: Context,
    /// It has said all that does not change.
    is_known: bool,
    /// How often the gate stood open, as far as that was said.
    lapses: u64,
    /// Until when it did last, for how long, and how many packets passed.
    stood_open: Option<(Timestamp, Duration, u64)>,
    /// Why no sign of life can be given, and that the source is not well meanwhile.
    fails: Option<String>,
    holding: Option<Holding>,
}

// === impl Notice ===

impl Notice {
    pub(super) fn new(config: &Config, store: &Arc<GateStore>, context: &Context) -> Self {
        Self {
            config: config.clone(),
            store: Arc::clone(store),
            context: context.clone(),
            is_known: false,
            lapses: 0,
            stood_open: None,
            fails: None,
            holding: None,
        }
    }

    /// The gate is on its interface from now on. The first time it says, too, what the gate does, and whom it will never
    /// block.
    pub(super) fn attached(&mut self, attached: Attached, facts: &Facts) {
        let says = match self.config.firewall.mode {
            FirewallMode::Observe => "OBSERVES: nothing is dropped, what would be is counted",
            FirewallMode::Enforce => "ENFORCES: packets of blocked sources are dropped",
        };
        let again = if self.is_known { "is attached again, and " } else { "" };
        info!(
            interface = self.config.interface,
            attached = attachment(attached.mode),
            adopted = attached.adopted,
            verdicts = self.store.len(),
            "the gate {again}{says}"
        );
        if !std::mem::replace(&mut self.is_known, true) {
            self.terms(facts);
        }
    }

    fn terms(&self, facts: &Facts) {
        let list = |addresses: &[IpAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let networks = self.context.networks.borrow();
        info!(
            addresses = list(&facts.addresses),
            gateways = list(&facts.gateways),
            resolvers = list(&facts.resolvers),
            allow_list = networks.allow.len(),
            destinations = networks.destinations.len(),
            "the gate never blocks"
        );
        let guard = &self.config.firewall.guard;
        if guard.enabled {
            info!(
                distinct_ports = guard.distinct_ports,
                hold_secs = guard.hold_secs,
                syn_rate = guard.syn_rate,
                "the gate's guard is on"
            );
        }
        if self.config.reports_packets() {
            info!("the gate reports 1 of {} packets", self.config.sample);
        }
        if self.config.role == Role::Mirror {
            info!("the gate is on a mirror: it counts, and drops nothing");
        }
    }

    /// Says what came of the daemon's signs of life since the last time.
    pub(super) fn signs(&mut self, heart: &Heart, stand: &Stand) {
        let meter = &self.context.meter;
        let Signs { lapses, last, fails } = heart.signs.borrow().clone();
        if lapses > std::mem::replace(&mut self.lapses, lapses)
            && stand.is_attached()
            && let Some(Lapse { open, packets }) = last
        {
            self.stood_open = Some((self.context.clock.now(None), open, packets));
            meter.count(ERRORS, ErrorType::GateStoodOpen, 1);
            warn!(
                open_secs = open.as_secs_f64(),
                packets,
                "the gate stood open: this process gave no sign of life for longer than fail_open_secs ({}), and \
                 packets passed that verdicts are about",
                self.config.fail_open_secs
            );
        }
        if fails != self.fails {
            match &fails {
                Some(why) => {
                    let why = format!("the gate can't be told that this process lives: {why}");
                    meter.count(ERRORS, ErrorType::GateMap, 1);
                    meter.failed(&why);
                    error!(
                        "{why}; everything passes {} s after the last time",
                        self.config.fail_open_secs
                    );
                    self.holding = Some(meter.holding());
                }
                None => self.holding = None,
            }
            self.fails = fails;
        }
    }

    /// Tells `/health` of the gate.
    pub(super) fn health(&self, stand: &Stand, is_open: bool, now: Timestamp) {
        let mode = match self.config.firewall.mode.mode() {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        let newest = self.store.newest();
        let newest = newest.as_ref().map(|entry| Listed::new(self.context.meter.id(), entry, now));
        let stood_open = self.stood_open.map(|(until, open, packets)| {
            json!({"until": until, "seconds": open.as_secs_f64(), "packets": packets})
        });
        self.context.meter.say(json!({"gate": {
            "interface": self.config.interface,
            "mode": mode,
            "attached": stand.attachment(),
            "program": stand.program(),
            "failing_open": is_open,
            "stood_open": stood_open,
            "verdicts": self.store.len(),
            "newest_verdict": newest,
            "capacity": self.config.firewall.max_blocks,
            "guard": self.config.firewall.guard.enabled,
        }}));
    }
}
