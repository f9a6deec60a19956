//! The order of the flows in time: doubly linked lists over slot numbers.
//!
//! Every list holds flows whose deadlines are a fixed time after the moment they joined it, so its
//! head is always the next one due: no wheel, no heap, no scan. Joining, leaving and moving to the
//! end touch three links at most; they lie apart from the flows, so neighbours' flows stay cold.

/// No slot.
const NONE: u32 = u32::MAX;

/// Several lists over one set of slots; a slot is in one of them at most.
#[derive(Debug)]
pub(super) struct Lists<const N: usize> {
    links: Vec<Link>,
    ends: [Link; N],
}

/// The slots before and after; for a list, its last and first.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

// === impl Lists ===

impl<const N: usize> Default for Lists<N> {
    fn default() -> Self {
        Self { links: Vec::new(), ends: [Link::FREE; N] }
    }
}

impl<const N: usize> Lists<N> {
    /// Makes room for a further slot.
    pub(super) fn grow(&mut self) {
        self.links.push(Link::FREE);
    }

    /// The first slot of a list.
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].after).filter(|slot| *slot != NONE)
    }

    /// The slots of a list, from the first on.
    pub(super) fn iter(&self, list: usize) -> impl Iterator<Item = u32> {
        let after =
            |slot: &u32| Some(self.links[*slot as usize].after).filter(|slot| *slot != NONE);
        std::iter::successors(self.first(list), after)
    }

    /// Puts a slot that is in no list at the end of one.
    #[inline]
    pub(super) fn join(&mut self, list: usize, slot: u32) {
        let tail = self.ends[list].before;
        self.links[slot as usize] = Link { before: tail, after: NONE };
        self.link(list, tail).after = slot;
        self.ends[list].before = slot;
    }

    /// Takes a slot out of its list.
    #[inline]
    pub(super) fn leave(&mut self, list: usize, slot: u32) {
        let Link { before, after } = self.links[slot as usize];
        self.link(list, before).after = after;
        self.link(list, after).before = before;
    }

    /// Moves a slot to the end of its list.
    #[inline]
    pub(super) fn renew(&mut self, list: usize, slot: u32) {
        if self.ends[list].before != slot {
            self.leave(list, slot);
            self.join(list, slot);
        }
    }

    /// The link of a slot, or that of the list's ends for no slot.
    fn link(&mut self, list: usize, slot: u32) -> &mut Link {
        if slot == NONE { &mut self.ends[list] } else { &mut self.links[slot as usize] }
    }
}

// === impl Link ===

impl Link {
    const FREE: Self = Self { before: NONE, after: NONE };
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn contents(lists: &Lists<2>, list: usize) -> VecDeque<u32> {
        lists.iter(list).collect()
    }

    proptest! {
        #[test]
        fn they_behave_as_queues(steps in prop::collection::vec((0_u32..8, 0_usize..3), 0..200)) {
            let mut lists = Lists::<2>::default();
            (0..8).for_each(|_| lists.grow());
            let mut model = [VecDeque::new(), VecDeque::new()];
            for (slot, to) in steps {
                let from = model.iter().position(|list: &VecDeque<u32>| list.contains(&slot));
                if from == Some(to) {
                    lists.renew(to, slot);
                } else if let Some(from) = from {
                    lists.leave(from, slot);
                }
                for list in &mut model {
                    list.retain(|other| *other != slot);
                }
                if to < 2 {
                    if from != Some(to) {
                        lists.join(to, slot);
                    }
                    model[to].push_back(slot);
                }
                for (list, expected) in model.iter().enumerate() {
                    prop_assert_eq!(&contents(&lists, list), expected);
                }
            }
        }
    }
}
