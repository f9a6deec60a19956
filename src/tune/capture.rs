//! Captures: frames to packets to contacts, in this process, as a replay reads them.

use std::{collections::BTreeMap, path::Path};

use super::observe::Observer;
use crate::{
    capture::{Part, Reader},
    decode::{Decoded, Options, Skipped},
    dns::PassiveNames,
    flow::{Output, Policy, Shards},
    record::{Frames, Packet},
    transforms::score::MAX_NAMES,
};

/// What becomes of a capture's packets.
struct Packets<'a> {
    table: Shards,
    names: PassiveNames,
    observer: &'a mut Observer,
}

/// Frames of a capture, and those of them that gave no packet.
#[derive(Debug, Default)]
struct Read {
    frames: u64,
    /// By the reason's name: how many, and the reason.
    skipped: BTreeMap<&'static str, (u64, Skipped)>,
    /// Those of link types that are not read, by their type.
    unknown: BTreeMap<u16, u64>,
    any_packet: bool,
}

/// Reads a capture and lets `observer` judge it, who is told what sources have resolved or not. Gives what of it
/// could not be read, if anything: what could counts.
pub(super) fn read(
    path: &Path,
    (policy, learns_names): (&Policy, bool),
    observer: &mut Observer,
    mut count: impl FnMut(u64),
) -> Vec<String> {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return vec![error.to_string()],
    };
    let options = Options { dns: learns_names, ..Options::default() };
    let names = PassiveNames::new(MAX_NAMES);
    let mut packets = Packets { table: Shards::new(policy.clone(), 1), names, observer };
    let mut told = Read::default();
    let ended = loop {
        match reader.read() {
            Ok(Part::Frames(frames)) => {
                let decoded = Decoded::of(&frames, &options);
                told.add(&frames, &decoded);
                for packet in decoded.packets {
                    packets.take(packet);
                }
                count(frames.len() as u64);
            }
            Ok(Part::End) => break reader.finish().err(),
            Err(damage) => break Some(damage),
        }
    };
    packets.finish();
    ended.map(|damage| damage.to_string()).into_iter().chain(told.faults()).collect()
}

// === impl Packets ===

impl Packets<'_> {
    /// One packet at a time, so that those before a verdict can be told from those after it.
    fn take(&mut self, packet: Packet) {
        let (source, time) = (packet.outer.source, packet.time);
        self.names.learn(&packet);
        let mut out = Output { wants_contacts: true, ..Output::default() };
        self.table.absorb(&[packet], &mut out);
        self.hand_on(&mut out);
        self.observer.packets(source, time, 1);
    }

    fn finish(mut self) {
        let mut out = Output { wants_contacts: true, ..Output::default() };
        while self.table.drain_part(usize::MAX, &mut out) {}
        self.hand_on(&mut out);
    }

    fn hand_on(&mut self, out: &mut Output) {
        for report in out.contacts.drain(..) {
            let contact = report.record;
            let name = self.names.names(contact.destination, contact.source, contact.time);
            let is_resolved = name.is_some();
            self.observer.contact(contact, is_resolved);
        }
    }
}

// === impl Read ===

impl Read {
    fn add(&mut self, frames: &Frames, decoded: &Decoded) {
        self.frames += frames.len() as u64;
        self.any_packet |= !decoded.packets.is_empty();
        for (at, skipped) in &decoded.skipped {
            self.skipped.entry(skipped.name()).or_insert((0, *skipped)).0 += 1;
            if *skipped == Skipped::UnknownLink
                && let Some(place) = frames.places.get(*at)
            {
                *self.unknown.entry(place.link).or_default() += 1;
            }
        }
    }

    /// What of it could have been read, and was not; or that nothing was.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (link, count) in &self.unknown {
            faults.push(format!(
                "{count} frames are of link type {link} \
                 (https://www.tcpdump.org/linktypes.html), which is not read: capture on another \
                 interface"
            ));
        }
        let losses = self.skipped.values().filter(|(_, skipped)| {
            *skipped != Skipped::UnknownLink && skipped.reason().1.is_some()
        });
        faults.extend(losses.map(|(count, skipped)| format!("{count} frames left out: {skipped}")));
        let most = self.skipped.values().max_by_key(|(count, _)| *count);
        if let Some((_, skipped)) = most.filter(|_| !self.any_packet)
            && faults.is_empty()
        {
            let frames = self.frames;
            faults.push(format!("none of its {frames} frames gives a packet to judge: {skipped}"));
        }
        faults
    }
}
