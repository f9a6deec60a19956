//! TLS records, and the name of the server in a `ClientHello` (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3).
//!
//! Every length is believed as far as its bytes are there.

use super::super::view::View;
use crate::record::Ports;

/// Types of records: the first and the last one.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
/// Handshake types.
const CLIENT_HELLO: u8 = 1;
const LAST_TYPE: u8 = 24;

/// Length of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 5;
/// The longest record: 2^14 and what encryption may add.
const MAX_RECORD: u16 = 16_384 + 2_048;
/// The type of the extension that holds the server's name, and of a name that is one of a host.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Extensions of a `ClientHello` that are looked at.
const MAX_EXTENSIONS: usize = 64;
/// Where a connection may be taken for TLS by a record that is no handshake: HTTPS, and mail, directories
/// and DNS over TLS.
const PORTS: [u16; 8] = [443, 465, 636, 853, 993, 995, 5_061, 8_883];

/// Whether a segment begins with a record: a handshake message in the clear, or on a port of TLS any.
pub(super) fn is_record(payload: View<'_>, ports: Ports) -> bool {
    let Some(&[kind, 3, minor @ 0..=4, high, low]) = payload.first() else { return false };
    let length = u16::from_be_bytes([high, low]);
    if length == 0 || length > MAX_RECORD {
        return false;
    }
    let is_usual = PORTS.contains(&ports.source) || PORTS.contains(&ports.destination);
    if kind != HANDSHAKE || is_usual {
        return is_usual && (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind);
    }
    // The message begins within the record, and says how long it is.
    match payload.chunk::<2>(RECORD_HEADER) {
        Some(&[kind @ 0..=LAST_TYPE, 0]) => minor > 0 || kind == CLIENT_HELLO,
        _ => false,
    }
}

/// The server's name in the `ClientHello` that bytes begin with, if there is one, and as a whole.
pub(super) fn server_name(bytes: &[u8]) -> Option<&[u8]> {
    let mut hello = Cursor(bytes.get(RECORD_HEADER..)?);
    if *bytes.first()? != HANDSHAKE || hello.byte()? != CLIENT_HELLO {
        return None;
    }
    hello.skip(3 + 2 + 32)?;
    let session = hello.byte()?;
    hello.skip(session.into())?;
    let suites = hello.number()?;
    hello.skip(suites.into())?;
    let compressions = hello.byte()?;
    hello.skip(compressions.into())?;
    let length = hello.number()?;
    let mut extensions = Cursor(hello.up_to(length.into()));
    for _ in 0..MAX_EXTENSIONS {
        let (kind, length) = (extensions.number()?, extensions.number()?);
        if kind == SERVER_NAME {
            return host_name(extensions.up_to(length.into()));
        }
        extensions.skip(length.into())?;
    }
    None
}

/// The host's name in the content of the extension.
fn host_name(bytes: &[u8]) -> Option<&[u8]> {
    let mut list = Cursor(bytes);
    let length = list.number()?;
    let mut names = Cursor(list.up_to(length.into()));
    let (kind, length) = (names.byte()?, names.number()?);
    (kind == HOST_NAME).then_some(())?;
    names.0.get(..length.into())
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

// === impl Cursor ===

impl<'a> Cursor<'a> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    /// The next bytes, or as many of them as there are.
    fn up_to(&self, count: usize) -> &'a [u8] {
        self.0.get(..count).unwrap_or(self.0)
    }
}
