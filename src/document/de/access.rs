//! The deserializer and its ways into lists, mappings and enums.

use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor, value::StrDeserializer,
};

use super::{
    fault::Error,
    scalar::{any, boolean, float, integer, text},
};
use crate::document::tree::{Entry, Node, Step, Typed, Value};

/// Reads one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deserializer<'de>(&'de Node);

struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

struct Entries<'de> {
    entries: &'de [Entry],
    next: usize,
}

/// `name` or `name: content`.
enum Choice<'de> {
    Word(&'de Node, &'de str),
    Entry(&'de Entry),
}

// === impl Deserializer ===

impl<'de> Deserializer<'de> {
    /// Reads `node`.
    pub(crate) const fn new(node: &'de Node) -> Self {
        Self(node)
    }

    /// A number the visitor may still refuse, without telling a secret.
    fn told<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match self.0.scalar() {
            Some(scalar) => error.about(scalar),
            None => error,
        })
    }
}

impl<'de> de::Deserializer<'de> for Deserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Scalar(scalar) => any(scalar, visitor),
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = boolean(self.0)?;
        self.told(visitor.visit_bool(value))
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, i8::MIN.into(), i8::MAX.into())?;
        self.told(visitor.visit_i8(value))
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, i16::MIN.into(), i16::MAX.into())?;
        self.told(visitor.visit_i16(value))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, i32::MIN.into(), i32::MAX.into())?;
        self.told(visitor.visit_i32(value))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, i64::MIN.into(), i64::MAX.into())?;
        self.told(visitor.visit_i64(value))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, 0, u8::MAX.into())?;
        self.told(visitor.visit_u8(value))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, 0, u16::MAX.into())?;
        self.told(visitor.visit_u16(value))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, 0, u32::MAX.into())?;
        self.told(visitor.visit_u32(value))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = integer(self.0, 0, u64::MAX.into())?;
        self.told(visitor.visit_u64(value))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = float(self.0)?;
        self.told(visitor.visit_f64(value))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() {
            visitor.visit_unit()
        } else {
            Err(Error::mismatch(self.0, "nothing"))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Sequence(items) => visitor.visit_seq(Items { items, next: 0 }),
            // One item is a list of one.
            Value::Scalar(scalar) if matches!(scalar.typed(), Typed::Text) => {
                visitor.visit_seq(Items { items: std::slice::from_ref(self.0), next: 0 })
            }
            _ => Err(Error::mismatch(self.0, "a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Mapping(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            _ => Err(Error::mismatch(self.0, "a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Mapping(_) => self.deserialize_map(visitor),
            _ => Err(Error::mismatch(self.0, "a mapping").with_keys(fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let choice = match &self.0.value {
            Value::Scalar(scalar) if !self.0.is_null() => Choice::Word(self.0, &scalar.text),
            Value::Mapping(entries) if entries.len() == 1 => Choice::Entry(&entries[0]),
            _ => {
                let expected = format!("one of {}", variants.join(", "));
                return Err(Error::mismatch(self.0, expected));
            }
        };
        self.told(visitor.visit_enum(choice))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        text(self.0, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

// === impl Items ===

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let at = self.next;
        let Some(item) = self.items.get(at) else {
            return Ok(None);
        };
        self.next += 1;
        seed.deserialize(Deserializer(item))
            .map(Some)
            .map_err(|error| error.within(Step::Item(at), item.span))
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.len().checked_sub(self.next)
    }
}

// === impl Entries ===

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.get(self.next) else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at_key(entry, self.next))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let at = self.next;
        let entry = self.entries.get(at).expect("serde asks for a value only after its key");
        self.next += 1;
        seed.deserialize(Deserializer(&entry.value))
            .map_err(|error| error.within(Step::Entry(at), entry.value_span()))
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.len().checked_sub(self.next)
    }
}

// === impl Choice ===

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let word = match &self {
            Self::Word(_, word) => word,
            Self::Entry(entry) => entry.key.as_str(),
        };
        let word: StrDeserializer<'_, Error> = word.into_deserializer();
        let value = seed.deserialize(word).map_err(|error| match &self {
            Self::Word(..) => error,
            Self::Entry(entry) => error.within_variant(entry.key_span),
        })?;
        Ok((value, self))
    }
}

impl<'de> Choice<'de> {
    /// The content behind the name.
    fn content<T>(
        self,
        expected: &str,
        read: impl FnOnce(Deserializer<'de>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::Word(node, word) => Err(Error::mismatch(node, format!("`{word}: {expected}`"))),
            Self::Entry(entry) => read(Deserializer(&entry.value))
                .map_err(|error| error.within_variant(entry.value_span())),
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self {
            Self::Word(..) => Ok(()),
            Self::Entry(entry) if entry.value.is_null() => Ok(()),
            Self::Entry(entry) => Err(Error::mismatch(&entry.value, "nothing behind this word")
                .within_variant(entry.value_span())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.content("…", |content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.content("[…]", |content| de::Deserializer::deserialize_seq(content, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content("{…}", |content| de::Deserializer::deserialize_map(content, visitor))
    }
}
