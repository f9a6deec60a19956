//! The maps of the program, pinned or not, as the store's kernel.

use std::time::Duration;

use ipnet::IpNet;
use tidegate_ebpf::{
    Error, Maps,
    abi::{self, Block, Outcome, Word},
    now_ns,
};

use super::{Held, Kernel, MapError};
use crate::{
    metrics::XdpOutcome,
    record::{Id, Timestamp},
    verdict::{Action, By, Mode, Scope},
};

/// Entries of the kernel's allow list, of each address family.
pub const MAX_ALLOWED: u32 = 16_384;

/// The maps of a loaded program.
#[derive(Debug)]
pub struct Pinned(pub Maps);

// === impl Pinned ===

impl Kernel for Pinned {
    fn put(
        &mut self,
        network: IpNet,
        held: &Held,
        ends_in: Option<Duration>,
    ) -> Result<(), MapError> {
        let deadline = |left: Duration| now_ns().saturating_add(nanos(left)).max(1);
        let block = Block {
            deadline_ns: ends_in.map_or(0, deadline),
            hits: 0,
            packets: held.packets,
            bytes: held.bytes,
            // What the guard limits has used up what it may draw ahead.
            bucket_ns: if held.by == By::Guard { u64::MAX >> 1 } else { 0 },
            since_ns: u64::try_from(held.since.nanos()).unwrap_or(0),
            ttl_ns: held.ttl.map_or(0, |ttl| nanos(ttl).max(1)),
            id: *held.id.bytes(),
            offence: held.offence,
            port: held.port.unwrap_or(0),
            action: match held.action {
                Action::Drop => abi::DROP,
                Action::RateLimit => abi::RATE_LIMIT,
            },
            scope: match held.scope {
                Scope::All => abi::ALL,
                Scope::New => abi::NEW,
            },
            enforce: u8::from(held.mode == Mode::Enforce),
            by: match held.by {
                By::Score => 0,
                By::Guard => abi::GUARD,
                By::Cli => 2,
                By::List => 3,
            },
            score: held.score,
            prefix: network.prefix_len(),
            unlisted: 0,
        };
        Ok(self.0.insert(network, block)?)
    }

    fn get(&mut self, network: IpNet) -> Result<Option<Held>, MapError> {
        Ok(self.0.block(network)?.map(|block| held(&block)))
    }

    fn remove(&mut self, network: IpNet) -> Result<(), MapError> {
        self.0.remove(network)?;
        Ok(())
    }

    fn all(&mut self) -> Result<Vec<(IpNet, Held)>, MapError> {
        let blocks = self.0.blocks()?;
        Ok(blocks.into_iter().map(|(network, block)| (network, held(&block))).collect())
    }

    fn allow(&mut self, networks: &[IpNet]) -> Result<(), MapError> {
        self.0.allow(networks).map_err(|error| match error {
            Error::Full(_) => MapError::Failed(format!(
                "the allow list has {} entries, with what else is never blocked, and the kernel's has room for \
                 {MAX_ALLOWED} of each address family",
                networks.len()
            )),
            error => error.into(),
        })
    }

    fn changes(&mut self) -> Result<u64, MapError> {
        Ok(self.0.word(Word::Changes)?)
    }

    fn changed(&mut self) -> Result<(), MapError> {
        let changes = self.0.word(Word::Changes)?;
        Ok(self.0.set(Word::Changes, changes.wrapping_add(1))?)
    }

    fn counts(&mut self) -> Result<Vec<(XdpOutcome, u64)>, MapError> {
        let counts = self.0.counts()?;
        Ok(counts.iter().map(|(outcome, count)| (name(*outcome), count.packets)).collect())
    }
}

fn held(block: &Block) -> Held {
    Held {
        id: Id::from_bytes(block.id),
        action: if block.action == abi::DROP { Action::Drop } else { Action::RateLimit },
        scope: if block.scope == abi::ALL { Scope::All } else { Scope::New },
        port: (block.port > 0).then_some(block.port),
        mode: if block.enforce == 0 { Mode::Observe } else { Mode::Enforce },
        by: match block.by {
            0 => By::Score,
            abi::GUARD => By::Guard,
            2 => By::Cli,
            _ => By::List,
        },
        score: block.score,
        offence: block.offence,
        since: Timestamp::from_nanos(i64::try_from(block.since_ns).unwrap_or(0)),
        ttl: (block.ttl_ns > 0).then(|| Duration::from_nanos(block.ttl_ns)),
        packets: block.packets,
        bytes: block.bytes,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn name(outcome: Outcome) -> XdpOutcome {
    match outcome {
        Outcome::Pass => XdpOutcome::Pass,
        Outcome::DropAddress => XdpOutcome::DropAddress,
        Outcome::DropNetwork => XdpOutcome::DropNetwork,
        Outcome::DropRate => XdpOutcome::DropRate,
        Outcome::DropGuard => XdpOutcome::DropGuard,
        Outcome::WouldDrop => XdpOutcome::WouldDrop,
        Outcome::WithinRate => XdpOutcome::WithinRate,
        Outcome::OutOfScope => XdpOutcome::OutOfScope,
        Outcome::Allowed => XdpOutcome::Allowed,
        Outcome::Exempt => XdpOutcome::Exempt,
        Outcome::OwnSession => XdpOutcome::OwnSession,
        Outcome::FailOpen => XdpOutcome::FailOpen,
        Outcome::NotIp => XdpOutcome::NotIp,
        Outcome::Malformed => XdpOutcome::Malformed,
        Outcome::Fragment => XdpOutcome::Fragment,
    }
}

impl From<Error> for MapError {
    fn from(error: Error) -> Self {
        match error {
            Error::Full(_) => Self::Full,
            Error::Busy(_) => Self::Busy,
            Error::NoMemory(_) => Self::NoMemory,
            error => Self::Failed(crate::component::with_causes(&error)),
        }
    }
}
