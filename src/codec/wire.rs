//! The wire form: records as Tidegate itself reads them back, in disk buffers and behind Kafka.
//!
//! A record is a `MessagePack` array `[version, kind, observer, body]`. The body is an array of the
//! record's fields in the order of [`form`], which never changes within a version; what a later version
//! adds stands at its end. So a reader knows from the first two bytes whether it can read on, and says so
//! if it can't. Records → [`write`](fn@write) → bytes → [`Reader`] → batches of one kind.

mod form;
mod values;

use std::{io::Cursor, sync::Arc};

use rmp_serde::{Deserializer, Serializer, decode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::form::{AlertForm, ContactForm, FlowForm, HealthForm, PacketForm, ReturnedForm};
use super::Error;
use crate::record::{
    Alert, Contact, Flow, FramePlace, Health, Kind, Kinds, Packet, Raw, Record, Records, Returned,
    Visit,
};

/// The version that is written. A reader of it reads all earlier ones.
pub const VERSION: u8 = 4;
/// The kinds that have a wire form: all that leave the pipeline, what the judge feeds on, and dead letters
/// on their way back.
pub const KINDS: Kinds = Kinds::REPORTS.union(Kinds::of(&[Kind::Contact, Kind::Returned]));
/// No record is longer: what claims to be is not looked at.
pub const MAX_BYTES: usize = 64 << 20;

/// A `MessagePack` array of four.
const ARRAY_OF_4: u8 = 0x94;
const ANY_ARRAY: std::ops::RangeInclusive<u8> = 0x90..=0x9f;
/// The largest number that is a `MessagePack` byte of its own.
const MAX_FIXINT: u8 = 0x7f;

/// Why bytes are no record that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They begin otherwise, or are longer than any record.
    #[error("it is no record in the wire form")]
    NotOurs,
    /// Somebody newer wrote them.
    #[error(
        "it is written in version {found} of the wire form, and this program reads up to {VERSION}: update it"
    )]
    Newer {
        /// The version they name.
        found: u8,
    },
    /// A kind that the version does not have.
    #[error("it is a record of the kind number {0}, which this program does not know")]
    Kind(u8),
    /// The record is damaged.
    #[error("its {kind} record is damaged")]
    Damaged {
        /// The kind it names.
        kind: Kind,
        /// What was wrong.
        source: decode::Error,
    },
    /// Something follows the record.
    #[error("{0} bytes follow its record")]
    Trailing(usize),
}

/// Gathers records that are read, in their order, into batches of one kind each.
#[derive(Debug, Default)]
pub struct Reader {
    runs: Vec<(Arc<str>, Records)>,
    /// The observer read last: most often the next record's too.
    observer: Option<Arc<str>>,
}

/// Appends the record at an index to a buffer.
struct Write<'a> {
    index: usize,
    observer: &'a str,
    out: &'a mut Vec<u8>,
}

/// A kind with a form.
trait Form<'a>: Record {
    /// What is written of it.
    type Form: Serialize + From<&'a Self>;
}

/// Appends the wire form of the record at `index` to `out`; `observer` is this sensor, which has seen it unless
/// it says otherwise. After an error `out` is
/// as it was.
///
/// # Errors
/// [`Error::Kind`] for a kind that is not among [`KINDS`], [`Error::Index`] past the end.
pub fn write(
    records: &Records,
    index: usize,
    observer: &str,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let written = records.visit(Write { index, observer, out: &mut *out });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// The number that stands for a kind.
const fn number(kind: Kind) -> Option<u8> {
    Some(match kind {
        Kind::Packet => 1,
        Kind::Contact => 2,
        Kind::Flow => 3,
        Kind::Alert => 4,
        Kind::Health => 5,
        Kind::Returned => 6,
        Kind::Raw | Kind::Frame => return None,
    })
}

// === impl Write ===

impl Write<'_> {
    fn write<'a, R: Form<'a>>(self, kind: Kind, records: &'a [R]) -> Result<(), Error> {
        let Self { index, observer, out } = self;
        let number = number(kind).ok_or(Error::Kind(kind))?;
        let record = records.get(index).ok_or(Error::Index { index, len: records.len() })?;
        let other = record.origin().observer();
        let observer = other.as_deref().unwrap_or(observer);
        out.extend_from_slice(&[ARRAY_OF_4, VERSION, number]);
        let mut serializer = Serializer::new(out);
        observer.serialize(&mut serializer)?;
        Ok(R::Form::from(record).serialize(&mut serializer)?)
    }
}

impl Visit<Raw, Result<(), Error>> for Write<'_> {
    fn visit(self, _records: &[Raw]) -> Result<(), Error> {
        Err(Error::Kind(Kind::Raw))
    }
}

impl Visit<FramePlace, Result<(), Error>> for Write<'_> {
    fn visit(self, _records: &[FramePlace]) -> Result<(), Error> {
        Err(Error::Kind(Kind::Frame))
    }
}

impl Visit<Packet, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Packet]) -> Result<(), Error> {
        self.write(Kind::Packet, records)
    }
}

impl Visit<Contact, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Contact]) -> Result<(), Error> {
        self.write(Kind::Contact, records)
    }
}

impl Visit<Flow, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Flow]) -> Result<(), Error> {
        self.write(Kind::Flow, records)
    }
}

impl Visit<Alert, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Alert]) -> Result<(), Error> {
        self.write(Kind::Alert, records)
    }
}

impl Visit<Health, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Health]) -> Result<(), Error> {
        self.write(Kind::Health, records)
    }
}

impl Visit<Returned, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[Returned]) -> Result<(), Error> {
        self.write(Kind::Returned, records)
    }
}

impl<'a> Form<'a> for Packet {
    type Form = PacketForm<'a>;
}

impl<'a> Form<'a> for Contact {
    type Form = ContactForm<'a>;
}

impl<'a> Form<'a> for Flow {
    type Form = FlowForm<'a>;
}

impl<'a> Form<'a> for Alert {
    type Form = AlertForm<'a>;
}

impl<'a> Form<'a> for Health {
    type Form = HealthForm<'a>;
}

impl<'a> Form<'a> for Returned {
    type Form = ReturnedForm<'a>;
}

// === impl Reader ===

impl Reader {
    /// Reads one record.
    ///
    /// # Errors
    /// If it can't be read: what was gathered so far stays.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let (kind, body) = head(bytes)?;
        match kind {
            Kind::Packet => self.push::<PacketForm<'_>, _>(body, |run| match run {
                Records::Packets(records) => Some(records),
                _ => None,
            }),
            Kind::Contact => self.push::<ContactForm<'_>, _>(body, |run| match run {
                Records::Contacts(records) => Some(records),
                _ => None,
            }),
            Kind::Flow => self.push::<FlowForm<'_>, _>(body, |run| match run {
                Records::Flows(records) => Some(records),
                _ => None,
            }),
            Kind::Alert => self.push::<AlertForm<'_>, _>(body, |run| match run {
                Records::Alerts(records) => Some(records),
                _ => None,
            }),
            Kind::Health => self.push::<HealthForm<'_>, _>(body, |run| match run {
                Records::Health(records) => Some(records),
                _ => None,
            }),
            Kind::Returned => self.push::<ReturnedForm<'_>, _>(body, |run| match run {
                Records::Returned(records) => Some(records),
                _ => None,
            }),
            Kind::Raw | Kind::Frame => Err(ReadError::NotOurs),
        }
    }

    /// Takes what was gathered: records of one kind and one observer each, in their order.
    pub fn take(&mut self) -> Vec<(Arc<str>, Records)> {
        std::mem::take(&mut self.runs)
    }

    fn push<F, R>(
        &mut self,
        body: &[u8],
        unwrap: fn(&mut Records) -> Option<&mut Arc<Vec<R>>>,
    ) -> Result<(), ReadError>
    where
        F: DeserializeOwned + Into<R>,
        R: Record,
    {
        let damaged = |source| ReadError::Damaged { kind: R::KIND, source };
        let mut deserializer = Deserializer::new(Cursor::new(body));
        let observer = String::deserialize(&mut deserializer).map_err(damaged)?;
        let form = F::deserialize(&mut deserializer).map_err(damaged)?;
        let read = usize::try_from(deserializer.position()).unwrap_or(usize::MAX);
        if read < body.len() {
            return Err(ReadError::Trailing(body.len() - read));
        }
        let record = form.into();
        let observer = match &self.observer {
            Some(last) if **last == *observer => Arc::clone(last),
            _ => Arc::clone(self.observer.insert(observer.into())),
        };
        if let Some((of, run)) = self.runs.last_mut()
            && *of == observer
            && let Some(records) = unwrap(run)
        {
            Arc::make_mut(records).push(record);
        } else {
            self.runs.push((observer, R::wrap(Arc::new(vec![record]))));
        }
        Ok(())
    }
}

/// The kind that a record names, and what follows: its observer and its body.
fn head(bytes: &[u8]) -> Result<(Kind, &[u8]), ReadError> {
    let [array, version, kind, body @ ..] = bytes else { return Err(ReadError::NotOurs) };
    if !ANY_ARRAY.contains(array) || !(1..=MAX_FIXINT).contains(version) || bytes.len() > MAX_BYTES
    {
        return Err(ReadError::NotOurs);
    }
    if *version > VERSION {
        return Err(ReadError::Newer { found: *version });
    }
    if *array != ARRAY_OF_4 {
        return Err(ReadError::NotOurs);
    }
    let known = KINDS.iter().find(|known| number(*known) == Some(*kind));
    known.map(|kind| (kind, body)).ok_or(ReadError::Kind(*kind))
}

#[cfg(test)]
mod tests;
