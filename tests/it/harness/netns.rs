//! Two network namespaces with a wire between them, gone again when the case ends.
//!
//! Nothing but the case's own packets is on the wire: no addresses, no IPv6 autoconfiguration, and no
//! offloading that would merge packets on their way.

use std::{
    fs,
    os::fd::AsFd,
    path::Path,
    process::{self, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use libtest_mimic::Failed;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    Case, Outcome, Scene,
    process::{Process, output},
};

/// What the interface is called on both sides.
pub(crate) const INTERFACE: &str = "wire";

/// Two namespaces, joined by a veth pair called [`INTERFACE`] on both sides.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The side that sends.
    pub(crate) far: Namespace,
    /// The side where Tidegate listens.
    pub(crate) near: Namespace,
}

/// A network namespace of our own.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

// === impl Wire ===

impl Wire {
    /// Lays it, both ends up.
    ///
    /// # Errors
    /// When `ip` or `ethtool` refuses: with its words.
    pub(crate) fn lay() -> Result<Self, Failed> {
        let wire = Self { far: Namespace::new("far")?, near: Namespace::new("near")? };
        wire.join()?;
        Ok(wire)
    }

    /// Puts a fresh pair of interfaces in, both ends up.
    ///
    /// # Errors
    /// As for [`Self::lay`].
    pub(crate) fn join(&self) -> Outcome {
        self.join_down()?;
        for side in [&self.far, &self.near] {
            side.run("ip", &["link", "set", INTERFACE, "up"])?;
        }
        Ok(())
    }

    /// The same, both ends down.
    ///
    /// # Errors
    /// As for [`Self::lay`].
    pub(crate) fn join_down(&self) -> Outcome {
        ip(&[
            "link",
            "add",
            INTERFACE,
            "netns",
            &self.far.name,
            "type",
            "veth",
            "peer",
            "name",
            INTERFACE,
            "netns",
            &self.near.name,
        ])?;
        for side in [&self.far, &self.near] {
            side.run("ethtool", &["-K", INTERFACE, "gro", "off", "gso", "off", "tso", "off"])?;
        }
        Ok(())
    }

    /// Takes the interfaces away on both sides.
    ///
    /// # Errors
    /// As for [`Self::lay`].
    pub(crate) fn cut(&self) -> Outcome {
        self.far.run("ip", &["link", "delete", INTERFACE]).map(|_| ())
    }

    /// Sends a capture from the far side, `loops` times over, at this rate; answers how many packets
    /// arrived: where nobody had time to take them off the wire, some are dropped.
    ///
    /// # Errors
    /// When tcpreplay fails, or a packet didn't go out.
    pub(crate) fn send(
        &self,
        capture: &Path,
        packets_per_second: u32,
        loops: u32,
    ) -> Result<u64, Failed> {
        let dropped = self.dropped()?;
        let said = output(
            self.far
                .command("tcpreplay")
                .args(["--intf1", INTERFACE, "--preload-pcap"])
                .arg(format!("--pps={packets_per_second}"))
                .arg(format!("--loop={loops}"))
                .arg(capture),
        )?;
        let number = |label: &str| {
            said.lines()
                .find_map(|line| line.trim().strip_prefix(label)?.trim().parse::<u64>().ok())
                .ok_or_else(|| format!("tcpreplay doesn't say `{label}`: {said}"))
        };
        let failed = number("Failed packets:")?;
        if failed > 0 {
            return Err(format!("tcpreplay could not send {failed} packets").into());
        }
        // The kernel may say that it dropped one, which is sent again then.
        let lost =
            (self.dropped()? - dropped).saturating_sub(number("Retried packets (ENOBUFS):")?);
        Ok(number("Successful packets:")? - lost)
    }

    /// How many packets from the far side were dropped on their way, as there was no room on the near one.
    pub(crate) fn dropped(&self) -> Result<u64, Failed> {
        let path = format!("/sys/class/net/{INTERFACE}/statistics/tx_dropped");
        Ok(self.far.run("cat", &[&path])?.trim().parse()?)
    }

    /// How many packets arrived on the near side since it was laid.
    pub(crate) fn arrived(&self) -> Result<u64, Failed> {
        let path = format!("/sys/class/net/{INTERFACE}/statistics/rx_packets");
        Ok(self.near.run("cat", &[&path])?.trim().parse()?)
    }
}

// === impl Namespace ===

impl Namespace {
    /// Makes one, whose name ends with `side`.
    ///
    /// # Errors
    /// When `ip` refuses: with its words.
    pub(crate) fn new(side: &str) -> Result<Self, Failed> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        static ADDING: Mutex<()> = Mutex::new(());
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-{}-{number}-{side}", process::id());
        // The first one makes the mount that all of them live below.
        let adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        ip(&["netns", "add", &name])?;
        drop(adding);
        let namespace = Self { name };
        for scope in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            namespace.run("sh", &["-c", &format!("test ! -e {path} || echo 1 > {path}")])?;
        }
        namespace.run("ip", &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// What `ip netns` knows it by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A program that will run inside. Its process id is the command's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// The same, with the file systems of our own mount namespace: the BPF file system is seen.
    pub(crate) fn entered(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Calls a function in a thread that is inside: sockets it makes stay there.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failed> {
        let namespace = fs::File::open(Path::new("/run/netns").join(&self.name))?;
        let entered = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).map(|()| work())
            });
            thread.join().expect("it does not panic")
        });
        Ok(entered?)
    }

    /// Runs a program inside, and answers what it printed.
    ///
    /// # Errors
    /// When it fails: with its words.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failed> {
        output(self.command(program).args(arguments))
    }

    /// The processes that live in it, with their names.
    ///
    /// # Errors
    /// When `ip` refuses: with its words.
    pub(crate) fn processes(&self) -> Result<Vec<Process>, Failed> {
        let pids = ip(&["netns", "pids", &self.name])?;
        Ok(pids.lines().filter_map(|pid| super::process::get(pid.trim().parse().ok()?)).collect())
    }

    /// Fetches a page from a server on this namespace's loopback; answers status and body.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) fn get(&self, port: u16, path: &str) -> Result<(u16, String), Failed> {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port} && \
             printf 'GET {path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && timeout 60 cat <&3"
        );
        let answer = self.run("bash", &["-c", &script])?;
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| format!("not an HTTP answer: {answer}"))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.ok_or("no HTTP status")?, body.to_owned()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(failed) = ip(&["netns", "delete", &self.name]) {
            eprintln!("namespace {} is left over: {:?}", self.name, failed.message());
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, Failed> {
    output(Command::new("ip").args(arguments))
}

// === cases ===

/// The wire's own cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(only_what_a_case_sends_is_on_its_wire_and_nothing_is_left_of_it).needs_root()]
}

fn only_what_a_case_sends_is_on_its_wire_and_nothing_is_left_of_it(scene: &Scene) -> Outcome {
    let capture = scene.path("ten.pcap");
    super::captures::numbered(10).write(&capture);
    let wire = Wire::lay()?;
    assert_eq!(wire.send(&capture, 1_000, 3)?, 30);
    assert_eq!(wire.arrived()?, 30);
    let names = [wire.far.name.clone(), wire.near.name.clone()];
    drop(wire);
    for name in names {
        assert!(!fs::exists(Path::new("/run/netns").join(&name))?, "{name} is left");
    }
    Ok(())
}
