//! The `file` sink: records in files named by time, rotated, compressed and synced as asked.
//!
//! `encode` finds the file's time bucket; each request, all of one bucket, is one append in a
//! blocking thread, all of it or nothing ([`writer`]).

#[cfg(fuzzing)]
pub mod fuzzing;
mod template;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::template::Bucket;
use self::{template::Template, writer::Writer};
use super::{Compression, ConfigureSink, Requests, driver, options::Options};
use crate::{
    codec::{Codec, Encoder, Origin},
    component::{
        Claim, Clock, Component, Context, Error, Items, Problem, SendError, SendOutcome, Sink,
        with_causes,
    },
    record::{Records, Timestamp},
    storage::{
        append::{Content, Opening},
        directory::unwritable,
    },
    task,
};

/// Writes records to files.
///
/// The file that is being written has its final name, so `tail -F` and log shippers can follow it;
/// it always ends with a whole record. A rotated file is complete the moment its name appears, and
/// never changes again. A file moved away (logrotate without `copytruncate`) or deleted is noticed
/// before the next write, and SIGHUP reopens all.
///
/// An existing file is appended to. If a crash left a torn record at its end, that piece is moved to
/// `PATH.torn` and reported. To find it, lines are searched from the end, while msgpack and compressed
/// files are read through once at the start. A YAML document that was torn between two lines can't be
/// told from a whole one and stays.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file, with the record's time in UTC in place of `%Y %m %d %H %M %S`, `%F` (year-month-day),
    /// `%j` (day of the year), `%G %V` (ISO week's year and number); `%%` is a percent sign. Missing
    /// directories are made, with mode 0750. Name it `.gz` or `.zst` yourself if it is compressed.
    /// Required.
    #[schemars(extend("format" = "path-pattern"))]
    pub path: String,
    /// When a file is put aside for a new one.
    pub rotate: RotateConfig,
    /// `none` (default), `gzip` or `zstd`: each request makes a complete member or frame, so a file
    /// can be read while it grows. Larger requests (`batch`) compress better.
    pub compression: Compression,
    /// When data is forced to disk: `none` (default; the kernel decides, a power loss may cost about
    /// 30 seconds), `interval` (each `sync_interval_secs`) or `batch` (before each request is
    /// acknowledged; slow, but then nothing acknowledged is lost).
    pub sync: Sync,
    /// Seconds between two syncs with `sync: interval` (default 5; 1 to 3600).
    #[schemars(range(min = 1, max = 3600))]
    pub sync_interval_secs: u64,
    /// Permissions of new files, in octal (default "0640"), whatever the umask is.
    pub mode: String,
}

/// When a file is put aside: `flows.ndjson` becomes `flows.000001.ndjson`, the next one
/// `flows.000002.ndjson`. After `999999` records are held until files with high numbers are moved
/// elsewhere. While the system refuses to rename a file, it grows on, and each minute it is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateConfig {
    /// Bytes on disk that a file does not exceed, unless a single request does (default: no limit; at
    /// least 1024).
    #[schemars(range(min = 1024))]
    pub max_bytes: Option<u64>,
    /// Seconds from a file's creation, by the wall clock, after which it is put aside (default: no
    /// limit; at least 1). An empty file stays. If the clock is set back before the creation, they
    /// count from then on.
    #[schemars(range(min = 1))]
    pub max_age_secs: Option<u64>,
    /// Rotated files that are kept for each path; the oldest are deleted (default: all; at least 1). Only
    /// files that were rotated while this was set count and are deleted, not others of such names: what
    /// they are is noted in `.NAME.rotated` beside them.
    #[schemars(range(min = 1))]
    pub keep: Option<usize>,
}

/// When data is forced to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// When the kernel decides.
    #[default]
    None,
    /// Each `sync_interval_secs`.
    Interval,
    /// Before each request is acknowledged.
    Batch,
}

#[derive(Debug)]
struct FileSink {
    encoder: Encoder,
    template: Template,
    writer: Arc<Mutex<Writer>>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            path: String::new(),
            rotate: RotateConfig::default(),
            compression: Compression::None,
            sync: Sync::None,
            sync_interval_secs: 5,
            mode: "0640".to_owned(),
        }
    }
}

impl ConfigureSink for Config {
    fn outline(&self) -> Option<String> {
        Some(format!("to {}", self.path))
    }

    fn requests(&self) -> Requests {
        Requests { in_order: true, ..Requests::default() }
    }

    fn check(&self, _options: &Options) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = Template::parse(&self.path) {
            problems.push(Problem::new("path", error.to_string()).hint(error.remedy()));
        }
        let RotateConfig { max_bytes, max_age_secs, keep } = self.rotate;
        if keep.is_some() && max_bytes.is_none() && max_age_secs.is_none() {
            let problem = Problem::new("rotate.keep", "nothing is ever rotated");
            problems.push(problem.hint("set rotate.max_bytes or rotate.max_age_secs, too"));
        }
        if self.octal_mode().is_none() {
            let message = format!("{:?} is no file mode with which we could write", self.mode);
            problems.push(Problem::new("mode", message).hint("use \"0600\" to \"0777\", quoted"));
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        let Ok(template) = Template::parse(&self.path) else { return Vec::new() };
        let path = template.path(template.bucket(Clock::Wall.now(None)));
        let problem = |message| {
            let hint = "choose another path, or give the user that runs tidegate access";
            Problem::new("path", message).hint(hint)
        };
        unwritable(&path).map(problem).into_iter().collect()
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::file("path", Path::new(&self.path))]
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        driver::component(self.sink(options, context)?, self.requests(), options, context)
    }
}

impl Config {
    fn sink(&self, options: &Options, context: &Context) -> Result<FileSink, Error> {
        let template = Template::parse(&self.path)
            .map_err(|error| Error::configuration(format!("path: {error}")).hint(error.remedy()))?;
        let mode = self
            .octal_mode()
            .ok_or_else(|| Error::configuration(format!("{:?} is no file mode", self.mode)))?;
        let holds = match (self.compression, options.encoding.codec) {
            (Compression::Gzip, _) => Content::Gzip,
            (Compression::Zstd, _) => Content::Zstd,
            (Compression::None, Codec::Msgpack | Codec::Wire) => Content::Msgpack,
            (Compression::None, Codec::Json | Codec::Yaml) => Content::Lines,
        };
        let writer = Writer {
            template: template.clone(),
            opening: Opening { content: holds, mode, durable: self.sync != Sync::None },
            compression: self.compression,
            rotate: self.rotate.clone(),
            sync: self.sync,
            sync_interval_nanos: self.sync_interval_secs.saturating_mul(1_000_000_000),
            reload: context.reload.clone(),
            meter: Arc::clone(&context.meter),
            open: Vec::new(),
            closed: Vec::new(),
        };
        Ok(FileSink {
            encoder: Encoder::new(
                &options.encoding,
                self.schema(),
                Origin::of(context).adding(&options.add),
            ),
            template,
            writer: Arc::new(Mutex::new(writer)),
        })
    }

    /// The mode, if its owner may read and write.
    fn octal_mode(&self) -> Option<u32> {
        let mode = u32::from_str_radix(&self.mode, 8).ok()?;
        (mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
    }
}

// === impl FileSink ===

impl FileSink {
    /// Does `work` in a thread that may wait for the disk.
    async fn with_writer<F>(&self, work: F) -> Result<(), writer::Error>
    where
        F: FnOnce(&mut Writer, Timestamp) -> Result<(), writer::Error> + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        let blocking = move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut writer, Clock::Wall.now(None))
        };
        task::blocking(blocking).await?
    }
}

impl Sink for FileSink {
    type Meta = Bucket;
    type Pending = ();

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<Bucket, Error> {
        self.encoder.encode(records, index, out)?;
        Ok(self.template.bucket(self.encoder.time(records, index).unwrap_or_default()))
    }

    async fn send(&self, items: &Items<'_, Bucket>) -> Result<SendOutcome<()>, SendError> {
        let Some(bucket) = items.meta().copied() else { return Ok(SendOutcome::Delivered) };
        let request = items.concat();
        let written =
            self.with_writer(move |writer, now| writer.write(bucket, &request, now)).await;
        match written {
            Ok(()) => Ok(SendOutcome::Delivered),
            Err(error) if error.is_refusal() => {
                Err(SendError::Hold { reason: with_causes(&error) })
            }
            Err(error) => Err(SendError::Retry { after: None, reason: with_causes(&error) }),
        }
    }

    async fn maintain(&self) -> Result<(), Error> {
        let maintained = self.with_writer(Writer::maintain).await;
        maintained.map_err(|error| Error::failure("files are not maintained").because(error))
    }

    async fn close(&self) -> Result<(), Error> {
        let closed = self.with_writer(|writer, _| writer.close_all()).await;
        closed.map_err(|error| Error::failure("files are not closed").because(error))
    }
}

#[cfg(test)]
mod tests;
