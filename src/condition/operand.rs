//! What a field is compared with: as the config says it, and compiled for the field's type.

use std::{collections::BTreeSet, fmt, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::field::{Field, Type};
use crate::component::Problem;

/// A value in the config: a whole number, a text, or true or false.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Literal {
    /// True or false.
    Flag(bool),
    /// A number, 0 or more.
    Number(u64),
    /// A text or an address.
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

/// Bounds of a number; at least one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    /// It is this or more.
    pub gte: Option<u64>,
    /// It is more than this.
    pub gt: Option<u64>,
    /// It is this or less.
    pub lte: Option<u64>,
    /// It is less than this.
    pub lt: Option<u64>,
}

/// What a value has to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Nothing more than being there.
    Present,
    /// To be one of these addresses.
    Addresses(BTreeSet<IpAddr>),
    /// To lie in one of these networks.
    Networks(Box<[IpNet]>),
    /// To be one of these numbers.
    Numbers(BTreeSet<u64>),
    /// To lie in this range.
    Range(RangeInclusive<u64>),
    /// To be one of these texts.
    Texts(BTreeSet<Box<str>>),
    /// To be one of these.
    Flags(BTreeSet<bool>),
}

struct LiteralVisitor;

struct NetworksVisitor;

// === impl Test ===

impl Test {
    /// Whether an address passes.
    pub(super) fn address(&self, address: IpAddr) -> bool {
        match self {
            Self::Present => true,
            Self::Addresses(addresses) => addresses.contains(&address),
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
            _ => false,
        }
    }

    /// Whether a number passes.
    pub(super) fn number(&self, number: impl Into<u64>) -> bool {
        match self {
            Self::Present => true,
            Self::Numbers(numbers) => numbers.contains(&number.into()),
            Self::Range(range) => range.contains(&number.into()),
            _ => false,
        }
    }

    /// Whether a text passes.
    pub(super) fn text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Texts(texts) => texts.contains(text),
            _ => false,
        }
    }

    /// Whether true or false passes.
    pub(super) fn flag(&self, flag: bool) -> bool {
        match self {
            Self::Present => true,
            Self::Flags(flags) => flags.contains(&flag),
            _ => false,
        }
    }

    /// To be one of these values, each with the key it stands at.
    pub(super) fn values<'a>(
        field: Field,
        values: impl IntoIterator<Item = (String, &'a Literal)>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut test = match field.value_type() {
            Type::Address => Self::Addresses(BTreeSet::new()),
            Type::Number => Self::Numbers(BTreeSet::new()),
            Type::Text => Self::Texts(BTreeSet::new()),
            Type::Flag => Self::Flags(BTreeSet::new()),
        };
        for (key, value) in values {
            if let Err((message, hint)) = test.add(field, value) {
                problems.push(Problem::new(key, message).hint(hint));
            }
        }
        test
    }

    fn add(&mut self, field: Field, value: &Literal) -> Result<(), (String, String)> {
        let wrong = |hint: &str| {
            let (name, is) = (field.name(), field.value_type());
            (format!("`{name}` is {is}, and {value} is not"), hint.to_owned())
        };
        match (self, value) {
            (Self::Addresses(addresses), Literal::Text(text)) => {
                let hint = if text.contains('/') {
                    "write `cidr` for a network"
                } else {
                    "write an address such as 192.0.2.1 or 2001:db8::1"
                };
                addresses.insert(text.parse().map_err(|_| wrong(hint))?);
            }
            (Self::Numbers(numbers), Literal::Number(number)) => {
                numbers.insert(*number);
            }
            // What a variable brings in is a text until a field says otherwise.
            (Self::Numbers(numbers), Literal::Text(text)) => {
                numbers.insert(text.parse().map_err(|_| wrong("write digits only"))?);
            }
            (Self::Flags(flags), Literal::Flag(flag)) => {
                flags.insert(*flag);
            }
            (Self::Texts(texts), Literal::Text(text)) => {
                if !field.can_be(text) {
                    let message = format!("`{}` is never {text:?}", field.name());
                    return Err((message, field.possible_values()));
                }
                texts.insert(text.as_str().into());
            }
            (Self::Texts(_), _) => return Err(wrong("write it in quotes if a text is meant")),
            (Self::Addresses(_), _) => return Err(wrong("write an address such as 192.0.2.1")),
            (Self::Numbers(_), _) => return Err(wrong("write a number")),
            (Self::Flags(_), _) => return Err(wrong("write true or false")),
            (Self::Present | Self::Networks(_) | Self::Range(_), _) => {}
        }
        Ok(())
    }

    /// To lie in one of these networks.
    pub(super) fn networks(
        field: Field,
        networks: &Networks,
        key: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        if field.value_type() != Type::Address {
            problems.push(unfit(field, key, "a network holds addresses"));
            return Self::Present;
        }
        let mut parsed = Vec::new();
        let texts = match networks {
            Networks::One(text) => std::slice::from_ref(text),
            Networks::Many(texts) => texts.as_slice(),
        };
        if texts.is_empty() {
            problems.push(Problem::new(key, "there is no network").hint("give one at least"));
        }
        for (at, text) in texts.iter().enumerate() {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            if let Some(network) = text.parse::<IpNet>().ok().or_else(address) {
                parsed.push(network);
                continue;
            }
            let key = match networks {
                Networks::One(_) => key.to_owned(),
                Networks::Many(_) => format!("{key}[{at}]"),
            };
            problems.push(
                Problem::new(key, format!("{text:?} is no network"))
                    .hint("write it as 10.0.0.0/8 or fd00::/8"),
            );
        }
        Self::Networks(parsed.into())
    }

    /// To lie between these bounds.
    pub(super) fn range(
        field: Field,
        range: &Range,
        key: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        if field.value_type() != Type::Number {
            problems.push(unfit(field, key, "a range holds numbers"));
            return Self::Present;
        }
        let problem = |message: &str, hint: &str| Problem::new(key, message).hint(hint);
        match range {
            Range { gte: None, gt: None, lte: None, lt: None } => {
                problems.push(problem("there is no bound", "give `gte`, `gt`, `lte` or `lt`"));
            }
            Range { gte: Some(_), gt: Some(_), .. } => {
                problems.push(problem("`gte` and `gt` are two lower bounds", "give one of them"));
            }
            Range { lte: Some(_), lt: Some(_), .. } => {
                problems.push(problem("`lte` and `lt` are two upper bounds", "give one of them"));
            }
            _ => {}
        }
        let least = range.gt.map_or(range.gte, |gt| gt.checked_add(1)).unwrap_or(0);
        let most = match range.lt {
            Some(lt) => lt.checked_sub(1),
            None => Some(range.lte.unwrap_or(u64::MAX)),
        };
        match most {
            Some(most) if least <= most && range.gt != Some(u64::MAX) => Self::Range(least..=most),
            _ => {
                problems.push(problem("no number lies between these bounds", "exchange them"));
                Self::Present
            }
        }
    }
}

fn unfit(field: Field, key: &str, but: &str) -> Problem {
    let (name, is) = (field.name(), field.value_type());
    Problem::new(key, format!("`{name}` is {is}, and {but}"))
        .hint(format!("for {is} there are {}", field.value_type().operators()))
}

// === impl Literal ===

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
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
        f.write_str("a whole number of 0 or more, a text, or true or false")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Literal, E> {
        Ok(Literal::Flag(flag))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Literal, E> {
        Ok(Literal::Number(number))
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
