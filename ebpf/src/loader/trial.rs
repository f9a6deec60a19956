//! Programs that are run by themselves (`BPF_PROG_TEST_RUN`): for the kernel's clock, for tests and for benches.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};

use super::{EGRESS, END, GATE, GATE_FRAGS, Gate};
use crate::{
    Error,
    abi::{PACKET_BYTES, Parsed},
    error::causes,
};

const TAGGED: &str = "tidegate_tagged";
const MANY: &str = "tidegate_many";
const CLOCK: &str = "tidegate_clock";
const PARSE: &str = "tidegate_parse";
const EMPTY: &str = "tidegate_empty";

/// What a test run gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Whether the frame was dropped.
    pub dropped: bool,
    /// How long one run took, on average over all.
    pub duration: Duration,
}

// === impl Gate ===

impl Gate {
    /// The kernel's tick, and `CLOCK_MONOTONIC` in nanoseconds, of the same moment.
    ///
    /// # Errors
    /// If the kernel does not run the program that reads them.
    pub fn clock(&mut self) -> Result<(u64, u64), Error> {
        let mut out = [0; 64];
        self.test(CLOCK, &[0; 64], 1, Some(&mut out))?;
        self.program(CLOCK)?.unload().map_err(|error| Error::Load(causes(&error)))?;
        let number = |at: usize| {
            u64::from_ne_bytes(std::array::from_fn(|byte| out.get(at + byte).copied().unwrap_or(0)))
        };
        Ok((number(0), number(8)))
    }

    /// What the program makes of a frame (`BPF_PROG_TEST_RUN`), at least 14 bytes long, and how long that
    /// takes, on average over `repeat` runs.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run(&mut self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        self.test(GATE, frame, repeat, None)
    }

    /// Lets the program at tc egress see a frame.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_egress(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.test_egress(EGRESS, frame)
    }

    /// The same of a frame to which the card is to add a tag (0x88a8, priority 3, VLAN 7).
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_tagged(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.test_egress(TAGGED, frame)
    }

    fn test_egress(&mut self, name: &'static str, frame: &[u8]) -> Result<(), Error> {
        /// `TCX_NEXT`.
        const NEXT: u32 = u32::MAX;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let ran = self.classifier(name)?.test_run(options);
        let ran = ran.map_err(|error| Error::Load(causes(&error)))?;
        match ran.return_value {
            NEXT => Ok(()),
            other => Err(Error::Load(format!("{name} answered {other}"))),
        }
    }

    /// The same for packets of 65,536 sources in turn, 10.0.0.0/16, in place of the frame's, which is IPv4
    /// without tags.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_many(&mut self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        self.test(MANY, frame, repeat, None)
    }

    /// The same of a program that does nothing.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn run_empty(&mut self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        self.test(EMPTY, frame, repeat, None)
    }

    /// What the program reads of a frame.
    ///
    /// # Errors
    /// If the kernel does not run it.
    pub fn parse(&mut self, frame: &[u8]) -> Result<Parsed, Error> {
        let mut out = vec![0; frame.len() + PACKET_BYTES];
        self.test(PARSE, frame, 1, Some(&mut out))?;
        let parsed = out.first_chunk().map(Parsed::read);
        parsed.ok_or_else(|| Error::Load("the kernel gave no frame back".to_owned()))
    }

    fn test(
        &mut self,
        name: &'static str,
        frame: &[u8],
        repeat: u32,
        out: Option<&mut [u8]>,
    ) -> Result<Ran, Error> {
        const DROP: u32 = 1;
        const PASS: u32 = 2;
        let options =
            TestRunOptions { data_in: Some(frame), data_out: out, repeat, ..TestRunOptions::new() };
        let ran = self.program(name)?.test_run(options);
        let ran = ran.map_err(|error| Error::Load(causes(&error)))?;
        match ran.return_value {
            DROP | PASS => Ok(Ran { dropped: ran.return_value == DROP, duration: ran.duration }),
            other => Err(Error::Load(format!("{name} answered {other}"))),
        }
    }

    /// How many instructions the kernel's verifier looked at, of a million at most, for each program that is attached
    /// or run: they are loaded for it.
    ///
    /// # Errors
    /// If the kernel refuses a program, or does not say (before Linux 5.16).
    pub fn verified(&mut self) -> Result<Vec<(&'static str, u32)>, Error> {
        let mut all = Vec::new();
        for name in [GATE, GATE_FRAGS, EGRESS, END] {
            let info = match name {
                EGRESS | END => self.classifier(name)?.info(),
                _ => self.program(name)?.info(),
            };
            let info = info.map_err(|error| Error::Load(causes(&error)))?;
            let count = info.verified_instruction_count();
            let untold = || Error::Load(format!("the kernel does not say what {name} took"));
            all.push((name, count.ok_or_else(untold)?));
        }
        Ok(all)
    }
}
