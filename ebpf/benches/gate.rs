//! What a packet costs in the program, ns: `BPF_PROG_TEST_RUN`, beside a program that does nothing and beside
//! xdp-filter of xdp-tools. As root; `cargo bench -p tidegate-ebpf`. All cases take turns, and the least of each
//! counts: who else works on the machine then slows all of them or none.

use std::{
    error::Error,
    fs,
    process::{Command, exit, id},
};

use ipnet::IpNet;
use tidegate_ebpf::{
    Denying, Duties, Gate, Maps, Ran,
    abi::{ALL, Block, DROP},
    layout::Settings,
    now_ns,
};

const ROUNDS: usize = 20;
const REPEAT: u32 = 200_000;
const SECOND: u64 = 1_000_000_000;
const BAD: [u8; 4] = [203, 0, 113, 7];
const GOOD: [u8; 4] = [203, 0, 113, 8];
const BAD6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The program uses the maps as long as both are there.
type Loaded = (Gate, Maps);
type Fallible<T> = Result<T, Box<dyn Error>>;

/// A case: its name, and what runs it and gives nanoseconds a packet.
type Case = (&'static str, Box<dyn FnMut() -> Fallible<u128>>);

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

fn measure() -> Fallible<()> {
    let (syn, other) = (ip4(BAD, TCP), ip4(GOOD, TCP));
    let (datagram, syn6) = (ip4(BAD, UDP), ip6());
    let plain = settings();
    let guarded = Settings { fail_open_ns: 30 * SECOND, ..plain };
    let filter = Filter::load(&[("syn", &syn), ("other", &other), ("syn6", &syn6)])?;
    let deadline = Block { deadline_ns: u64::MAX, ..block() };
    let many = || -> Fallible<Loaded> {
        let (gate, mut maps) = gate(guarded)?;
        for host in 0..=u16::MAX {
            let [a, b] = host.to_be_bytes();
            maps.insert(IpNet::new([10, 0, a, b].into(), 32)?, deadline)?;
        }
        Ok((gate, maps))
    };
    let mut cases: Vec<Case> = vec![
        ("a program that does nothing", empty(gate(plain)?, syn.clone())),
        ("ours, no verdict in any map", ours(gate(plain)?, syn.clone())),
        (
            "ours, a miss among verdicts",
            ours(with("203.0.113.7/32", block(), plain)?, other.clone()),
        ),
        ("ours, drop, no deadline", ours(with("203.0.113.7/32", block(), plain)?, syn.clone())),
        (
            "ours, drop, deadline, heartbeat, allow list",
            ours(with("203.0.113.7/32", deadline, guarded)?, syn.clone()),
        ),
        ("the same, IPv6", ours(with("2001:db8:7::7/128", deadline, guarded)?, syn6.clone())),
        (
            "the same, by a verdict on a network",
            ours(with("203.0.113.0/24", deadline, guarded)?, syn.clone()),
        ),
        (
            "the same, around one that is observed",
            ours(
                around("203.0.113.0/24", Block { enforce: 0, ..deadline }, deadline, guarded)?,
                syn.clone(),
            ),
        ),
        (
            "the same, a datagram (a look-up of its socket)",
            ours(with("203.0.113.7/32", deadline, guarded)?, datagram),
        ),
        ("the same, 65,536 sources in turn", turns(many()?, syn.clone())),
        (
            "drop, deadline, heartbeat, allow list, counted by port",
            ours(denied("203.0.113.7/32", deadline, guarded)?, syn.clone()),
        ),
        ("the same, IPv6", ours(denied("2001:db8:7::7/128", deadline, guarded)?, syn6.clone())),
        (
            "the same, 65,536 sources in turn, of which most find no room",
            turns(denied("10.0.0.0/16", deadline, guarded)?, syn.clone()),
        ),
        ("xdp-filter, an address that is not listed", filter.case("other")),
        ("xdp-filter, drop of a listed address", filter.case("syn")),
        ("xdp-filter, the same, IPv6", filter.case("syn6")),
    ];
    let mut least = vec![u128::MAX; cases.len()];
    for _ in 0..ROUNDS {
        for ((_, run), least) in cases.iter_mut().zip(&mut least) {
            *least = run()?.min(*least);
        }
    }
    println!("| case | ns |\n|---|---|");
    for ((name, _), least) in cases.iter().zip(least) {
        println!("| {name} | {least} |");
    }
    Ok(())
}

fn ours(loaded: Loaded, frame: Vec<u8>) -> Box<dyn FnMut() -> Fallible<u128>> {
    taking(loaded, move |gate| gate.run(&frame, REPEAT))
}

fn turns(loaded: Loaded, frame: Vec<u8>) -> Box<dyn FnMut() -> Fallible<u128>> {
    taking(loaded, move |gate| gate.run_many(&frame, REPEAT))
}

fn empty(loaded: Loaded, frame: Vec<u8>) -> Box<dyn FnMut() -> Fallible<u128>> {
    taking(loaded, move |gate| gate.run_empty(&frame, REPEAT))
}

fn taking(
    (mut gate, maps): Loaded,
    run: impl Fn(&mut Gate) -> Result<Ran, tidegate_ebpf::Error> + 'static,
) -> Box<dyn FnMut() -> Fallible<u128>> {
    Box::new(move || {
        let _held = &maps;
        Ok(run(&mut gate)?.duration.as_nanos())
    })
}

fn gate(settings: Settings) -> Fallible<Loaded> {
    furnished(Gate::load(&settings, None)?)
}

/// Its maps, with a heartbeat and an allow list.
fn furnished(mut gate: Gate) -> Fallible<Loaded> {
    let mut maps = gate.take_maps()?;
    maps.beat_at(now_ns() + 3600 * SECOND)?;
    let allowed = (0..20).map(|last| IpNet::new([192, 0, 2, last].into(), 32));
    maps.allow(&allowed.collect::<Result<Vec<_>, _>>()?)?;
    Ok((gate, maps))
}

/// One that counts what it drops, with the limits that the source `xdp` has.
fn denied(network: &str, block: Block, settings: Settings) -> Fallible<Loaded> {
    let minute = 60 * SECOND;
    let denying = Denying {
        counts: true,
        max_entries: 16_384,
        sources: 32_768,
        seed: 1,
        port_interval_ns: minute / 64,
        port_burst_ns: minute,
        rest_interval_ns: minute / 16,
        rest_burst_ns: minute,
        cpu_interval_ns: SECOND / 100,
        cpu_burst_ns: SECOND / 100 * 4_096,
    };
    let duties = Duties { denying, ..Duties::default() };
    let (gate, mut maps) = furnished(Gate::load_for(&settings, &duties, None)?)?;
    maps.insert(network.parse()?, block)?;
    Ok((gate, maps))
}

fn with(network: &str, block: Block, settings: Settings) -> Fallible<Loaded> {
    let (gate, mut maps) = gate(settings)?;
    maps.insert(network.parse()?, block)?;
    Ok((gate, maps))
}

/// One with a verdict on a network, and a milder one on the bad source in it.
fn around(network: &str, milder: Block, block: Block, settings: Settings) -> Fallible<Loaded> {
    let (gate, mut maps) = with(network, block, settings)?;
    maps.insert(IpNet::new(BAD.into(), 32)?, milder)?;
    Ok((gate, maps))
}

fn settings() -> Settings {
    Settings {
        enforce: true,
        fail_open_ns: 0,
        new_interval_ns: SECOND,
        new_burst_ns: SECOND,
        all_interval_ns: SECOND,
        all_burst_ns: SECOND,
        max_blocks: 65_536,
        max_networks: 1024,
        max_allowed: 1024,
    }
}

fn block() -> Block {
    Block { action: DROP, scope: ALL, enforce: 1, ..Block::default() }
}

/// The smallest frame there is, to port 22.
fn ip4(source: [u8; 4], protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 7, 0, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend([127, 0, 0, 1]);
    frame.extend(transport());
    frame.resize(60, 0);
    frame
}

fn ip6() -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64]);
    frame.extend(BAD6);
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend(transport());
    frame
}

/// A SYN; read as a datagram it has the same ports.
fn transport() -> [u8; 20] {
    [0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0]
}

/// xdp-filter, loaded and filled by its own command on an interface in a network namespace of its own.
struct Filter {
    namespace: String,
    program: String,
    folder: std::path::PathBuf,
}

// === impl Filter ===

impl Filter {
    fn load(frames: &[(&str, &Vec<u8>)]) -> Fallible<Self> {
        let namespace = format!("tidegate-bench-{}", id());
        let folder = std::env::temp_dir().join(&namespace);
        fs::create_dir_all(&folder)?;
        for (name, frame) in frames {
            fs::write(folder.join(name), frame)?;
        }
        run("ip", &["netns", "add", &namespace])?;
        let mut filter = Self { namespace, program: String::new(), folder };
        filter
            .inside(&["ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1"])?;
        filter.inside(&["xdp-filter", "load", "-f", "ipv4,ipv6", "-p", "allow", "bench0"])?;
        for address in ["203.0.113.7", "2001:db8:7::7"] {
            filter.inside(&["xdp-filter", "ip", address, "-m", "src"])?;
        }
        let shown = run("bpftool", &["prog", "show", "name", "xdpfilt_alw_ip"])?;
        let id = shown.split(':').next().filter(|id| !id.is_empty()).ok_or("no xdp-filter")?;
        id.trim().clone_into(&mut filter.program);
        Ok(filter)
    }

    fn inside(&self, command: &[&str]) -> Fallible<String> {
        // `ip netns exec` would hide the BPF file system.
        let namespace = format!("--net=/run/netns/{}", self.namespace);
        run("nsenter", &[&[namespace.as_str()], command].concat())
    }

    fn case(&self, frame: &str) -> Box<dyn FnMut() -> Fallible<u128>> {
        let (program, file) = (self.program.clone(), self.folder.join(frame).display().to_string());
        let repeat = REPEAT.to_string();
        Box::new(move || {
            let arguments = ["prog", "run", "id", &program, "data_in", &file, "repeat", &repeat];
            // Return value: 1, duration (average): 26ns
            let said = run("bpftool", &arguments)?;
            let average = said.split("(average): ").nth(1).and_then(|rest| rest.split("ns").next());
            Ok(average.ok_or("bpftool said no duration")?.trim().parse()?)
        })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let unloaded = self.inside(&["xdp-filter", "unload", "bench0"]);
        let removed = run("ip", &["netns", "delete", &self.namespace]);
        for left in [unloaded.err(), removed.err()].into_iter().flatten() {
            eprintln!("left over: {left}");
        }
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

fn run(program: &str, arguments: &[&str]) -> Fallible<String> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program} {}: {said}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
