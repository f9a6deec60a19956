//! Packets from an interface or from capture files: as lines of `tshark -T ek`, the TShark sidecar, or as
//! the frames themselves.
//!
//! dumpcap captures and tshark dissects, or we do up to the ports; they are children without privileges: we start them, read their
//! lines, put these in order and account for what is missing. tshark costs some 70 µs a packet and
//! we about 0.2, so the way to more packets is more tsharks ([`Config::workers`]).
//!
//! * [`replay`] (`mode: file`): files are cut into chunks, the chunks read. With `dissect: headers` no
//!   tshark runs: we read the files.
//! * [`live`] (`segments`, `pipe`): dumpcap is kept running, what it closed or hands over is read; with
//!   `dissect: headers` by us.
//!
//! In both a worker ([`process`]) is one tshark, a [`reading`] one capture with its retries, and
//! [`order`] hands the lines on.

mod check;
#[cfg(fuzzing)]
pub mod fuzzing;
mod live;
mod order;
mod process;
mod reading;
mod replay;

use std::{path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::{
    live::{frames::direct, pipe, segments},
    process::{
        arguments,
        programs::{self, Programs},
        version,
        worker::Tshark,
    },
    replay::{file, frames},
};
use crate::{
    component::{
        Claim, Component, Configure, Context, Error, Evidence, Outputs, Problem, Signature, Source,
    },
    decode, dns,
    record::Kind,
};

/// Packets from an interface or from capture files, dissected by tshark, or by ourselves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How packets come in: `segments` (the default) captures into short files and loses nothing
    /// while their disk budget lasts; `pipe` captures with less than a second's delay; `file` reads
    /// `files`.
    pub mode: Mode,
    /// The interface to capture on, for `segments` and `pipe`.
    pub interface: Option<String>,
    /// The capture files to read, in this order, for `mode: file`: all formats tshark knows,
    /// compressed ones too; with `dissect: headers` pcap and pcapng, also in gzip or zstd.
    #[schemars(extend("format" = "path"))]
    pub files: Vec<PathBuf>,
    /// Which packets to capture, in the syntax of pcap-filter(7); all by default. Leave out what
    /// Tidegate itself sends (`not port 9200`).
    pub capture_filter: Option<String>,
    /// Further fields for tshark to print, in its dotted names (`dns.qry.name`); none by default. Each
    /// costs tshark time.
    pub fields: Vec<String>,
    /// Bytes to keep of each packet, 128 by default: enough for the headers, little of the payload.
    /// 0 keeps all of it. With `dissect: headers` 512 show most names of servers and hosts, and DNS answers.
    #[schemars(range(max = check::MAX_SNAPLEN))]
    pub snaplen: u32,
    /// Whether to see packets that are not for this machine; off by default, on for a mirror port.
    pub promiscuous: bool,
    /// How many tsharks work at once, 1 by default, 64 at most. Each takes a core, some 200 MB, and
    /// up to 32 MiB of ours for lines that wait for their turn; `pipe` always has one tshark. With `dissect:
    /// headers`, how many batches of frames `extract` decodes at once.
    #[schemars(range(min = 1, max = 64))]
    pub workers: u16,
    /// How deep packets are looked into: `application` (the default) has tshark name the application
    /// protocol; `headers` runs no tshark and takes less CPU, about an eighth live and a fiftieth from files: of
    /// applications it knows TLS, HTTP, DNS and QUIC, and of the first three the name that is asked for.
    /// `transport` does the same, but stops at the ports; where `fields` asks for more, tshark does. For whoever
    /// wants flows, and no other applications.
    pub dissect: Dissect,
    /// Whether checksums are verified; off by default, as a capture on the sending machine has
    /// wrong ones before the card fills them in.
    pub checksums: bool,
    /// The short files of `mode: segments`.
    pub segment: Segment,
    /// How soon a capture that broke off begins anew, and a segment is tried again whose tshark did not
    /// start (8 times, then it is given up and kept as a damaged one).
    pub restart: Restart,
    /// The longest line taken from tshark, in bytes, 1,048,576 (1 MiB) by default, 64 KiB to 64 MiB;
    /// a longer one is left out and counted.
    #[schemars(range(min = 64 << 10, max = 64 << 20))]
    pub max_line_bytes: usize,
    #[serde(skip)]
    #[schemars(skip)]
    programs: Programs,
}

/// How packets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Captured into short files, each of which a tshark reads once it is closed.
    #[default]
    Segments,
    /// Captured into a pipe to one tshark.
    Pipe,
    /// Read from capture files.
    File,
}

/// How deep packets are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dissect {
    /// Up to the ports, and what the first bytes behind them say, by ourselves.
    Headers,
    /// No further than the ports; by tshark where `fields` asks for what only tshark knows.
    Transport,
    /// All of it, by tshark, so that the application protocol is known.
    #[default]
    Application,
}

/// The short files of `mode: segments`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Segment {
    /// A segment is closed at this size, 30,000,000 bytes by default (some 200,000 packets of 128
    /// bytes), 1,000,000 at least.
    #[schemars(range(min = 1_000_000, max = 10_000_000_000_u64))]
    pub max_bytes: u64,
    /// And at this age, 10 seconds by default, 1 to 3600: how late packets come at most, beside the
    /// time tshark takes.
    #[schemars(range(min = 1, max = 3600))]
    pub max_secs: u32,
    /// The folder for segments, on a disk of this machine; by default `segments/ID` in `data_dir`.
    /// They hold packets, so a folder of mode 0700 is made in it: `source-ID`, so that several sources may
    /// name the same.
    #[schemars(extend("format" = "path"))]
    pub dir: Option<PathBuf>,
    /// Bytes that segments may take on disk, 1 GiB by default. Beyond it, and where the disk fills
    /// up, the newest segments are shed, and their packets counted.
    pub disk_budget_bytes: u64,
}

/// How soon a capture that broke off begins anew.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// The longest first delay, 1 second by default, 1 at least. Delays are drawn at random and
    /// double their bound from try to try.
    #[schemars(range(min = 1, max = 3600))]
    pub initial_secs: u64,
    /// The longest delay, 30 seconds by default.
    #[schemars(range(min = 1, max = 3600))]
    pub max_secs: u64,
}

/// The source that reads frames itself.
#[derive(Debug)]
struct FrameReader {
    config: Config,
    context: Context,
}

/// The source that has tshark read.
#[derive(Debug)]
struct Sidecar {
    config: Config,
    reader: Tshark,
    context: Context,
}

// === impl Config ===

impl Config {
    /// The same source reading `files` instead: what `replay` makes of it.
    #[must_use]
    pub fn replay(&self, files: Vec<PathBuf>) -> Self {
        Self { mode: Mode::File, interface: None, capture_filter: None, files, ..self.clone() }
    }

    /// How many batches of frames may be decoded at once; `None` if tshark reads.
    pub fn decoders(&self) -> Option<u16> {
        self.reads_frames().then_some(self.workers)
    }

    /// Whether what lies behind the ports is looked at.
    pub fn looks_behind_ports(&self) -> bool {
        self.dissect != Dissect::Transport
    }

    /// Whether we read the frames ourselves.
    fn reads_frames(&self) -> bool {
        match self.dissect {
            Dissect::Headers => true,
            Dissect::Transport => self.fields.iter().all(|field| is_of_headers(field)),
            Dissect::Application => false,
        }
    }
}

/// Whether a field is had without tshark.
fn is_of_headers(field: &str) -> bool {
    dns::ALL_FIELDS.contains(&field) || decode::NAMES.contains(&field)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            interface: None,
            files: Vec::new(),
            capture_filter: None,
            fields: Vec::new(),
            snaplen: 128,
            promiscuous: false,
            workers: 1,
            dissect: Dissect::default(),
            checksums: false,
            segment: Segment::default(),
            restart: Restart::default(),
            max_line_bytes: 1 << 20,
            programs: Programs::default(),
        }
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self { max_bytes: 30_000_000, max_secs: 10, dir: None, disk_budget_bytes: 1 << 30 }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { initial_secs: 1, max_secs: 30 }
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        Signature::source(if self.reads_frames() { Kind::Frame } else { Kind::Raw })
    }

    fn check(&self) -> Vec<Problem> {
        check::values(self)
    }

    fn remarks(&self) -> Vec<Problem> {
        check::remarks(self)
    }

    fn check_environment(&self) -> Vec<Problem> {
        check::environment(self)
    }

    fn unchecked(&self) -> Vec<String> {
        check::unchecked(self)
    }

    fn interface(&self) -> Option<&str> {
        self.interface.as_deref().filter(|_| self.mode != Mode::File)
    }

    fn outline(&self) -> Option<String> {
        let Some(interface) = self.interface() else {
            return Some(format!("reads {} files", self.files.len()));
        };
        let how = match self.mode {
            Mode::Pipe => "as they come".to_owned(),
            _ => format!("in segments of {} s", self.segment.max_secs),
        };
        let by = if self.reads_frames() { "up to the ports, without tshark" } else { "by tshark" };
        let filter = self.capture_filter.as_deref();
        let filter = filter.map(|filter| format!(", {filter:?}")).unwrap_or_default();
        Some(format!("captures on {interface} {how}, {by}{filter}"))
    }

    fn claims(&self) -> Vec<Claim> {
        self.interface()
            .map(|interface| Claim {
                key: "interface".to_owned(),
                what: format!("reports on interface {interface}"),
            })
            .into_iter()
            .collect()
    }

    fn evidence(&self) -> Evidence {
        if self.mode == Mode::Segments { Evidence::Late } else { Evidence::Sound }
    }

    fn keeps_state(&self) -> bool {
        self.mode == Mode::Segments && self.segment.dir.is_none()
    }

    fn provides(&self) -> Vec<String> {
        if self.reads_frames() {
            let fields = dns::ALL_FIELDS.iter().chain(&decode::NAMES);
            return fields.map(|field| (*field).to_owned()).collect();
        }
        self.fields.clone()
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        if let Some(problem) = check::files(self).into_iter().next() {
            return Err(Error::configuration(problem.message));
        }
        if self.reads_frames() {
            return Ok(Component::source(FrameReader {
                config: self.clone(),
                context: context.clone(),
            }));
        }
        let reader = Tshark {
            program: programs::find(&self.programs.tshark)?,
            arguments: arguments::tshark(self, self.mode == Mode::Pipe).into(),
            max_line_bytes: self.max_line_bytes,
            live: self.mode == Mode::Pipe,
            stalled_after: self.programs.stalled_after,
            meter: Arc::clone(&context.meter),
        };
        Ok(Component::source(Sidecar { config: self.clone(), reader, context: context.clone() }))
    }
}

// === impl FrameReader ===

impl Source for FrameReader {
    async fn run(self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let Self { config, context } = self;
        match config.mode {
            Mode::File => frames::run(&config, &out, stop).await,
            Mode::Segments => segments::run(&config, &context, None, &out, stop).await,
            Mode::Pipe => direct::run(&config, &out, stop).await,
        }
    }
}

// === impl Sidecar ===

impl Source for Sidecar {
    async fn run(self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let Self { config, reader, context } = self;
        let version = version::warn_unless_tested(&reader.program);
        let ran = match config.mode {
            Mode::File => file::run(&config, reader, &out, stop).await,
            Mode::Segments => segments::run(&config, &context, Some(reader), &out, stop).await,
            Mode::Pipe => pipe::run(&config, reader, &out, stop).await,
        };
        version.end().await;
        ran
    }
}

#[cfg(test)]
mod tests;
