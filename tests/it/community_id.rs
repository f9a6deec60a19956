//! Community ID against the vectors of its specification.

use std::{fs, net::IpAddr};

use serde::Deserialize;
use tidegate::record::{CommunityId, Icmp, IcmpPorts, Transport};

use crate::harness::{Case, Outcome, Scene};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(every_vector_of_the_specification_is_met).needs_data()]
}

#[derive(Debug, Deserialize)]
struct Vector {
    proto: u8,
    saddr: IpAddr,
    daddr: IpAddr,
    sport: Option<u16>,
    dport: Option<u16>,
    communityid: String,
}

fn every_vector_of_the_specification_is_met(scene: &Scene) -> Outcome {
    let mut met = 0;
    for (file, seed, is_hex) in
        [("baseline_deflt", 0, false), ("baseline_seed1", 1, false), ("baseline_nob64", 0, true)]
    {
        let path = scene.data.join(format!("community-id/{file}.json"));
        let vectors: Vec<Vector> = serde_json::from_slice(&fs::read(path)?)?;
        for vector in vectors {
            let id = vector.id(seed);
            let text = if is_hex { hexadecimal(&id) } else { id.to_string() };
            if text != vector.communityid {
                return Err(format!("{file}: {vector:?} came out as {text}").into());
            }
            met += 1;
        }
    }
    if met == 69 { Ok(()) } else { Err(format!("{met} vectors, not 69").into()) }
}

fn hexadecimal(id: &CommunityId) -> String {
    id.bytes().iter().fold("1:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

impl Vector {
    fn id(&self, seed: u16) -> CommunityId {
        let transport = Transport(self.proto);
        let is_icmp = matches!(transport, Transport::ICMP | Transport::ICMPV6);
        let ports = self.sport.zip(self.dport);
        // The vectors carry what stands for the ports: a type, and its counterpart or a code.
        let directed = is_icmp
            && ports
                .and_then(|(kind, code)| kind.try_into().ok().zip(code.try_into().ok()))
                .is_some_and(|(kind, code)| IcmpPorts::of(transport, Icmp { kind, code }).one_way);
        CommunityId::seeded(seed, transport, self.saddr, self.daddr, ports, directed)
    }
}
