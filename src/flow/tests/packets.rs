//! Packets made by hand.

use std::net::{IpAddr, Ipv4Addr};

use crate::record::{
    Checksums, Fragment, Header, Icmp, Layer4, MacAddress, Packet, Ports, Tcp, TcpFlags, Timestamp,
    Transport, Vlans,
};

pub(in crate::flow) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(in crate::flow) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// A time in whole seconds.
pub(in crate::flow) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_parts(seconds, 0).unwrap()
}

pub(in crate::flow) fn header(source: IpAddr, destination: IpAddr, transport: Transport) -> Header {
    Header {
        marks: crate::record::Marks::default(),
        source,
        destination,
        transport,
        ip_bytes: 60,
        tunnel: None,
        checksums: Checksums::default(),
        fragment: None,
        layer4: Layer4::Opaque,
    }
}

pub(in crate::flow) fn packet(outer: Header) -> Packet {
    Packet {
        time: at(0),
        epoch: 0,
        number: 1,
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: outer.ip_bytes + 14,
        captured_bytes: outer.ip_bytes + 14,
        source_mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        destination_mac: Some(MacAddress([2, 0, 0, 0, 0, 2])),
        vlans: Vlans::default(),
        outer,
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: crate::record::Names::default(),
    }
}

pub(in crate::flow) fn udp(
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    ip_bytes: u32,
) -> Packet {
    let ports = Ports { source: source_port, destination: destination_port };
    let layer4 = Layer4::Udp(ports, ip_bytes.saturating_sub(28));
    packet(Header { ip_bytes, layer4, ..header(source, destination, Transport::UDP) })
}

pub(in crate::flow) fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8) -> Packet {
    let layer4 = Layer4::Icmp(Icmp { kind, code });
    packet(Header { layer4, ..header(source, destination, Transport::ICMP) })
}

/// A segment from the client's port 40000 to the server's port 8888, or back; letters as in a
/// history: `S` SYN, `A` ACK, `F` FIN, `R` RST, `P` PSH, `U` URG.
pub(in crate::flow) fn tcp(
    by_client: bool,
    flags: &str,
    sequence: u32,
    ack: u32,
    payload: u32,
) -> Packet {
    let bits = flags.chars().map(|letter| match letter {
        'F' => TcpFlags::FIN,
        'S' => TcpFlags::SYN,
        'R' => TcpFlags::RST,
        'P' => TcpFlags::PSH,
        'A' => TcpFlags::ACK,
        'U' => TcpFlags::URG,
        other => panic!("no such flag: {other}"),
    });
    let (source, destination) = if by_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let ports = if by_client {
        Ports { source: 40000, destination: 9999 }
    } else {
        Ports { source: 9999, destination: 40000 }
    };
    let layer4 = Layer4::Tcp(Tcp {
        ports,
        flags: TcpFlags(bits.fold(0, |all, bit| all | bit)),
        sequence,
        acknowledgement: ack,
        window: Some(1000),
        payload_bytes: payload,
    });
    let ip_bytes = 40 + payload;
    packet(Header { ip_bytes, layer4, ..header(source, destination, Transport::TCP) })
}

impl Packet {
    pub(in crate::flow) fn at(mut self, seconds: i64) -> Self {
        self.time = at(seconds);
        self
    }

    pub(in crate::flow) fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(id);
        self
    }

    pub(in crate::flow) fn protocol(mut self, name: &str) -> Self {
        self.protocol = Some(name.into());
        self
    }

    pub(in crate::flow) fn carrying(mut self, inner: Header) -> Self {
        self.inner.push(inner);
        self
    }

    /// Makes it a fragment; a later one has no transport header.
    pub(in crate::flow) fn fragment(mut self, id: u32, offset: u32, more: bool) -> Self {
        self.outer.fragment = Some(Fragment { id, offset, more });
        if offset > 0 {
            self.outer.layer4 = Layer4::Opaque;
        }
        self
    }
}
