//! Where the flows lie: slots that never move, in chunks, so that growing copies nothing.

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Values by slot number. A freed slot is used again before a new one is made.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: usize,
}

// === impl Slab ===

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// How many slots are in use.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a value into a slot; says whether the slot is a new one.
    pub(super) fn insert(&mut self, value: T) -> (u32, bool) {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = value;
            return (slot, false);
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) << CHUNK_BITS;
        let chunk = self.chunks.last_mut().expect("a chunk was pushed if there was none");
        let slot = before + chunk.len();
        chunk.push(value);
        (u32::try_from(slot).expect("max_flows is checked to fit 31 bits"), true)
    }

    /// Gives a slot back; its value stays until the slot is used again.
    pub(super) fn remove(&mut self, slot: u32) {
        self.len -= 1;
        self.free.push(slot);
    }

    /// The value of a slot that is in use.
    pub(super) fn get(&self, slot: u32) -> &T {
        &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize & (CHUNK - 1)]
    }

    /// The value of a slot that is in use.
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize & (CHUNK - 1)]
    }
}
