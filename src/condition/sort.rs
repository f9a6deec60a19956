//! What the values of a field are compared as.

use std::fmt;

use super::asked::Asked;
use crate::{
    component::Problem,
    field::{Facts, Type},
};

/// What the values of a field are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// IPv4 and IPv6 addresses.
    Address,
    /// Whole numbers, 0 or more.
    Whole,
    /// Numbers with a fraction, or below zero.
    Number,
    /// Points in time.
    Time,
    /// Texts.
    Text,
    /// True or false.
    Flag,
    /// An object: only its members have values.
    Object,
    /// A text of tshark's: whatever the config compares it with.
    Printed,
}

// === impl Sort ===

impl Sort {
    /// That of a field which a table has.
    pub(super) fn of(facts: &Facts) -> Self {
        match (facts.r#type, &facts.member) {
            (Type::Boolean, _) => Self::Flag,
            (Type::Counts | Type::Flattened, None) => Self::Object,
            (Type::Counts, Some(_)) | (Type::Long | Type::Label, _) => Self::Whole,
            (Type::Flattened, Some(_)) => Self::Printed,
            (Type::Date, _) => Self::Time,
            (Type::Float | Type::Signed, _) => Self::Number,
            (Type::Ip | Type::Ips, _) => Self::Address,
            (Type::ConstantKeyword | Type::Keyword | Type::Keywords | Type::Text, _) => Self::Text,
        }
    }

    /// What values of it can be compared by.
    const fn operators(self) -> &'static str {
        match self {
            Self::Address => "`equals`, `in`, `cidr` and `exists`",
            Self::Whole | Self::Number | Self::Time => "`equals`, `in`, `range` and `exists`",
            Self::Text | Self::Flag => "`equals`, `in` and `exists`",
            Self::Object => "`exists`, and conditions on its members",
            Self::Printed => "all operators",
        }
    }

    /// An operator of `asked` that does not fit it.
    pub(super) fn unfit(self, asked: &Asked, key: &str, but: &str) -> Problem {
        Problem::new(key, format!("`{}` is {self}, and {but}", asked.query.name()))
            .hint(format!("for {self} there are {}", self.operators()))
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "an address",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Text => "a text",
            Self::Flag => "true or false",
            Self::Object => "an object",
            Self::Printed => "one of tshark's fields",
        })
    }
}
