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
    log::{MAX_ROW_BYTES, Row, Rows},
    observe::{Judged, Observer},
    rotated::{Log, judge},
};
use crate::{flow::Policy, networks::Networks, score::Settings};

/// Bad rows that are named; the others are counted.
const MAX_NAMED: usize = 10;

/// What some programs of Windows begin a text with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const ARRAY: &str =
    "it is a JSON array; a log has an object a line: `jq -c '.[]' FILE` makes one of it";
const SPREAD: &str =
    "it is JSON over several lines; a log has an object a line: `jq -c . FILE` makes one of it";
const TEXT: &str = "it is a text, but no log that is read: Zeek's conn.log has its #fields line before the rows, \
                    logs in JSON an object a line";

const WIDE: &str =
    "it is a text in UTF-16: `iconv -f UTF-16 -t UTF-8 FILE` makes one of it that can be read";

/// What a file is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Rows of flows.
    Log,
    /// An array of them.
    Array,
    /// Objects over several lines.
    Spread,
    /// Another text.
    Text,
    /// A text in UTF-16.
    Wide,
    /// Frames, or nothing that is known.
    Capture,
}

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Input {
    /// What became of its sources.
    pub judged: Judged,
    /// Rows or frames.
    pub units: u64,
    /// What could not be read: rows by their lines, or what damaged a capture.
    pub faults: Vec<String>,
    /// What was left out as it should be, and why.
    pub notes: Vec<String>,
    /// Rows that could not be read.
    pub bad_rows: u64,
    /// Whether it was a capture.
    pub is_capture: bool,
    /// What a log told, until it is judged.
    pub(super) log: Option<Log>,
}

/// Is told how many rows or frames were read.
pub type Progress<'a> = dyn FnMut(u64) + 'a;

/// Reads a capture or a flow log and judges its sources. Labels that rows carry go to `labels`.
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
    let mut input = gather(path, settings, networks, (policy, true), labels, progress)?;
    judge(std::slice::from_mut(&mut input), settings, networks);
    Ok(input)
}

/// Reads an input as [`read`] does, but leaves a log to [`judge`], with the others. Of a capture it
/// learns what sources resolve, or not, as the judge does that is tuned.
///
/// # Errors
/// The file can't be read at all.
pub fn gather(
    path: &Path,
    settings: &Settings,
    networks: &Arc<Networks>,
    (policy, learns_names): (&Policy, bool),
    labels: &mut Labels,
    progress: &mut Progress<'_>,
) -> io::Result<Input> {
    let mut beginning = BufReader::new(unpacked(path)?);
    if beginning.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        beginning.consume(BYTE_ORDER_MARK.len());
    }
    let form = Form::of(beginning.fill_buf()?);
    let mut input = Input { is_capture: form == Form::Capture, ..Input::default() };
    match form {
        Form::Log => read_log(beginning, &mut input, labels, progress)?,
        Form::Capture => {
            let mut units = 0;
            let mut observer = Observer::new(settings.clone(), Arc::clone(networks));
            let read = capture::read(path, (policy, learns_names), &mut observer, |frames| {
                units += frames;
                progress(frames);
            });
            input.units = units;
            input.faults.extend(read);
            input.judged = observer.finish();
        }
        Form::Array => input.faults.push(ARRAY.to_owned()),
        Form::Spread => input.faults.push(SPREAD.to_owned()),
        Form::Text => input.faults.push(TEXT.to_owned()),
        Form::Wide => input.faults.push(WIDE.to_owned()),
    }
    Ok(input)
}

impl Form {
    /// What begins so.
    fn of(head: &[u8]) -> Self {
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Self::Wide;
        }
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~' | 0x80..);
        let first = head.trim_ascii_start().split(|byte| *byte == b'\n').next();
        match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
            // The brace alone, and more lines: no log has such a row.
            Some(b'{')
                if head.contains(&b'\n')
                    && first.is_some_and(|line| line.trim_ascii_end() == b"{") =>
            {
                Self::Spread
            }
            Some(b'{' | b'#') => Self::Log,
            Some(b'[') => Self::Array,
            // A capture's fourth byte at the latest is none of a text.
            Some(_) if head.iter().take(64).all(is_text) => Self::Text,
            _ => Self::Capture,
        }
    }
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
    progress: &mut Progress<'_>,
) -> io::Result<()> {
    let (mut rows, mut line) = (Rows::default(), Vec::new());
    let mut told = HashMap::new();
    let (mut number, mut others) = (0_u64, 0_u64);
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
                if let Some(writer) = rows.writer() {
                    input.log.get_or_insert_with(|| Log::new(writer, &row)).add(&row);
                }
                remember(&row, &mut told);
            }
            Ok(None) => {
                others += u64::from(!line.starts_with(b"#") && !line.trim_ascii().is_empty());
            }
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
    let left_out = rows.left_out();
    let others = others.saturating_sub(left_out.rows());
    input.faults.extend(left_out.faults());
    input.notes.extend(left_out.notes());
    if others > 0 && input.units == 0 {
        input
            .faults
            .push(format!("{others} rows are of other kinds, and none of a flow that ended"));
    }
    for (source, is_malicious) in told {
        labels.tell(source, is_malicious);
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
