//! Sessions of administrators: TCP connections to ports that they come in by, once they are old enough. An
//! attacker's try at a password is an open connection too, but sshd ends it after 120 s.
//!
//! Over a restart they are remembered in `DATA_DIR/verdicts-SOURCE.sessions`. A connection is known again by its socket's
//! inode beside its addresses and ports, in the same boot of the kernel: another one that has the same ports later, as an
//! attacker may bring about, is a new one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;

/// From this age on a connection is an administrator's.
const OLD: Duration = Duration::from_mins(3);
/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";
/// Connections that are remembered over a restart, the oldest ones.
const MOST: usize = 4_096;
/// Bytes of the file that are read; so many connections take less.
const MAX_BYTES: u64 = 1 << 20;
/// Names the boot of the kernel.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Connection {
    port: u16,
    address: IpAddr,
    remote_port: u16,
    /// Of its socket; 0 if no process has it.
    inode: u64,
}

/// What a former process knew of connections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Remembered {
    boot: String,
    /// Each with the time, ns, when it was seen first.
    sessions: Vec<(Connection, i64)>,
}

/// Follows connections to administrators' ports. How old one is, the kernel does not tell: it counts from
/// when it was seen first.
#[derive(Debug, Default)]
pub struct Sessions {
    first_seen: BTreeMap<Connection, Timestamp>,
}

// === impl Sessions ===

impl Sessions {
    /// Where they are remembered, for a source.
    pub fn path(data_dir: &Path, source: &str) -> PathBuf {
        data_dir.join(format!("verdicts-{source}.sessions"))
    }

    /// What is remembered there.
    ///
    /// # Errors
    /// If there is nothing, or it can't be read.
    pub fn recall(path: &Path) -> io::Result<Remembered> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// Goes on where another process ended: a connection that goes on has the age that is remembered. If nothing is, it
    /// is as old as need be if its other end was protected then, as `were` says.
    pub fn resume(
        ports: &[u16],
        remembered: Option<Remembered>,
        were: impl Fn(IpAddr) -> bool,
        now: Timestamp,
    ) -> Self {
        Self::resumed(&Self::found(ports), &boot(), remembered, were, now)
    }

    fn resumed(
        found: &[Connection],
        boot: &str,
        remembered: Option<Remembered>,
        were: impl Fn(IpAddr) -> bool,
        now: Timestamp,
    ) -> Self {
        let age = i64::try_from(OLD.as_nanos()).unwrap_or(i64::MAX);
        let old = Timestamp::from_nanos(now.nanos().saturating_sub(age));
        let first_seen = match remembered {
            None => found.iter().filter(|one| were(one.address)).map(|one| (*one, old)).collect(),
            Some(Remembered { boot: then, sessions }) if then == boot && !boot.is_empty() => {
                let goes_on = |one: &Connection| one.inode > 0 && found.contains(one);
                let known = sessions.into_iter().filter(|(one, _)| goes_on(one));
                let at = |since| Timestamp::from_nanos(since).min(now);
                known.map(|(one, since)| (one, at(since))).collect()
            }
            Some(_) => BTreeMap::new(),
        };
        Self { first_seen }
    }

    /// What the next process is to recall, as the file has it.
    pub fn remembered(&self) -> Vec<u8> {
        let mut sessions: Vec<_> =
            self.first_seen.iter().map(|(one, at)| (*one, at.nanos())).collect();
        sessions.retain(|(one, _)| one.inode > 0);
        sessions.sort_unstable_by_key(|(_, since)| *since);
        sessions.truncate(MOST);
        serde_json::to_vec(&Remembered { boot: boot(), sessions }).unwrap_or_default()
    }

    /// Looks at the connections of this host to `ports`, and gives the other ends of those that are old.
    pub fn look(&mut self, ports: &[u16], now: Timestamp) -> Vec<IpAddr> {
        self.see(Self::found(ports).into_iter(), now)
    }

    fn found(ports: &[u16]) -> Vec<Connection> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let texts = [read("/proc/self/net/tcp"), read("/proc/self/net/tcp6")];
        texts.iter().flat_map(|text| connections(text, ports)).collect()
    }

    fn see(
        &mut self,
        connections: impl Iterator<Item = Connection>,
        now: Timestamp,
    ) -> Vec<IpAddr> {
        let before = std::mem::take(&mut self.first_seen);
        self.first_seen =
            connections.map(|one| (one, before.get(&one).copied().unwrap_or(now))).collect();
        let is_old = |since: &Timestamp| u128::from(now.since(*since)) >= OLD.as_nanos();
        let old = self.first_seen.iter().filter(|(_, since)| is_old(since));
        let mut addresses: Vec<_> = old.map(|(one, _)| one.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

fn boot() -> String {
    fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned()
}

/// The established connections to these local ports in a file of procfs.
pub(super) fn connections(text: &str, ports: &[u16]) -> Vec<Connection> {
    let connection = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let (_, local) = end(local)?;
        let (address, remote_port) = end(remote)?;
        let inode = columns.nth(5).and_then(|inode| inode.parse().ok()).unwrap_or(0);
        (state == ESTABLISHED && ports.contains(&local)).then_some(Connection {
            port: local,
            address,
            remote_port,
            inode,
        })
    };
    text.lines().skip(1).filter_map(connection).collect()
}

/// `ADDRESS:PORT` in hexadecimal; the address in words of the machine's order.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address = match address.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (place, at) in bytes.chunks_mut(4).zip((0..).step_by(8)) {
                place.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn from(address: &str, remote_port: u16) -> Connection {
        let address = address.parse().unwrap();
        Connection { port: 22, address, remote_port, inode: 77 }
    }

    fn line(local: u16, remote: [u8; 4], port: u16, state: &str) -> String {
        let word = |bytes| u32::from_ne_bytes(bytes);
        let (ours, theirs) = (word([192, 0, 2, 1]), word(remote));
        format!(
            "   0: {ours:08X}:{local:04X} {theirs:08X}:{port:04X} {state} 00000000:00000000 00:00000000 \
             00000000     0        0 77 1 0\n"
        )
    }

    #[test]
    fn connections_to_the_ports_are_found() {
        let text = format!(
            "  sl  local_address rem_address   st\n{}{}{}{}nonsense\n",
            line(22, [203, 0, 113, 7], 40_000, "01"),
            line(22, [203, 0, 113, 8], 40_001, "06"),
            line(443, [203, 0, 113, 9], 40_002, "01"),
            line(22, [0, 0, 0, 0], 0, "0A"),
        );
        assert_eq!(connections(&text, &[22]), [from("203.0.113.7", 40_000)]);
        let mapped = format!(
            "header\n 0: {zero}:0016 {zero_but_last}{ffff:08X}{v4:08X}:9C40 01\n",
            zero = "0".repeat(32),
            zero_but_last = "0".repeat(16),
            ffff = u32::from_ne_bytes([0, 0, 0xff, 0xff]),
            v4 = u32::from_ne_bytes([203, 0, 113, 7]),
        );
        let without = Connection { inode: 0, ..from("203.0.113.7", 40_000) };
        assert_eq!(connections(&mapped, &[22]), [without]);
    }

    #[test]
    fn after_a_restart_a_session_that_was_an_administrator_s_still_is() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let _accepted = server.accept().unwrap();
        let ports = [server.local_addr().unwrap().port()];
        let administrator = client.local_addr().unwrap().ip();
        let look = |was| {
            let were = |one| was && one == administrator;
            Sessions::resume(&ports, None, were, at(9)).look(&ports, at(9))
        };
        assert_eq!(look(true), [administrator]);
        assert!(look(false).is_empty(), "it may be anybody's");
        let mut before = Sessions::default();
        before.look(&ports, at(1_000));
        for (second, expected) in [(1_179, &[][..]), (1_180, &[administrator])] {
            let remembered = serde_json::from_slice(&before.remembered()).unwrap();
            let mut after = Sessions::resume(&ports, Some(remembered), |_| false, at(1_100));
            assert_eq!(after.look(&ports, at(second)), expected, "at {second} s");
        }
    }

    #[test]
    fn a_session_keeps_its_age_over_a_restart_only_if_it_is_the_same_one() {
        let known = from("198.51.100.1", 50_000);
        let resumed = |boot: &str, found: Connection, now| {
            let sessions = vec![(known, at(0).nanos())];
            let remembered = Remembered { boot: "one".to_owned(), sessions };
            let protected = |one| one == known.address;
            let mut after = Sessions::resumed(&[found], boot, Some(remembered), protected, at(now));
            !after.see([found].into_iter(), at(now)).is_empty()
        };
        assert!(!resumed("one", known, 179), "it is no older than it was");
        assert!(resumed("one", known, 180));
        assert!(!resumed("two", known, 180), "the machine was started anew");
        assert!(!resumed("", known, 180), "which boot it is is not known");
        for other in [
            Connection { inode: 78, ..known },
            Connection { inode: 0, ..known },
            Connection { remote_port: 50_001, ..known },
            Connection { port: 2222, ..known },
            from("198.51.100.2", 50_000),
        ] {
            assert!(!resumed("one", other, 10_000), "{other:?} may be anybody's");
        }
        let ahead = Remembered { boot: "one".to_owned(), sessions: vec![(known, i64::MAX)] };
        let mut after = Sessions::resumed(&[known], "one", Some(ahead), |_| false, at(50));
        assert_eq!(after.see([known].into_iter(), at(230)), [known.address], "a clock set back");
    }

    #[test]
    fn the_oldest_connections_are_remembered_and_no_more_than_there_is_room_for() {
        let mut sessions = Sessions::default();
        let young = (0..6_000).map(|port| from("203.0.113.7", port));
        let old = from("198.51.100.1", 50_000);
        sessions.see([old].into_iter(), at(0));
        sessions.see(young.chain([old]), at(100));
        let bytes = sessions.remembered();
        assert!((bytes.len() as u64) < MAX_BYTES, "{}", bytes.len());
        let remembered: Remembered = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((remembered.sessions.len(), remembered.sessions[0].0), (MOST, old));
    }

    #[test]
    fn an_ssh_brute_force_in_progress_is_blockable_while_an_older_admin_session_survives() {
        let admin = from("198.51.100.1", 50_000);
        let mut sessions = Sessions::default();
        assert!(sessions.see([admin].into_iter(), at(0)).is_empty(), "it may be anybody's yet");
        // Each try is a connection of its own, the longest as long as sshd lets it.
        for second in (10..=600).step_by(10) {
            let try_number = u16::try_from(second / 120).unwrap();
            let attacker = from("203.0.113.7", 40_000 + try_number);
            let old = sessions.see([admin, attacker].into_iter(), at(second));
            let expected = if second >= 180 { vec![admin.address] } else { Vec::new() };
            assert_eq!(old, expected, "at {second} s");
        }
        assert!(sessions.see([].into_iter(), at(610)).is_empty(), "it is over");
    }
}
