//! What the gate says of itself: in the log when it is attached, and in `/health`.

use std::{net::IpAddr, sync::Arc};

use serde_json::json;
use tidegate_ebpf::Attached;
use tracing::info;

use super::{
    Config, FirewallMode, Role,
    stand::{Stand, attachment},
};
use crate::{component::Context, gate::GateStore, host::Facts, verdict::Mode};

/// Says it.
#[derive(Debug)]
pub(super) struct Notice {
    config: Config,
    store: Arc<GateStore>,
    context: Context,
    /// It has said all that does not change.
    is_known: bool,
}

// === impl Notice ===

impl Notice {
    pub(super) fn new(config: &Config, store: &Arc<GateStore>, context: &Context) -> Self {
        Self {
            config: config.clone(),
            store: Arc::clone(store),
            context: context.clone(),
            is_known: false,
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

    /// Tells `/health` of the gate.
    pub(super) fn health(&self, stand: &Stand) {
        let mode = match self.config.firewall.mode.mode() {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        self.context.meter.say(json!({"gate": {
            "interface": self.config.interface,
            "mode": mode,
            "attached": stand.attachment(),
            "program": stand.program(),
            "verdicts": self.store.len(),
            "capacity": self.config.firewall.max_blocks,
            "guard": self.config.firewall.guard.enabled,
        }}));
    }
}
