//! Ports that servers listen on: who answered, when the beginning was not seen.

use crate::record::Transport;

/// The ports Zeek's analyzers register as likely server ports.
///
/// Source: Zeek, `likely_server_ports` with the default scripts loaded.
pub const DEFAULT: &[&str] = &[
    "1080/tcp",
    "123/udp",
    "135/tcp",
    "137/udp",
    "139/tcp",
    "143/tcp",
    "1434/tcp",
    "161/udp",
    "162/udp",
    "1812/udp",
    "1883/tcp",
    "20000/tcp",
    "20000/udp",
    "21/tcp",
    "2123/udp",
    "2152/udp",
    "22/tcp",
    "25/tcp",
    "2811/tcp",
    "3128/tcp",
    "3268/tcp",
    "3306/tcp",
    "3389/tcp",
    "3389/udp",
    "3544/udp",
    "389/tcp",
    "389/udp",
    "4011/udp",
    "443/tcp",
    "443/udp",
    "445/tcp",
    "465/tcp",
    "4754/udp",
    "4789/udp",
    "502/tcp",
    "5060/udp",
    "5072/udp",
    "514/tcp",
    "514/udp",
    "5222/tcp",
    "5223/tcp",
    "5269/tcp",
    "53/tcp",
    "53/udp",
    "5353/udp",
    "5355/udp",
    "5432/tcp",
    "563/tcp",
    "585/tcp",
    "587/tcp",
    "6081/udp",
    "614/tcp",
    "631/tcp",
    "636/tcp",
    "6379/tcp",
    "6666/tcp",
    "6667/tcp",
    "6668/tcp",
    "6669/tcp",
    "67/udp",
    "79/tcp",
    "80/tcp",
    "8000/tcp",
    "8080/tcp",
    "81/tcp",
    "88/tcp",
    "88/udp",
    "8888/tcp",
    "989/tcp",
    "990/tcp",
    "992/tcp",
    "993/tcp",
    "995/tcp",
];

/// A set of ports, apart for TCP and UDP (and SCTP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPorts {
    bits: [Box<[u64; 1024]>; 3],
}

/// A port is not written as `443/tcp`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no server port: write it as `443/tcp`, `53/udp` or `2905/sctp`")]
pub struct NotAPort(pub String);

// === impl ServerPorts ===

impl ServerPorts {
    /// The set of these ports.
    ///
    /// # Errors
    /// For the first that is not written as `443/tcp`.
    pub fn parse<P: AsRef<str>>(ports: impl IntoIterator<Item = P>) -> Result<Self, NotAPort> {
        let mut set = Self { bits: [(); 3].map(|()| Box::new([0; 1024])) };
        for port in ports {
            let text = port.as_ref();
            let parsed = text.split_once('/').and_then(|(number, transport)| {
                let transport = match transport {
                    "tcp" => Transport::TCP,
                    "udp" => Transport::UDP,
                    "sctp" => Transport::SCTP,
                    _ => return None,
                };
                Some((plane(transport)?, number.parse::<u16>().ok()?))
            });
            let Some((plane, port)) = parsed else {
                return Err(NotAPort(text.to_owned()));
            };
            set.bits[plane][usize::from(port >> 6)] |= 1 << (port & 63);
        }
        Ok(set)
    }

    /// Whether servers listen on this port.
    pub fn contains(&self, transport: Transport, port: u16) -> bool {
        plane(transport)
            .is_some_and(|plane| self.bits[plane][usize::from(port >> 6)] >> (port & 63) & 1 == 1)
    }
}

impl Default for ServerPorts {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("the built-in ports are well written: a test parses them")
    }
}

fn plane(transport: Transport) -> Option<usize> {
    match transport {
        Transport::TCP => Some(0),
        Transport::UDP => Some(1),
        Transport::SCTP => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_https_over_tcp_and_dns_over_both() {
        let ports = ServerPorts::default();
        for (transport, port, listed) in [
            (Transport::TCP, 443, true),
            (Transport::TCP, 53, true),
            (Transport::UDP, 53, true),
            (Transport::UDP, 80, false),
            (Transport::ICMP, 53, false),
            (Transport::TCP, 65535, false),
        ] {
            assert_eq!(ports.contains(transport, port), listed, "{port}");
        }
    }

    #[test]
    fn what_is_not_a_port_is_named() {
        for text in ["443", "tcp/443", "65536/tcp", "443/icmp", ""] {
            assert_eq!(ServerPorts::parse([text]), Err(NotAPort(text.to_owned())));
        }
    }
}
