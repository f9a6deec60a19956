//! DNS messages into the fields that passive names are learnt from, under the names tshark gives them.
//!
//! hickory-proto reads question and records one after the other, so that a message which was cut, or
//! is wrong further on, still tells what came before.

use std::sync::{Arc, LazyLock};

use hickory_resolver::proto::{
    op::{Header, Query},
    rr::{RData, Record},
    serialize::binary::{BinDecodable, BinDecoder},
};

use crate::record::Extra;

/// Records read of an answer section.
const MAX_ANSWERS: usize = 64;

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
    let Ok(question) = Query::read(&mut decoder) else { return Vec::new() };
    let one = |name: &Arc<str>, value: String| several(name, vec![value.into()]);
    let mut fields = vec![
        one(&NAMES.id, format!("0x{:04x}", header.metadata.id)),
        one(&NAMES.question, question.name().to_ascii().trim_end_matches('.').to_owned()),
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

fn several(name: &Arc<str>, values: Vec<Box<str>>) -> Extra {
    Extra { name: Arc::clone(name), values }
}
