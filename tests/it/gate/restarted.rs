//! What a start takes over of the maps that an earlier one left under other settings.

use std::{
    mem,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use ipnet::IpNet;
use libtest_mimic::Failed;
use tidegate_ebpf::{
    Gate, Maps, Standing, Wanted,
    abi::{Block, Word},
    layout::Settings,
    pins::Pins,
};

use super::{
    live::bpf_file_system,
    made::{ENFORCE, SYN, TCP, ip4, tcp},
};
use crate::harness::{Case, Outcome, Scene, netns::Wire};

/// Of another size than `ENFORCE`, so that its maps are others.
const LARGER: Settings = Settings { max_blocks: 65, ..ENFORCE };

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(an_allow_entry_counts_for_a_source_that_an_earlier_run_dropped).needs_root(),
        Case::new(a_start_that_failed_leaves_nothing_for_the_next_one).needs_root(),
        Case::new(a_gate_elsewhere_with_the_same_index_is_not_here).needs_root(),
        Case::new(what_is_changed_while_a_start_is_under_way_is_not_lost).needs_root(),
    ]
}

/// The pins of a source of its own, gone with it.
struct Own(Pins);

impl Own {
    fn new() -> Result<Self, Failed> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        bpf_file_system()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self(Pins::of(&format!("restarted-{}-{number}", std::process::id()))))
    }

    /// A gate of these settings, with its maps.
    fn load(&self, settings: &Settings) -> Result<(Gate, Maps), Failed> {
        let mut gate = Gate::load(settings, Some(self.0.clone()))?;
        let maps = gate.take_maps()?;
        Ok((gate, maps))
    }

    /// The same, once its maps are those in use.
    fn begin(&self, settings: &Settings) -> Result<(Gate, Maps), Failed> {
        let (mut gate, maps) = self.load(settings)?;
        gate.wait()?;
        Ok((gate, maps))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.0.detach() {
            eprintln!("{} is left over: {error}", self.0.folder().display());
        }
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("it is one")
}

fn block(id: u8) -> Block {
    Block { enforce: 1, id: [id; 16], ..Block::default() }
}

fn networks(maps: &Maps) -> Result<Vec<String>, Failed> {
    let mut networks: Vec<_> =
        maps.blocks()?.iter().map(|(network, _)| network.to_string()).collect();
    networks.sort_unstable();
    Ok(networks)
}

/// The program remembers of an address that it was not on the list, by the number of the list: that begins anew.
fn an_allow_entry_counts_for_a_source_that_an_earlier_run_dropped(_scene: &Scene) -> Outcome {
    let own = Own::new()?;
    let syn = ip4(TCP, &tcp(22, SYN));
    let (mut before, mut maps) = own.begin(&ENFORCE)?;
    maps.insert(net("203.0.113.7/32"), block(1))?;
    for _ in 0..2 {
        maps.allow(&[net("198.51.100.0/24")])?;
    }
    assert!(before.run(&syn, 1)?.dropped, "it is on no list");
    let (mut after, mut maps) = own.load(&LARGER)?;
    assert_eq!(networks(&maps)?, ["203.0.113.7/32"]);
    maps.allow(&[net("203.0.113.7/32")])?;
    assert!(!after.run(&syn, 1)?.dropped, "it is allowed");
    Ok(())
}

fn a_start_that_failed_leaves_nothing_for_the_next_one(_scene: &Scene) -> Outcome {
    let own = Own::new()?;
    let (_before, mut maps) = own.begin(&ENFORCE)?;
    maps.insert(net("203.0.113.7/32"), block(1))?;
    maps.insert(net("203.0.112.0/24"), block(2))?;
    let (killed, mut theirs) = own.load(&LARGER)?;
    theirs.insert(net("203.0.113.8/32"), block(3))?;
    // So nothing of it is tidied up.
    mem::forget(killed);
    maps.remove(net("203.0.113.7/32"))?;
    let (failed, theirs) = own.load(&LARGER)?;
    assert_eq!(networks(&theirs)?, ["203.0.112.0/24"]);
    let folder = failed.folder().map(Path::to_owned).ok_or("its maps are pinned")?;
    assert!(folder.is_dir());
    drop(failed);
    assert!(!folder.exists(), "{} is left over", folder.display());
    assert_eq!(networks(&Maps::open(&own.0.current().ok_or("none is in use")?)?)?.len(), 1);
    Ok(())
}

/// Each network namespace counts its interfaces anew.
fn a_gate_elsewhere_with_the_same_index_is_not_here(_scene: &Scene) -> Outcome {
    const INDEX: u32 = 77;
    let own = Own::new()?;
    let wire = Wire::lay()?;
    for side in [&wire.near, &wire.far] {
        let index = INDEX.to_string();
        let made = [
            "link", "add", "name", "other", "index", &index, "type", "veth", "peer", "name", "end",
        ];
        side.run("ip", &made)?;
    }
    let (mut gate, _maps) = own.load(&ENFORCE)?;
    let mut gate = wire.near.inside(move || {
        let attached = gate.attach(INDEX, Wanted::Skb, true);
        attached.and_then(|_| Ok((gate.standing(INDEX)?, gate)))
    })??;
    assert_eq!(gate.0, Standing::Attached);
    let elsewhere = wire.far.inside(move || {
        let standing = gate.1.standing(INDEX)?;
        // A start there takes nothing over.
        Ok::<_, tidegate_ebpf::Error>((standing, gate.1.attach(INDEX, Wanted::Skb, true)?.adopted))
    })??;
    assert_eq!(elsewhere, (Standing::TakenOff, false));
    Ok(())
}

fn what_is_changed_while_a_start_is_under_way_is_not_lost(_scene: &Scene) -> Outcome {
    let own = Own::new()?;
    let (_before, mut maps) = own.begin(&ENFORCE)?;
    for (network, id) in [("203.0.113.1/32", 1), ("203.0.113.2/32", 2), ("203.0.113.3/32", 3)] {
        maps.insert(net(network), block(id))?;
    }
    let (mut after, mut fresh) = own.load(&LARGER)?;
    // The start's own doing stays; the command line still finds the other maps.
    fresh.insert(net("203.0.113.9/32"), block(9))?;
    maps.remove(net("203.0.113.1/32"))?;
    maps.insert(net("203.0.113.2/32"), block(22))?;
    maps.insert(net("203.0.113.4/32"), block(4))?;
    after.wait()?;
    let expected = ["203.0.113.2/32", "203.0.113.3/32", "203.0.113.4/32", "203.0.113.9/32"];
    assert_eq!(networks(&fresh)?, expected);
    let renewed = fresh.block(net("203.0.113.2/32"))?.ok_or("it is there")?;
    assert_eq!(renewed.id, [22; 16]);
    assert_eq!(fresh.word(Word::Changes)?, 1, "the daemon is told");
    Ok(())
}
