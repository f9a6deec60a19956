//! A host that forwards: its ports lead to a container in another network namespace (DNAT), so no socket of its
//! own answers. Whoever uses them is no scanner, and whoever is blocked does not get there either.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket},
    process::Signal,
};

use super::live::{NEAR, Site};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::{INTERFACE, Namespace},
    poll::{self, SOON},
};

const CLIENTS: u8 = 50;
const FIRST_PORT: u16 = 9001;
const PORTS: u16 = 20;
/// The container's address, and the host's on the way to it.
const INNER: &str = "10.78.0.2";
const OUTER: &str = "10.78.0.1";
const RULES: &str = "table ip forwarded { chain pre { type nat hook prerouting priority dstnat; iifname \
                     \"wire\" tcp dport 9001-9020 dnat to 10.78.0.2; }; }";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(clients_of_containers_behind_nat_make_no_failures).needs_root()]
}

fn clients_of_containers_behind_nat_make_no_failures(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| configuration(scene, id))?;
    let inner = container(&site)?;
    for client in clients() {
        site.wire.far.run("ip", &["address", "add", &format!("{client}/24"), "dev", INTERFACE])?;
    }
    let running = site.start()?;
    let listeners = (FIRST_PORT..FIRST_PORT + PORTS).map(|port| -> Result<TcpListener, Failed> {
        let listener = inner.inside(|| TcpListener::bind((INNER, port)))??;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let listeners = listeners.collect::<Result<Vec<_>, Failed>>()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        scope.spawn(|| serve(&listeners, &over));
        let done = use_them(&site, scene);
        over.store(true, Ordering::Relaxed);
        done
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

fn configuration(scene: &Scene, id: &str) -> String {
    format!(
        "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  \
         {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: enforce, \
         allow_empty_allowlist: true }} }}\n  \
         wire: {{ type: tshark, interface: {INTERFACE}, mode: pipe, dissect: headers }}\ntransforms:\n  \
         packets: {{ type: extract, inputs: [wire] }}\n  \
         flows: {{ type: flow, inputs: [packets] }}\n  \
         scored: {{ type: score, inputs: [flows.contacts], warmup_secs: 0, block: {{ via: {id} }} }}\n\
         sinks:\n  out: {{ type: file, inputs: [scored.alerts, {id}.alerts], path: {out} }}\n",
        data = scene.path("data").display(),
        api = config::API_PORT,
        out = scene.path("records.ndjson").display(),
    )
}

/// A network namespace behind the near side, which leads its ports there.
fn container(site: &Site<'_>) -> Result<Namespace, Failed> {
    let inner = Namespace::new("inner")?;
    let near = &site.wire.near;
    let peer = ["peer", "name", INTERFACE, "netns", inner.name()];
    near.run("ip", &[&["link", "add", "inner", "type", "veth"][..], &peer[..]].concat())?;
    near.run("ip", &["address", "add", &format!("{OUTER}/24"), "dev", "inner"])?;
    near.run("ip", &["link", "set", "inner", "up"])?;
    inner.run("ip", &["address", "add", &format!("{INNER}/24"), "dev", INTERFACE])?;
    inner.run("ip", &["link", "set", INTERFACE, "up"])?;
    inner.run("ip", &["route", "add", "default", "via", OUTER])?;
    near.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    near.run("nft", &[RULES])?;
    Ok(inner)
}

fn clients() -> impl Iterator<Item = String> {
    (100..100 + CLIENTS).map(|last| format!("10.77.0.{last}"))
}

/// Answers every connection with a word.
fn serve(listeners: &[TcpListener], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut any = false;
        for listener in listeners {
            while let Ok((mut stream, _)) = listener.accept() {
                any = true;
                std::io::Write::write_all(&mut stream, b"served").unwrap_or_default();
            }
        }
        if !any {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn use_them(site: &Site<'_>, scene: &Scene) -> Outcome {
    for client in clients() {
        for port in FIRST_PORT..FIRST_PORT + PORTS {
            assert_eq!(fetch(site, &client, port)??, "served", "{client} at port {port}");
        }
    }
    let contacts = u64::from(CLIENTS) * u64::from(PORTS);
    poll::until_true("the judge to have taken the contacts", SOON, || {
        let page = site.wire.near.get(config::API_PORT, "/metrics");
        page.is_ok_and(|(_, page)| taken(&page) >= contacts)
    })?;
    assert!(site.list()?.is_empty(), "{:?}", site.list()?);
    let alerts = fs::read_to_string(scene.path("records.ndjson")).unwrap_or_default();
    assert!(!alerts.contains("tidegate.alert"), "{alerts}");
    // What is forwarded is dropped as well, and the others' is not.
    let blocked: Vec<_> = clients().take(2).collect();
    site.add(&blocked[0], &[])?;
    let refused = fetch(site, &blocked[0], FIRST_PORT)?;
    assert!(refused.is_err(), "{refused:?}");
    assert!(site.packets(&blocked[0])? > 0);
    assert_eq!(fetch(site, &blocked[1], FIRST_PORT)??, "served");
    Ok(())
}

/// Records that the judge has taken in.
fn taken(page: &str) -> u64 {
    let of_judge = |line: &&str| {
        line.starts_with("tidegate_component_received_events_total")
            && line.contains("component_id=\"scored\"")
    };
    let numbers = page.lines().filter(of_judge);
    numbers.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// What the host's port answers this client.
fn fetch(site: &Site<'_>, client: &str, port: u16) -> Result<std::io::Result<String>, Failed> {
    let local: SocketAddr = format!("{client}:0").parse()?;
    let server: SocketAddr = format!("{NEAR}:{port}").parse()?;
    site.wire.far.inside(move || -> std::io::Result<String> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Of a blocked one neither SYN nor its repetition arrives.
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Send,
            Some(Duration::from_secs(2)),
        )?;
        bind(&socket, &local)?;
        connect(&socket, &server)?;
        let mut stream = TcpStream::from(socket);
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}
