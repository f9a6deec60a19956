//! Zeek's `conn.log`, as text and as JSON.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    labels::Meaning,
    left_out::LeftOut,
    log::{Row, State, look, nanos, timestamp, transport, whole},
};
use crate::record::{TcpFlags, Transport};

/// The states of a connection.
const KNOWN: [&str; 13] =
    ["S0", "S1", "S2", "S3", "SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"];

/// What a text says of itself before its rows: how its values are told apart, and where each stands.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    separator: Box<str>,
    /// What stands for no value, and for a set or a text without content.
    unset: Box<str>,
    empty: Box<str>,
    /// Whether the rows are connections, as far as it says.
    is_conn: bool,
    columns: Vec<Box<str>>,
    /// Columns that follow the last separator, with blanks between them.
    behind: usize,
}

/// A row's values by their names.
trait Named {
    fn value(&self, name: &str) -> Option<String>;
}

/// What was seen of a connection, a letter each: capitals of the originator, small ones of the responder.
struct History<'a>(&'a str);

struct Text<'a>(&'a Heading, Vec<&'a str>);

// === impl Heading ===

impl Default for Heading {
    fn default() -> Self {
        Self {
            separator: "\t".into(),
            unset: "-".into(),
            empty: "(empty)".into(),
            is_conn: true,
            columns: Vec::new(),
            behind: 0,
        }
    }
}

impl Heading {
    /// Takes in a line that begins with `#`.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(separator) = line.strip_prefix("#separator ") {
            // It is the first line of a log.
            *self = Self { separator: unescaped(separator), ..Self::default() };
            return;
        }
        let Some((name, rest)) = line.split_once(&*self.separator) else { return };
        match name {
            "#unset_field" => self.unset = rest.into(),
            "#empty_field" => self.empty = rest.into(),
            "#path" => self.is_conn = is_conn(rest),
            "#fields" => {
                let names: Vec<_> = rest.split(&*self.separator).collect();
                let (last, others) = names.split_last().unwrap_or((&"", &[]));
                // Tools that add labels to a log have put blanks for separators.
                let mut last: Vec<_> = last.split_whitespace().collect();
                self.behind = last.len();
                let mut names = others.to_vec();
                names.append(&mut last);
                self.columns = names.into_iter().map(plain).collect();
            }
            _ => {}
        }
    }

    /// The row in a line; `None` if the log is of something else.
    pub(super) fn row(
        &self,
        text: &str,
        left_out: &mut LeftOut,
    ) -> Result<Option<Row>, &'static str> {
        if !self.is_conn {
            return Ok(None);
        }
        if self.columns.is_empty() {
            return Err("there is no #fields line before it");
        }
        let mut values: Vec<_> = text.split(&*self.separator).collect();
        // Labels that were added to a log, with blanks for separators, are in every row or in none.
        let unlabelled = self.columns.len() + 1 - self.behind.max(1);
        if values.len() < self.columns.len()
            && let Some(last) = values.pop()
        {
            values.extend(last.split_whitespace());
        }
        if values.len() != unlabelled && values.len() < self.columns.len() {
            return Err("it has fewer columns than #fields says: it is cut");
        }
        of(&Text(self, values), left_out).map(Some)
    }
}

/// A column's name with dots, also where the writer was told to put something else between their parts.
fn plain(name: &str) -> Box<str> {
    match name.split_once("id_").filter(|(before, _)| before.is_empty()) {
        Some((_, rest)) => format!("id.{rest}").into(),
        None => name.into(),
    }
}

/// A separator as it stands in a log: `\x09`, or itself.
fn unescaped(text: &str) -> Box<str> {
    let mut parts = text.trim_end().split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                plain.push(byte.into());
                plain.push_str(part.get(2..).unwrap_or_default());
            }
            None => plain.push_str(part),
        }
    }
    // A blank is one, too.
    if plain.is_empty() { text.into() } else { plain.into() }
}

/// Whether a log of this name has connections that are over, one a row.
fn is_conn(path: &str) -> bool {
    path.starts_with("conn") && path != "conn_long"
}

impl Named for Text<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let Self(heading, values) = self;
        let at = heading.columns.iter().position(|column| **column == *name)?;
        let is_set = |value: &&&str| **value != &*heading.unset && **value != &*heading.empty;
        values.get(at).filter(is_set).map(|value| (*value).to_owned())
    }
}

impl Named for Value {
    fn value(&self, name: &str) -> Option<String> {
        let scoped = || self.get(name.replace('.', "_"));
        let found = look(self, name);
        match if name.contains('.') { found.or_else(scoped) } else { found }? {
            Self::String(text) if *text == "-" || *text == "(empty)" => None,
            Self::String(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(is_so) => Some(if *is_so { "T" } else { "F" }.to_owned()),
            _ => None,
        }
    }
}

/// Whether an object is a row of one of Zeek's logs.
pub(super) fn is_row(row: &Value) -> bool {
    look(row, "id.orig_h").is_some() || row.get("id_orig_h").is_some()
}

/// The row of a connection; `None` in a stream of several logs for rows of another.
pub(super) fn of_json(row: &Value, left_out: &mut LeftOut) -> Result<Option<Row>, &'static str> {
    if row.get("_path").and_then(Value::as_str).is_some_and(|path| !is_conn(path)) {
        return Ok(None);
    }
    of(row, left_out).map(Some)
}

fn of(row: &impl Named, left_out: &mut LeftOut) -> Result<Row, &'static str> {
    let address = |name| -> Option<IpAddr> { row.value(name)?.parse().ok() };
    let count = |name: &str| match row.value(name) {
        Some(text) => whole(&text).ok_or("a number in it is none"),
        None => Ok(0),
    };
    let transport = transport(&row.value("proto").ok_or("it has no proto")?);
    let history = row.value("history").unwrap_or_default();
    let state = row.value("conn_state").ok_or("it has no conn_state, or is cut")?;
    let state = of_state(&state, &history, transport)?;
    let source = address("id.orig_h").ok_or("it has no id.orig_h")?;
    let is_left_open = state == State::LeftOpen;
    let source_port = row.value("id.orig_p").filter(|_| is_left_open);
    Ok(Row {
        start: row.value("ts").and_then(|ts| timestamp(&ts)).ok_or("it has no ts")?,
        duration_nanos: match row.value("duration") {
            Some(text) => text.parse().map(nanos).map_err(|_| "its duration is none")?,
            None => 0,
        },
        source,
        source_port: source_port.and_then(|text| text.parse().ok()).unwrap_or(0),
        // Only addresses of IPv6 may be judged with others.
        is_local: source.is_ipv6() && row.value("local_orig").is_some_and(|text| text == "T"),
        destination: address("id.resp_h").ok_or("it has no id.resp_h")?,
        port: row
            .value("id.resp_p")
            .and_then(|text| text.parse().ok())
            .ok_or("it has no id.resp_p")?,
        transport,
        state,
        packets: count("orig_pkts")?,
        bytes: [count("orig_ip_bytes")?, count("resp_ip_bytes")?],
        is_malicious: row.value("label").and_then(|label| is_malicious(&label, left_out)),
    })
}

/// What a label says of the row's source, if anything.
fn is_malicious(label: &str, left_out: &mut LeftOut) -> Option<bool> {
    match Meaning::of(label) {
        Meaning::Benign => Some(false),
        Meaning::Malicious => Some(true),
        Meaning::Ignored => None,
        Meaning::Unclear => {
            left_out.disregard(label);
            None
        }
    }
}

/// What a connection's state says of the contact, and its history where the state says less.
pub(super) fn of_state(
    state: &str,
    history: &str,
    transport: Transport,
) -> Result<State, &'static str> {
    let is_tcp = transport == Transport::TCP;
    // A caret says that Zeek has turned the connection round.
    let history = History(history.trim_start_matches('^'));
    Ok(match state {
        // A SYN with what never goes with one.
        _ if is_tcp && history.begins_with('Q') && KNOWN.contains(&state) => {
            State::Odd(TcpFlags(TcpFlags::SYN | TcpFlags::FIN))
        }
        "SH" | "OTH" | "RSTR" if is_tcp && history.is_lone_fin() => State::Closing,
        "RSTR" if is_tcp && history.is_refused() => {
            if history.begins_with('S') {
                State::Refused
            } else {
                State::Unknown
            }
        }
        "RSTO" if is_tcp && history.is_left_open() => State::LeftOpen,
        "SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR" => State::Success,
        "S0" if is_tcp => history.conversation().unwrap_or(State::TimedOut),
        "REJ" if is_tcp => match history.conversation() {
            Some(reached) if history.is_answered() => reached,
            _ => State::Refused,
        },
        "REJ" => State::Refused,
        "S0" | "SH" | "SHR" | "OTH" | "RSTRH" | "RSTOS0" => State::Unknown,
        _ => return Err("its conn_state is none"),
    })
}

// === impl History ===

impl History<'_> {
    fn has(&self, letter: char) -> bool {
        self.0.contains(letter)
    }

    fn begins_with(&self, letter: char) -> bool {
        self.0.starts_with(letter)
    }

    /// Whether the responder sent nothing but an RST.
    fn is_refused(&self) -> bool {
        let mut answers = self.0.chars().filter(char::is_ascii_lowercase).peekable();
        answers.peek().is_some() && answers.all(|letter| letter == 'r')
    }

    /// Whether the originator sent nothing but FINs, and got an RST or nothing.
    fn is_lone_fin(&self) -> bool {
        self.begins_with('F') && self.0.chars().all(|letter| matches!(letter, 'F' | 'r'))
    }

    /// Whether the originator sent a SYN, got a SYN-ACK, and reset the connection then.
    fn is_left_open(&self) -> bool {
        self.0 == "ShR"
    }

    /// Whether the responder sent more than an RST, and more than the SYN-ACK that the originator asked for.
    fn is_answered(&self) -> bool {
        self.has('d') || self.has('a') || (self.has('h') && (self.has('A') || self.has('D')))
    }

    /// What came of a connection whose handshake Zeek did not see, by what was sent after it; `None` if nothing was.
    fn conversation(&self) -> Option<State> {
        if self.has('d') || self.has('h') {
            return Some(State::Success);
        }
        match (self.has('A') || self.has('a'), self.has('D')) {
            // The answers go another way: the originator goes on as though there had been one.
            (true, true) => Some(State::Unproven),
            (true, false) => Some(State::Unknown),
            (false, _) => None,
        }
    }
}
