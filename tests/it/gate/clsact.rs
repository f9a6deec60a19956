//! What the interface sends, seen as before Linux 6.6: by a filter of the queueing discipline `clsact`. It is attached,
//! counts, and leaves nothing: not with its gate, not where a killed process left it, and nothing of others is touched.

use std::{mem::forget, net::UdpSocket};

use libtest_mimic::Failed;
use tidegate_ebpf::{Accounting, Duties, Flows, Gate, pins::Pins};

use super::{
    live::{BAD, NEAR, PORT, Site},
    made::ENFORCE,
};
use crate::harness::{
    Case, Outcome, Scene,
    netns::{INTERFACE, Namespace},
};

const SENT: u64 = 5;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_filter_counts_what_is_sent_and_leaves_nothing).needs_root(),
        Case::new(a_filter_that_a_killed_process_left_is_replaced_and_taken_off).needs_root(),
        Case::new(somebody_else_s_filters_stay).needs_root(),
    ]
}

/// A gate whose maps are pinned for this site, with its filter on the near side.
fn attached(site: &Site<'_>) -> Result<(Gate, Flows), Failed> {
    let accounting = Accounting { flows: true, max_flows: 100, ..Accounting::default() };
    let duties = Duties { accounting, ..Duties::default() };
    let mut gate = Gate::load_for(&ENFORCE, &duties, Some(Pins::of(&site.id)))?;
    let flows = gate.take_flows()?;
    gate.attach_egress_by_clsact(INTERFACE)?;
    Ok((gate, flows))
}

fn send() -> Outcome {
    let socket = UdpSocket::bind((NEAR, 0))?;
    (0..SENT).try_for_each(|_| socket.send_to(b"out", (BAD, PORT)).map(drop))?;
    Ok(())
}

/// Packets of the flow that [`send`] makes.
fn counted(flows: &mut Flows) -> Result<u64, Failed> {
    let mut packets = 0;
    flows.sweep(|key, counted| {
        if [key.low_port, key.high_port].contains(&PORT) {
            packets += counted.packets.iter().sum::<u64>();
        }
    })?;
    Ok(packets)
}

/// Programs at tc egress, and whether there is the queueing discipline.
fn there(side: &Namespace) -> Result<(usize, bool), Failed> {
    let shown = side.run("tc", &["qdisc", "show", "dev", INTERFACE])?;
    let has_clsact = shown.contains("clsact");
    if !has_clsact {
        return Ok((0, false));
    }
    let filters = side.run("tc", &["filter", "show", "dev", INTERFACE, "egress"])?;
    Ok((filters.matches("direct-action").count(), true))
}

fn a_filter_counts_what_is_sent_and_leaves_nothing(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "", "mode: observe", "")?;
    let near = &site.wire.near;
    near.inside(|| -> Outcome {
        let (mut gate, mut flows) = attached(&site)?;
        assert_eq!(there(near)?, (1, true));
        send()?;
        assert_eq!(counted(&mut flows)?, SENT);
        gate.let_go();
        assert_eq!(there(near)?, (0, false), "it let go");
        send()?;
        assert_eq!(counted(&mut flows)?, SENT, "nothing more is seen");
        gate.attach_egress_by_clsact(INTERFACE)?;
        assert_eq!(there(near)?, (1, true), "and once more");
        drop(gate);
        assert_eq!(there(near)?, (0, false), "it goes with its gate");
        Ok(())
    })?
}

fn a_filter_that_a_killed_process_left_is_replaced_and_taken_off(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "", "mode: observe", "")?;
    let near = &site.wire.near;
    near.inside(|| -> Outcome {
        // As the kernel keeps it when nobody takes it off.
        forget(attached(&site)?.0);
        let (gate, mut flows) = attached(&site)?;
        assert_eq!(there(near)?, (1, true), "one took the other's place");
        send()?;
        assert_eq!(counted(&mut flows)?, SENT);
        drop(gate);
        assert_eq!(there(near)?, (0, false));

        forget(attached(&site)?.0);
        assert_eq!(there(near)?, (1, true));
        site.command(&["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
        assert_eq!(there(near)?, (0, false), "the command line takes it off");
        Ok(())
    })?
}

fn somebody_else_s_filters_stay(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "", "mode: observe", "")?;
    let near = &site.wire.near;
    near.inside(|| -> Outcome {
        let filter = |way| {
            let nothing = ["bpf", "bytecode", "1,6 0 0 0"];
            near.run("tc", &[&["filter", "add", "dev", INTERFACE, way][..], &nothing].concat())
        };
        let others = |way| -> Result<bool, Failed> {
            let shown = near.run("tc", &["filter", "show", "dev", INTERFACE, way])?;
            Ok(shown.contains("bytecode"))
        };
        // Its queueing discipline is ours, and somebody puts a filter in.
        let (gate, _flows) = attached(&site)?;
        filter("ingress")?;
        drop(gate);
        assert_eq!(there(near)?, (0, true));
        assert!(others("ingress")?);
        // And one that was there before, empty.
        near.run("tc", &["qdisc", "del", "dev", INTERFACE, "clsact"])?;
        near.run("tc", &["qdisc", "add", "dev", INTERFACE, "clsact"])?;
        drop(attached(&site)?);
        assert_eq!(there(near)?, (0, true), "it was not ours");
        Ok(())
    })?
}
