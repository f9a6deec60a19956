//! DNS messages into the fields that passive names are learnt from, under the names tshark gives them.
//!
//! hickory-proto reads question and records one after the other, so that a message which was cut, or
//! is wrong further on, still tells what came before. The question alone, which is asked for far more often,
//! is read by [`question`].

use std::sync::{Arc, LazyLock};

use hickory_resolver::proto::{
    op::{Header, Query},
    rr::{RData, Record},
    serialize::binary::{BinDecodable, BinDecoder},
};

use crate::record::Extra;

/// Records read of an answer section.
const MAX_ANSWERS: usize = 64;
/// Length of a message's header, and of the longest name.
const HEADER: usize = 12;
const MAX_NAME: usize = 255;
/// The longest label; what begins with more is a pointer, and no first name has one.
const MAX_LABEL: u8 = 63;

/// The names of the fields, made once.
static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    id: "dns_id".into(),
    question: "dns_qry_name".into(),
    answers: "dns_count_answers".into(),
    kind: "dns_resp_type".into(),
    v4: "dns_a".into(),
    v6: "dns_aaaa".into(),
});

struct Names {
    id: Arc<str>,
    question: Arc<str>,
    answers: Arc<str>,
    kind: Arc<str>,
    v4: Arc<str>,
    v6: Arc<str>,
}

/// The fields of a message: id, question, and the types and addresses of its answer section. None if it
/// has no question, or not exactly one.
pub(super) fn fields(message: &[u8]) -> Vec<Extra> {
    let mut decoder = BinDecoder::new(message);
    let Ok(header) = Header::read(&mut decoder) else { return Vec::new() };
    if header.counts.queries != 1 {
        return Vec::new();
    }
    let (Ok(_), Some(Some(name))) = (Query::read(&mut decoder), question(message)) else {
        return Vec::new();
    };
    let one = |name: &Arc<str>, value: String| several(name, vec![value.into()]);
    let mut fields = vec![
        one(&NAMES.id, format!("0x{:04x}", header.metadata.id)),
        one(&NAMES.question, name),
        one(&NAMES.answers, header.counts.answers.to_string()),
    ];
    let (mut kinds, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..usize::from(header.counts.answers).min(MAX_ANSWERS) {
        let Ok(record) = Record::<RData>::read(&mut decoder) else { break };
        kinds.push(u16::from(record.record_type()).to_string().into());
        match record.data {
            RData::A(address) => v4.push(address.to_string().into()),
            RData::AAAA(address) => v6.push(address.to_string().into()),
            _ => {}
        }
    }
    let of = [(&NAMES.kind, kinds), (&NAMES.v4, v4), (&NAMES.v6, v6)];
    fields.extend(
        of.into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| several(name, values)),
    );
    fields
}

/// The name that the first question of a message asks for, as tshark writes it: `None` if this is no
/// message, `Some(None)` if it asks for nothing, or the name was cut.
#[expect(clippy::option_option, reason = "no message is something else than no question")]
pub(super) fn question(message: &[u8]) -> Option<Option<String>> {
    /// Standard queries, inverse queries, status, notify, update and stateful operations.
    const OPERATIONS: [u8; 6] = [0, 1, 2, 4, 5, 6];
    let header: &[u8; HEADER] = message.first_chunk()?;
    let &[_, _, flags, _, high, low, rest @ ..] = header;
    let questions = u16::from_be_bytes([high, low]);
    if !OPERATIONS.contains(&(flags >> 3 & 0x0f)) || (questions == 0 && rest == [0; 6]) {
        return None;
    }
    Some(if questions > 0 { message.get(HEADER..).and_then(name) } else { None })
}

/// A name without pointers.
fn name(bytes: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(32);
    let mut rest = bytes;
    loop {
        let (&length, more) = rest.split_first()?;
        if length > MAX_LABEL || text.len() + usize::from(length) > MAX_NAME {
            return None;
        }
        if length == 0 {
            break;
        }
        let (label, next) = more.split_at_checked(length.into())?;
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
        rest = next;
    }
    if text.is_empty() {
        return Some("<Root>".to_owned());
    }
    Some(match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn several(name: &Arc<str>, values: Vec<Box<str>>) -> Extra {
    Extra { name: Arc::clone(name), values }
}
