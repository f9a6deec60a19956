//! Which texts a field may have, where these are few or of one form.

use std::{net::IpAddr, ops::RangeInclusive};

/// Which texts a field may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Any.
    Any,
    /// One of these.
    OneOf(Vec<&'static str>),
    /// Those of one form.
    Form(Form),
}

/// Which texts a field may have, as its table says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Possible {
    /// Any; those of a run, where the run's value is a fixed text, only that.
    Any,
    /// One of these.
    OneOf(fn() -> Vec<&'static str>),
    /// Those of one form.
    Form(Form),
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An address, as it is written in documents.
    Address,
    /// A link-layer address.
    Mac,
    /// The same, as the CIM writes it.
    ColonMac,
    /// A Community ID.
    CommunityId,
    /// A record's id.
    Id,
}

// === impl Texts ===

impl Texts {
    /// Whether a text is one of them.
    pub(crate) fn can_be(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(words) => words.contains(&text),
            Self::Form(form) => form.fits(text),
        }
    }

    /// What they are, in words.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Any => "any text".to_owned(),
            Self::OneOf(words) => format!("possible values: {}", words.join(", ")),
            Self::Form(form) => form.in_words().to_owned(),
        }
    }

    /// Those of both.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::OneOf(mut words), Self::OneOf(others)) => {
                for word in others {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                Self::OneOf(words)
            }
            (one, other) if one == other => one,
            _ => Self::Any,
        }
    }
}

// === impl Form ===

impl Form {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Address => {
                text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == text)
            }
            Self::Mac => is_mac(text, b'-', b'A'..=b'F'),
            Self::ColonMac => is_mac(text, b':', b'a'..=b'f'),
            Self::CommunityId => text.len() == 30 && text.starts_with("1:"),
            Self::Id => {
                let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                text.len() == 32 && digits
            }
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Address => "write it as 192.0.2.1 or 2001:db8::1",
            Self::Mac => "write it as 00-16-47-9D-F2-C2",
            Self::ColonMac => "write it as 00:16:47:9d:f2:c2",
            Self::CommunityId => "it is `1:` and 28 characters of base64",
            Self::Id => "it is 32 hexadecimal digits in lower case",
        }
    }
}

/// Six bytes with a mark between them: as ECS writes them (RFC 7042), or the CIM.
fn is_mac(text: &str, mark: u8, letters: RangeInclusive<u8>) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || letters.contains(&byte);
    let fits = |(at, byte): (usize, u8)| if at % 3 == 2 { byte == mark } else { is_digit(byte) };
    text.len() == 17 && text.bytes().enumerate().all(fits)
}
