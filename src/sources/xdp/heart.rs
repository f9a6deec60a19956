//! The daemon's sign of life, by which the program knows whether verdicts are to hold.
//!
//! A thread gives it each second and does nothing else: no disk, no log and no other work of the kernel keeps it waiting.
//! Where it was kept all the same (SIGSTOP, a machine that slept), it tells for how long the gate stood open.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use tidegate_ebpf::{Error as Refused, Heart as Kernel, LetThrough, Maps, now_ns};
use tokio::sync::watch;

use crate::{component::with_causes, task};

/// From one sign to the next.
const BEAT: Duration = Duration::from_secs(1);

/// What gives the sign.
#[derive(Debug)]
pub(super) struct Pulse {
    kernel: Kernel,
    let_through: LetThrough,
    /// Packets that were let through up to the last sign.
    before: u64,
}

/// The thread, as long as this lives.
#[derive(Debug)]
pub(super) struct Heart {
    /// What it tells.
    pub(super) signs: watch::Receiver<Signs>,
    kernel: Kernel,
    _stop: mpsc::SyncSender<()>,
}

/// How it went so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// How often the gate stood open.
    pub(super) lapses: u64,
    /// The last time.
    pub(super) last: Option<Lapse>,
    /// Why the sign can't be given, if that is so.
    pub(super) fails: Option<String>,
}

/// A time in which everything passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lapse {
    /// How long it was.
    pub(super) open: Duration,
    /// Packets that passed in spite of a verdict.
    pub(super) packets: u64,
}

// === impl Pulse ===

impl Pulse {
    /// Over these maps, from the first sign on.
    ///
    /// # Errors
    /// If it can't be given.
    pub(super) fn begin(maps: &Maps) -> Result<Self, Refused> {
        let (kernel, let_through) = (maps.heart(), maps.let_through());
        kernel.beat()?;
        let before = let_through.packets()?;
        Ok(Self { kernel, let_through, before })
    }

    /// Gives the sign. If the gate stood open until now, that.
    fn beat(&mut self) -> Result<Option<Lapse>, Refused> {
        let silent = self.kernel.beat()?;
        let Some(open_ns) = silent.open_ns(now_ns()) else { return Ok(None) };
        let all = self.let_through.packets()?;
        let packets = all.saturating_sub(std::mem::replace(&mut self.before, all));
        Ok(Some(Lapse { open: Duration::from_nanos(open_ns), packets }))
    }
}

// === impl Heart ===

impl Heart {
    /// Begins to give it.
    pub(super) fn start(mut pulse: Pulse) -> Self {
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let (tell, signs) = watch::channel(Signs::default());
        let kernel = pulse.kernel.clone();
        // It ends when whoever would stop it is gone.
        task::blocking(move || {
            loop {
                let beat = pulse.beat();
                tell.send_if_modified(|signs| signs.take(beat));
                if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { signs, kernel, _stop: stop }
    }

    /// Whether everything passes at this moment, as no sign has come for too long.
    pub(super) fn is_open(&self) -> bool {
        self.kernel.daemon().is_ok_and(|daemon| daemon.open_ns(now_ns()).is_some())
    }
}

// === impl Signs ===

impl Signs {
    /// What came of one beat. True if that is news.
    fn take(&mut self, beat: Result<Option<Lapse>, Refused>) -> bool {
        let before = self.clone();
        match beat {
            Ok(lapse) => {
                self.fails = None;
                self.lapses += u64::from(lapse.is_some());
                self.last = lapse.or(self.last);
            }
            Err(error) => self.fails = Some(with_causes(&error)),
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lapse_is_news_and_a_usual_beat_is_not() {
        let mut signs = Signs::default();
        let lapse = Lapse { open: Duration::from_secs(3), packets: 7 };
        assert!(!signs.take(Ok(None)));
        assert!(signs.take(Ok(Some(lapse))));
        assert!(!signs.take(Ok(None)), "it was told");
        assert!(signs.take(Ok(Some(lapse))), "as long as the one before, and another one");
        assert!(signs.take(Err(Refused::Busy("tg_daemon"))));
        assert!(!signs.take(Err(Refused::Busy("tg_daemon"))));
        let told = Signs { lapses: 2, last: Some(lapse), fails: None };
        assert!(signs.take(Ok(None)) && signs == told, "{signs:?}");
    }
}
