//! What somebody else drops and counts, the kernel: sums by who sent it where to → reports of flows.
//!
//! Data passes: [`Denials`], a map behind a small trait, taken out by turns once a minute → [`Reporter`] → records. The
//! next turn begins first, whoever still counts to the former one is waited for, and only then its sums are taken
//! out: so each packet is in one report, or was told to be in none. What could not be taken out stays for the next
//! time.
//!
//! Each report is a flow of its own. Nothing was answered, so its state is that of the first packets alone; what came
//! from several ports has none, and no Community ID.

#[cfg(test)]
mod tests;

use std::{error::Error, fmt, net::IpAddr};

use super::{
    counted::{Now, Sums},
    policy::Policy,
};
use crate::record::{
    CommunityId, ConnState, Denied, EndReason, Endpoint, Flow, FlowTags, Icmp, Id,
    ObservationPoint, TcpFlags, Timestamp, Transport, Vlans,
};

/// What counts packets that are dropped.
pub trait Denials: fmt::Debug + Send {
    /// What it knows a sum by.
    type Key: Copy + fmt::Debug + Send;
    /// Why it can't be used.
    type Error: Error;

    /// What is dropped from now on belongs to the other turn.
    ///
    /// # Errors
    /// If it can't be told.
    fn turn(&mut self) -> Result<(), Self::Error>;

    /// Nothing more is to be counted at all, and all there is belongs to a former turn.
    ///
    /// # Errors
    /// If it can't be told.
    fn stop(&mut self) -> Result<(), Self::Error>;

    /// Waits until what was begun before [`turn`](Self::turn) or [`stop`](Self::stop) is counted.
    fn settle(&mut self);

    /// Gives the key of each sum of a former turn.
    ///
    /// # Errors
    /// If they can't be read, perhaps after some were given.
    fn former(&mut self, take: &mut dyn FnMut(Self::Key)) -> Result<(), Self::Error>;

    /// Takes a sum out; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be taken out.
    fn take(&mut self, key: &Self::Key) -> Result<Option<Denial>, Self::Error>;
}

/// What was dropped of one sender to one receiver and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// The sender and the receiver.
    pub ends: [IpAddr; 2],
    /// The transport.
    pub transport: Transport,
    /// What it was for.
    pub aim: Aim,
    /// Its VLANs.
    pub vlans: Vlans,
    /// The sender's port, if it was always the same.
    pub source_port: Option<u16>,
    /// Time of the first packet, by a clock that is never set, ns.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
    /// All TCP control bits.
    pub flags: TcpFlags,
    /// The verdict that dropped the first packet, if one did.
    pub verdict: Option<Id>,
}

/// What packets that were dropped were for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// They have no port, or none that could be read.
    Portless,
    /// A port.
    Port(u16),
    /// An ICMP message.
    Icmp(Icmp),
    /// All ports beyond those that their source has reports of.
    OtherPorts,
}

/// Makes reports of what was dropped.
#[derive(Debug)]
pub struct Reporter {
    policy: Policy,
    origin: ObservationPoint,
    sums: Sums,
}

// === impl Reporter ===

impl Reporter {
    /// One for what is dropped at `origin`.
    pub fn new(policy: Policy, origin: ObservationPoint) -> Self {
        Self { policy, origin, sums: Sums::default() }
    }

    /// Reports what was dropped since the last turn.
    ///
    /// # Errors
    /// If the counts can't be used; what is missing is reported the next time.
    pub fn turn<D: Denials>(
        &mut self,
        denials: &mut D,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), D::Error> {
        denials.turn()?;
        self.take_out(denials, now, out)
    }

    /// Reports all that was dropped, as nothing more is counted from now on.
    ///
    /// # Errors
    /// If the counts can't be used: then packets are missing that were counted.
    pub fn finish<D: Denials>(
        &mut self,
        denials: &mut D,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), D::Error> {
        denials.stop()?;
        self.take_out(denials, now, out)
    }

    /// What all reports so far say.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    fn take_out<D: Denials>(
        &mut self,
        denials: &mut D,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), D::Error> {
        denials.settle();
        let mut keys = Vec::new();
        let read = denials.former(&mut |key| keys.push(key));
        let mut taken = Ok(());
        for key in keys {
            match denials.take(&key) {
                Ok(Some(denial)) => {
                    self.sums.packets += denial.packets;
                    self.sums.bytes += denial.bytes;
                    out(self.flow(&denial, now));
                }
                Ok(None) => {}
                Err(error) => taken = Err(error),
            }
        }
        read.and(taken)
    }

    fn flow(&self, denial: &Denial, now: Now) -> Flow {
        let Denial { ends: [source, destination], transport, .. } = *denial;
        let (start, end) = (now.at(denial.first_ns), now.at(denial.last_ns.max(denial.first_ns)));
        let (port, icmp) = match denial.aim {
            Aim::Portless | Aim::OtherPorts => (None, None),
            Aim::Port(port) => (Some(port), None),
            Aim::Icmp(icmp) => (None, Some(icmp)),
        };
        let source_port = denial.source_port.filter(|_| port.is_some());
        let initiator = Endpoint {
            tcp_flags: denial.flags,
            ..Endpoint::new(source, source_port).sent(denial.packets, denial.bytes)
        };
        let mut tags = FlowTags::ONE_WAY;
        if denial.aim == Aim::OtherPorts {
            tags.insert(FlowTags::OTHER_PORTS);
        }
        let conn_state = match transport {
            Transport::TCP if denial.flags == TcpFlags(TcpFlags::SYN) => ConnState::S0,
            Transport::UDP => ConnState::S0,
            _ => ConnState::Oth,
        };
        let mut flow = Flow::new(
            self.id(denial, start),
            transport,
            initiator,
            Endpoint::new(destination, port),
        );
        if let Some(icmp) = icmp {
            flow.community_id = CommunityId::of_icmp(transport, source, destination, icmp);
        }
        Flow {
            began: start,
            start,
            end,
            origin: self.origin,
            vlans: denial.vlans,
            icmp,
            conn_state,
            end_reason: EndReason::Forced,
            direction: self.policy.direction(source, destination),
            tags,
            denied: Some(Denied { verdict: denial.verdict }),
            ..flow
        }
    }

    /// By the time of the first packet, which another report of the same ends does not have. Not by the wall clock,
    /// which may be set; the time by that comes with it, for the other one begins anew with the machine.
    fn id(&self, denial: &Denial, began: Timestamp) -> Id {
        let (kind, port) = match denial.aim {
            Aim::Portless => (0, 0),
            Aim::Port(port) => (1, port),
            Aim::Icmp(Icmp { kind, code }) => (2, u16::from_be_bytes([kind, code])),
            Aim::OtherPorts => (3, 0),
        };
        let [source, destination] = denial.ends;
        let [outer, inner] = denial.vlans.words();
        Id::of("denied", &self.policy.observer)
            .number(self.origin.mark())
            .address(source)
            .address(destination)
            .bytes(&[denial.transport.0, kind])
            .number(u64::from(port) | u64::from(outer) << 16 | u64::from(inner) << 32)
            .number(denial.first_ns)
            .time(began)
            .finish()
    }
}
