//! What a config says of servers at the other end of a network, for those who send there and for those who
//! read there: where they are, how a connection is secured, and with which credentials.

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod secret;
mod tls;

pub use self::tls::TlsConfig;

/// A server that somebody connects to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Its name, or its address without brackets.
    pub name: String,
    /// The TCP port.
    pub port: u16,
}
