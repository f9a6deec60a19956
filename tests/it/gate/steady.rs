//! Restarts and upgrades under traffic: what should pass passes, each packet of it; what is blocked stays out.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::{net::sockopt::set_socket_recv_buffer_size_force, process::Signal};
use tidegate_ebpf::{Maps, abi::Outcome as Became, pins::Pins};

use super::live::{BAD, GOOD, Site};
use crate::harness::{
    Case, Outcome, Scene,
    poll::{self, SOON},
};

/// Room for some ten thousand datagrams: what a server that has to wait for a processor gets meanwhile.
const RECEIVE_BYTES: usize = 16 << 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(restarts_and_upgrades_lose_no_packet_and_no_verdict, "few", (3, 1)).needs_root(),
        Case::with(restarts_and_upgrades_lose_no_packet_and_no_verdict, "many", (20, 3))
            .needs_root()
            .slow(),
        Case::new(an_upgrade_reads_no_verdict_of_another_layout).needs_root(),
    ]
}

/// How many restarts, and how many with other maps, as an upgrade to another layout has.
type Times = (u32, u32);

fn restarts_and_upgrades_lose_no_packet_and_no_verdict(scene: &Scene, times: Times) -> Outcome {
    let (restarts, upgrades) = times;
    // A machine that is busy may take long from a kill to the next sign of life.
    let allow = format!("networks: {{ allow: [{{ cidr: {GOOD}, owner: ops, reason: console }}] }}");
    let site = Site::new(scene, "fail_open_secs: 600", "mode: enforce", &allow)?;
    let mut running = site.start()?;
    site.add(BAD, &["--reason", "remembered"])?;
    site.add("198.51.100.0/24", &[])?;
    let server = site.server()?;
    set_socket_recv_buffer_size_force(&server, RECEIVE_BYTES)?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| -> Result<u32, Failed> {
        let sender = scope.spawn(|| send_until(&over, &bad, &good));
        let restarted = (0..restarts + upgrades).try_for_each(|round| -> Outcome {
            let upgrade = round % (restarts / upgrades + 1) == restarts / upgrades;
            running.signal(if round % 2 == 0 { Signal::KILL } else { Signal::TERM });
            poll::until_true("the daemon to end", SOON, || running.still_runs().is_err())?;
            holds(&site)?;
            if upgrade {
                other_maps(&site, round)?;
            }
            let before = maps_folder(&site)?;
            running = site.start()?;
            assert_eq!(maps_folder(&site)? != before, upgrade, "round {round}");
            super::live::running_says(&running, &["adopted=true"]);
            holds(&site)
        });
        over.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("it does not panic");
        restarted.map(|()| sent)
    })?;
    let arrived = arrived(&server, sent)?;
    assert_eq!(arrived.len(), sent as usize, "packets that should pass were lost");
    let dropped = site.packets(BAD)?;
    assert!(dropped > 0 && dropped <= sent.into(), "{dropped} of {sent} were counted");
    let counts = Maps::open(&folder(&site)?)?.counts()?;
    assert_eq!(counts[Became::FailOpen as usize].1.packets, 0);
    Ok(())
}

/// Numbered datagrams, as many of the good as of the bad; how many of each.
fn send_until(over: &AtomicBool, bad: &UdpSocket, good: &UdpSocket) -> u32 {
    let mut number = 0_u32;
    while !over.load(Ordering::Relaxed) {
        for client in [bad, good] {
            client.send(&number.to_be_bytes()).expect("the wire takes it");
        }
        number += 1;
        // Some 500 a second: none may be lost for want of room.
        thread::sleep(Duration::from_millis(2));
    }
    number
}

/// The numbers that arrived, each once and from the good source alone.
fn arrived(server: &UdpSocket, sent: u32) -> Result<BTreeSet<u32>, Failed> {
    let mut numbers = BTreeSet::new();
    let mut fault = None;
    poll::until_true("the last datagram", SOON, || {
        let mut buffer = [0; 4];
        while let Ok((_, sender)) = server.recv_from(&mut buffer) {
            let number = u32::from_be_bytes(buffer);
            if sender.ip().to_string() != GOOD {
                fault = Some(format!("number {number} of {sender} came in"));
            } else if !numbers.insert(number) {
                fault = Some(format!("number {number} came twice"));
            }
        }
        fault.is_some() || numbers.last() == Some(&(sent - 1))
    })?;
    fault.map_or(Ok(numbers), |fault| Err(fault.into()))
}

/// The program is on the interface, with its verdicts and its allow list: with the daemon dead too.
fn holds(site: &Site<'_>) -> Outcome {
    assert!(site.has_program()?, "the program is gone");
    let maps = Maps::open(&folder(site)?)?;
    let mut blocked: Vec<_> =
        maps.blocks()?.iter().map(|(network, _)| network.to_string()).collect();
    blocked.sort_unstable();
    assert_eq!(blocked, [format!("{BAD}/32"), "198.51.100.0/24".to_owned()]);
    let allowed = maps.allowed()?;
    assert!(allowed.contains(&format!("{GOOD}/32").parse()?), "{allowed:?}");
    Ok(())
}

/// Changes the room in the maps, which is another layout to the loader: they are made anew and filled.
fn other_maps(site: &Site<'_>, round: u32) -> Outcome {
    let text = fs::read_to_string(&site.config)?;
    let (before, after) = text.split_once("firewall: { ").ok_or("no firewall in the config")?;
    let after = match after.strip_prefix("max_blocks: ") {
        Some(after) => after.split_once(", ").ok_or("no mode in the config")?.1,
        None => after,
    };
    fs::write(&site.config, format!("{before}firewall: {{ max_blocks: {}, {after}", 1000 + round))?;
    Ok(())
}

fn folder(site: &Site<'_>) -> Result<PathBuf, Failed> {
    // The link is renamed by an upgrade, with a moment between.
    poll::until("the folder of the maps", SOON, || Pins::of(&site.id).current())
}

fn maps_folder(site: &Site<'_>) -> Result<String, Failed> {
    Ok(folder(site)?.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// A version whose verdicts are laid out otherwise left them: what they are is not guessed.
fn an_upgrade_reads_no_verdict_of_another_layout(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    Maps::open(&folder(&site)?)?.set(tidegate_ebpf::abi::Word::Layout, 7)?;
    // So that it is not put back from there.
    fs::remove_file(scene.path("data/verdicts.ndjson"))?;
    other_maps(&site, 0)?;
    let running = site.start()?;
    super::live::running_says(&running, &["adopted=true", "verdicts=0"]);
    assert!(site.list()?.is_empty());
    Ok(())
}
