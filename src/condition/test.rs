//! What a value has to pass: an operand of the config, made ready for the field's type.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::{
    asked::Asked,
    operand::{BILLION, Literal, Networks, Range},
    sort::Sort,
};
use crate::{component::Problem, field::Value, record::Timestamp};

/// What a value has to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
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
    /// To be one of these numbers or times: billionths of one, or nanoseconds since the epoch.
    Billionths(BTreeSet<i128>),
    /// To lie in this range of billionths.
    BillionthsRange(RangeInclusive<i128>),
    /// To be one of these texts.
    Texts(BTreeSet<Box<str>>),
    /// To be one of these.
    Flags(BTreeSet<bool>),
}

/// What is wrong with an operand, and how to mend it.
type Wrong = (String, String);

// === impl Test ===

impl Test {
    /// Whether a value passes; of a list, one of its elements.
    pub(super) fn passes(&self, value: &Value<'_>) -> bool {
        match *value {
            Value::Absent => false,
            Value::Number(number) => self.number(number),
            // A protocol without a keyword has its number where others have a text.
            Value::Label(number) => match self {
                Self::Texts(texts) => texts.contains(value.written().as_str()),
                _ => self.number(number.into()),
            },
            Value::Signed(number) => self.billionths(i128::from(number) * BILLION),
            Value::Seconds(nanos) => self.billionths(nanos.into()),
            Value::Time(time) => self.billionths(time.nanos().into()),
            Value::Bool(flag) => self.flag(flag),
            Value::Text(text) | Value::Plain(text) => self.text(text),
            Value::Address(address) => match self {
                Self::Texts(texts) => texts.contains(value.written().as_str()),
                _ => self.address(address),
            },
            Value::Addresses(one, other) => {
                self.address(one) || other.is_some_and(|other| self.address(other))
            }
            Value::Flags(_)
            | Value::Tags(..)
            | Value::Signals(_)
            | Value::Words(_)
            | Value::Texts(_)
            | Value::CommunityIds(_) => value.any_text(|text| self.text(text)),
            Value::AddressList(addresses) => addresses.iter().any(|address| self.address(*address)),
            Value::Mac(_)
            | Value::ColonMac(_)
            | Value::FlowLine(_)
            | Value::PacketLine(_)
            | Value::Protocol(_)
            | Value::Id(_)
            | Value::ReportId(..)
            | Value::CommunityId(_)
            | Value::History(_) => self.text(value.written().as_str()),
            Value::Extra(_) | Value::Counts(_) => *self == Self::Present,
        }
    }

    fn address(&self, address: IpAddr) -> bool {
        match self {
            Self::Present => true,
            Self::Addresses(addresses) => addresses.contains(&address),
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
            _ => false,
        }
    }

    fn number(&self, number: u64) -> bool {
        match self {
            Self::Present => true,
            Self::Numbers(numbers) => numbers.contains(&number),
            Self::Range(range) => range.contains(&number),
            _ => self.billionths(i128::from(number) * BILLION),
        }
    }

    fn billionths(&self, billionths: i128) -> bool {
        match self {
            Self::Present => true,
            Self::Billionths(numbers) => numbers.contains(&billionths),
            Self::BillionthsRange(range) => range.contains(&billionths),
            _ => false,
        }
    }

    /// Another operand than texts meets a text only if it is one of tshark's, which may be anything.
    fn text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Texts(texts) => texts.contains(text),
            Self::Addresses(_) | Self::Networks(_) => {
                text.parse().is_ok_and(|address| self.address(address))
            }
            Self::Numbers(_) | Self::Range(_) => whole(text).is_some_and(|n| self.number(n)),
            Self::Billionths(_) | Self::BillionthsRange(_) | Self::Flags(_) => false,
        }
    }

    fn flag(&self, flag: bool) -> bool {
        match self {
            Self::Present => true,
            Self::Flags(flags) => flags.contains(&flag),
            _ => false,
        }
    }

    /// To be one of these values, each with the key it stands at.
    pub(super) fn values(
        asked: &Asked,
        values: Vec<(String, &Literal)>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let are_numbers = values.iter().all(|(_, value)| matches!(value, Literal::Number(_)));
        let mut test = match asked.sort {
            Sort::Address => Self::Addresses(BTreeSet::new()),
            Sort::Printed if are_numbers => Self::Numbers(BTreeSet::new()),
            Sort::Whole => Self::Numbers(BTreeSet::new()),
            Sort::Number | Sort::Time => Self::Billionths(BTreeSet::new()),
            Sort::Text | Sort::Printed => Self::Texts(BTreeSet::new()),
            Sort::Flag => Self::Flags(BTreeSet::new()),
            Sort::Object => {
                let keys = values.first().map_or("", |(key, _)| key);
                problems.push(asked.sort.unfit(asked, keys, "an object is no value"));
                return Self::Present;
            }
        };
        for (key, value) in values {
            if let Err((message, hint)) = test.add(asked, value) {
                problems.push(Problem::new(key, message).hint(hint));
            }
        }
        test
    }

    fn add(&mut self, asked: &Asked, value: &Literal) -> Result<(), Wrong> {
        match (self, value) {
            (Self::Addresses(addresses), Literal::Text(text)) => {
                let hint = if text.contains('/') {
                    "write `cidr` for a network"
                } else {
                    "write an address such as 192.0.2.1 or 2001:db8::1"
                };
                addresses.insert(text.parse().map_err(|_| wrong(asked, value, hint))?);
            }
            (Self::Numbers(numbers), _) => {
                numbers.insert(
                    u64::try_from(number(asked, value)?)
                        .map_err(|_| wrong(asked, value, "write a whole number of 0 or more"))?,
                );
            }
            (Self::Billionths(numbers), _) => {
                numbers.insert(number(asked, value)?);
            }
            (Self::Flags(flags), Literal::Flag(flag)) => {
                flags.insert(*flag);
            }
            (Self::Texts(texts), Literal::Text(text)) => {
                if !asked.texts.can_be(text) {
                    let message = format!("`{}` is never {text:?}", asked.query.name());
                    return Err((message, asked.texts.in_words()));
                }
                texts.insert(text.as_str().into());
            }
            (Self::Texts(texts), Literal::Number(number)) if asked.sort == Sort::Printed => {
                texts.insert(number.to_string().into());
            }
            (Self::Texts(_), _) => {
                return Err(wrong(asked, value, "write it in quotes if a text is meant"));
            }
            (Self::Addresses(_), _) => {
                return Err(wrong(asked, value, "write an address such as 192.0.2.1"));
            }
            (Self::Flags(_), _) => return Err(wrong(asked, value, "write true or false")),
            (Self::Present | Self::Networks(_) | Self::Range(_) | Self::BillionthsRange(_), _) => {}
        }
        Ok(())
    }

    /// To lie in one of these networks.
    pub(super) fn networks(
        asked: &Asked,
        networks: &Networks,
        key: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        if !matches!(asked.sort, Sort::Address | Sort::Printed) {
            problems.push(asked.sort.unfit(asked, key, "a network holds addresses"));
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
        asked: &Asked,
        range: &Range,
        key: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let is_whole = match asked.sort {
            Sort::Whole | Sort::Printed => true,
            Sort::Number | Sort::Time => false,
            Sort::Address | Sort::Text | Sort::Flag | Sort::Object => {
                problems.push(asked.sort.unfit(asked, key, "a range holds numbers or times"));
                return Self::Present;
            }
        };
        let before = problems.len();
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
        let mut bound =
            |name: &str, literal: &Option<Literal>| match number(asked, literal.as_ref()?) {
                Ok(number) => Some(number),
                Err((message, hint)) => {
                    problems.push(Problem::new(format!("{key}.{name}"), message).hint(hint));
                    None
                }
            };
        let (gte, gt) = (bound("gte", &range.gte), bound("gt", &range.gt));
        let (lte, lt) = (bound("lte", &range.lte), bound("lt", &range.lt));
        if problems.len() > before {
            return Self::Present;
        }
        let limits = if is_whole { (0, u64::MAX.into()) } else { (i128::MIN, i128::MAX) };
        let least = gt.map(|gt| gt.saturating_add(1)).or(gte).unwrap_or(limits.0).max(limits.0);
        let most = lt.map(|lt| lt.saturating_sub(1)).or(lte).unwrap_or(limits.1).min(limits.1);
        if least > most {
            problems.push(problem("no number lies between these bounds", "exchange them"));
            return Self::Present;
        }
        match (u64::try_from(least), u64::try_from(most)) {
            (Ok(least), Ok(most)) if is_whole => Self::Range(least..=most),
            _ => Self::BillionthsRange(least..=most),
        }
    }
}

/// The number or the time that a value is: a whole number where the field has such, else in
/// billionths.
fn number(asked: &Asked, value: &Literal) -> Result<i128, Wrong> {
    match (asked.sort, value) {
        (Sort::Whole | Sort::Printed, Literal::Number(number)) => Ok((*number).into()),
        // What a variable brings in is a text until a field says otherwise.
        (Sort::Whole | Sort::Printed, Literal::Text(text)) => {
            let number =
                text.parse::<u64>().map_err(|_| wrong(asked, value, "write digits only"))?;
            Ok(number.into())
        }
        (Sort::Number, Literal::Number(number)) => Ok(i128::from(*number) * BILLION),
        (Sort::Number, Literal::Decimal(billionths)) => Ok(*billionths),
        (Sort::Number, Literal::Text(text)) => {
            let number =
                text.parse::<i64>().map_err(|_| wrong(asked, value, "write digits only"))?;
            Ok(i128::from(number) * BILLION)
        }
        (Sort::Time, Literal::Text(text)) => match time(text) {
            Some(time) => Ok(time.nanos().into()),
            None => Err(wrong(asked, value, "write a time such as 2023-10-17T14:55:23Z")),
        },
        (Sort::Time, _) => Err(wrong(asked, value, "write a time such as 2023-10-17T14:55:23Z")),
        (Sort::Number, _) => Err(wrong(asked, value, "write a number")),
        _ => Err(wrong(asked, value, "write a whole number of 0 or more")),
    }
}

fn wrong(asked: &Asked, value: &Literal, hint: &str) -> Wrong {
    let message = format!("`{}` is {}, and {value} is not", asked.query.name(), asked.sort);
    (message, hint.to_owned())
}

/// A time in RFC 3339, within the years that records can have.
fn time(text: &str) -> Option<Timestamp> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

/// A number as tshark prints it: decimal, or hexadecimal after `0x`.
fn whole(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
