//! What the first bytes behind a transport header say of the application: TLS, HTTP, DNS or QUIC, and the
//! name that is asked for.
//!
//! [`Message`] is what may tell, found while the headers are read: by its port for DNS, by its first byte
//! for the others, so a segment in the middle of a stream costs one comparison. [`Message::said`] then
//! reads it as far as it was captured. Nothing is joined over segments: of a `ClientHello` that goes on in the
//! next one, what is in the first one counts. A name that was cut counts for nothing.
//!
//! Names are as tshark gives them (`dns.qry.name`, `tls.handshake.extensions_server_name`, `http.host`),
//! also under its names for the protocols.

mod http;
mod quic;
mod tls;

use std::sync::{Arc, LazyLock};

use super::{dns, view::View};
use crate::record::{Extra, Ports};

/// DNS's own port, and those of its two siblings on a link (RFC 6762, RFC 4795).
const DNS_PORT: u16 = 53;
const MDNS_PORT: u16 = 5353;
const LLMNR_PORT: u16 = 5355;
/// The longest name that is kept, in bytes.
const MAX_NAME: usize = 255;

/// The names of the fields and of the protocols, made once.
static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    question: "dns_qry_name".into(),
    server: "tls_handshake_extensions_server_name".into(),
    host: "http_host".into(),
    dns: "dns".into(),
    mdns: "mdns".into(),
    llmnr: "llmnr".into(),
    tls: "tls".into(),
    http: "http".into(),
    quic: "quic".into(),
});

struct Words {
    question: Arc<str>,
    server: Arc<str>,
    host: Arc<str>,
    dns: Arc<str>,
    mdns: Arc<str>,
    llmnr: Arc<str>,
    tls: Arc<str>,
    http: Arc<str>,
    quic: Arc<str>,
}

/// Which application a payload may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Dns,
    Mdns,
    Llmnr,
    Tls,
    Http,
    Quic,
}

/// The payload of a packet that may say what the application is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    guess: Guess,
    ports: Ports,
    is_datagram: bool,
    /// Of DNS without the length that TCP puts before it.
    payload: View<'a>,
}

/// What a message says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The protocol, if it is one that is certain.
    pub(super) protocol: Option<Arc<str>>,
    /// The name that it asks for.
    pub(super) name: Option<Extra>,
}

// === impl Message ===

impl<'a> Message<'a> {
    /// What a datagram may say.
    #[inline]
    pub(super) fn of_datagram(ports: Ports, payload: View<'a>) -> Option<Self> {
        let guess = match by_port(ports) {
            Some(guess) => guess,
            None if payload.byte(0)? >= quic::LONG_HEADER => Guess::Quic,
            None => return None,
        };
        Some(Self { guess, ports, is_datagram: true, payload })
    }

    /// What a segment may say.
    #[inline]
    pub(super) fn of_segment(ports: Ports, payload: View<'a>) -> Option<Self> {
        let guess = match payload.byte(0)? {
            tls::CHANGE_CIPHER_SPEC..=tls::APPLICATION_DATA => Guess::Tls,
            b'A'..=b'Z' => Guess::Http,
            // The length of a message stands before it (RFC 1035, 4.2.2).
            _ if ports.source == DNS_PORT || ports.destination == DNS_PORT => {
                let payload = payload.skip(2)?;
                return Some(Self { guess: Guess::Dns, ports, is_datagram: false, payload });
            }
            _ => return None,
        };
        Some(Self { guess, ports, is_datagram: false, payload })
    }

    /// The message if it is a datagram of DNS over port 53.
    pub(super) fn dns(&self) -> Option<&'a [u8]> {
        (self.guess == Guess::Dns && self.is_datagram).then(|| self.payload.bytes())
    }

    /// What it says. With `has_question` the name that DNS asks for is left out, as it was read already.
    pub(super) fn said(&self, has_question: bool) -> Said {
        let words = &*WORDS;
        let bytes = self.payload.bytes();
        let of_dns = |protocol: &Arc<str>| match dns::question(bytes) {
            Some(_) if has_question => Said { protocol: Some(Arc::clone(protocol)), name: None },
            Some(name) => said(protocol, &words.question, name),
            None => Said::default(),
        };
        match self.guess {
            Guess::Dns => of_dns(&words.dns),
            Guess::Mdns => of_dns(&words.mdns),
            Guess::Llmnr => of_dns(&words.llmnr),
            Guess::Tls if tls::is_record(self.payload, self.ports) => {
                said(&words.tls, &words.server, tls::server_name(bytes).map(lossy))
            }
            Guess::Http if http::is_head(bytes) => {
                said(&words.http, &words.host, http::host(bytes).map(lossy))
            }
            Guess::Quic if quic::is_long_header(bytes) => said(&words.quic, &words.server, None),
            Guess::Tls | Guess::Http | Guess::Quic => Said::default(),
        }
    }
}

fn by_port(ports: Ports) -> Option<Guess> {
    let is = |port| ports.source == port || ports.destination == port;
    [(DNS_PORT, Guess::Dns), (MDNS_PORT, Guess::Mdns), (LLMNR_PORT, Guess::Llmnr)]
        .into_iter()
        .find_map(|(port, guess)| is(port).then_some(guess))
}

fn said(protocol: &Arc<str>, field: &Arc<str>, name: Option<String>) -> Said {
    let name = name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
    let name = name.map(|name| Extra { name: Arc::clone(field), values: vec![name.into()] });
    Said { protocol: Some(Arc::clone(protocol)), name }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
