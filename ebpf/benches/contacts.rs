//! What it costs to tell of contacts, ns: in the program a packet (`BPF_PROG_TEST_RUN`), in user space an event
//! that is taken off the ring. As root; `cargo bench -p tidegate-ebpf --bench contacts`. All cases take turns, and
//! the least of each counts. Then events at a steady rate, taken off every 5 ms as the source does: none may be lost.

use std::{
    error::Error,
    process::exit,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tidegate_ebpf::{Duties, Evidence, Gate, Guard, Maps, Watch, layout::Settings};

const ROUNDS: usize = 20;
const REPEAT: u32 = 200_000;
const SECOND: u64 = 1_000_000_000;
/// The source's default.
const RING_BYTES: u32 = 1 << 23;
/// From one look into the ring to the next.
const PAUSE: Duration = Duration::from_millis(5);
const STEADY: Duration = Duration::from_secs(10);
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const ACK: u8 = 0x10;

/// A name, the program, a frame, and whether it is the empty program that runs.
type Measured = (&'static str, Loaded, Vec<u8>, bool);
type Fallible<T> = Result<T, Box<dyn Error>>;

/// A program that tells everything, and what it tells.
struct Loaded {
    gate: Gate,
    _maps: Maps,
    evidence: Evidence,
}

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

/// Everything is told, by replies.
fn told() -> Watch {
    Watch {
        contacts: true,
        sees_replies: true,
        seed: 7,
        ring_bytes: 1 << 25,
        places: 1 << 17,
        sources: 1 << 16,
        source_interval_ns: 0,
        source_burst_ns: 1,
        cpu_interval_ns: 0,
        cpu_burst_ns: 1,
        ..Watch::default()
    }
}

fn cases() -> Fallible<Vec<Measured>> {
    let quiet = Watch::default();
    let replies = told();
    let sockets = Watch { sees_replies: false, ..replies };
    let guard = Guard {
        distinct_ports: 32,
        enforce: true,
        hold_ns: 10 * SECOND,
        sources: 65_536,
        ..Guard::OFF
    };
    let guarded = Watch { guard, ..replies };
    Ok(vec![
        ("a program that does nothing", load(&quiet)?, frame(SYN), true),
        ("nobody reads contacts", load(&quiet)?, frame(ACK), false),
        ("an ACK whose connection has its place", load(&replies)?, frame(ACK), false),
        (
            "the same, without replies (a socket was looked up once)",
            load(&sockets)?,
            frame(ACK),
            false,
        ),
        ("a SYN that was told already", load(&replies)?, frame(SYN), false),
        ("a packet that is told, each one", load(&replies)?, frame(FIN), false),
        ("the guard is on: an ACK", load(&guarded)?, frame(ACK), false),
        ("the guard is on: a SYN that was told already", load(&guarded)?, frame(SYN), false),
    ])
}

fn measure() -> Fallible<()> {
    let mut cases = cases()?;
    let mut least = [u128::MAX; 8];
    let (mut drained, mut events) = (u128::MAX, 0);
    for _ in 0..ROUNDS {
        for ((_, loaded, frame, is_empty), least) in cases.iter_mut().zip(&mut least) {
            let ran = if *is_empty {
                loaded.gate.run_empty(frame, REPEAT)?
            } else {
                loaded.gate.run(frame, REPEAT)?
            };
            *least = ran.duration.as_nanos().min(*least);
            #[expect(clippy::disallowed_methods, reason = "it measures")]
            let began = Instant::now();
            let mut ports = 0_u64;
            let taken =
                loaded.evidence.drain(usize::MAX, |event| ports += u64::from(event.source_port));
            let nanos = began.elapsed().as_nanos();
            assert!(ports > 0 || taken == 0, "they are looked at");
            if taken > 100_000 {
                drained = (nanos / taken as u128).min(drained);
                events += taken as u64;
            }
        }
    }
    println!("| case | ns |\n|---|---|");
    for ((name, ..), least) in cases.iter().zip(least) {
        println!("| {name} | {least} |");
    }
    println!("| an event that is taken off the ring, in user space | {drained} |");
    let tally = cases[5].1.evidence.tally()?;
    println!("\n{} produced = {events} received + {} lost", tally.produced, tally.lost);
    println!("\n| events a second | produced | received | lost | ns to take one off |");
    println!("|---|---|---|---|---|");
    [10, 200].into_iter().try_for_each(steady)
}

/// So many events each millisecond, while somebody takes them off.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn steady(each_milli: u32) -> Fallible<()> {
    let Loaded { mut gate, _maps, mut evidence } =
        load(&Watch { ring_bytes: RING_BYTES, ..told() })?;
    let frame = frame(FIN);
    let is_over = AtomicBool::new(false);
    let (received, nanos, evidence) = thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let (mut received, mut taken) = (0, Duration::ZERO);
            let mut is_last = false;
            while !is_last {
                thread::sleep(PAUSE);
                is_last = is_over.load(Ordering::Acquire);
                let began = Instant::now();
                received += evidence.drain(usize::MAX, |event| assert!(event.source_port > 0));
                taken += began.elapsed();
            }
            (received as u64, taken.as_nanos(), evidence)
        });
        let began = Instant::now();
        let (mut ran, mut due) = (Ok(()), Duration::ZERO);
        while due < STEADY && ran.is_ok() {
            due += Duration::from_millis(1);
            // One by one: for a run that repeats itself the kernel patches its code, and stops all processors.
            ran = (0..each_milli).try_for_each(|_| gate.run(&frame, 1).map(drop));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        is_over.store(true, Ordering::Release);
        let taken = taking.join().map_err(|_| "whoever takes them off panicked")?;
        ran?;
        Fallible::Ok(taken)
    })?;
    let (tally, rate) = (evidence.tally()?, each_milli * 1_000);
    let (each, lost) = (nanos / u128::from(received.max(1)), tally.lost);
    println!("| {rate} | {} | {received} | {lost} | {each} |", tally.produced);
    assert_eq!(tally.produced, received + lost);
    Ok(())
}

fn load(watch: &Watch) -> Fallible<Loaded> {
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
    let mut gate = Gate::load_for(&settings, &Duties { watch: *watch, ..Duties::default() }, None)?;
    let (maps, evidence) = (gate.take_maps()?, gate.take_evidence()?);
    Ok(Loaded { gate, _maps: maps, evidence })
}

/// The smallest frame there is, with these control bits, to port 7000 of this host.
fn frame(flags: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 7, 0, 0, 64, 6, 0, 0]);
    frame.extend([203, 0, 113, 7, 127, 0, 0, 1]);
    frame.extend([0x9c, 0x40, 0x1b, 0x58, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.resize(60, 0);
    frame
}
