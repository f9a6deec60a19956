//! An unbound on loopback that answers from zones of the case alone, and logs what it is asked.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use libtest_mimic::Failed;

use super::{Scene, poll, server};

/// A resolver that knows `zones` and nothing else; killed when dropped.
#[derive(Debug)]
pub(crate) struct Unbound {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Unbound {
    /// Starts it with these lines of its `server:` clause (`local-data: …`, `local-zone: …`). Any
    /// other name doesn't exist; names below `broken` lead to a resolver that isn't there.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(scene: &Scene, zones: &str, broken: &str) -> Result<Self, Failed> {
        let address = (Ipv4Addr::LOCALHOST, server::free_port()?).into();
        Self::start_at(scene, address, zones, broken)
    }

    /// The same at an address of loopback that the case chooses.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start_at(
        scene: &Scene,
        address: SocketAddr,
        zones: &str,
        broken: &str,
    ) -> Result<Self, Failed> {
        let nobody = server::free_port()?;
        let log = scene.path("unbound.log");
        // An earlier one's says that it has started.
        fs::write(&log, "")?;
        let config = scene.write(
            "unbound.conf",
            format!(
                "server:
  interface: {ip}@{port}
  directory: \"{folder}\"
  logfile: \"{log}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  do-ip6: no
  module-config: \"iterator\"
  log-queries: yes
  local-zone: \".\" static
  local-zone: \"{broken}\" transparent
{zones}
forward-zone:
  name: \"{broken}\"
  forward-addr: 127.0.0.1@{nobody}
remote-control:
  control-enable: no
",
                ip = address.ip(),
                port = address.port(),
                folder = scene.folder.display(),
                log = log.display(),
            ),
        );
        let child = Command::new("/usr/sbin/unbound")
            .arg("-d")
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(scene.path("unbound.stderr"))?)
            .spawn()
            .map_err(|error| format!("can't start unbound (package unbound): {error}"))?;
        let unbound = Self { address, log, child };
        let started = || unbound.log_text().contains("start of service");
        poll::until_true("unbound to start", poll::SOON, started)?;
        Ok(unbound)
    }

    /// The questions it was asked, as `NAME TYPE`.
    pub(crate) fn asked(&self) -> Vec<String> {
        // [1700000000] unbound[12:0] info: 127.0.0.1 4.4.8.8.in-addr.arpa. PTR IN
        let question = |line: &str| {
            let (_, question) = line.split_once("info: 127.0.0.1 ")?;
            let mut words = question.split(' ');
            Some(format!("{} {}", words.next()?, words.next()?))
        };
        self.log_text().lines().filter_map(question).collect()
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("can't end unbound {}: {error}", self.child.id());
        }
    }
}
