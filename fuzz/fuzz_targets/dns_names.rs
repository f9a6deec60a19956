//! A name, a line each for the answer's counts and types, its addresses, and its id.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidegate::{
    dns::{PassiveNames, host_name},
    ek::{Line, Parser},
    record::{Extra, Packet, Raw, Timestamp},
};

const LINE: &str = r#"{"layers":{"frame_number":["1"],"frame_time_epoch":["7.5"],"frame_len":["99"],"frame_cap_len":["99"],"frame_protocols":["eth:ethertype:ip:udp:dns"],"ip_src":["10.0.0.1"],"ip_dst":["10.0.0.2"],"ip_proto":["17"],"ip_len":["85"],"udp_srcport":["SOURCE"],"udp_dstport":["DESTINATION"],"udp_length":["65"]}}"#;

fn packet(source: &str, destination: &str, extra: &[Extra]) -> Packet {
    let line = LINE.replace("SOURCE", source).replace("DESTINATION", destination);
    let raw = Raw { line: line.into(), epoch: 0, first: 0, origin: tidegate::record::ObservationPoint::default() };
    match Parser::new(&[]).parse(&raw) {
        Ok(Line::Packet(packet)) => Packet { extra: extra.to_vec(), ..packet },
        other => panic!("{other:?}"),
    }
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let mut field = |name: &str| {
        let line = lines.next().unwrap_or_default();
        Extra { name: name.into(), values: line.split(',').map(Into::into).collect() }
    };
    let fields =
        ["dns_qry_name", "dns_count_answers", "dns_resp_type", "dns_a", "dns_aaaa", "dns_id"];
    let fields = fields.map(&mut field);
    let asked = &*fields[0].values[0];
    let name = host_name(asked);
    if let Some(name) = &name {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        assert!(name.len() <= 253 && name.bytes().all(plain), "{name:?}");
        assert!(name.parse::<IpAddr>().is_err());
        assert_eq!(host_name(name).as_ref(), Some(name));
    }
    let mut names = PassiveNames::new(100);
    let mut answer = packet("53", "40000", &fields);
    // It goes back to where the question came from.
    std::mem::swap(&mut answer.outer.source, &mut answer.outer.destination);
    let claimed = || {
        let claims = fields[3..5].iter().flat_map(|field| &field.values);
        claims.filter_map(|text| text.parse::<IpAddr>().ok())
    };
    let (client, now) = (answer.outer.destination, Timestamp::from_nanos(8_000_000_000));
    names.learn(&answer);
    assert!(claimed().all(|address| names.names(address, client, now).is_none()), "unasked");
    names.learn(&packet("40000", "53", &[fields[0].clone(), fields[5].clone()]));
    names.learn(&answer);
    for found in claimed().filter_map(|address| names.names(address, client, now)) {
        assert_eq!(found.name(), name.as_deref());
    }
    for found in claimed().filter_map(|address| names.unverified(address, now)) {
        assert_eq!((found.name(), found.unverified.first()), (None, name.as_ref()));
    }
});
