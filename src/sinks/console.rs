//! The `console` sink: records on standard output.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::fs::{self, FileType, OFlags};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ConfigureSink, Requests, driver,
    options::{BatchLimits, Options},
};
use crate::{
    codec::{Encoder, Origin, Schema},
    component::{Claim, Component, Context, Error, Items, SendError, SendOutcome, Sink},
    record::Records,
    task,
};

/// How soon a terminal or pipe that takes nothing now is tried again.
const FULL_PIPE_DELAY: Duration = Duration::from_millis(100);

/// Writes records to standard output. If its reader goes away, the run ends with an error. It has
/// no keys of its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Writes to an open file, from where the last try stopped.
#[derive(Debug)]
struct Console {
    encoder: Encoder,
    output: Arc<File>,
    /// Bytes of the request that an earlier, failed try has written.
    written: Arc<AtomicUsize>,
}

// === impl Config ===

impl ConfigureSink for Config {
    fn outline(&self) -> Option<String> {
        Some("to stdout".to_owned())
    }

    /// Small and soon: somebody may be looking on. A request that failed half-way is continued, which
    /// only works if no other comes between.
    fn requests(&self) -> Requests {
        let batch = BatchLimits { max_bytes: 64 << 10, max_events: 1_000, timeout_secs: 0 };
        Requests { batch, in_order: true, ..Requests::default() }
    }

    fn schema(&self) -> Schema {
        Schema::Simple
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim { key: String::new(), what: "standard output".to_owned() }]
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        if was_closed() {
            return Err(Error::failure("standard output is closed")
                .hint("open it, write to a file, or redirect it: >/dev/null"));
        }
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| {
            Error::failure("can't write to standard output")
                .because(error)
                .hint("don't close it, redirect it to /dev/null")
        })?;
        let encoder = Encoder::new(
            &options.encoding,
            self.schema(),
            Origin::of(context).adding(&options.add),
        );
        let sink = Console::new(encoder, File::from(output));
        driver::component(sink, self.requests(), options, context)
    }
}

// === impl Console ===

impl Console {
    fn new(encoder: Encoder, output: File) -> Self {
        Self { encoder, output: Arc::new(output), written: Arc::default() }
    }
}

impl Sink for Console {
    type Meta = ();
    type Pending = ();

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.encoder.encode(records, index, out)?)
    }

    async fn send(&self, items: &Items<'_, ()>) -> Result<SendOutcome<()>, SendError> {
        let request = items.concat();
        let (output, written) = (Arc::clone(&self.output), Arc::clone(&self.written));
        let write = move || write_rest(&output, &request, &written);
        match task::blocking(write).await {
            Ok(Ok(())) => Ok(SendOutcome::Delivered),
            Ok(Err(error)) => Err(send_error(&error)),
            Err(join) => Err(SendError::Gone { reason: format!("writing panicked: {join}") }),
        }
    }
}

/// Whether nobody gave us a standard output. The runtime then opens `/dev/null` in its place, for reading and
/// writing (`std::rt`, `sanitize_standard_fds`), and what is written there would count as delivered.
fn was_closed() -> bool {
    let stdout = io::stdout();
    let device = fs::fstat(&stdout)
        .ok()
        .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
    let null = fs::stat("/dev/null").ok();
    let is_null = device.zip(null).is_some_and(|(one, other)| one.st_rdev == other.st_rdev);
    is_null && fs::fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

fn write_rest(mut output: &File, request: &[u8], written: &AtomicUsize) -> io::Result<()> {
    while let Some(rest) = request.get(written.load(Ordering::Relaxed)..)
        && !rest.is_empty()
    {
        match output.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                written.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    written.store(0, Ordering::Relaxed);
    Ok(())
}

fn send_error(error: &io::Error) -> SendError {
    let reason = format!("can't write to standard output: {error}");
    match error.kind() {
        io::ErrorKind::BrokenPipe => SendError::Gone { reason },
        io::ErrorKind::WouldBlock => SendError::Retry { after: Some(FULL_PIPE_DELAY), reason },
        _ => SendError::Retry { after: None, reason },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::Bytes;

    use super::*;
    use crate::{
        codec::EncodingConfig,
        component::{Clock, Item},
        record::Kind,
    };

    fn console(output: impl Into<std::os::fd::OwnedFd>) -> Console {
        let origin = Origin::new("sensor", Clock::Event);
        let encoder = Encoder::new(&EncodingConfig::default(), Schema::Simple, origin);
        Console::new(encoder, File::from(output.into()))
    }

    fn item(bytes: usize) -> Item<()> {
        Item { range: 0..bytes, meta: (), kind: Kind::Flow, batch: 0 }
    }

    #[tokio::test]
    async fn a_reader_that_went_away_ends_the_run() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sent =
            console(writer).send(&Items::new(&Bytes::from_static(b"line\n"), &[item(5)])).await;
        assert!(matches!(sent, Err(SendError::Gone { .. })), "{sent:?}");
    }

    #[tokio::test]
    async fn a_request_a_full_pipe_took_in_part_is_continued_and_not_repeated() {
        let (mut reader, writer) = io::pipe().unwrap();
        fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let request: Bytes = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let console = console(writer);
        let (mut read, mut tries) = (Vec::new(), 0);
        loop {
            tries += 1;
            match console.send(&Items::new(&request, &[item(request.len())])).await {
                Ok(_) => break,
                Err(SendError::Retry { after, .. }) => assert_eq!(after, Some(FULL_PIPE_DELAY)),
                Err(error) => panic!("{error}"),
            }
            let mut part = vec![0; 65_536];
            let bytes = reader.read(&mut part).unwrap();
            read.extend_from_slice(&part[..bytes]);
        }
        assert!(tries > 1);
        drop(console);
        reader.read_to_end(&mut read).unwrap();
        assert!(read == request);
    }
}
