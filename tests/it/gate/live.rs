//! The gate on a wire: real sockets, the command line, a daemon that is killed. What gets through is judged
//! by sockets and by tcpdump on the protected side, and the gate's own counts are compared with that.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, config,
    netns::{INTERFACE, Wire},
    poll::{self, SOON},
    process::output,
    tidegate::{Ended, Running, Tidegate},
};

pub(crate) const NEAR: &str = "10.77.0.1";
pub(crate) const BAD: &str = "10.77.0.2";
pub(crate) const GOOD: &str = "10.77.0.3";
pub(super) const PORT: u16 = 7000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(a_blocked_source_is_cut_off_an_open_session_included, "native", "native")
            .needs_root(),
        Case::with(a_blocked_source_is_cut_off_an_open_session_included, "skb", "skb").needs_root(),
        Case::new(a_verdict_with_a_ttl_ends_and_the_source_is_back).needs_root(),
        Case::new(observe_lets_everything_through_and_counts).needs_root(),
        Case::with(a_killed_daemon_leaves_verdicts_until_the_gate_fails_open, "pass", false)
            .needs_root(),
        Case::with(a_killed_daemon_leaves_verdicts_until_the_gate_fails_open, "keep", true)
            .needs_root(),
        Case::new(a_restart_takes_program_and_verdicts_over).needs_root(),
        Case::new(a_start_without_persist_leaves_nothing_behind).needs_root(),
        Case::new(detach_leaves_no_program_no_map_and_no_pin).needs_root(),
        Case::with(
            detach_beside_a_living_daemon_ends_all_that_is_on_the_interface,
            "persist",
            "persist: true",
        )
        .needs_root(),
        Case::with(
            detach_beside_a_living_daemon_ends_all_that_is_on_the_interface,
            "no persist",
            "persist: false",
        )
        .needs_root(),
        Case::new(what_must_not_be_blocked_is_refused_on_the_command_line).needs_root(),
        Case::new(a_gate_that_can_t_start_says_why).needs_root(),
        Case::new(
            one_sighup_takes_a_network_from_one_list_to_another_and_a_lost_file_keeps_its_own,
        )
        .needs_root(),
        Case::new(a_command_of_root_leaves_the_log_to_the_daemon_s_user).needs_root(),
        Case::new(lists_are_followed_on_sighup_and_health_tells_of_the_gate).needs_root(),
        Case::with(
            a_scanner_is_judged_and_cut_off_and_the_record_says_why,
            "by packets",
            BY_PACKETS,
        )
        .needs_root(),
        Case::with(
            a_scanner_is_judged_and_cut_off_and_the_record_says_why,
            "by the gate",
            BY_THE_GATE,
        )
        .needs_root(),
    ]
}

/// A wire with a gate on its near side.
pub(crate) struct Site<'a> {
    scene: &'a Scene,
    pub(crate) wire: Wire,
    pub(crate) id: String,
    pub(crate) config: PathBuf,
}

// === impl Site ===

impl<'a> Site<'a> {
    /// Lays the wire and writes the config: `keys` of the source, `firewall` of its firewall, `rest` of the
    /// whole.
    pub(super) fn new(
        scene: &'a Scene,
        keys: &str,
        firewall: &str,
        rest: &str,
    ) -> Result<Self, Failed> {
        Self::configured(scene, |id| {
            format!(
                "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\n{rest}\nsources:\n  {id}:\n    \
                 type: xdp\n    interface: {INTERFACE}\n    report: none\n    {keys}\n    firewall: {{ \
                 {firewall} }}\n  self: {{ type: health }}\nsinks:\n  out: {{ type: file, inputs: [self], \
                 path: {out} }}\n",
                data = scene.path("data").display(),
                api = config::API_PORT,
                out = scene.path("health.ndjson").display(),
            )
        })
    }

    /// Lays the wire and writes the config, which is made for a gate of this id.
    pub(crate) fn configured(
        scene: &'a Scene,
        text: impl FnOnce(&str) -> String,
    ) -> Result<Self, Failed> {
        static SITES: AtomicU32 = AtomicU32::new(0);
        bpf_file_system()?;
        let wire = Wire::lay()?;
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let id = format!("gate-{}-{number}", std::process::id());
        let text = text(&id);
        let config = scene.write("gate.yaml", text);
        let site = Self { scene, wire, id, config };
        site.settle()?;
        Ok(site)
    }

    /// Gives the ends of the wire their addresses.
    pub(super) fn settle(&self) -> Outcome {
        let (near, far) = (&self.wire.near, &self.wire.far);
        near.run("ip", &["address", "add", &format!("{NEAR}/24"), "dev", INTERFACE])?;
        for address in [BAD, GOOD] {
            far.run("ip", &["address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
        }
        // Native XDP on one end wants the other to take what it redirects and passes.
        far.run("ethtool", &["-K", INTERFACE, "gro", "on"])?;
        Ok(())
    }

    /// One that enforces.
    pub(super) fn enforcing(scene: &'a Scene, keys: &str) -> Result<Self, Failed> {
        Self::new(scene, keys, "mode: enforce, allow_empty_allowlist: true", "")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Tidegate {
        Tidegate::entered(self.scene, &self.wire.near, arguments)
    }

    /// Starts the daemon, and waits until the gate is attached.
    pub(crate) fn start(&self) -> Result<Running, Failed> {
        let config = self.config.display().to_string();
        let mut running = self.command(&["run", "-c", &config]).start()?;
        poll::until_true("the gate to be attached", SOON, || {
            running.stderr().contains("the gate never blocks") || running.still_runs().is_err()
        })?;
        running.still_runs()?;
        Ok(running)
    }

    /// `tidegate verdicts …` on this gate.
    pub(super) fn verdicts(&self, arguments: &[&str]) -> Result<Ended, Failed> {
        let data = self.scene.path("data").display().to_string();
        let place = ["--source", &self.id, "--data-dir", &data];
        self.command(&[&["verdicts"], arguments, &place].concat()).run()
    }

    pub(super) fn add(&self, address: &str, more: &[&str]) -> Result<(), Failed> {
        self.verdicts(&[&["add", address], more].concat())?.expect(0)?;
        Ok(())
    }

    pub(super) fn list(&self) -> Result<Vec<Value>, Failed> {
        let listed = self.verdicts(&["list", "--json"])?.expect(0)?;
        Ok(listed.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    pub(super) fn packets(&self, address: &str) -> Result<u64, Failed> {
        let listed = self.list()?;
        let entry = listed.iter().find(|entry| entry["address"] == address);
        Ok(entry.and_then(|entry| entry["packets"].as_u64()).unwrap_or(0))
    }

    /// What tells whether the gate's program is on the interface.
    pub(super) fn has_program(&self) -> Result<bool, Failed> {
        let shown = output(self.wire.near.entered("ip").args(["link", "show", "dev", INTERFACE]))?;
        Ok(shown.contains("xdp"))
    }

    pub(super) fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf/tidegate").join(&self.id)
    }

    /// A server for datagrams on the near side, that waits for none.
    pub(super) fn server(&self) -> Result<UdpSocket, Failed> {
        let server = self.wire.near.inside(|| UdpSocket::bind((NEAR, PORT)))??;
        server.set_nonblocking(true)?;
        Ok(server)
    }

    pub(super) fn client(&self, address: &str) -> Result<UdpSocket, Failed> {
        let bound = format!("{address}:0");
        let client = self.wire.far.inside(|| UdpSocket::bind(bound))??;
        client.connect((NEAR, PORT))?;
        Ok(client)
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        if let Err(failed) = self.command(&["gate", "detach", "--source", &self.id]).run() {
            eprintln!("{} is left over: {:?}", self.id, failed.message());
        }
    }
}

/// Makes sure that there is a BPF file system: a container, or a machine without systemd, has none.
pub(crate) fn bpf_file_system() -> Outcome {
    static MOUNTING: Mutex<()> = Mutex::new(());
    let _mounting = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if !mounts.lines().any(|line| line.contains(" /sys/fs/bpf bpf ")) {
        output(std::process::Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))?;
    }
    Ok(())
}

/// All that the server got so far: who sent it.
pub(super) fn received(server: &UdpSocket) -> Vec<String> {
    let mut from = Vec::new();
    let mut buffer = [0; 64];
    while let Ok((_, sender)) = server.recv_from(&mut buffer) {
        from.push(sender.ip().to_string());
    }
    from
}

/// Sends from both until the good one has come through; answers whether a bad one has.
pub(super) fn gets_through(
    server: &UdpSocket,
    bad: &UdpSocket,
    good: &UdpSocket,
) -> Result<bool, Failed> {
    received(server);
    for _ in 0..10 {
        bad.send(b"bad")?;
    }
    let mut from = Vec::new();
    poll::until_true("a datagram of the good client", SOON, || {
        good.send(b"good").unwrap_or_default();
        from.extend(received(server));
        from.iter().any(|sender| sender == GOOD)
    })?;
    Ok(from.iter().any(|sender| sender == BAD))
}

/// tcpdump on the near side, on what comes from the bad source.
pub(super) fn watch(site: &Site<'_>, file: &Path) -> Result<Child, Failed> {
    let log = fs::File::create(site.scene.path("tcpdump.stderr"))?;
    let child = site
        .wire
        .near
        .entered("tcpdump")
        .args(["-i", INTERFACE, "-U", "--immediate-mode", "-n", "-Z", "root", "-w"])
        .arg(file)
        .args(["ip", "and", "src", "host", BAD])
        .stderr(Stdio::from(log))
        .spawn()?;
    poll::until_true("tcpdump to listen", SOON, || {
        fs::read_to_string(site.scene.path("tcpdump.stderr"))
            .is_ok_and(|said| said.contains("listening on"))
    })?;
    Ok(child)
}

fn a_blocked_source_is_cut_off_an_open_session_included(scene: &Scene, attach: &str) -> Outcome {
    let site = Site::enforcing(scene, &format!("attach: {attach}"))?;
    let running = site.start()?;
    running_says(&running, &["ENFORCES", attach, NEAR]);
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let open = |address: &str| -> Result<(TcpStream, TcpStream), Failed> {
        let local: SocketAddr = format!("{address}:0").parse()?;
        let client = site.wire.far.inside(|| connect(local))??;
        Ok((client, listener.accept()?.0))
    };
    let (mut bad, mut bad_server) = open(BAD)?;
    let (mut good, mut good_server) = open(GOOD)?;
    let server = site.server()?;
    let (bad_udp, good_udp) = (site.client(BAD)?, site.client(GOOD)?);
    exchange(&mut bad, &mut bad_server)?;
    assert!(gets_through(&server, &bad_udp, &good_udp)?, "nothing is blocked yet");

    site.add(BAD, &["--ttl", "3000", "--reason", "a test"])?;
    let seen = scene.path("seen.pcap");
    let mut tcpdump = watch(&site, &seen)?;
    bad.write_all(b"an open session")?;
    assert!(!gets_through(&server, &bad_udp, &good_udp)?);
    exchange(&mut good, &mut good_server)?;
    poll::until_true("the gate to count ten datagrams and a segment", SOON, || {
        site.packets(BAD).is_ok_and(|packets| packets >= 11)
    })?;
    tcpdump.kill()?;
    tcpdump.wait()?;
    let header = 24;
    assert_eq!(fs::metadata(&seen)?.len(), header, "packets of it came in");

    let text = site.verdicts(&["list"])?.expect(0)?.stdout;
    assert!(text.contains(BAD) && text.contains(" min ") && text.contains("a test"), "{text}");
    let entry = &site.list()?[0];
    for (key, value) in [
        ("mode", "enforce"),
        ("action", "drop"),
        ("scope", "all"),
        ("by", "cli"),
        ("source", &site.id),
    ] {
        assert_eq!(entry[key], value, "{entry}");
    }
    assert!(
        entry["remaining_s"].as_u64().is_some_and(|left| left > 2400 && left <= 3000),
        "{entry}"
    );

    site.verdicts(&["remove", BAD])?.expect(0)?;
    // What the session had to say comes by retransmission.
    let mut heard = [0; 15];
    bad_server.read_exact(&mut heard)?;
    assert_eq!(&heard, b"an open session");
    assert!(gets_through(&server, &bad_udp, &good_udp)?);
    site.verdicts(&["remove", BAD])?.expect(1)?;
    let explained = site.verdicts(&["explain", BAD])?.expect(0)?.stdout;
    assert!(explained.contains("removed"), "{explained}");
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let log = fs::read_to_string(scene.path("data/verdicts.ndjson"))?;
    let changes: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let changes: Vec<_> = changes.iter().map(|line| line["change"].clone()).collect();
    assert_eq!(changes, ["applied", "removed"], "{log}");
    Ok(())
}

/// A connection from this address: std can't choose one.
pub(super) fn connect(local: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &local)?;
    connect(&socket, &SocketAddr::new(NEAR.parse().expect("it is one"), PORT))?;
    Ok(TcpStream::from(socket))
}

pub(super) fn exchange(client: &mut TcpStream, server: &mut TcpStream) -> Outcome {
    let mut heard = [0; 4];
    client.write_all(b"ping")?;
    server.read_exact(&mut heard)?;
    server.write_all(b"pong")?;
    client.read_exact(&mut heard)?;
    assert_eq!(&heard, b"pong");
    Ok(())
}

pub(super) fn running_says(running: &Running, words: &[&str]) {
    let said = running.stderr();
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}

fn a_verdict_with_a_ttl_ends_and_the_source_is_back(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let _running = site.start()?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    site.add(BAD, &["--ttl", "3"])?;
    let cut_off = !gets_through(&server, &bad, &good)?;
    poll::until_true("the verdict to end", SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| through)
    })?;
    // On a machine that was stopped for three seconds it may have been over before it was tried.
    let expired = poll::until("the record of its end", SOON, || {
        let log = fs::read_to_string(scene.path("data/verdicts.ndjson")).ok()?;
        let line = log.lines().find(|line| line.contains(r#""change":"expired""#))?.to_owned();
        serde_json::from_str::<Value>(&line).ok()
    })?;
    let packets = expired["packets"].as_u64().unwrap_or(0);
    assert_eq!(packets > 0, cut_off, "{expired}");
    assert!(site.list()?.is_empty());
    Ok(())
}

fn observe_lets_everything_through_and_counts(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "", "mode: observe", "")?;
    let running = site.start()?;
    running_says(&running, &["OBSERVES"]);
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    let noted = site.verdicts(&["add", BAD])?.expect(0)?;
    noted.says(&["observes", "nothing is dropped"])?;
    assert!(gets_through(&server, &bad, &good)?);
    let entry = &site.list()?[0];
    assert_eq!((&entry["mode"], &entry["remaining_s"]), (&"observe".into(), &Value::Null));
    assert!(entry["packets"].as_u64() >= Some(10), "{entry}");
    // The gate is started anew to enforce: what was only observed is not carried over.
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    let text = fs::read_to_string(&site.config)?
        .replace("mode: observe", "mode: enforce, allow_empty_allowlist: true");
    fs::write(&site.config, text)?;
    let _running = site.start()?;
    assert!(site.list()?.is_empty());
    assert!(gets_through(&server, &bad, &good)?);
    Ok(())
}

fn a_killed_daemon_leaves_verdicts_until_the_gate_fails_open(scene: &Scene, keep: bool) -> Outcome {
    let keys = if keep { "on_daemon_death: keep" } else { "fail_open_secs: 20" };
    let site = Site::enforcing(scene, keys)?;
    let running = site.start()?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    // The time for what follows, on a machine that stands still for a while.
    site.add(BAD, &["--ttl", if keep { "20" } else { "3600" }])?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    assert!(site.has_program()?, "it went with the daemon");
    gets_through(&server, &bad, &good)?;
    assert!(site.packets(BAD)? > 0, "the command line does not see what is dropped");
    poll::until_true("traffic to flow again", 2 * SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| through)
    })?;
    assert_eq!(site.list()?.is_empty(), keep, "with `pass` the verdict is there, and idle");
    let status = site.command(&["gate", "status", "--source", &site.id]).run()?.expect(0)?;
    let said = &status.stdout;
    assert!(said.contains("silent") && said.contains("enforces"), "{said}");
    Ok(())
}

fn a_restart_takes_program_and_verdicts_over(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    let mut running = site.start()?;
    site.add(BAD, &["--reason", "remembered"])?;
    // The last time with another size, which is another layout: the verdict is carried over.
    for (signal, keys) in
        [(Signal::KILL, ""), (Signal::TERM, ""), (Signal::KILL, "max_blocks: 99, ")]
    {
        running.signal(signal);
        running.wait(SOON)?;
        let text = fs::read_to_string(&site.config)?;
        fs::write(&site.config, text.replace("mode: enforce", &format!("{keys}mode: enforce")))?;
        assert!(site.has_program()?, "it went with the daemon");
        running = site.start()?;
        running_says(&running, &["adopted=true"]);
        assert!(!gets_through(&server, &bad, &good)?, "after {signal:?} and {keys}");
        let entry = &site.list()?[0];
        let why = entry["reasons"][0].as_str().unwrap_or_default();
        assert!(why.starts_with("remembered"), "{entry}");
    }
    let mut names: Vec<_> = fs::read_dir(site.pins())?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.retain(|name| name != "current" && name != "link");
    assert_eq!(names.len(), 1, "{names:?}: only the maps in use are kept");
    Ok(())
}

fn a_start_without_persist_leaves_nothing_behind(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "persist: false")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    assert_eq!(site.list()?.len(), 1);
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    poll::until_true("the program to go with its daemon", SOON, || {
        site.has_program().is_ok_and(|there| !there)
    })?;
    let _running = site.start()?;
    assert!(site.list()?.is_empty(), "a start without `persist` begins with no verdicts");
    Ok(())
}

fn detach_leaves_no_program_no_map_and_no_pin(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    for alive in [false, true] {
        let running = site.start()?;
        assert!(site.list()?.is_empty(), "what was taken off came back");
        site.add(BAD, &[])?;
        assert!(site.has_program()? && site.pins().exists());
        let data = scene.path("data").display().to_string();
        let detach = ["gate", "detach", "--source", &site.id, "--data-dir", &data];
        let detach = || site.command(&detach).run()?.expect(0);
        if alive {
            detach()?;
            poll::until_true("the daemon to see it", SOON, || {
                running.stderr().contains("the gate is no longer on")
            })?;
            running.signal(Signal::TERM);
            running.wait(SOON)?;
        } else {
            running.signal(Signal::KILL);
            running.wait(SOON)?;
            detach()?;
        }
        assert!(!site.has_program()?, "alive {alive}");
        assert!(!site.pins().exists(), "alive {alive}");
        site.verdicts(&["list"])?.expect(1)?.says(&["has no gate"])?;
    }
    Ok(())
}

/// The program at egress too, which a link of the daemon's holds: what is sent then is in no flow.
fn detach_beside_a_living_daemon_ends_all_that_is_on_the_interface(
    scene: &Scene,
    persist: &str,
) -> Outcome {
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}: {{ type: xdp, \
             interface: {INTERFACE}, {persist} }}\nsinks:\n  out: {{ type: file, inputs: [{id}], path: \
             {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("flows.ndjson").display(),
        )
    })?;
    let running = site.start()?;
    let sender = site.wire.near.inside(|| UdpSocket::bind((NEAR, 0)))??;
    let [before, after] = [7001, 7002];
    let hears = |port: u16| -> Result<UdpSocket, Failed> {
        let socket = site.wire.far.inside(|| UdpSocket::bind((BAD, port)))??;
        socket.set_read_timeout(Some(SOON))?;
        Ok(socket)
    };
    let send = |port: u16| -> Outcome {
        let receiver = hears(port)?;
        sender.send_to(b"out", (BAD, port))?;
        receiver.recv(&mut [0; 8])?;
        Ok(())
    };
    send(before)?;
    let said = site.command(&["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
    said.says(&["its daemon runs on"])?;
    poll::until_true("the daemon to see it", SOON, || {
        running.stderr().contains("the gate is no longer on")
    })?;
    assert!(!site.has_program()?);
    send(after)?;
    running.signal(Signal::TERM);
    // It did not do all that it was told to.
    running.wait(SOON)?.expect(3)?;
    let flows = fs::read_to_string(scene.path("flows.ndjson"))?;
    let has = |port: u16| flows.contains(&format!(r#""port":{port}"#));
    assert!(has(before), "{flows}");
    assert!(!has(after), "{flows}");
    Ok(())
}

fn what_must_not_be_blocked_is_refused_on_the_command_line(scene: &Scene) -> Outcome {
    let site = Site::new(
        scene,
        "",
        "mode: enforce, max_blocks: 2",
        "networks: { allow: [{ cidr: 10.77.0.3, owner: ops, reason: console }] }",
    )?;
    site.wire.near.run("ip", &["route", "add", "default", "via", "10.77.0.254"])?;
    let _running = site.start()?;
    for (network, reason) in [
        (NEAR, "an address of this host"),
        ("10.77.0.254", "the default gateway"),
        (GOOD, "is allowed"),
        ("10.77.0.0/24", "an address of this host"),
        ("0.0.0.0/0", "every address"),
        ("169.254.169.254", "the cloud's metadata"),
        ("::ffff:169.254.169.254", "the cloud's metadata"),
    ] {
        let ended = site.verdicts(&["add", network])?.expect(1)?;
        assert!(ended.stderr.contains(reason), "{network}: {}", ended.stderr);
    }
    site.verdicts(&["add", "10.0.0.5/8"])?.expect(2)?.says(&["bits behind its prefix"])?;
    for last in [10, 11] {
        site.add(&format!("10.77.0.{last}"), &[])?;
    }
    // Of both address families, addresses and networks together.
    for network in ["10.77.0.12", "2001:db8::12", "192.0.2.0/24"] {
        site.verdicts(&["add", network])?.expect(1)?.says(&["all 2 entries are in use"])?;
    }
    site.add("10.77.0.11", &["--reason", "once more takes no room"])?;
    let explained = site.verdicts(&["explain", "::ffff:10.77.0.11"])?.expect(0)?.stdout;
    assert!(explained.contains("takes no room"), "{explained}");
    site.verdicts(&["add", "10.77.0.12", "--ttl", "-5"])?.expect(2)?.says(&["-5"])?;
    assert_eq!(site.list()?.len(), 2);
    site.verdicts(&["flush"])?.expect(0)?;
    assert!(site.list()?.is_empty());
    // What is removed goes by the id: that is no way to other folders.
    let foreign = scene.path("foreign");
    fs::create_dir_all(&foreign)?;
    fs::write(foreign.join("file"), "kept")?;
    let up = format!("../../../..{}", foreign.display());
    for id in [&foreign.display().to_string(), &up, "", ".", ".."] {
        for command in [&["gate", "detach"][..], &["gate", "status"], &["verdicts", "flush"]] {
            let ended = site.command(&[command, &["--source", id]].concat()).run()?;
            ended.expect(2)?.says(&["an id is made of letters"])?;
        }
    }
    assert!(foreign.join("file").exists() && site.has_program()?);
    // An address that the host gets later is never blocked either.
    site.add("10.77.0.77", &[])?;
    site.wire.near.run("ip", &["address", "add", "10.77.0.77/24", "dev", INTERFACE])?;
    poll::until_true("the verdict on the host's new address to be lifted", SOON, || {
        site.list().is_ok_and(|listed| listed.is_empty())
    })?;
    Ok(())
}

fn a_gate_that_can_t_start_says_why(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let _running = site.start()?;
    let refused = |change: &dyn Fn(String) -> String, code, words: &[&str]| -> Outcome {
        let text = change(fs::read_to_string(&site.config)?)
            .replace(
                &scene.path("data").display().to_string(),
                &scene.path("other").display().to_string(),
            )
            .replace(&config::API_PORT.to_string(), "0");
        let path = scene.write("refused.yaml", text).display().to_string();
        site.command(&["run", "-c", &path]).run()?.expect(code)?.says(words)
    };
    refused(&|text| text, 78, &["another Tidegate runs", "give this source another one"])?;
    let other = format!("{}-b", site.id);
    refused(&|text| text.replace(&site.id, &other), 78, &["another XDP program", "bpftool"])?;
    let detached = site.command(&["gate", "detach", "--source", &other]).run()?;
    detached.expect(0)?;
    refused(
        &|text| text.replace(", allow_empty_allowlist: true", ""),
        78,
        &["nobody is on the allow list", "allow_empty_allowlist"],
    )?;
    refused(
        &|text| text.replace("report: none", "report: none\n    sample: 10"),
        78,
        &["`sample` is about packets", "report: packets"],
    )?;
    refused(
        &|text| text.replace("report: none", "report: none\n    role: mirror"),
        78,
        &["of a copy nothing can be dropped"],
    )?;
    // A map that is pinned in our folder and is something else.
    let folder = fs::read_link(site.pins().join("current"))?;
    let foreign = format!("{}-c", site.id);
    let theirs = Path::new("/sys/fs/bpf/tidegate").join(&foreign);
    fs::create_dir_all(theirs.join(&folder))?;
    let maps = site.pins().join(&folder);
    tidegate_ebpf::pins::again(&maps.join("tg_stats"), &theirs.join(&folder).join("tg_state"))?;
    refused(&|text| text.replace(&site.id, &foreign), 78, &["tg_state", "not", "remove"])?;
    site.command(&["gate", "detach", "--source", &foreign]).run()?.expect(0)?;
    Ok(())
}

fn lists_are_followed_on_sighup_and_health_tells_of_the_gate(scene: &Scene) -> Outcome {
    let list = scene.write("blocked.txt", format!("{BAD} # known\nnonsense\n{NEAR}\n"));
    let firewall =
        format!("mode: enforce, allow_empty_allowlist: true, block_files: [{}]", list.display());
    let site = Site::new(scene, "", &firewall, "")?;
    let running = site.start()?;
    running_says(&running, &["blocked.txt:2", "blocked.txt:3: not blocked"]);
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    assert!(!gets_through(&server, &bad, &good)?);
    let entry = &site.list()?[0];
    assert_eq!((&entry["by"], &entry["mode"]), (&"list".into(), &"enforce".into()), "{entry}");
    let (status, health) = site.wire.near.get(config::API_PORT, "/health")?;
    assert_eq!(status, 200, "{health}");
    let health: Value = serde_json::from_str(&health)?;
    let gate = health["components"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["type"] == "xdp").map(|one| one["gate"].clone()));
    let gate = gate.ok_or("no gate in /health")?;
    assert_eq!((&gate["mode"], &gate["verdicts"]), (&"enforce".into(), &1.into()), "{gate}");
    poll::until_true("the metric of dropped packets", SOON, || {
        let page = site.wire.near.get(config::API_PORT, "/metrics");
        page.is_ok_and(|(_, page)| {
            page.lines().any(|line| {
                line.starts_with("tidegate_xdp_packets_total")
                    && line.contains("outcome=\"drop_address\"")
                    && !line.ends_with(" 0")
            })
        })
    })?;
    fs::write(&list, "# empty\n")?;
    running.signal(Signal::HUP);
    poll::until_true("the verdict of the list to go", SOON, || {
        site.list().is_ok_and(|listed| listed.is_empty())
    })?;
    assert!(gets_through(&server, &bad, &good)?);
    running.signal(Signal::TERM);
    running.wait(Duration::from_mins(2))?.expect(0)?;
    Ok(())
}

fn one_sighup_takes_a_network_from_one_list_to_another_and_a_lost_file_keeps_its_own(
    scene: &Scene,
) -> Outcome {
    let allowed = scene.write("allowed.txt", format!("{BAD}\n"));
    let list = scene.write("blocked.txt", format!("{BAD}\n"));
    let firewall = format!("mode: enforce, block_files: [{}]", list.display());
    let networks = format!("networks: {{ allow_files: [{}] }}", allowed.display());
    let site = Site::new(scene, "", &firewall, &networks)?;
    let running = site.start()?;
    running_says(&running, &["blocked.txt:1: not blocked"]);
    fs::write(&allowed, format!("{GOOD}\n"))?;
    running.signal(Signal::HUP);
    let is_blocked = || site.list().is_ok_and(|listed| listed.len() == 1);
    poll::until_true("it to be blocked", SOON, is_blocked)?;
    for lost in [&list, &allowed] {
        fs::remove_file(lost)?;
    }
    running.signal(Signal::HUP);
    poll::until_true("both to be missed", SOON, || {
        running.stderr().matches("what it held before goes on to hold").count() == 2
    })?;
    assert!(is_blocked());
    site.verdicts(&["add", GOOD])?.expect(1)?.says(&["allow"])?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

fn a_command_of_root_leaves_the_log_to_the_daemon_s_user(scene: &Scene) -> Outcome {
    const NOBODY: u32 = 65_534;
    let data = scene.path("data");
    fs::create_dir_all(&data)?;
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY))?;
    let site = Site::enforcing(scene, "")?;
    let _running = site.start()?;
    site.add(BAD, &[])?;
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(data.join("verdicts.ndjson"))?);
    assert_eq!(owner, NOBODY);
    let long = "x".repeat(1_025);
    site.verdicts(&["add", GOOD, "--reason", &long])?.expect(2)?.says(&["1025 bytes"])?;
    Ok(())
}

/// Where the judge's contacts come from: the components in between, its inputs, and what is written.
const BY_PACKETS: (&str, &str, &str) = (
    "wire: { type: tshark, interface: wire, mode: pipe, dissect: headers }\ntransforms:\n  packets: { type: \
     extract, inputs: [wire] }\n  flows: { type: flow, inputs: [packets] }\n  ",
    "flows, flows.contacts",
    "scored, scored.alerts",
);
const BY_THE_GATE: (&str, &str, &str) =
    ("self: { type: health }\ntransforms:\n  ", "GATE.contacts", "scored.alerts, self");

/// The whole: dumpcap → packets → flows → the judge → the gate; or the gate's own contacts → the judge. One
/// source of `far` tries port after port, as a scanner does, until it is not even refused any more.
fn a_scanner_is_judged_and_cut_off_and_the_record_says_why(
    scene: &Scene,
    (seen, inputs, outputs): (&'static str, &'static str, &'static str),
) -> Outcome {
    let records = scene.path("records.ndjson");
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\n\
             networks: {{ internal: [10.77.0.0/24] }}\nsources:\n  \
             {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: enforce, \
             allow_empty_allowlist: true }} }}\n  \
             {seen}scored: {{ type: score, inputs: [{inputs}], warmup_secs: 0, block: {{ via: {id} }} }}\n\
             sinks:\n  out: {{ type: file, inputs: [{outputs}], path: {out} }}\n",
            inputs = inputs.replace("GATE", id),
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = records.display(),
        )
    })?;
    let running = site.start()?;
    let (server, good) = (site.server()?, site.client(GOOD)?);
    let tried = site.wire.far.inside(tries_until_cut_off)?;
    assert!(tried.is_some(), "600 ports were tried, and all of them refused");
    poll::until_true("the verdict to meet packets", SOON, || {
        site.packets(BAD).is_ok_and(|packets| packets > 0)
    })?;
    let listed = site.list()?;
    let [entry] = &listed[..] else { return Err(format!("{listed:#?}").into()) };
    assert_eq!((&entry["by"], &entry["mode"]), (&"score".into(), &"enforce".into()));
    // Whoever does nothing of the kind is served meanwhile.
    poll::until_true("a datagram of the good client", SOON, || {
        good.send(b"good").unwrap_or_default();
        received(&server).iter().any(|sender| sender == GOOD)
    })?;
    // The kernel keeps no words: they are in the log, which the daemon writes beside its other work.
    let mut why = String::new();
    poll::until_true("the reasons in the log", SOON, || {
        let explained = site.verdicts(&["explain", BAD, "--json"]).and_then(|told| told.expect(0));
        let line = explained.map(|told| told.stdout.lines().next().unwrap_or("").to_owned());
        let told: Value = serde_json::from_str(&line.unwrap_or_default()).unwrap_or_default();
        told["reasons"][0].as_str().unwrap_or_default().clone_into(&mut why);
        !why.is_empty()
    })?;
    poll::until_true("a record with the same reason", SOON, || {
        let text = fs::read_to_string(&records).unwrap_or_default();
        let record = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        text.lines().map(record).any(|record| {
            record["event"]["dataset"] == "tidegate.alert"
                && record["source"]["ip"] == BAD
                && record["event"]["reason"] == why.as_str()
        })
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

/// At which port a connection came to nothing at all, rather than to a refusal.
fn tries_until_cut_off() -> Option<u16> {
    (1..=600).find(|port| {
        std::thread::sleep(Duration::from_millis(20));
        let address = SocketAddr::new(NEAR.parse().expect("an address"), *port);
        let tried = TcpStream::connect_timeout(&address, Duration::from_millis(500));
        tried.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}
