//! Sessions of administrators: TCP connections to ports that they come in by, once they are old enough. An
//! attacker's try at a password is an open connection too, but sshd ends it after 120 s.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::record::Timestamp;

/// From this age on a connection is an administrator's.
const OLD: Duration = Duration::from_mins(3);
/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";

/// A connection: local port, remote address and port.
type Connection = (u16, IpAddr, u16);

/// Follows connections to administrators' ports. How old one is, the kernel does not tell: it counts from
/// when it was seen first.
#[derive(Debug, Default)]
pub struct Sessions {
    first_seen: BTreeMap<Connection, Timestamp>,
}

// === impl Sessions ===

impl Sessions {
    /// Goes on where another process ended: a connection that goes on is as old as need be if its other end was
    /// protected then, as `were` says.
    pub fn resume(ports: &[u16], were: impl Fn(IpAddr) -> bool, now: Timestamp) -> Self {
        let found = Self::found(ports).into_iter();
        let age = i64::try_from(OLD.as_nanos()).unwrap_or(i64::MAX);
        let old = Timestamp::from_nanos(now.nanos().saturating_sub(age));
        Self { first_seen: found.filter(|one| were(one.1)).map(|one| (one, old)).collect() }
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
        let mut addresses: Vec<_> = old.map(|((_, address, _), _)| *address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The established connections to these local ports in a file of procfs.
pub(super) fn connections(text: &str, ports: &[u16]) -> Vec<Connection> {
    let connection = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let (_, local) = end(local)?;
        let (address, port) = end(remote)?;
        (state == ESTABLISHED && ports.contains(&local)).then_some((local, address, port))
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

    fn line(local: u16, remote: [u8; 4], port: u16, state: &str) -> String {
        let word = |bytes| u32::from_ne_bytes(bytes);
        let (ours, theirs) = (word([192, 0, 2, 1]), word(remote));
        format!("   0: {ours:08X}:{local:04X} {theirs:08X}:{port:04X} {state} 00000000:00000000\n")
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
        assert_eq!(connections(&text, &[22]), [(22, "203.0.113.7".parse().unwrap(), 40_000)]);
        let mapped = format!(
            "header\n 0: {zero}:0016 {zero_but_last}{ffff:08X}{v4:08X}:9C40 01\n",
            zero = "0".repeat(32),
            zero_but_last = "0".repeat(16),
            ffff = u32::from_ne_bytes([0, 0, 0xff, 0xff]),
            v4 = u32::from_ne_bytes([203, 0, 113, 7]),
        );
        assert_eq!(connections(&mapped, &[22]), [(22, "203.0.113.7".parse().unwrap(), 40_000)]);
    }

    #[test]
    fn after_a_restart_a_session_that_was_an_administrator_s_still_is() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let ports = [server.local_addr().unwrap().port()];
        let administrator = client.local_addr().unwrap().ip();
        let look = |was| {
            Sessions::resume(&ports, |one| was && one == administrator, at(9)).look(&ports, at(9))
        };
        assert_eq!(look(true), [administrator]);
        assert!(look(false).is_empty(), "it may be anybody's");
    }

    #[test]
    fn an_ssh_brute_force_in_progress_is_blockable_while_an_older_admin_session_survives() {
        let admin: Connection = (22, "198.51.100.1".parse().unwrap(), 50_000);
        let mut sessions = Sessions::default();
        assert!(sessions.see([admin].into_iter(), at(0)).is_empty(), "it may be anybody's yet");
        // Each try is a connection of its own, the longest as long as sshd lets it.
        for second in (10..=600).step_by(10) {
            let try_number = u16::try_from(second / 120).unwrap();
            let attacker: Connection = (22, "203.0.113.7".parse().unwrap(), 40_000 + try_number);
            let old = sessions.see([admin, attacker].into_iter(), at(second));
            let expected = if second >= 180 { vec![admin.1] } else { Vec::new() };
            assert_eq!(old, expected, "at {second} s");
        }
        assert!(sessions.see([].into_iter(), at(610)).is_empty(), "it is over");
    }
}
