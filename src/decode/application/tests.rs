//! Heads of applications: whole, cut at every byte, lying, and of others.

use proptest::{collection::vec, prelude::*};

use super::*;

const CLIENT: Ports = Ports { source: 50_000, destination: 443 };
const ELSEWHERE: Ports = Ports { source: 50_000, destination: 5_000 };

/// A protocol and a name, if there are any.
type Texts = (Option<&'static str>, Option<&'static str>);

fn view(bytes: &[u8]) -> View<'_> {
    View::new(bytes, u32::try_from(bytes.len()).unwrap())
}

/// The protocol and the name that a segment shows.
fn told(ports: Ports, bytes: &[u8]) -> Texts {
    let said = Message::of_segment(ports, view(bytes)).map(|message| message.said(false));
    texts(said.unwrap_or_default())
}

fn texts(said: Said) -> Texts {
    let text = |text: &str| &*text.to_owned().leak();
    let name = said.name.map(|extra| text(extra.values.first().unwrap()));
    (said.protocol.map(|protocol| text(&protocol)), name)
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), sized(content).as_slice()].concat()
}

/// A `ClientHello` with these extensions, in one record.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([4, 1, 2, 3, 4]);
    body.extend(sized(&[0x13, 1, 0x13, 2]));
    body.extend([1, 0]);
    body.extend(sized(&extensions.concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], body.as_slice()].concat();
    [&[22, 3, 1], sized(&message).as_slice()].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &sized(&[&[0], sized(name).as_slice()].concat()))
}

fn usual() -> Vec<u8> {
    hello(&[extension(10, &[0, 2, 0, 29]), server_name(b"www.example.org"), extension(43, &[0; 9])])
}

#[test]
fn a_client_hello_tells_the_server_on_any_port() {
    for ports in [CLIENT, ELSEWHERE] {
        assert_eq!(told(ports, &usual()), (Some("tls"), Some("www.example.org")));
    }
    assert_eq!(told(CLIENT, &hello(&[extension(43, &[0; 3])])), (Some("tls"), None));
}

#[test]
fn a_name_counts_once_all_of_it_is_there() {
    let whole = usual();
    let end = whole.windows(15).position(|part| part == b"www.example.org").unwrap() + 15;
    for captured in 0..=whole.len() {
        let (protocol, name) = told(CLIENT, &whole[..captured]);
        assert_eq!(name.is_some(), captured >= end, "{captured}");
        assert_eq!(protocol.is_some(), captured >= 5, "{captured}");
    }
    let request = b"GET / HTTP/1.1\r\nAccept: *\r\nHOST:  shop.example:8080 \r\nX: y\r\n\r\n";
    for captured in 0..=request.len() {
        let (protocol, name) = told(ELSEWHERE, &request[..captured]);
        assert_eq!(name, Some("shop.example:8080").filter(|_| captured >= 54), "{captured}");
        assert_eq!(protocol.is_some(), captured >= 5, "{captured}");
    }
}

#[test]
fn lengths_that_lie_give_no_name() {
    let whole = usual();
    let at = whole.windows(15).position(|part| part == b"www.example.org").unwrap();
    // Of the session, the suites, the list, the name.
    for (place, value) in [(43, 255), (49, 255), (at - 4, 3), (at - 2, 1), (at - 1, 16)] {
        let mut lying = whole.clone();
        lying[place] = value;
        assert_eq!(told(CLIENT, &lying).1, None, "{place}");
    }
    assert_eq!(told(CLIENT, &hello(&[server_name(&[b'a'; 256])])).1, None);
    assert_eq!(told(CLIENT, &hello(&[server_name(b"")])).1, None);
    assert!(told(CLIENT, &hello(&[server_name(b"\xff\x00")])).1.is_some());
}

#[test]
fn what_only_looks_like_a_record_is_none() {
    let data = [23, 3, 3, 0, 40, 1, 2, 3, 4];
    assert_eq!(told(CLIENT, &data).0, Some("tls"));
    assert_eq!(told(ELSEWHERE, &data).0, None);
    assert_eq!(told(ELSEWHERE, &[22, 3, 3, 0, 40, 200, 9, 9, 9]).0, None);
    assert_eq!(told(CLIENT, &[22, 3, 9, 0, 40]).0, None);
    assert_eq!(told(CLIENT, &[22, 3, 1, 0xff, 0xff]).0, None);
    assert_eq!(told(CLIENT, &[22, 3, 1, 0, 0]).0, None);
}

#[test]
fn requests_and_responses_are_told_from_protocols_that_look_like_them() {
    let of = |text: &str| told(ELSEWHERE, text.as_bytes());
    assert_eq!(of("HTTP/1.1 200 OK\r\nHost: x\r\n\r\n"), (Some("http"), None));
    assert_eq!(of("POST /a HTTP/1.0\nHost: h\n\nHost: not\n"), (Some("http"), Some("h")));
    assert_eq!(of("CONNECT a.example:443 HTTP/1.1\r\n\r\nHost: b\r\n"), (Some("http"), None));
    assert_eq!(of("GET /a/very/long/target"), (Some("http"), None));
    for other in [
        "OPTIONS sip:a@example SIP/2.0\r\nHost: x\r\n",
        "OPTIONS rtsp://example RTSP/1.0\r\n",
        "OPTIONS sip:a@example",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
        "GETAWAY /",
        "HTTP/2 200",
        "SSH-2.0-x\r\n",
    ] {
        assert_eq!(of(other), (None, None), "{other}");
    }
}

#[test]
fn dns_is_read_over_udp_tcp_and_on_the_link() {
    let message = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07Example\0\0\x01\0\x01";
    let segment = sized(message);
    let to = |destination| Ports { source: 50_000, destination };
    assert_eq!(told(to(53), &segment), (Some("dns"), Some("a.Example")));
    let over_udp = |port, bytes: &[u8]| {
        texts(
            Message::of_datagram(to(port), view(bytes))
                .map_or(Said::default(), |it| it.said(false)),
        )
    };
    for (port, protocol) in [(53, "dns"), (5_353, "mdns"), (5_355, "llmnr")] {
        assert_eq!(over_udp(port, message), (Some(protocol), Some("a.Example")));
    }
    assert_eq!(over_udp(54, message), (None, None));
    // Cut, with a pointer or a label too long, and of no known operation.
    assert_eq!(over_udp(53, &message[..20]), (Some("dns"), None));
    for (place, value) in [(12, 0xc0), (12, 64)] {
        let mut lying = message.to_vec();
        lying[place] = value;
        assert_eq!(over_udp(53, &lying), (Some("dns"), None));
    }
    assert_eq!(over_udp(53, &[0xff; 40]), (None, None));
    assert_eq!(over_udp(53, &message[..11]), (None, None));
    let root = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
    assert_eq!(over_udp(53, root).1, Some("<Root>"));
}

#[test]
fn quic_is_told_by_its_long_header() {
    let over_udp = |bytes: &[u8]| {
        let said = Message::of_datagram(CLIENT, view(bytes)).map(|it| it.said(false));
        texts(said.unwrap_or_default()).0
    };
    let initial = [&[0xc3, 0, 0, 0, 1, 8], [9; 8].as_slice(), &[0, 0, 4, 1]].concat();
    assert_eq!(over_udp(&initial), Some("quic"));
    for (place, value) in [(0, 0x43), (4, 7), (5, 21), (14, 21)] {
        let mut other = initial.clone();
        other[place] = value;
        assert_eq!(over_udp(&other), None, "{place}");
    }
    assert_eq!(over_udp(&initial[..14]), None);
}

proptest! {
    /// Whatever comes, a name is short, and cutting bytes off never gives another one.
    #[test]
    fn any_bytes_give_a_short_name_or_none(
        start in prop::sample::select(vec![
            usual(), b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
            sized(b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07Example\0\0\x01\0\x01"), Vec::new(),
        ]),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        more in vec(any::<u8>(), 0..80),
        ports in any::<[u16; 2]>(),
        port in prop::sample::select(vec![53, 80, 443, 5_353, 5_355]),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [start, more].concat();
        for (place, value) in changes {
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = value;
            }
        }
        for ports in [[ports[0], port], ports] {
            let ports = Ports { source: ports[0], destination: ports[1] };
            let of = |bytes| {
                let segment = Message::of_segment(ports, view(bytes));
                let datagram = Message::of_datagram(ports, view(bytes));
                [segment, datagram].map(|it| it.map_or(Said::default(), |it| it.said(false)))
            };
            let whole = of(&bytes).map(texts);
            let cut = of(&bytes[..cut.index(bytes.len() + 1)]).map(texts);
            for ((_, name), (_, of_cut)) in whole.iter().zip(&cut) {
                prop_assert!(name.as_ref().is_none_or(|name| (1..=MAX_NAME).contains(&name.len())));
                prop_assert!(of_cut.is_none() || name.is_none() || of_cut == name);
            }
        }
    }
}
