//! Answers in other VLANs than what they answer: a mirror port of a router shows each direction with the VLAN it came
//! from. These are two flows, but one contact.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    mem,
};

use super::{Arrival, Table};
use crate::{
    flow::{
        contacts,
        entry::Progress,
        key::{Key, Oriented},
        output::Output,
    },
    record::{Header, Layer4, Outcome, TcpFlags},
};

/// Attempts that are remembered at least, in each shard; twice as many at most.
const MAX_OPEN: usize = 16_384;

/// Where the flows of attempts are, by their keys without VLANs. It knows of none until a VLAN has been seen.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    is_tagged: bool,
    young: HashMap<Key, u32, RandomState>,
    old: HashMap<Key, u32, RandomState>,
}

impl Table {
    /// A VLAN has been seen, in this shard or another one.
    pub(in crate::flow) fn expect_tags(&mut self) {
        self.elsewhere.is_tagged = true;
    }

    /// An attempt has begun.
    pub(super) fn remember_attempt(&mut self, oriented: &Oriented, slot: u32) {
        let elsewhere = &mut self.elsewhere;
        if !elsewhere.is_tagged {
            return;
        }
        if elsewhere.young.len() >= MAX_OPEN {
            mem::swap(&mut elsewhere.young, &mut elsewhere.old);
            elsewhere.young.clear();
        }
        elsewhere.young.insert(oriented.key.without_vlans(), slot);
    }

    /// The flow of an open attempt between these ends in other VLANs.
    pub(super) fn open_elsewhere(&self, oriented: &Oriented) -> Option<u32> {
        let elsewhere = &self.elsewhere;
        if !elsewhere.is_tagged {
            return None;
        }
        let key = oriented.key.without_vlans();
        let slot = *elsewhere.young.get(&key).or_else(|| elsewhere.old.get(&key))?;
        let entry = self.flows.get(slot);
        // The slot may have another flow by now, or none.
        let hash = self.hasher.hash_one(entry.key);
        let is_there = self.index.find(hash, |other| *other == slot).is_some();
        (is_there && entry.key.without_vlans() == key && entry.contact.is_open()).then_some(slot)
    }

    /// A packet begins a flow: tells if it answers an attempt in other VLANs, and whether it does.
    pub(super) fn answer_elsewhere(
        &mut self,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        out: &mut Output,
    ) -> bool {
        let header = arrival.header;
        if !may_answer(header) || self.is_discounted(header) {
            return false;
        }
        let Some(slot) = self.open_elsewhere(oriented) else { return false };
        let entry = self.flows.get_mut(slot);
        if entry.is_by_initiator(oriented.from_low) {
            return false;
        }
        let outcome = match header.layer4 {
            Layer4::Tcp(tcp) if tcp.acknowledgement != entry.sides[0].start.wrapping_add(1) => {
                return false;
            }
            Layer4::Tcp(tcp) if !tcp.flags.has(TcpFlags::RST) => {
                entry.contact = Progress::Heard;
                return true;
            }
            Layer4::Tcp(_) => Outcome::Refused,
            _ => Outcome::Success,
        };
        entry.contact = Progress::Answered;
        let contact = contacts::of_flow(entry, outcome, false, arrival.packet.time);
        out.contact(*arrival.moment, contact);
        true
    }
}

/// Whether a packet that belongs to no flow may be an answer.
fn may_answer(header: &Header) -> bool {
    match header.layer4 {
        Layer4::Tcp(tcp) => {
            tcp.flags.has(TcpFlags::ACK) && tcp.flags.0 & (TcpFlags::SYN | TcpFlags::RST) != 0
        }
        Layer4::Udp(..) => true,
        _ => false,
    }
}
