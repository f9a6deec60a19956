//! Keeps a capture going: what an end means, and when to begin anew.

use std::{fs, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::Config;
use super::super::process::{
    child::{Ended, Exit},
    refusal::{is_about_the_interface, refused},
    statistics::Statistics,
};
use crate::{
    component::Error,
    host::interfaces,
    metrics::{CAPTURE_UNKNOWN_LOSS, ERRORS, ErrorType, Label, Meter, State},
    retry::Delays,
};

/// A capture that lasted so long had begun well: the next delay is short again.
const STABLE: Duration = Duration::from_secs(30);

/// One that lasted so long had begun at all: what dumpcap refuses, it refuses at once.
pub(in crate::sources::tshark) const BEGUN: Duration = Duration::from_secs(3);

/// How often it is looked for an interface that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `IFF_UP` in the flags of an interface (netdevice(7)).
const IS_UP: u32 = 1;

/// A capture over all its restarts.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Supervisor {
    delays: Delays,
    meter: Arc<Meter>,
    /// The number of the present start, from 0.
    pub(in crate::sources::tshark) epoch: u32,
    began: Instant,
    has_begun: bool,
    /// The capture broke off, and nothing was captured since.
    is_down: bool,
    interface: String,
    /// The interface was not there, or down, at the last start.
    awaited: bool,
}

// === impl Supervisor ===

impl Supervisor {
    /// Before the first start.
    pub(in crate::sources::tshark) fn new(config: &Config, meter: Arc<Meter>) -> Self {
        let restart = &config.restart;
        meter.set_state(State::Holding);
        Self {
            delays: Delays::new(
                Duration::from_secs(restart.initial_secs),
                Duration::from_secs(restart.max_secs),
            ),
            meter,
            epoch: 0,
            began: Instant::now(),
            has_begun: false,
            is_down: false,
            interface: config.interface.clone().unwrap_or_default(),
            awaited: false,
        }
    }

    /// A capturer was started.
    pub(in crate::sources::tshark) fn started(&mut self) {
        self.began = Instant::now();
    }

    /// It captures: from now on an end is not the config's fault.
    pub(in crate::sources::tshark) fn captures(&mut self) {
        self.has_begun = true;
        self.is_down = false;
        self.awaited = false;
        self.meter.set_state(State::Running);
    }

    /// dumpcap has ended, because we `asked` it to or not: counts and says what that means.
    ///
    /// # Errors
    /// If it refused its command line.
    pub(in crate::sources::tshark) fn ended(
        &mut self,
        ended: &Ended,
        asked: bool,
    ) -> Result<Statistics, Error> {
        let lasted = self.began.elapsed();
        let statistics = Statistics::read(&ended.words);
        statistics.count(&self.meter);
        if asked && was_stopped(ended.exit) {
            return Ok(statistics);
        }
        if let Exit::Code(1 | 2 | 126 | 127) = ended.exit
            && !self.has_begun
            && lasted < BEGUN
        {
            if is_about_the_interface(&ended.words) {
                self.awaits_interface(&ended.words);
                return Ok(statistics);
            }
            return Err(refused("dumpcap", &ended.words));
        }
        let error_type = match ended.exit {
            // It ends well when its interface goes, and nobody asked it to.
            Exit::Code(0) => ErrorType::InterfaceGone,
            Exit::Code(_) => ErrorType::DumpcapFailed,
            Exit::Signal(_) => ErrorType::DumpcapKilled,
        };
        let said = if ended.words.is_empty() {
            format!("dumpcap ended with {}", ended.exit)
        } else {
            ended.words.clone()
        };
        self.failed(error_type, &said);
        Ok(statistics)
    }

    /// There is nothing to capture on yet: that may come, as an interface that went away may come back.
    fn awaits_interface(&mut self, words: &str) {
        self.meter.count(ERRORS, ErrorType::InterfaceGone, 1);
        self.meter.failed(words);
        if !std::mem::replace(&mut self.awaited, true) {
            tracing::error!(
                interface = self.interface,
                there_are = interfaces().join(", "),
                says = words,
                "nothing is captured until the interface is there and up"
            );
        }
    }

    /// The capture broke off: counts it, and says so.
    pub(in crate::sources::tshark) fn failed(&mut self, error_type: ErrorType, reason: &str) {
        self.has_begun = true;
        if self.began.elapsed() >= STABLE {
            self.delays.reset();
        }
        self.meter.count(ERRORS, error_type, 1);
        self.meter.failed(reason);
        if !self.is_down {
            self.is_down = true;
            self.meter.count(CAPTURE_UNKNOWN_LOSS, (), 1);
        }
        tracing::error!(
            error_type = error_type.name(),
            reason,
            epoch = self.epoch,
            "the capture broke off: packets may be lost uncounted until it begins anew"
        );
    }

    /// Waits before the next start; `false` if there is none, because of `stop`.
    pub(in crate::sources::tshark) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        if stop.is_cancelled() {
            return false;
        }
        self.meter.set_state(State::Holding);
        let delay = self.delays.next_delay();
        self.epoch = self.epoch.saturating_add(1);
        if self.awaited {
            tracing::debug!(?delay, "the interface is looked for");
        } else {
            tracing::info!(?delay, "the capture will begin anew");
        }
        tokio::select! {
            () = sleep(delay) => true,
            () = comes_up(&self.interface), if self.awaited => true,
            () = stop.cancelled() => false,
        }
    }
}

/// Waits until the interface can be seen to be up. Where it can't be seen, that is for ever.
async fn comes_up(interface: &str) {
    let flags = format!("/sys/class/net/{interface}/flags");
    loop {
        sleep(LOOK_EVERY).await;
        // Of a file system in memory: reading it waits for nothing.
        let flags = fs::read_to_string(&flags).unwrap_or_default();
        let bits = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
        if bits & IS_UP != 0 {
            return;
        }
    }
}

/// Whether this is how dumpcap ends when it is asked to: by itself, or, where it had not yet begun,
/// by the signal.
pub(in crate::sources::tshark) fn was_stopped(exit: Exit) -> bool {
    matches!(exit, Exit::Code(0)) || exit == Exit::Signal(Signal::INT.as_raw())
}
