//! Which flows were held against a source last: evidence that its records name.
//!
//! One ring for all sources, in which those of each are chained, so that what it takes is bounded whoever
//! sends what. Under a flood from a million addresses it holds the last second's, of all of them.

use crate::record::{CommunityId, Conversation};

/// Flows that are kept, of all sources together: 7 MB.
const MAX: usize = 1 << 17;
/// Flows that a record names.
const MAX_TOLD: usize = 20;
/// Links of a chain that are looked at: a flow may be in it more than once.
const MAX_STEPS: usize = 64;

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Trail {
    links: Vec<Link>,
    /// How many were ever added: the number of the last one.
    added: u64,
}

/// The number of the last link of a source's chain; 0 of one that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain(u64);

#[derive(Debug, Clone, Copy)]
struct Link {
    conversation: Conversation,
    before: Chain,
}

// === impl Trail ===

impl Trail {
    /// Adds a flow to a source's chain.
    pub(super) fn add(&mut self, chain: &mut Chain, conversation: Conversation) {
        if !conversation.is_one_flow() {
            return;
        }
        let link = Link { conversation, before: *chain };
        self.added += 1;
        let place = place(self.added);
        match self.links.get_mut(place) {
            Some(oldest) => *oldest = link,
            None => self.links.push(link),
        }
        *chain = Chain(self.added);
    }

    /// The Community IDs of a chain's flows, the latest first.
    pub(super) fn told(&self, chain: Chain) -> Vec<CommunityId> {
        let mut ids = Vec::new();
        let mut number = chain.0;
        for _ in 0..MAX_STEPS {
            // What is older has been overwritten.
            if number == 0 || self.added - number >= MAX as u64 || ids.len() >= MAX_TOLD {
                break;
            }
            let Some(link) = self.links.get(place(number)) else { break };
            let id = link.conversation.community_id();
            ids.extend(id.filter(|id| !ids.contains(id)));
            number = link.before.0;
        }
        ids
    }
}

fn place(number: u64) -> usize {
    usize::try_from((number - 1) % MAX as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Transport;

    fn conversation(source_port: u16) -> Conversation {
        Conversation {
            source: [198, 51, 100, 7].into(),
            destination: [10, 0, 0, 1].into(),
            source_port,
            port: 22,
            transport: Transport::TCP,
        }
    }

    fn id(source_port: u16) -> CommunityId {
        conversation(source_port).community_id().unwrap()
    }

    #[test]
    fn a_chain_has_the_last_twenty_of_its_own_flows_each_once() {
        let (mut trail, mut one, mut other) =
            (Trail::default(), Chain::default(), Chain::default());
        for port in 1..=30 {
            trail.add(&mut one, conversation(port));
            trail.add(&mut one, conversation(port));
            trail.add(&mut other, conversation(1_000 + port));
        }
        // Counts are no flow.
        trail.add(&mut one, conversation(0));
        let last: Vec<_> = (11..=30).rev().map(id).collect();
        assert_eq!(trail.told(one), last);
        assert_eq!(trail.told(other).len(), 20);
        assert_eq!(trail.told(Chain::default()), []);
    }

    #[test]
    fn what_a_flood_overwrote_is_no_longer_told_and_the_ring_does_not_grow() {
        let (mut trail, mut scanner) = (Trail::default(), Chain::default());
        trail.add(&mut scanner, conversation(1));
        for _ in 0..MAX - 1 {
            trail.add(&mut Chain::default(), conversation(2));
        }
        assert_eq!(trail.told(scanner), [id(1)]);
        trail.add(&mut scanner, conversation(3));
        assert_eq!(trail.told(scanner), [id(3)], "the first one's place was taken by it");
        assert_eq!(trail.links.len(), MAX);
    }
}
