//! Inputs: what a file is, read to its end, row by row or frame by frame.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use super::{
    capture,
    labels::Labels,
    log::{Event, MAX_ROW_BYTES, Row, Rows},
    observe::{Judged, Observer},
};
use crate::{flow::Policy, networks::Networks, score::Settings};

/// Bad rows that are named; the others are counted.
const MAX_NAMED: usize = 10;

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Input {
    /// What became of its sources.
    pub judged: Judged,
    /// Rows or frames.
    pub units: u64,
    /// What could not be read: rows by their lines, or what damaged a capture.
    pub faults: Vec<String>,
    /// Rows that could not be read.
    pub bad_rows: u64,
    /// Whether it was a capture.
    pub is_capture: bool,
}

/// Is told how many rows or frames were read.
pub type Progress<'a> = dyn FnMut(u64) + 'a;

/// Reads a capture or a flow log and judges its sources. Labels that rows carry go to `labels`, where
/// they have none.
///
/// # Errors
/// The file can't be read at all.
pub fn read(
    path: &Path,
    settings: &Settings,
    networks: &Arc<Networks>,
    policy: &Policy,
    labels: &mut Labels,
    progress: &mut Progress<'_>,
) -> io::Result<Input> {
    let mut beginning = BufReader::new(unpacked(path)?);
    let head = beginning.fill_buf()?;
    let is_log = head
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|first| matches!(first, b'{' | b'#'));
    let mut observer = Observer::new(settings.clone(), Arc::clone(networks));
    let mut input = Input { is_capture: !is_log, ..Input::default() };
    if is_log {
        read_log(beginning, &mut input, labels, &mut observer, progress)?;
    } else {
        let mut units = 0;
        let read = capture::read(path, policy.clone(), &mut observer, |frames| {
            units += frames;
            progress(frames);
        });
        input.units = units;
        input.faults.extend(read.err());
    }
    input.judged = observer.finish();
    Ok(input)
}

/// A log's bytes, unpacked.
fn unpacked(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    let file = BufReader::new(File::open(path)?);
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

fn read_log(
    mut log: impl BufRead,
    input: &mut Input,
    labels: &mut Labels,
    observer: &mut Observer,
    progress: &mut Progress<'_>,
) -> io::Result<()> {
    let (mut rows, mut events, mut line) = (Rows::default(), Vec::new(), Vec::new());
    let mut told = HashMap::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let most = MAX_ROW_BYTES as u64 + 1;
        let read = match log.by_ref().take(most).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => {
                input.faults.push(format!("line {}: it can't be read on: {error}", number + 1));
                break;
            }
        };
        number += 1;
        let parsed = if read > MAX_ROW_BYTES {
            skip_line(&mut log)?;
            Err("it is longer than a row can be")
        } else {
            rows.parse(&line)
        };
        match parsed {
            Ok(Some(row)) => {
                input.units += 1;
                row.events(&mut events);
                remember(&row, &mut told);
            }
            Ok(None) => {}
            Err(why) => {
                input.bad_rows += 1;
                if input.faults.len() < MAX_NAMED {
                    input.faults.push(format!("line {number}: {why}"));
                }
            }
        }
        if number.is_multiple_of(1_024) {
            progress(1_024);
        }
    }
    for (source, is_malicious) in told {
        if labels.of(source).is_none() {
            labels.insert(source, if is_malicious { "malicious" } else { "benign" }, "");
        }
    }
    // Logs are written as flows end; what they tell came in another order.
    events.sort_by_key(Event::time);
    for event in events {
        event.tell(observer);
    }
    Ok(())
}

fn remember(row: &Row, told: &mut HashMap<IpAddr, bool>) {
    if let Some(is_malicious) = row.is_malicious {
        *told.entry(row.source).or_default() |= is_malicious;
    }
}

/// Reads on to the end of the line, and keeps nothing of it.
fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let part = log.fill_buf()?;
        if part.is_empty() {
            return Ok(());
        }
        if let Some(end) = part.iter().position(|byte| *byte == b'\n') {
            log.consume(end + 1);
            return Ok(());
        }
        let all = part.len();
        log.consume(all);
    }
}
