//! Maps a part at a time, by one call for many elements.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::Pod;

/// `BPF_MAP_LOOKUP_BATCH`; the other batches are 25 to 27.
const LOOKUP_BATCH: libc::c_long = 24;

/// Room for a part of a map.
#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

/// How far a walk over a map has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Nothing was read yet.
    Begun,
    /// Up to this place, which the kernel knows.
    At(u32),
    /// There is no more.
    Done,
}

/// `bpf_attr` of the batch commands.
#[repr(C)]
struct InBatch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

// === impl Batch ===

impl<K: Pod + Default, V: Pod + Default> Batch<K, V> {
    pub(crate) fn new(room: usize) -> Self {
        Self { keys: vec![K::default(); room], values: vec![V::default(); room] }
    }

    /// Gives each element of a hash map whose keys and values have the sizes of ours. What comes or goes meanwhile may be
    /// among them or not.
    pub(crate) fn each(
        &mut self,
        map: BorrowedFd<'_>,
        mut take: impl FnMut(&K, &V),
    ) -> io::Result<()> {
        let mut walk = Walk::Begun;
        while walk != Walk::Done {
            match self.look_up(map, walk) {
                Ok((next, count)) => {
                    self.elements(count).for_each(|(key, value)| take(key, value));
                    walk = next;
                }
                // More in one bucket than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    *self = Self::new(2 * self.room());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads on in a hash map whose keys and values have the sizes of ours, and gives how many elements came, and
    /// how far it came. What is there all the while comes once.
    pub(crate) fn look_up(&mut self, map: BorrowedFd<'_>, walk: Walk) -> io::Result<(Walk, usize)> {
        let mut from = match walk {
            Walk::Begun => None,
            Walk::At(place) => Some(place),
            Walk::Done => return Ok((Walk::Done, 0)),
        };
        let mut to = 0_u32;
        let from_at = from.as_mut().map_or(0, |place| std::ptr::from_mut(place) as u64);
        let mut attribute = InBatch {
            from: from_at,
            to: std::ptr::from_mut(&mut to) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the attribute is as the command wants it; `from` and `to` are a hash map's four bytes, and
        // there is room for `count` keys and values of the map's sizes. All of it lives through the call, and
        // any bytes are values of `Pod` types.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_BATCH,
                std::ptr::from_mut(&mut attribute),
                size_of::<InBatch>(),
            )
        };
        let mut walk = Walk::At(to);
        if done < 0 {
            let error = io::Error::last_os_error();
            // The last part comes with this error.
            if error.raw_os_error() != Some(libc::ENOENT) {
                return Err(error);
            }
            walk = Walk::Done;
        }
        Ok((walk, (attribute.count as usize).min(self.keys.len())))
    }

    /// The first `count` elements of what came last.
    pub(crate) fn elements(&self, count: usize) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values).take(count)
    }

    /// How many elements it has room for.
    pub(crate) fn room(&self) -> usize {
        self.keys.len()
    }
}
