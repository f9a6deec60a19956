//! The values of fields: addresses and ids as bytes, words by their names.

use std::{borrow::Cow, fmt, marker::PhantomData, net::IpAddr, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use crate::record::{
    Action, Checksum, ConnState, Direction, EndReason, History, HostNames, Interface, Kind,
    NameOrigin, Names, ObservationPoint, PointNames, Signal,
};

/// The longest name of a source or an interface.
const MAX_NAME_BYTES: usize = 255;

/// An IP address: its 4 or 16 bytes.
pub(super) struct Address(pub(super) IpAddr);

/// Exactly so many bytes.
pub(super) struct Octets<const N: usize>(pub(super) [u8; N]);

/// Any number of bytes.
pub(super) struct Blob<'a>(pub(super) Cow<'a, [u8]>);

/// A word, by its name in records.
pub(super) struct Word<T>(pub(super) T);

/// A flow's history, by its letters.
pub(super) struct Letters(pub(super) History);

/// A set of words with names.
pub(super) trait Named: Copy + 'static {
    /// All of them.
    fn all() -> impl Iterator<Item = Self>;
    /// A word's name.
    fn name(self) -> &'static str;
}

/// An observation point: its source, and its interface by name or number.
#[derive(Serialize, Deserialize)]
pub(super) struct PointForm<'a> {
    source: Cow<'a, str>,
    interface: Option<Cow<'a, str>>,
    number: Option<u32>,
}

/// The names of a record's addresses.
#[derive(Serialize, Deserialize)]
pub(super) struct NamesForm<'a> {
    source: Option<HostNamesForm<'a>>,
    destination: Option<HostNamesForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct HostNamesForm<'a> {
    origin: Word<NameOrigin>,
    reliable: Vec<Cow<'a, str>>,
    unverified: Vec<Cow<'a, str>>,
}

struct AddressVisitor;
struct OctetsVisitor<const N: usize>;
struct BlobVisitor;
struct LettersVisitor;
struct WordVisitor<T>(PhantomData<T>);

// === bytes ===

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            IpAddr::V4(address) => serializer.serialize_bytes(&address.octets()),
            IpAddr::V6(address) => serializer.serialize_bytes(&address.octets()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AddressVisitor)
    }
}

impl Visitor<'_> for AddressVisitor {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the 4 or 16 bytes of an address")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Address, E> {
        let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let sixteen = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
        four.or_else(|_| sixteen()).map(Address).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

impl<const N: usize> Serialize for Octets<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Octets<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(OctetsVisitor)
    }
}

impl<const N: usize> Visitor<'_> for OctetsVisitor<N> {
    type Value = Octets<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Octets<N>, E> {
        bytes.try_into().map(Octets).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

impl Visitor<'_> for BlobVisitor {
    type Value = Blob<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        self.visit_byte_buf(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(Blob(Cow::Owned(bytes)))
    }
}

// === words ===

impl<T: Named> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(PhantomData))
    }
}

impl<T: Named> Visitor<'_> for WordVisitor<T> {
    type Value = Word<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = T::all().map(T::name).collect();
        write!(f, "one of {}", names.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Word<T>, E> {
        let word = T::all().find(|word| word.name() == name);
        word.map(Word).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }
}

impl Serialize for Letters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Letters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LettersVisitor)
    }
}

impl Visitor<'_> for LettersVisitor {
    type Value = Letters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the letters of a history")
    }

    fn visit_str<E: de::Error>(self, letters: &str) -> Result<Letters, E> {
        let history = History::from_letters(letters);
        history.map(Letters).ok_or_else(|| E::invalid_value(de::Unexpected::Str(letters), &self))
    }
}

impl Named for EndReason {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for Direction {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for ConnState {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for Action {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for Signal {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for NameOrigin {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Passive, Self::Ptr].into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for Kind {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Named for Checksum {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Unverified, Self::Good, Self::Bad].into_iter()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

// === points and names ===

impl From<ObservationPoint> for PointForm<'_> {
    fn from(point: ObservationPoint) -> Self {
        let PointNames { source, interface, .. } = point.names();
        let (interface, number) = match interface {
            None => (None, None),
            Some(Interface::Named(name)) => (Some(Cow::Owned(name.as_ref().to_owned())), None),
            Some(Interface::Numbered(number)) => (None, Some(number)),
        };
        Self { source: Cow::Owned(source.as_ref().to_owned()), interface, number }
    }
}

impl From<PointForm<'_>> for ObservationPoint {
    fn from(form: PointForm<'_>) -> Self {
        let PointForm { source, interface, number } = form;
        // They are kept for good, and nobody has such names.
        if source.len().max(interface.as_ref().map_or(0, |name| name.len())) > MAX_NAME_BYTES {
            return Self::default();
        }
        let named = interface.map(|name| Interface::Named(name.into()));
        Self::of(&source, named.or(number.map(Interface::Numbered)))
    }
}

impl<'a> From<&'a Names> for NamesForm<'a> {
    fn from(names: &'a Names) -> Self {
        let Names { source, destination } = names;
        let form = |names: &'a Option<Arc<HostNames>>| names.as_deref().map(HostNamesForm::from);
        Self { source: form(source), destination: form(destination) }
    }
}

impl<'a> From<&'a HostNames> for HostNamesForm<'a> {
    fn from(names: &'a HostNames) -> Self {
        let HostNames { origin, reliable, unverified } = names;
        let texts =
            |names: &'a [Box<str>]| names.iter().map(|name| Cow::Borrowed(&**name)).collect();
        Self { origin: Word(*origin), reliable: texts(reliable), unverified: texts(unverified) }
    }
}

impl From<NamesForm<'_>> for Names {
    fn from(form: NamesForm<'_>) -> Self {
        let NamesForm { source, destination } = form;
        let names = |form: Option<HostNamesForm<'_>>| form.map(|form| Arc::new(form.into()));
        Self { source: names(source), destination: names(destination) }
    }
}

impl From<HostNamesForm<'_>> for HostNames {
    fn from(form: HostNamesForm<'_>) -> Self {
        let HostNamesForm { origin, reliable, unverified } = form;
        let texts = |names: Vec<Cow<'_, str>>| names.into_iter().map(Into::into).collect();
        Self { origin: origin.0, reliable: texts(reliable), unverified: texts(unverified) }
    }
}
