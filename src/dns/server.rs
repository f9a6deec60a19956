//! Where resolvers are, as the config writes it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

/// DNS's own port.
const DNS_PORT: u16 = 53;

/// A resolver's address: `10.0.0.53`, `127.0.0.1:5353`, `2001:db8::53` or `[2001:db8::53]:5353`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Server(pub SocketAddr);

/// What becomes of private and special addresses: `skip`, or the address of a resolver that is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Private {
    /// They are not asked for.
    #[default]
    Skip,
    /// They are asked for there, and only there.
    Ask(Server),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no resolver's address: write ADDRESS or ADDRESS:PORT, not a name{or}")]
pub struct NoServer {
    text: String,
    or: &'static str,
}

// === impl Server ===

impl TryFrom<String> for Server {
    type Error = NoServer;

    fn try_from(text: String) -> Result<Self, NoServer> {
        let address = text.parse::<SocketAddr>();
        let address = address.or_else(|_| Ok((text.parse::<IpAddr>()?, DNS_PORT).into()));
        match address {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => {
                Ok(Self(address))
            }
            Ok(_) | Err::<_, std::net::AddrParseError>(_) => Err(NoServer { text, or: "" }),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Private ===

impl TryFrom<String> for Private {
    type Error = NoServer;

    fn try_from(text: String) -> Result<Self, NoServer> {
        if text == "skip" {
            return Ok(Self::Skip);
        }
        let server = Server::try_from(text);
        server.map(Self::Ask).map_err(|error| NoServer { or: ", or skip", ..error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_gets_that_of_dns() {
        let cases = [
            ("10.0.0.53", Some("10.0.0.53:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("2001:db8::53", Some("[2001:db8::53]:53")),
            ("[2001:db8::53]:5353", Some("[2001:db8::53]:5353")),
            ("dns.example", None),
            ("10.0.0.53:0", None),
            ("0.0.0.0", None),
            ("", None),
        ];
        for (text, address) in cases {
            let server = Server::try_from(text.to_owned()).ok();
            assert_eq!(server.map(|s| s.to_string()).as_deref(), address, "{text:?}");
        }
    }

    #[test]
    fn private_addresses_are_skipped_or_have_a_resolver() {
        assert_eq!(Private::try_from("skip".to_owned()), Ok(Private::Skip));
        assert!(matches!(Private::try_from("10.0.0.53".to_owned()), Ok(Private::Ask(_))));
        let error = Private::try_from("Skip".to_owned()).unwrap_err();
        assert!(error.to_string().ends_with("or skip"), "{error}");
    }
}
