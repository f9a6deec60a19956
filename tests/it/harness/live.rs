//! A live capture on a wire of the case's own.

use std::{
    fs,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::{
    Outcome, Scene, config,
    netns::Wire,
    poll::{self, SOON},
    process::{self, Process},
    tidegate::{Ended, Running, Tidegate},
};

/// A pipeline that captures on the near end of a wire and writes `records.out`.
#[derive(Debug)]
pub(crate) struct Live<'a> {
    scene: &'a Scene,
    /// The program.
    pub(crate) running: Running,
    /// The wire. Dropped after the program.
    pub(crate) wire: Wire,
}

// === impl Live ===

impl<'a> Live<'a> {
    /// Starts one with these further keys of the source, and waits until it captures.
    ///
    /// # Errors
    /// When it doesn't.
    pub(crate) fn start(scene: &'a Scene, source: &str) -> Result<Self, Failed> {
        let config = config::live(scene, source, "");
        Self::start_with(scene, |wire| {
            Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config)
        })
    }

    /// Starts the command that `command` makes for a wire, and waits until it captures.
    ///
    /// # Errors
    /// When it doesn't.
    pub(crate) fn start_with(
        scene: &'a Scene,
        command: impl FnOnce(&Wire) -> Tidegate,
    ) -> Result<Self, Failed> {
        let wire = Wire::lay()?;
        let running = command(&wire).start()?;
        let mut live = Self { scene, running, wire };
        live.capturer_other_than(0)?;
        Ok(live)
    }

    /// A program that runs already, on its wire.
    pub(crate) fn of(scene: &'a Scene, running: Running, wire: Wire) -> Self {
        Self { scene, running, wire }
    }

    /// Waits for a dumpcap that is not `old` and has begun to capture; answers its process id.
    ///
    /// # Errors
    /// When there is none soon, or the program ends.
    pub(crate) fn capturer_other_than(&mut self, old: u32) -> Result<u32, Failed> {
        let deadline = poll::now() + SOON;
        loop {
            self.running.still_runs()?;
            let found = self.children("dumpcap").into_iter().find(|child| {
                child.pid != old && child.pid != self.running.pid() && has_begun(child.pid)
            });
            if let Some(child) = found {
                return Ok(child.pid);
            }
            if poll::now() > deadline {
                return Err(format!("no dumpcap captures:\n{}", self.running.stderr()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The live children of the program that run this program.
    pub(crate) fn children(&self, name: &str) -> Vec<Process> {
        process::descendants_named(self.running.pid(), name)
    }

    /// How many records are in the file by now.
    pub(crate) fn records(&self) -> u64 {
        let bytes = fs::read(self.scene.path("records.out")).unwrap_or_default();
        bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
    }

    /// Waits until there are at least so many records in the file; answers when that was.
    ///
    /// # Errors
    /// When they don't come.
    pub(crate) fn wait_for_records(&self, at_least: u64) -> Result<Instant, Failed> {
        poll::until_true("records in the file", SOON, || self.records() >= at_least).map_err(
            |late| {
                let late = late.message().unwrap_or_default();
                let (there, said) = (self.records(), self.running.stderr());
                format!("{late}: {there} of {at_least}:\n{said}")
            },
        )?;
        Ok(poll::now())
    }

    /// Stops it by SIGTERM; nothing it started may be left.
    ///
    /// # Errors
    /// When it doesn't end, or leaves a process or a segment behind.
    pub(crate) fn stop(self) -> Result<(Ended, u64), Failed> {
        self.running.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for its end and its children's, which it kills and does not wait for when it is told to end now.
    ///
    /// # Errors
    /// As of [`Self::stop`].
    pub(crate) fn cut_off(self) -> Result<Ended, Failed> {
        let Self { scene, running, wire } = self;
        let ended = running.wait(SOON)?;
        poll::until_true("its children to end", SOON, || {
            wire.near.processes().is_ok_and(|left| left.is_empty())
        })?;
        nothing_left(scene, &wire, &ended)?;
        Ok(ended)
    }

    /// Waits for its end, with the same demands as [`Self::stop`].
    pub(crate) fn ended(self) -> Result<(Ended, u64), Failed> {
        let Self { scene, running, wire } = self;
        let ended = running.wait(SOON)?;
        nothing_left(scene, &wire, &ended)?;
        let records = fs::read_to_string(scene.path("records.out")).unwrap_or_default();
        Ok((ended, records.lines().count() as u64))
    }
}

/// Packets wait for dumpcap once their ring is in its memory; it opens its first segment after that.
pub(crate) fn has_begun(pid: u32) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let links: Vec<_> = open.flatten().filter_map(|link| fs::read_link(link.path()).ok()).collect();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let ring = maps.contains("socket:[");
    let segment = links.iter().any(|link| link.is_file());
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    ring && (segment || command.contains("\0-w\0-\0"))
}

fn nothing_left(scene: &Scene, wire: &Wire, ended: &Ended) -> Outcome {
    let left = wire.near.processes()?;
    if !left.is_empty() {
        return Err(format!("left running: {left:?}\n{}", ended.stderr).into());
    }
    let segments = captures_left(scene);
    if !segments.is_empty() {
        return Err(format!("left on disk: {segments:?}\n{}", ended.stderr).into());
    }
    Ok(())
}

fn captures_left(scene: &Scene) -> Vec<std::path::PathBuf> {
    let state = scene.path("state");
    let mut found = super::captures::below(&state).unwrap_or_default();
    found.retain(|path| path.exists());
    found
}
