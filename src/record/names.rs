//! Names of addresses: what DNS calls them, and how far that may be relied upon.

use std::sync::Arc;

/// The names of a record's two addresses, as far as they are known.
///
/// One address's names are shared by all records in which it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Those of the source, the initiator or the alert's source.
    pub source: Option<Arc<HostNames>>,
    /// Those of the destination or the responder.
    pub destination: Option<Arc<HostNames>>,
}

/// The names of one address: host names in lower case, without a trailing dot, at most 253 bytes of
/// letters, digits, `-`, `_` and `.`; sorted, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    /// Where they come from.
    pub origin: NameOrigin,
    /// Names that lead back to the address: the record's other side was told so when it asked for
    /// them, or they are forward-confirmed.
    pub reliable: Vec<Box<str>>,
    /// Names that only the owner of the reverse zone or an answer to somebody else claims: no rule
    /// may rely on them.
    pub unverified: Vec<Box<str>>,
}

/// Where names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrigin {
    /// A DNS answer in our own capture.
    Passive,
    /// A PTR record.
    Ptr,
}

// === impl HostNames ===

impl HostNames {
    /// The one name to show: the first of the reliable ones.
    pub fn name(&self) -> Option<&str> {
        self.reliable.first().map(|name| &**name)
    }
}

// === impl NameOrigin ===

impl NameOrigin {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Ptr => "ptr",
        }
    }
}
