//! Frames as they were captured become packets.

use std::sync::Arc;

use crate::{
    component::Decoding,
    decode::{self, Decoded},
    ek::fields::printed,
    record::{Extra, Frames},
};

/// Reads frames.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// The extra fields to keep, as `-T ek` prints their names, in this order.
    fields: Arc<[String]>,
    /// What is used downstream: of DNS answers, if they are learnt from, all there is is kept, and so
    /// are the names that flows are given.
    used: Decoding,
}

// === impl Decoder ===

impl Decoder {
    /// Keeps these of the fields that headers have, in tshark's dotted names; and what is used downstream.
    pub(super) fn new(fields: &[String], used: Decoding) -> Self {
        Self { fields: fields.iter().map(|field| printed(field)).collect(), used }
    }

    pub(super) fn decode(&self, frames: &Frames) -> Decoded {
        let options = decode::Options {
            checksums: frames.verify_checksums,
            dns: self.used.dns || !self.fields.is_empty(),
            names: self.used.names || !self.fields.is_empty(),
        };
        let mut decoded = Decoded::of(frames, &options);
        if !self.fields.is_empty() {
            let extras = decoded.packets.iter_mut().map(|packet| &mut packet.extra);
            extras.filter(|extra| !extra.is_empty()).for_each(|extra| self.choose(extra));
        }
        decoded
    }

    /// The fields that the config asks for come first and in its order.
    fn choose(&self, extra: &mut Vec<Extra>) {
        let place = |extra: &Extra| {
            self.fields.iter().position(|name| **name == *extra.name).unwrap_or(self.fields.len())
        };
        let is_name =
            |extra: &Extra| decode::NAMES.iter().any(|name| *printed(name) == *extra.name);
        extra.retain(|extra| {
            let is_used = if is_name(extra) { self.used.names } else { self.used.dns };
            is_used || place(extra) < self.fields.len()
        });
        extra.sort_by_key(place);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        decode::Skipped,
        record::{FramePlace, Packet, Timestamp},
    };

    /// An Ethernet frame with an IPv4 header and a UDP datagram.
    pub(in crate::transforms::extract) fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let length = |more: usize| u16::try_from(payload.len() + more).unwrap().to_be_bytes();
        frame.extend([0x45, 0]);
        frame.extend(length(28));
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend(length(8));
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    /// These frames of link types, one a second from `first` on.
    pub(in crate::transforms::extract) fn frames(first: u32, list: &[(u16, Vec<u8>)]) -> Frames {
        let mut made = Frames { epoch: 4, ..Frames::default() };
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for (at, (link, frame)) in (first..).zip(list) {
            let captured = u32::try_from(frame.len()).unwrap();
            places.push(FramePlace {
                time: Timestamp::from_nanos(i64::from(at) * 1_000_000_000),
                number: at.into(),
                offset: u32::try_from(bytes.len()).unwrap(),
                captured,
                length: captured,
                link: *link,
                interface: 0,
            });
            bytes.extend(frame);
        }
        (made.bytes, made.places) = (bytes.into(), places.into());
        made
    }

    /// A question for `a.b` and its answer with one address.
    fn dns() -> [Vec<u8>; 2] {
        let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01".to_vec();
        let mut answer = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x01b\0\0\x01\0\x01".to_vec();
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
        [question, answer]
    }

    #[test]
    fn frames_become_packets_or_the_reason_why_not() {
        let arp = [vec![0xff; 12], vec![8, 6], vec![0; 28]].concat();
        let list = [(1, udp([1, 2], b"x")), (1, arp), (147, udp([3, 4], b"y"))];
        let decoded = Decoder::new(&[], Decoding::default()).decode(&frames(7, &list));
        assert_eq!(decoded.packets.len(), 1);
        assert_eq!((decoded.packets[0].epoch, decoded.packets[0].number), (4, 7));
        assert_eq!(decoded.skipped, [(1, Skipped::NotIp), (2, Skipped::UnknownLink)]);
    }

    #[test]
    fn dns_fields_are_read_where_somebody_wants_them_in_the_order_of_the_config() {
        let [question, answer] = dns();
        let list = [(1, udp([4_000, 53], &question)), (1, udp([53, 4_000], &answer))];
        let names = |fields: &[&str], used| {
            let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            let decoded = Decoder::new(&fields, used).decode(&frames(1, &list));
            let names = |packet: &Packet| {
                packet.extra.iter().map(|extra| extra.name.to_string()).collect::<Vec<_>>()
            };
            decoded.packets.iter().map(names).collect::<Vec<_>>()
        };
        let nobody = Decoding::default();
        let flows = Decoding { names: true, ..nobody };
        assert_eq!(names(&[], nobody), [[""; 0], []]);
        assert_eq!(names(&[], flows), [["dns_qry_name"], ["dns_qry_name"]]);
        assert_eq!(names(&["dns.a", "dns.id"], nobody), [&["dns_id"][..], &["dns_a", "dns_id"]]);
        let learnt = names(&["dns.a"], Decoding { dns: true, ..flows });
        assert_eq!((learnt[1][0].as_str(), learnt[1].len()), ("dns_a", 5));
    }
}
