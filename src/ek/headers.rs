//! From values to headers: walks the layout, counting each protocol, so that each value goes to the
//! header it was read from.
//!
//! Only what a header really carries is followed: behind an IP header what it announces, then links and
//! tunnels up to the next one. Packets that tshark shows elsewhere, such as the samples of sFlow, are
//! reported by something and went another way.

use super::{
    error::Error,
    fields::place,
    layout::{Layer, Layout, Step},
    network::{self, NO_NEXT_HEADER, Network, number},
    transport,
    values::Values,
};
use crate::record::{Checksum, Header, Layer4, Marks, Transport, TunnelKey, Vlans};

/// IP headers read within the outermost; deeper ones are left out.
const MAX_INNER: usize = 8;

const VLAN_ID: usize = place("vlan.id");
const SERVICE_VLAN_ID: usize = place("ieee8021ad.id");
const VXLAN_VNI: usize = place("vxlan.vni");
const GENEVE_VNI: usize = place("geneve.vni");
const GTP_TEID: usize = place("gtp.teid");
const GRE_KEY: usize = place("gre.key");

/// What the headers of a frame say.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Its first packet; `None` if it has none that was captured.
    pub(super) first: Option<Stack>,
    /// Those that follow in an aggregate of IEEE 802.11.
    pub(super) further: Vec<Stack>,
}

/// The headers of one packet.
#[derive(Debug)]
pub(super) struct Stack {
    /// VLAN tags before the first IP header.
    pub(super) vlans: Vlans,
    /// Whether an Ethernet header precedes it.
    pub(super) ethernet: bool,
    /// The outermost IP header.
    pub(super) outer: Header,
    /// Those within it.
    pub(super) inner: Vec<Header>,
    /// Whether the headers up to the outermost transport contradict each other or the frame, or were
    /// cut.
    pub(super) damaged: bool,
}

/// Where in a frame the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the first IP header.
    Link,
    /// Behind an IP header: what it announces comes next.
    Announced,
    /// In what an IP header carries.
    Carried,
    /// Nothing further is followed.
    Over,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the frame")]
struct Walk<'v, 't, 'l> {
    layout: &'v Layout,
    values: &'v Values<'t, 'l>,
    met: [usize; Layer::COUNT],
    jumbograms: usize,
    stage: Stage,
    /// Bytes that what follows has at most.
    room: u32,
    /// Only a beginning of what follows is in the frame: it is quoted, or a fragment.
    partial: bool,
    tunnel: Option<TunnelKey>,
    /// IP headers before the latest header of IEEE 802.11, and the room behind it.
    wireless: (usize, u32),
    vlans: Vlans,
    ethernet: bool,
    stack: Option<Stack>,
    /// Whether the IP header that is being read contradicts what carries it.
    lies: bool,
    /// Whether tshark shows nothing of what the outermost header announces.
    hidden: bool,
    done: Headers,
}

/// Reads the headers of a frame of this length in bytes.
pub(super) fn read(
    layout: &Layout,
    values: &Values<'_, '_>,
    frame_bytes: u32,
) -> Result<Headers, Error> {
    let mut walk = Walk {
        layout,
        values,
        met: [0; Layer::COUNT],
        jumbograms: 0,
        stage: Stage::Link,
        room: frame_bytes,
        partial: false,
        tunnel: None,
        wireless: (0, frame_bytes),
        vlans: Vlans::default(),
        ethernet: false,
        stack: None,
        lies: false,
        hidden: false,
        done: Headers::default(),
    };
    for (at, step) in layout.steps.iter().enumerate() {
        walk.take(*step, layout.steps.get(at + 1))?;
    }
    walk.end_packet();
    Ok(walk.done)
}

/// Whether an IP header that announces this carries a link, or a tunnel over IP.
const fn carries_frames(transport: Transport) -> bool {
    // GRE, EtherIP, MPLS, Ethernet.
    matches!(transport.0, 47 | 97 | 137 | 143)
}

// === impl Walk ===

impl Walk<'_, '_, '_> {
    fn take(&mut self, step: Step, following: Option<&Step>) -> Result<(), Error> {
        let Step { layer, bytes } = step;
        if layer == Layer::Ipv4 && self.is_passed_on(following) {
            return Ok(());
        }
        let nth = self.met[layer as usize];
        self.met[layer as usize] += 1;
        match layer {
            Layer::NextInAggregate => self.next_in_aggregate(),
            _ if self.stage == Stage::Over => {}
            Layer::Ipv4 | Layer::Ipv6 => self.ip(layer, nth)?,
            // Names of links that we don't know don't matter.
            Layer::Other if self.stage == Stage::Link => {}
            layer if layer.carries() => self.carrier(layer, nth, bytes)?,
            layer => {
                let is_tunnel = following.is_some_and(|step| step.layer.carries());
                self.behind_ip(layer, nth, is_tunnel)?;
            }
        }
        Ok(())
    }

    /// Whether `ip` stands for no header: a link that doesn't tell the versions apart gives all to
    /// tshark's reader of IPv4, which passes IPv6 on and leaves its name.
    fn is_passed_on(&self, following: Option<&Step>) -> bool {
        let is_followed = following.is_some_and(|step| step.layer == Layer::Ipv6);
        is_followed && {
            let steps = self.layout.steps.iter();
            let named = steps.filter(|step| step.layer == Layer::Ipv4).count();
            network::ipv4_count(self.values) < named
        }
    }

    /// IP headers read of the packet.
    fn depth(&self) -> usize {
        self.stack.as_ref().map_or(0, |stack| 1 + stack.inner.len())
    }

    /// The IP header that is being read.
    fn header(&mut self) -> Option<&mut Header> {
        let stack = self.stack.as_mut()?;
        Some(stack.inner.last_mut().unwrap_or(&mut stack.outer))
    }

    /// Takes note that something of the header that is being read is wrong: of the outermost one it
    /// counts.
    fn damage(&mut self, is: bool) {
        if let Some(stack) = &mut self.stack
            && stack.inner.is_empty()
        {
            stack.damaged |= is;
        }
    }

    /// A header of a link or a tunnel.
    fn carrier(&mut self, layer: Layer, nth: usize, bytes: u32) -> Result<(), Error> {
        match self.stage {
            Stage::Link => self.link(layer, nth)?,
            Stage::Announced => {
                if !self.header().is_some_and(|header| carries_frames(header.transport)) {
                    self.stage = Stage::Over;
                    return Ok(());
                }
                self.stage = Stage::Carried;
            }
            Stage::Carried | Stage::Over => {}
        }
        self.tunnel = self.tunnel_key(layer, nth)?;
        self.room = self.room.saturating_sub(bytes);
        if layer == Layer::Wlan {
            self.wireless = (self.depth(), self.room);
        }
        Ok(())
    }

    /// What the link layer of the frame itself tells. The VLAN id 0 stands for a priority without a VLAN
    /// (IEEE 802.1Q-2022, 9.6).
    fn link(&mut self, layer: Layer, nth: usize) -> Result<(), Error> {
        let field = match layer {
            Layer::Vlan => VLAN_ID,
            Layer::ServiceVlan => SERVICE_VLAN_ID,
            layer => {
                self.ethernet |= layer == Layer::Ethernet;
                return Ok(());
            }
        };
        if let Some(id) = number(self.values, field, nth)?.filter(|id| *id != 0) {
            self.vlans.push(id);
        }
        Ok(())
    }

    /// What tells the contents of a tunnel apart; other headers leave it as it is.
    fn tunnel_key(&self, layer: Layer, nth: usize) -> Result<Option<TunnelKey>, Error> {
        let values = self.values;
        let is_gre = |step: &&Step| step.layer == Layer::Gre;
        let (field, key): (_, fn(u32) -> TunnelKey) = match layer {
            Layer::Vxlan => (VXLAN_VNI, TunnelKey::Vni),
            Layer::Geneve => (GENEVE_VNI, TunnelKey::Vni),
            Layer::Gtp => (GTP_TEID, TunnelKey::Teid),
            Layer::Gre => (GRE_KEY, TunnelKey::Gre),
            _ => return Ok(self.tunnel),
        };
        // Not every GRE header has a key: whose it is can only be told if all have one.
        let headers = self.layout.steps.iter().filter(is_gre).count();
        if layer == Layer::Gre && values.count(field) != headers {
            return Ok(None);
        }
        Ok(number(values, field, nth)?.map(key))
    }

    fn ip(&mut self, layer: Layer, nth: usize) -> Result<(), Error> {
        const IN_IP: [Transport; 2] = [Transport(4), Transport(41)];
        let is_carried = match self.stage {
            Stage::Announced => {
                self.header().is_some_and(|header| IN_IP.contains(&header.transport))
            }
            stage => stage != Stage::Over,
        };
        let network = match layer {
            Layer::Ipv4 => network::ipv4(self.values, nth)?,
            _ => network::ipv6(self.values, nth, &mut self.jumbograms)?,
        };
        self.stage = Stage::Over;
        if let Some(network) = network
            && is_carried
            && self.depth() <= MAX_INNER
        {
            self.begin(network);
        }
        Ok(())
    }

    /// Begins with what an IP header says.
    fn begin(&mut self, Network { header, claimed, header_bytes }: Network) {
        let has_length = claimed.is_some();
        let claimed = claimed.unwrap_or(self.room);
        let is_too_long = !self.partial && claimed > self.room;
        let marks = Marks::default()
            .and_if(!has_length, Marks::NO_LENGTH)
            .and_if(is_too_long, Marks::TOO_LONG);
        let held = if self.partial { claimed } else { claimed.min(self.room) };
        self.lies = is_too_long || header_bytes > held;
        self.room = held.saturating_sub(header_bytes);
        self.hidden = false;
        let header = Header { ip_bytes: held, tunnel: self.tunnel.take(), marks, ..header };
        let fragment = header.fragment;
        match &mut self.stack {
            Some(stack) => stack.inner.push(header),
            None => {
                self.stack = Some(Stack {
                    vlans: std::mem::take(&mut self.vlans),
                    ethernet: self.ethernet,
                    outer: header,
                    inner: Vec::new(),
                    damaged: false,
                });
            }
        }
        self.damage(self.lies);
        self.stage = Stage::Announced;
        self.part(
            fragment.is_some_and(|part| part.offset > 0),
            fragment.is_some_and(|part| part.more),
        );
    }

    /// Of a fragmented packet only the first part begins with what the header announces.
    fn part(&mut self, later: bool, more: bool) {
        self.partial |= more;
        if later {
            self.stage = Stage::Over;
        }
    }

    /// What an IP header announces: an extension header, or the transport.
    fn behind_ip(&mut self, layer: Layer, nth: usize, is_tunnel: bool) -> Result<(), Error> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Some((announced, is_v6)) =
            self.header().map(|header| (header.transport, header.source.is_ipv6()))
        else {
            self.stage = stage;
            return Ok(());
        };
        if stage != Stage::Announced || layer.transport() != Some(announced) {
            return Ok(());
        }
        match layer {
            Layer::Tcp | Layer::Udp | Layer::Sctp | Layer::Icmp | Layer::Icmpv6 => {
                self.transport(layer, nth, is_tunnel)
            }
            _ if is_v6 => self.extension(layer, nth),
            // Behind IPv4 it may carry a tunnel; what else is an extension header is an unknown protocol
            // there (RFC 1122 section 3.2.2.1).
            Layer::Authentication => {
                self.room =
                    self.room.saturating_sub(network::authentication_bytes(self.values, nth)?);
                self.stage = Stage::Carried;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn extension(&mut self, layer: Layer, nth: usize) -> Result<(), Error> {
        let Some((next, bytes)) = network::extension(layer, self.values, nth)? else {
            self.damage(true);
            return Ok(());
        };
        let is_signal = matches!(layer, Layer::Mobility | Layer::HostIdentity | Layer::Shim6);
        if is_signal && next == NO_NEXT_HEADER {
            // It carries nothing and is the message itself.
            self.hidden = true;
            return Ok(());
        }
        self.hidden |= is_signal && layer != Layer::Shim6;
        let stop =
            if layer == Layer::Routing { network::last_stop(self.values, nth)? } else { None };
        let fragment = match layer {
            Layer::Fragment => network::ipv6_fragment(self.values, nth)?,
            _ => None,
        };
        let Some(header) = self.header() else { return Ok(()) };
        header.transport = next;
        header.destination = stop.unwrap_or(header.destination);
        if layer == Layer::Fragment {
            header.fragment = fragment;
        }
        let fits = bytes <= self.room;
        self.room = self.room.saturating_sub(bytes);
        let is_cut = layer == Layer::Fragment && fragment.is_none();
        self.damage(is_cut || !fits);
        if fits && !is_cut {
            self.stage = Stage::Announced;
        }
        let part = fragment.unwrap_or(crate::record::Fragment { id: 0, offset: 0, more: false });
        self.part(part.offset > 0, part.more);
        Ok(())
    }

    fn transport(&mut self, layer: Layer, nth: usize, is_tunnel: bool) -> Result<(), Error> {
        let read = transport::read(layer, self.values, nth, self.room, self.partial)?;
        let lies = self.lies;
        self.damage(read.damaged);
        let Some(header) = self.header() else { return Ok(()) };
        header.layer4 = read.layer4;
        header.checksums.transport = if lies || read.damaged || read.lacks_checksum && is_tunnel {
            Checksum::Unverified
        } else {
            read.checksum
        };
        match read.layer4 {
            Layer4::Udp(..) => {
                self.room = read.room;
                self.stage = Stage::Carried;
            }
            Layer4::Icmp(message) if transport::quotes(layer, message) => {
                // As long as it was when it was sent.
                self.room = u32::MAX;
                self.partial = true;
                self.stage = Stage::Carried;
            }
            _ => {}
        }
        Ok(())
    }

    /// The next packet of an aggregate begins. Within a tunnel that can't be told as records: there it is
    /// left with the tunnel's own headers.
    fn next_in_aggregate(&mut self) {
        let (depth, room) = self.wireless;
        if depth > 0 {
            if let Some(stack) = &mut self.stack {
                stack.inner.truncate(depth - 1);
            }
            self.stage = Stage::Over;
            return;
        }
        self.end_packet();
        (self.stage, self.room, self.partial) = (Stage::Link, room, false);
        self.tunnel = None;
    }

    /// Puts the packet to the others.
    fn end_packet(&mut self) {
        let Some(mut stack) = self.stack.take() else { return };
        let Header { transport, layer4, fragment, .. } = &stack.outer;
        let is_whole = fragment.is_none_or(|part| part.offset == 0 && !part.more);
        let is_known = transport.has_ports()
            || [Transport::ICMP, Transport::ICMPV6].contains(transport)
            || stack.outer.source.is_ipv6() && network::is_extension(*transport);
        let is_missing = is_known && *layer4 == Layer4::Opaque && !self.hidden;
        stack.damaged |= is_whole && is_missing;
        if self.done.first.is_none() {
            self.done.first = Some(stack);
        } else {
            self.done.further.push(stack);
        }
    }
}
