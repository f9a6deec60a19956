//! Which of a frame's protocols is the application's.

/// Protocols that only carry another one, which names the application better when it is known.
const CARRIERS: &[&str] =
    &["cotp", "dtls", "nbdgm", "nbss", "quic", "rpc", "tls", "tpkt", "udpencap"];
/// Beginnings of names that stand for content rather than for a protocol.
const CONTENT: &[&str] = &["_ws.", "data", "pkcs", "pkix", "x509"];
/// What is no application, but carries frames and packets of others.
const NONE: &[&str] = &[
    // Link layers.
    "6lowpan",
    "aal1",
    "aal3_4",
    "atm",
    "batadv",
    "chdlc",
    "cmd",
    "erspan",
    "eth",
    "ethertype",
    "fr",
    "hsr",
    "ieee8021ad",
    "ieee8021ah",
    "ieee8021cb",
    "isl",
    "llc",
    "macsec",
    "mpls",
    "ppp",
    "pppoes",
    "prp",
    "vlan",
    "vntag",
    "wlan",
    // Networks and tunnels.
    "ah",
    "ayiya",
    "capwap.data",
    "esp",
    "etherip",
    "geneve",
    "gre",
    "grebonding",
    "gtp",
    "ip",
    "ipcomp",
    "ipv6",
    "l2tp",
    "lisp-data",
    "mip",
    "nsh",
    "pwach",
    "pwethcw",
    "pwethheuristic",
    "pwethnocw",
    "stt",
    "teredo",
    "trill",
    "tzsp",
    "udpencap",
    "vxlan",
    "vxlan_gpe",
    // Further transports.
    "sctp",
    "tcp",
    "udp",
    "udplite",
];
/// What devices on the way put behind a frame: an application may stand on either side of it.
const TRAILERS: &[&str] =
    &["exablaze", "f5ethtrailer", "gmhdr", "gmtrailer", "ixiatrailer", "metamako", "vssmonitoring"];

/// The application protocol among the names behind the outermost IP header.
pub(super) fn application<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names =
        names.skip_while(|name| is_extension(name)).filter(|name| !TRAILERS.contains(name));
    if !matches!(names.next(), Some("tcp" | "udp" | "sctp")) {
        return None;
    }
    let is_content = |name: &str| CONTENT.iter().any(|content| name.starts_with(content));
    let mut application = names.next().filter(|name| !is_content(name))?;
    while CARRIERS.contains(&application) {
        match names.next() {
            Some(name) if name == application => {}
            // QUIC shows its TLS handshake as a protocol within it.
            Some(name) if name != "tls" && !is_content(name) && !NONE.contains(&name) => {
                application = name;
            }
            _ => break,
        }
    }
    Some(application).filter(|name| !NONE.contains(name))
}

/// Headers between an IPv6 header and its transport.
fn is_extension(name: &str) -> bool {
    name.starts_with("ipv6.") || ["ah", "hip", "mipv6", "shim6"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_is_what_the_outermost_transport_carries() {
        let cases = [
            ("tcp", None),
            ("tcp:data", None),
            ("udp:dns", Some("dns")),
            ("tcp:http:data-text-lines", Some("http")),
            ("tcp:tls", Some("tls")),
            ("tcp:tls:tls:http2", Some("http2")),
            ("tcp:tls:x509sat:x509sat", Some("tls")),
            ("udp:quic:tls", Some("quic")),
            ("tcp:nbss:smb2", Some("smb2")),
            ("udp:nbdgm:smb:browser", Some("smb")),
            ("tcp:ldap:gss-api:spnego-krb5", Some("ldap")),
            ("ipv6.hopopts:udp:dns", Some("dns")),
            ("ipv6.routing:ah:tcp:http", Some("http")),
            ("icmp:ip:udp:dns", None),
            ("gre:ip:tcp:http", None),
        ];
        for (names, expected) in cases {
            assert_eq!(application(names.split(':')), expected, "{names}");
        }
    }

    #[test]
    fn what_carries_packets_of_others_or_trails_a_frame_is_no_application() {
        let cases = [
            ("tcp:vssmonitoring", None),
            ("tcp:ixiatrailer:vssmonitoring", None),
            ("tcp:vssmonitoring:http", Some("http")),
            ("tcp:http:f5ethtrailer", Some("http")),
            ("tcp:tls:gmtrailer", Some("tls")),
            ("udp:vxlan:eth:ethertype:ip:tcp:http", None),
            ("udp:geneve:eth:ethertype:ip:tcp:http", None),
            ("udp:gtp:ip:udp:dns", None),
            ("udp:gtp", None),
            ("udp:teredo:ipv6:icmpv6", None),
            ("udp:l2tp:ppp:ip:tcp", None),
            ("udp:mpls:ip:udp", None),
            ("udp:udpencap:esp", None),
            ("udp:udpencap:isakmp", Some("isakmp")),
            ("udp:dtls:sctp", Some("dtls")),
            ("udp:gtpv2", Some("gtpv2")),
        ];
        for (names, expected) in cases {
            assert_eq!(application(names.split(':')), expected, "{names}");
        }
    }
}
