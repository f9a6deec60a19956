//! Captures: frames to packets to contacts, in this process.

use std::path::Path;

use super::observe::Observer;
use crate::{
    capture::{Part, Reader},
    decode::{self, LinkType},
    flow::{Output, Policy, Shards},
    record::Packet,
};

/// Reads a capture and lets `observer` judge it. Gives what damaged it, if anything did: what came before
/// counts.
pub(super) fn read(
    path: &Path,
    policy: Policy,
    observer: &mut Observer,
    mut count: impl FnMut(u64),
) -> Result<(), String> {
    let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
    let mut table = Shards::new(policy, 1);
    let ended = loop {
        match reader.read() {
            Ok(Part::Frames(frames)) => {
                let points = frames.points();
                for place in frames.places.iter() {
                    let frame = decode::Frame {
                        time: place.time,
                        origin: points
                            .get(usize::from(place.interface))
                            .copied()
                            .unwrap_or(frames.source),
                        epoch: 0,
                        number: place.number,
                        link: LinkType(place.link),
                        length: place.length,
                        bytes: frames.of(place),
                    };
                    let Ok(packet) = decode::decode(&frame, &decode::Options::default()) else {
                        continue;
                    };
                    take(packet, &mut table, observer);
                }
                count(frames.len() as u64);
            }
            Ok(Part::End) => break reader.finish().map_err(|damage| damage.to_string()),
            Err(damage) => break Err(damage.to_string()),
        }
    };
    let mut out = Output { wants_contacts: true, ..Output::default() };
    while table.drain_part(usize::MAX, &mut out) {}
    hand_on(&mut out, observer);
    ended
}

/// One packet at a time, so that those before a verdict can be told from those after it.
fn take(packet: Packet, table: &mut Shards, observer: &mut Observer) {
    let (source, time) = (packet.outer.source, packet.time);
    let mut out = Output { wants_contacts: true, ..Output::default() };
    table.absorb(&[packet], &mut out);
    hand_on(&mut out, observer);
    observer.packets(source, time, 1);
}

fn hand_on(out: &mut Output, observer: &mut Observer) {
    for report in out.contacts.drain(..) {
        observer.contact(report.record);
    }
}
