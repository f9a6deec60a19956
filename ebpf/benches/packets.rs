//! What it costs to report single frames, ns a packet: `BPF_PROG_TEST_RUN`, beside a program that does nothing and beside
//! the gate without it. As root; `cargo bench -p tidegate-ebpf --bench packets`. All cases take turns, and the least of
//! each counts.

use std::{error::Error, process::exit, time::Instant};

use tidegate_ebpf::{Duties, Gate, Maps, Packets, Sampling, layout::Settings};

const ROUNDS: usize = 40;
/// As many as a ring of 64 MiB holds, and a few less.
const REPEAT: u32 = 400_000;
const SECOND: u64 = 1_000_000_000;

/// The program uses the maps as long as they are there.
struct Loaded {
    gate: Gate,
    _maps: Maps,
    packets: Packets,
}

/// A name, the program, a frame, and whether it is the empty program that runs.
type Measured = (&'static str, Loaded, Vec<u8>, bool);
type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() {
    // `cargo test --benches` builds and runs benches too; this one measures, and asserts nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Err(error) = measure() {
        eprintln!("error: {error}");
        exit(1);
    }
}

fn cases() -> Fallible<[Measured; 7]> {
    let one_of = |sample| Sampling { packets: true, sample, ring_bytes: 1 << 26 };
    let full = Sampling { ring_bytes: 1, ..one_of(1) };
    let off = Sampling::default();
    Ok([
        ("a program that does nothing", load(&off)?, frame(60), true),
        ("nobody reads packets", load(&off)?, frame(60), false),
        ("each one is reported, of 60 bytes", load(&one_of(1))?, frame(60), false),
        ("the same, of 1,500 bytes", load(&one_of(1))?, frame(1_500), false),
        ("one of 10", load(&one_of(10))?, frame(60), false),
        ("one of 100", load(&one_of(100))?, frame(60), false),
        ("each one, and the ring is full", load(&full)?, frame(60), false),
    ])
}

fn measure() -> Fallible<()> {
    let mut cases = cases()?;
    let mut least = [u128::MAX; 7];
    let (mut drained, mut received) = (u128::MAX, [0_u64; 7]);
    for _ in 0..ROUNDS {
        let taken = cases.iter_mut().zip(&mut received);
        for (((_, loaded, frame, is_empty), received), least) in taken.zip(&mut least) {
            let ran = if *is_empty {
                loaded.gate.run_empty(frame, REPEAT)?
            } else {
                loaded.gate.run(frame, REPEAT)?
            };
            *least = ran.duration.as_nanos().min(*least);
            #[expect(clippy::disallowed_methods, reason = "it measures")]
            let began = Instant::now();
            let mut bytes = 0;
            let taken = loaded.packets.drain(usize::MAX, |frame| bytes += frame.bytes.len());
            let nanos = began.elapsed().as_nanos();
            assert!(bytes > 0 || taken == 0, "they are looked at");
            *received += taken as u64;
            if taken > 100_000 {
                drained = (nanos / taken as u128).min(drained);
            }
        }
    }
    println!("| case | ns |\n|---|---|");
    for ((name, ..), least) in cases.iter().zip(least) {
        println!("| {name} | {least} |");
    }
    println!("| a frame that is taken off the ring, in user space | {drained} |\n");
    for ((name, loaded, ..), received) in cases.iter().zip(received) {
        let sampled = loaded.packets.tally()?;
        println!(
            "{name}: {} seen = {} passed over + {received} received + {} lost",
            sampled.seen, sampled.passed_over, sampled.lost
        );
    }
    Ok(())
}

fn load(sampling: &Sampling) -> Fallible<Loaded> {
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
    let duties = Duties { sampling: *sampling, ..Duties::default() };
    let mut gate = Gate::load_for(&settings, &duties, None)?;
    let (maps, packets) = (gate.take_maps()?, gate.take_packets()?);
    Ok(Loaded { gate, _maps: maps, packets })
}

/// A UDP datagram to port 53, in a frame of this length.
fn frame(length: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((length - 14).to_be_bytes());
    frame.extend([0, 7, 0, 0, 64, 17, 0, 0, 203, 0, 113, 7, 127, 0, 0, 1, 0x9c, 0x40, 0, 53]);
    frame.extend((length - 34).to_be_bytes());
    frame.resize(length.into(), 0);
    frame
}
