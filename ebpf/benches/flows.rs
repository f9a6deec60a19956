//! What counting flows costs, ns a packet: `BPF_PROG_TEST_RUN`, beside a program that does nothing and beside the gate
//! without it; and what a sweep of a full table takes. As root; `cargo bench -p tidegate-ebpf --bench flows`. All
//! cases take turns, and the least of each counts.

use std::{error::Error, process::exit, time::Instant};

use tidegate_ebpf::{
    Accounting, Duties, Flows, Gate, Maps, Watch, flows::FlowKey, layout::Settings,
};

const ROUNDS: usize = 20;
const REPEAT: u32 = 200_000;
const SECOND: u64 = 1_000_000_000;
const ACK: u8 = 0x10;
/// As many as the source counts by default.
const MANY: u32 = 262_144;

/// The program uses the maps as long as they are there.
struct Loaded {
    gate: Gate,
    _maps: Maps,
    flows: Option<Flows>,
}

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() {
    // `cargo test --benches` builds and runs benches too; this one measures, and asserts nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Err(error) = packets().and_then(|()| table()) {
        eprintln!("error: {error}");
        exit(1);
    }
}

fn packets() -> Fallible<()> {
    let counting = Accounting { flows: true, max_flows: MANY, ..Accounting::default() };
    let telling = Watch {
        contacts: true,
        sees_replies: true,
        is_mirror: true,
        seed: 7,
        places: 131_072,
        sources: 65_536,
        ..Watch::default()
    };
    let (off, none) = (Accounting::default(), Watch::default());
    let (four, six) = (frame(1), frame6());
    let full = Accounting { max_flows: 1, ..counting };
    let mut cases = [
        ("a program that does nothing", load(&none, &off)?, &four, true),
        ("nobody reads flows", load(&none, &off)?, &four, false),
        ("a packet of a flow that is there", load(&none, &counting)?, &four, false),
        ("the same, IPv6", load(&none, &counting)?, &six, false),
        ("the same, and contacts are told", load(&telling, &counting)?, &four, false),
        ("a packet that finds the table full", load(&none, &full)?, &four, false),
    ];
    // The place is another's.
    cases[5].1.gate.run(&frame(2), 1)?;
    let mut least = [u128::MAX; 6];
    for _ in 0..ROUNDS {
        for ((_, loaded, frame, is_empty), least) in cases.iter_mut().zip(&mut least) {
            let ran = if *is_empty {
                loaded.gate.run_empty(frame, REPEAT)?
            } else {
                loaded.gate.run(frame, REPEAT)?
            };
            *least = ran.duration.as_nanos().min(*least);
        }
    }
    println!("| case | ns |\n|---|---|");
    for ((name, ..), least) in cases.iter().zip(least) {
        println!("| {name} | {least} |");
    }
    Ok(())
}

/// A table that is filled, looked through, and emptied.
fn table() -> Fallible<()> {
    let counting = Accounting { flows: true, max_flows: MANY, ..Accounting::default() };
    let mut loaded = load(&Watch::default(), &counting)?;
    let many = loaded.gate.run_many(&frame(1), 65_536)?.duration.as_nanos();
    let again = loaded.gate.run_many(&frame(1), 65_536)?.duration.as_nanos();
    for port in 2..5 {
        loaded.gate.run_many(&frame(port), 65_536)?;
    }
    let mut flows = loaded.flows.take().ok_or("flows are counted")?;
    let (mut keys, mut packets) = (Vec::<FlowKey>::new(), 0);
    let mut least = u128::MAX;
    for _ in 0..5 {
        (keys, packets) = (Vec::with_capacity(MANY as usize), 0);
        let began = now();
        flows.sweep(|key, counted| {
            keys.push(*key);
            packets += counted.packets[0] + counted.packets[1];
        })?;
        least = least.min(began.elapsed().as_micros());
    }
    println!("| a new flow, 65,536 in turn | {many} |");
    println!("| a packet of 65,536 flows in turn | {again} |");
    println!("\n{} flows were looked through in {least} µs", keys.len());
    let began = now();
    flows.end(&keys)?;
    let marked = began.elapsed().as_micros();
    flows.settle();
    let settled = began.elapsed().as_micros() - marked;
    for key in &keys {
        flows.take(key)?.ok_or("it was there")?;
    }
    let taken = began.elapsed().as_micros() - marked - settled;
    println!("marked in {marked} µs, settled in {settled} µs, taken out in {taken} µs");
    let account = flows.account()?;
    println!("{} packets = {packets} of flows + {}", account.packets, account.unattributed);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn load(watch: &Watch, accounting: &Accounting) -> Fallible<Loaded> {
    let settings = Settings {
        enforce: true,
        fail_open_ns: 0,
        new_interval_ns: SECOND,
        new_burst_ns: SECOND,
        all_interval_ns: SECOND,
        all_burst_ns: SECOND,
        max_blocks: 65_536,
        max_networks: 1024,
        max_allowed: 1024,
    };
    let duties = Duties { watch: *watch, accounting: *accounting, ..Duties::default() };
    let mut gate = Gate::load_for(&settings, &duties, None)?;
    let maps = gate.take_maps()?;
    let flows = if accounting.flows { Some(gate.take_flows()?) } else { None };
    Ok(Loaded { gate, _maps: maps, flows })
}

/// The smallest frame there is: an ACK to port 7000, from this port.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 7, 0, 0, 64, 6, 0, 0]);
    frame.extend([203, 0, 113, 7, 127, 0, 0, 1]);
    frame.extend(segment(port));
    frame.resize(60, 0);
    frame
}

fn frame6() -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
    frame.extend([0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend(segment(1));
    frame
}

fn segment(port: u16) -> Vec<u8> {
    let mut segment = port.to_be_bytes().to_vec();
    segment.extend([0x1b, 0x58, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, ACK, 1, 0, 0, 0, 0, 0]);
    segment
}
