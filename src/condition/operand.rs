//! What a field is compared with, as the config says it.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// Billionths in one: the unit of numbers with a fraction, and nanoseconds in a second.
pub(super) const BILLION: i128 = 1_000_000_000;

/// Numbers with a fraction at most: above, a double has no billionths.
const LARGEST_DECIMAL: f64 = 1e15;

/// A value in the config: a number, a text, or true or false.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Literal {
    /// True or false.
    Flag(bool),
    /// A whole number, 0 or more.
    Number(u64),
    /// A number with a fraction, or below zero, in billionths.
    Decimal(#[schemars(with = "f64")] i128),
    /// A text, an address, or a time in RFC 3339.
    Text(String),
}

/// Networks or addresses: one or a list.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Networks {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

/// Bounds of a number or of a time; at least one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    /// It is this or more.
    pub gte: Option<Literal>,
    /// It is more than this.
    pub gt: Option<Literal>,
    /// It is this or less.
    pub lte: Option<Literal>,
    /// It is less than this.
    pub lt: Option<Literal>,
}

struct LiteralVisitor;

struct NetworksVisitor;

// === impl Literal ===

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Decimal(billionths) => {
                let sign = if *billionths < 0 { "-" } else { "" };
                let (whole, fraction) = (billionths.abs() / BILLION, billionths.abs() % BILLION);
                let digits = format!("{sign}{whole}.{fraction:09}");
                f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LiteralVisitor)
    }
}

impl Visitor<'_> for LiteralVisitor {
    type Value = Literal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, or true or false")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Literal, E> {
        Ok(Literal::Flag(flag))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Literal, E> {
        Ok(Literal::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Literal, E> {
        let whole = u64::try_from(number).map(Literal::Number);
        Ok(whole.unwrap_or(Literal::Decimal(i128::from(number) * BILLION)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Literal, E> {
        if number.abs() > LARGEST_DECIMAL {
            return Err(E::custom("a number with a fraction is at most 10^15"));
        }
        // The nearest number of nine decimals: what was written, up to there.
        #[expect(clippy::cast_possible_truncation, reason = "the bound is far below its range")]
        Ok(Literal::Decimal((number * 1e9).round() as i128))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Literal, E> {
        Ok(Literal::Text(text.to_owned()))
    }
}

// === impl Networks ===

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NetworksVisitor)
    }
}

impl<'de> Visitor<'de> for NetworksVisitor {
    type Value = Networks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network such as 10.0.0.0/8, or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Networks, E> {
        Ok(Networks::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Networks, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        Ok(Networks::Many(texts))
    }
}
