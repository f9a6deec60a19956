//! Contacts of a gate on a wire: real clients, real scanners, real rules. What is told is compared with what
//! they did.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use libtest_mimic::Failed;
use tidegate::{
    gate::evidence::{Moment, Teller, View},
    host::has_nat,
    record::{Contact, ObservationPoint, Outcome as Came, Timestamp},
};
use tidegate_ebpf::{Duties, Evidence, Gate, Wanted, Watch, now_ns};

use super::{live::bpf_file_system, made::ENFORCE};
use crate::harness::{
    Case, Outcome, Scene,
    netns::{INTERFACE, Namespace, Wire},
    poll::{self, SOON},
};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Longer than anything is waited for, ns.
const LATER: u64 = 60_000_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(a_syn_scan_tells_open_ports_from_closed_ones, "with replies", true).needs_root(),
        Case::with(a_syn_scan_tells_open_ports_from_closed_ones, "by sockets", false).needs_root(),
        Case::with(containers_behind_nat_make_no_failures, "with replies", true).needs_root(),
        Case::with(containers_behind_nat_make_no_failures, "by sockets", false).needs_root(),
        Case::new(rules_that_rewrite_addresses_are_found).needs_root(),
    ]
}

/// A wire with a gate on its near side, in this process.
struct Site {
    wire: Wire,
    _gate: Gate,
    evidence: Evidence,
    teller: Teller,
    contacts: Vec<Contact>,
}

// === impl Site ===

impl Site {
    fn new(sees_replies: bool) -> Result<Self, Failed> {
        bpf_file_system()?;
        let wire = Wire::lay()?;
        wire.near.run("ip", &["address", "add", &format!("{NEAR}/16"), "dev", INTERFACE])?;
        wire.far.run("ip", &["address", "add", &format!("{FAR}/16"), "dev", INTERFACE])?;
        wire.far.run("ethtool", &["-K", INTERFACE, "gro", "on"])?;
        let index = wire.near.run("cat", &[&format!("/sys/class/net/{INTERFACE}/ifindex")])?;
        let index: u32 = index.trim().parse()?;
        let watch = Watch {
            contacts: true,
            sees_replies,
            seed: 7,
            ring_bytes: 1 << 20,
            places: 1 << 19,
            sources: 1 << 10,
            ..Watch::default()
        };
        let (gate, evidence) = wire.near.inside(|| -> Result<_, tidegate_ebpf::Error> {
            let duties = Duties { watch, ..Duties::default() };
            let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
            let evidence = gate.take_evidence()?;
            gate.attach(index, Wanted::Auto, false)?;
            if sees_replies {
                gate.attach_egress(INTERFACE)?;
            }
            Ok((gate, evidence))
        })??;
        let teller = Teller::new(ObservationPoint::default(), sees_replies);
        Ok(Self { wire, _gate: gate, evidence, teller, contacts: Vec::new() })
    }

    /// What the daemon would know of the near side.
    fn view(&self) -> Result<View, Failed> {
        let view = || View {
            addresses: vec![NEAR.into()],
            sockets_decide: has_nat().is_ok_and(|has| !has),
        };
        self.wire.near.inside(view)
    }

    /// Takes what is in the ring, as of so much later.
    fn look(&mut self, later_ns: u64) -> Outcome {
        let view = self.view()?;
        let monotonic_ns = now_ns() + later_ns;
        let now = Moment { monotonic_ns, wall: Timestamp::from_nanos(monotonic_ns.cast_signed()) };
        while self.teller.turn(&mut self.evidence, &view, now, 10_000, &mut self.contacts) > 0 {}
        Ok(())
    }

    /// The contacts of a source with a port.
    fn of(&self, source: IpAddr, port: u16) -> Vec<(Came, bool)> {
        let contacts = self.contacts.iter();
        let contacts = contacts.filter(|one| one.source == source && one.port == port);
        contacts.map(|contact| (contact.outcome, contact.path_proven)).collect()
    }

    /// No event was lost, and none kept back.
    fn is_complete(&self) -> Outcome {
        let tally = self.evidence.tally()?;
        assert_eq!((tally.lost, tally.by_source, tally.by_cpu, tally.displaced), (0, 0, 0, 0));
        Ok(())
    }
}

fn a_syn_scan_tells_open_ports_from_closed_ones(_: &Scene, sees_replies: bool) -> Outcome {
    let mut site = Site::new(sees_replies)?;
    let open = [7003, 7007];
    let listeners = site.wire.near.inside(|| open.map(|port| TcpListener::bind((NEAR, port))))?;
    let ports: Vec<_> = (7000..7012).collect();
    let said = site.wire.far.run(
        "nmap",
        &["-sS", "-Pn", "-n", "--max-retries", "1", "-p", "7000-7011", &NEAR.to_string()],
    )?;
    for port in open {
        assert!(said.contains(&format!("{port}/tcp open")), "{said}");
    }
    site.look(0)?;
    let soon: Vec<_> = ports.iter().map(|port| site.of(FAR.into(), *port)).collect();
    site.look(LATER)?;
    for (port, told) in ports.iter().zip(soon) {
        let is_open = open.contains(port);
        // The scanner's kernel resets what it did not ask for.
        let expected = [(Came::Attempt, false), (Came::Refused, is_open)];
        assert_eq!(told, expected, "port {port}, {sees_replies}: {said}");
        assert_eq!(site.of(FAR.into(), *port), expected, "port {port}, later");
    }
    site.is_complete()?;
    drop(listeners);
    Ok(())
}

/// Publishes twenty ports of a third namespace on the near side, and lets fifty clients use them all.
fn containers_behind_nat_make_no_failures(_: &Scene, sees_replies: bool) -> Outcome {
    const CLIENTS: u8 = 50;
    let ports = 7100..7120_u16;
    let mut site = Site::new(sees_replies)?;
    let inner = Namespace::new("inner")?;
    publish(&site.wire.near, &inner)?;
    let listeners: Vec<TcpListener> = inner.inside(|| {
        ports.clone().map(|port| TcpListener::bind(("10.78.0.2", port))).collect::<Result<_, _>>()
    })??;
    let addresses: Vec<_> = (0..CLIENTS).map(|host| Ipv4Addr::new(10, 77, 1, host + 1)).collect();
    let script =
        addresses.iter().map(|address| format!("ip address add {address}/16 dev {INTERFACE};"));
    site.wire.far.run("sh", &["-ec", &script.collect::<String>()])?;
    // Somebody listens beside the rule too, as the proxies of container engines do.
    let beside = site.wire.near.inside(|| TcpListener::bind((NEAR, 7100)))??;
    let servers = std::thread::spawn(move || serve(&listeners, usize::from(CLIENTS)));
    site.wire.far.inside(|| -> std::io::Result<()> {
        for address in &addresses {
            for port in ports.clone() {
                talk(connect(*address, port)?)?;
            }
        }
        Ok(())
    })??;
    servers.join().expect("it does not panic")?;
    site.look(0)?;
    site.look(LATER)?;
    assert!(!site.view()?.sockets_decide, "the rule is seen");
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for address in &addresses {
        for port in ports.clone() {
            for (came, _) in site.of((*address).into(), port) {
                let what = match came {
                    Came::Attempt => "attempts",
                    Came::Success => "successes",
                    Came::Refused | Came::TimedOut => "failures",
                    _ => "others",
                };
                *sums.entry(what).or_default() += 1;
            }
        }
    }
    let all = u32::from(CLIENTS) * 20;
    let successes = if sees_replies { vec![("successes", all)] } else { Vec::new() };
    let expected: BTreeMap<_, _> = [("attempts", all)].into_iter().chain(successes).collect();
    assert_eq!(sums, expected);
    site.is_complete()?;
    drop(beside);
    Ok(())
}

/// Joins the near side with another namespace, and sends it what comes for these ports.
fn publish(near: &Namespace, inner: &Namespace) -> Outcome {
    near.run("ip", &["link", "add", "inside", "type", "veth", "peer", "name", "outside"])?;
    near.run("ip", &["link", "set", "outside", "netns", inner.name()])?;
    for (side, name, address) in [(near, "inside", "10.78.0.1"), (inner, "outside", "10.78.0.2")] {
        side.run("ip", &["address", "add", &format!("{address}/24"), "dev", name])?;
        side.run("ip", &["link", "set", name, "up"])?;
    }
    inner.run("ip", &["route", "add", "default", "via", "10.78.0.1"])?;
    near.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    near.run(
        "nft",
        &["add table ip published; add chain ip published incoming { type nat hook prerouting \
           priority -100; }; add rule ip published incoming ip daddr 10.77.0.1 tcp dport \
           7100-7119 dnat to 10.78.0.2"],
    )?;
    Ok(())
}

/// Answers each of `clients` on each port once.
fn serve(listeners: &[TcpListener], clients: usize) -> std::io::Result<()> {
    for _ in 0..clients {
        for listener in listeners {
            let (mut stream, _) = listener.accept()?;
            let mut heard = [0; 4];
            stream.read_exact(&mut heard)?;
            stream.write_all(&heard)?;
        }
    }
    Ok(())
}

fn talk(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"ping")?;
    let mut heard = [0; 4];
    stream.read_exact(&mut heard)
}

/// A connection from this address to a port of the near side.
fn connect(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(from.into(), 0))?;
    connect(&socket, &SocketAddr::new(NEAR.into(), port))?;
    Ok(TcpStream::from(socket))
}

fn rules_that_rewrite_addresses_are_found(_: &Scene) -> Outcome {
    let namespace = Namespace::new("nat")?;
    let looks = || has_nat().map_err(|error| Failed::from(error.to_string()));
    assert!(!namespace.inside(looks)??, "there are no rules");
    namespace.run(
        "nft",
        &["add table inet plain; add chain inet plain input { type filter hook \
                            input priority 0; }; add rule inet plain input tcp dport 1 drop"],
    )?;
    assert!(!namespace.inside(looks)??, "what filters rewrites nothing");
    namespace.run(
        "nft",
        &["add table ip6 moved; add chain ip6 moved out { type nat hook \
                            postrouting priority 100; }"],
    )?;
    poll::until_true("the rule to be seen", SOON, || {
        namespace.inside(looks).is_ok_and(|looked| looked.is_ok_and(|has| has))
    })
}
