//! Command lines: what each program is asked for.

use super::super::{Config, Dissect};
use crate::ek::fields;

/// The protocols up to the transport, and what they travel in, that `dissect: transport` leaves on.
/// tshark accepts a misspelt name silently, so a test compares them with `tshark -G protocols`.
const TRANSPORT: &[&str] = &[
    "frame",
    "eth",
    "ethertype",
    "vlan",
    "ieee8021ad",
    "ieee8021ah",
    "llc",
    "sll",
    "null",
    "raw",
    "ppi",
    "radiotap",
    "wlan",
    "ppp",
    "ppp_hdlc",
    "chdlc",
    "fr",
    "pppoes",
    "pppoed",
    "pppoe",
    "mpls",
    "mpls_mac",
    "pwethheuristic",
    "pwethcw",
    "pwethnocw",
    "arp",
    "ip",
    "ip.options.routeralert",
    "ipv6",
    "ipv6.hopopts",
    "ipv6.routing",
    "ipv6.dstopts",
    "ipv6.fraghdr",
    "ah",
    "esp",
    "ipcomp",
    "icmp",
    "icmpv6",
    "igmp",
    "tcp",
    "udp",
    "udplite",
    "sctp",
    "dccp",
    "gre",
    "erspan",
    "etherip",
    "l2tp",
    "vxlan",
    "geneve",
    "gtp",
    "teredo",
    "ayiya",
    "nsh",
    "batadv",
    "data",
    "_ws.malformed",
    "_ws.short",
];

/// Without reassembly the ports stand on the first fragment, and nothing is held back.
const NO_REASSEMBLY: &[&str] =
    &["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE"];

/// The length of a packet that offloading left without one is the frame's, as for IPv4.
const OFFLOADED: &str = "ipv6.tso_support:TRUE";

/// Preferences by which checksums are verified, and their values for yes and no; ICMP's always are.
const CHECKSUMS: &[(&str, [&str; 2])] = &[
    ("ip.check_checksum", ["TRUE", "FALSE"]),
    ("tcp.check_checksum", ["TRUE", "FALSE"]),
    ("udp.check_checksum", ["TRUE", "FALSE"]),
    ("sctp.checksum", ["crc-32c", "none"]),
];

/// tshark reading a capture from its standard input; `live` prints each packet at once.
pub(in crate::sources::tshark) fn tshark(config: &Config, live: bool) -> Vec<String> {
    let mut arguments: Vec<String> = vec!["-n".into(), "-r".into(), "-".into()];
    if live {
        arguments.push("-l".into());
    }
    let mut prefer = |preference: String| arguments.extend(["-o".to_owned(), preference]);
    for preference in NO_REASSEMBLY {
        prefer((*preference).to_owned());
    }
    prefer(OFFLOADED.to_owned());
    for (preference, [yes, no]) in CHECKSUMS {
        let value = if config.checksums { yes } else { no };
        prefer(format!("{preference}:{value}"));
    }
    if config.dissect == Dissect::Transport {
        prefer("tcp.analyze_sequence_numbers:FALSE".to_owned());
        arguments.extend(["--disable-protocol".to_owned(), "ALL".to_owned()]);
        for protocol in TRANSPORT {
            arguments.extend(["--enable-protocol".to_owned(), (*protocol).to_owned()]);
        }
    }
    arguments.extend(["-T".to_owned(), "ek".to_owned()]);
    let checksums = if config.checksums { fields::CHECKSUMS } else { &[] };
    let read = || fields::BASE.iter().chain(checksums).copied();
    let extra = config.fields.iter().map(String::as_str);
    let extra = extra.filter(|field| !read().any(|known| known == *field));
    for field in read().chain(extra) {
        arguments.extend(["-e".to_owned(), field.to_owned()]);
    }
    arguments
}

/// dumpcap on the configured interface, with what both live modes share.
fn dumpcap(config: &Config) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add("-i", config.interface.clone().unwrap_or_default());
    add("-s", config.snaplen.to_string());
    add("-B", KERNEL_BUFFER_MIB.to_string());
    if let Some(filter) = &config.capture_filter {
        add("-f", filter.clone());
    }
    arguments.extend(["-q", "-P"].map(str::to_owned));
    if !config.promiscuous {
        arguments.push("-p".to_owned());
    }
    arguments
}

/// The kernel's ring for captured packets.
const KERNEL_BUFFER_MIB: u32 = 64;

/// Bytes, and packets, that dumpcap may hold where its reader is behind; without them a pipe loses
/// packets silently.
const PIPE_BUFFER: (u32, u32) = (500_000_000, 2_000_000);

/// dumpcap that writes segment after segment. Their number is not bounded here (`-b files`), or it
/// would overwrite those not yet read.
pub(in crate::sources::tshark) fn dumpcap_segments(config: &Config, prefix: &str) -> Vec<String> {
    let mut arguments = dumpcap(config);
    let kilobytes = (config.segment.max_bytes / 1000).max(1);
    for ring in [format!("filesize:{kilobytes}"), format!("duration:{}", config.segment.max_secs)] {
        arguments.extend(["-b".to_owned(), ring]);
    }
    arguments.extend(["-w".to_owned(), prefix.to_owned()]);
    arguments
}

/// dumpcap that writes into a pipe.
pub(in crate::sources::tshark) fn dumpcap_pipe(config: &Config) -> Vec<String> {
    let mut arguments = dumpcap(config);
    let (bytes, packets) = PIPE_BUFFER;
    arguments.extend(["-t".to_owned(), "-C".to_owned(), bytes.to_string()]);
    arguments.extend(["-N".to_owned(), packets.to_string()]);
    arguments.extend(["-w".to_owned(), "-".to_owned()]);
    arguments
}

/// editcap that cuts its standard input into chunks of `packets`.
pub(in crate::sources::tshark) fn editcap(packets: u64, prefix: &str) -> Vec<String> {
    ["-c", &packets.to_string(), "-", prefix].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, process::Command};

    use super::*;

    #[test]
    fn tshark_knows_each_protocol_that_stays_on() {
        let output = Command::new("tshark").args(["-G", "protocols"]).output().unwrap();
        let table = String::from_utf8_lossy(&output.stdout);
        let known: HashSet<_> = table.lines().filter_map(|line| line.split('\t').nth(2)).collect();
        let unknown: Vec<_> = TRANSPORT.iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_field_that_is_asked_for_twice_is_printed_once() {
        let config =
            Config { fields: vec!["ip.src".to_owned(), "dns.a".to_owned()], ..Config::default() };
        let arguments = tshark(&config, false);
        let count = |field| arguments.iter().filter(|one| *one == field).count();
        assert_eq!((count("ip.src"), count("dns.a")), (1, 1));
    }
}
