//! Dead letters on their way back: each line of dead-letter files goes to the sink that it names.
//!
//! files → lines of bounded length → [`read_line`] → a batch for each sink, on a port of its own. A
//! line that can't be sent again is dropped with its place and its reason; what the disk does not give back is
//! passed over.

use std::{
    collections::BTreeMap,
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    batch::Batch,
    codec::returned::read_line,
    component::{Carries, Clock, Error, Outputs, Port, PortSpec, Signature, Source},
    log_limit::LogLimit,
    metrics::{DISCARDED, ERRORS, ErrorType, Reason},
    record::{Kind, Kinds, Record, Records, Returned},
    storage::medium,
};

/// What it is called in summaries.
pub const KIND: &str = "dead_letters";

/// Longer than any line we write: a sink's largest event and what the server said of it.
const MAX_LINE_BYTES: usize = 16 << 20;
/// What a disk fails to give back is a page, and then twice as much each time.
const PAGE_BYTES: u64 = 4 << 10;
const MAX_LEAP_BYTES: u64 = 1 << 20;
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// Lines of a file whose faults are logged one by one; the rest are only counted.
const MAX_LOGGED: u32 = 20;

/// Reads dead-letter files.
#[derive(Debug)]
pub struct DeadLetters {
    files: Vec<(PathBuf, File)>,
    sinks: Vec<String>,
}

/// What waits to go out, by sink.
#[derive(Debug, Default)]
struct Waiting {
    records: BTreeMap<usize, (Vec<Returned>, usize)>,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Line,
    TooLong,
    End,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// Opens the files; letters to the sink at a place in `sinks` leave by the port of that place.
    ///
    /// # Errors
    /// When a file can't be opened.
    pub async fn open(paths: &[PathBuf], sinks: Vec<String>) -> Result<Self, Error> {
        let mut files = Vec::new();
        for path in paths {
            let file = File::open(path).await.map_err(|error| {
                Error::failure(format!("can't read {}", path.display())).because(error)
            })?;
            files.push((path.clone(), file));
        }
        Ok(Self { files, sinks })
    }

    /// A port for each sink.
    pub fn signature(&self) -> Signature {
        let port = |sink: &String| PortSpec::named(sink.clone(), Carries::Only(Kind::Returned));
        Signature { accepts: Kinds::NONE, ports: self.sinks.iter().map(port).collect() }
    }

    /// Takes a line to the batch of its sink, and gives that sink's place.
    fn sort(&self, line: &[u8], waiting: &mut Waiting) -> Result<usize, (Reason, String)> {
        let (sink, record) =
            read_line(line).map_err(|error| (Reason::NotADeadLetter, error.to_string()))?;
        let place = self.sinks.iter().position(|known| *known == sink).ok_or_else(|| {
            let known = self.sinks.join(", ");
            (Reason::UnknownSink, format!("the config has no sink {sink:?}, it has {known}"))
        })?;
        let (records, bytes) = waiting.records.entry(place).or_default();
        *bytes += record.memory_bytes();
        records.push(record);
        Ok(place)
    }

    async fn read(
        &self,
        path: &Path,
        file: &mut BufReader<File>,
        out: &Outputs,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (mut waiting, mut line) = (Waiting::default(), Vec::new());
        let (mut number, faults) = (0_u64, LogLimit::first(MAX_LOGGED));
        // How far it is to the next try where nothing can be read, and whether the next line lacks its beginning.
        let (mut far, mut cut) = (PAGE_BYTES, false);
        loop {
            if stop.is_cancelled() {
                out.meter().count(ERRORS, ErrorType::Interrupted, 1);
                error!("{}:{number}: stopped here, what follows was not sent", path.display());
                break;
            }
            number += 1;
            let next = next_line(file, &mut line).await;
            if next.is_ok() {
                far = PAGE_BYTES;
            }
            let sorted = match next {
                Ok(Next::End) => break,
                Ok(_) if std::mem::take(&mut cut) => continue,
                Ok(Next::Line) if line.trim_ascii().is_empty() => continue,
                Ok(Next::Line) => self.sort(&line, &mut waiting),
                Ok(Next::TooLong) => {
                    let reason = format!("it is longer than {MAX_LINE_BYTES} bytes");
                    Err((Reason::NotADeadLetter, reason))
                }
                Err(error) => {
                    out.meter().count(ERRORS, ErrorType::Unreadable, 1);
                    let leapt =
                        if medium::is_damaged(&error) { leap(file, &mut far).await } else { None };
                    let Some(offset) = leapt else {
                        error!("{}:{number}: the file can't be read on: {error}", path.display());
                        break;
                    };
                    let path = path.display();
                    error!("{path}: bytes at {offset} can't be read, and are passed over: {error}");
                    // What is left of a line stands there.
                    cut = true;
                    continue;
                }
            };
            out.meter().received(1);
            match sorted {
                Ok(place) => waiting.send_full(place, out).await?,
                Err((reason, words)) => {
                    out.meter().count(DISCARDED, reason, 1);
                    if faults.admit(1, Clock::Wall.now(None)).is_some() {
                        error!("{}:{number}: not sent again: {words}", path.display());
                    }
                }
            }
        }
        let more = faults.take_suppressed();
        if more > 0 {
            error!("{}: {more} further lines were not sent again", path.display());
        }
        waiting.send_all(out).await
    }
}

impl Source for DeadLetters {
    async fn run(mut self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        for (path, file) in std::mem::take(&mut self.files) {
            self.read(&path, &mut BufReader::new(file), &out, &stop).await?;
        }
        Ok(())
    }
}

// === impl Waiting ===

impl Waiting {
    async fn send_full(&mut self, place: usize, out: &Outputs) -> Result<(), Error> {
        let full = self.records.get(&place).is_some_and(|(records, bytes)| {
            records.len() >= BATCH_RECORDS || *bytes >= BATCH_BYTES
        });
        if full { self.send(place, out).await } else { Ok(()) }
    }

    async fn send_all(&mut self, out: &Outputs) -> Result<(), Error> {
        while let Some(place) = self.records.keys().next().copied() {
            self.send(place, out).await?;
        }
        Ok(())
    }

    async fn send(&mut self, place: usize, out: &Outputs) -> Result<(), Error> {
        let Some((records, _)) = self.records.remove(&place) else { return Ok(()) };
        let records = Records::Returned(Arc::new(records));
        let batch = Batch { records, ack: out.receipts().open(), watermark: None };
        Ok(out.pass(Port(place), batch).await?)
    }
}

/// Goes on at a later page, each time twice as `far`. Gives where it stood, unless it can't.
async fn leap(file: &mut BufReader<File>, far: &mut u64) -> Option<u64> {
    let offset = file.stream_position().await.ok()?;
    let to = (offset + *far) / PAGE_BYTES * PAGE_BYTES;
    file.seek(SeekFrom::Start(to)).await.ok()?;
    *far = far.saturating_mul(2).min(MAX_LEAP_BYTES);
    Some(offset)
}

/// Reads a line; one that is too long is skipped.
async fn next_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> std::io::Result<Next> {
    line.clear();
    let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    if (&mut *file).take(most).read_until(b'\n', line).await? == 0 {
        return Ok(Next::End);
    }
    if line.len() < MAX_LINE_BYTES || line.ends_with(b"\n") {
        return Ok(Next::Line);
    }
    loop {
        let part = file.fill_buf().await?;
        let newline = memchr::memchr(b'\n', part);
        let taken = newline.map_or(part.len(), |at| at + 1);
        file.consume(taken);
        if newline.is_some() || taken == 0 {
            return Ok(Next::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ack::{End, Receipts},
        component::{
            Clock, Input,
            edge::{Bounds, WhenFull, edge},
        },
        metrics::Meter,
    };

    const LETTER: &str =
        r#"{"sink":"siem","record":{"kind":"flow","id":"a-1"},"document":{"a":1}}"#;

    /// The documents that reach the sink `siem`, and the source's own account.
    async fn replayed(content: &[u8]) -> (Vec<String>, BTreeMap<&'static str, u64>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        std::fs::write(&path, content).unwrap();
        let sinks = vec!["other".into(), "siem".into()];
        let source = DeadLetters::open(&[path], sinks).await.unwrap();
        let (meter, receipts) = (Meter::new("letters", KIND), Receipts::default());
        let mut out = Outputs::new(2, Arc::clone(&meter), receipts.clone());
        let consumer = Meter::new("siem", "scripted");
        let (sender, receiver) = edge(Bounds::default(), WhenFull::Block, &consumer);
        out.connect(Port(1), sender);
        let mut input = Input::new(Clock::Wall, consumer);
        input.add(receiver, Kind::Returned.into());
        let running = tokio::spawn(source.run(out, CancellationToken::new()));
        let mut documents = Vec::new();
        while let Some(batch) = input.recv().await {
            let Records::Returned(records) = &batch.records else { panic!("other records") };
            let text = |record: &Returned| String::from_utf8_lossy(&record.document).into_owned();
            documents.extend(records.iter().map(text));
            batch.ack.settle(End::Delivered);
        }
        running.await.unwrap().unwrap();
        assert!(meter.balance().holds() && meter.balance().held == 0);
        assert_eq!(receipts.outstanding(), 0);
        (documents, meter.balance().dropped)
    }

    #[tokio::test]
    async fn letters_go_to_the_sink_they_name_and_all_else_is_counted() {
        let unknown = LETTER.replace("siem", "gone");
        let torn = LETTER.get(..LETTER.len() - 3).unwrap_or_default();
        let content = format!("{LETTER}\n\n\u{feff}\n{unknown}\n{LETTER}\n{torn}");
        let (documents, dropped) = replayed(content.as_bytes()).await;
        assert_eq!(documents, [r#"{"a":1}"#; 2]);
        let expected = [("not_a_dead_letter", 2), ("unknown_sink", 1)];
        assert_eq!(dropped, expected.into());
    }

    #[tokio::test]
    async fn more_letters_than_a_batch_holds_come_in_order() {
        let letter = |number: usize| LETTER.replace("\"a\":1", &format!("\"a\":{number}"));
        let lines: Vec<_> = (0..2_500).map(letter).collect();
        let (documents, dropped) = replayed(lines.join("\n").as_bytes()).await;
        let expected: Vec<_> = (0..2_500).map(|number| format!("{{\"a\":{number}}}")).collect();
        assert!(documents == expected && dropped.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_skipped_in_bounded_memory() {
        let mut content = vec![b'x'; MAX_LINE_BYTES + 70_000];
        content.extend_from_slice(format!("\n{LETTER}\n").as_bytes());
        let (documents, dropped) = replayed(&content).await;
        assert_eq!(documents.len(), 1);
        assert_eq!(dropped, [("not_a_dead_letter", 1)].into());
    }
}
