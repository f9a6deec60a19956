//! What `fuzz/` reaches of this module.

use std::sync::Arc;

use super::{Judge, Seat, Settings, Snapshot, snapshot::sealed};
use crate::{networks::Networks, record::Timestamp};

/// Goes on from `bytes` as a snapshot: as they are, and with the heading and the checksum they ought to have.
/// What could be gone on from is what the next snapshot says.
pub fn snapshot(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), sealed(bytes)] {
        let Ok(snapshot) = Snapshot::decode(&bytes) else { continue };
        let taken = snapshot.taken();
        let settings = Settings { max_sources: 1_000, ..Settings::default() };
        let mut judge = Judge::new(settings, Arc::new(Networks::default()), Seat::default());
        if judge.resume(snapshot, None, taken).is_err() {
            continue;
        }
        let again = judge.snapshot(None, taken);
        assert_eq!(Snapshot::decode(&again.encode()).as_ref(), Ok(&again));
        let addresses: Vec<_> = judge.sources().map(|(source, _)| source.address()).collect();
        for address in addresses {
            let later = Timestamp::from_nanos(taken.nanos().saturating_add(1_000_000_000));
            assert!(judge.risk(address, later).is_none_or(|risk| risk <= 100));
        }
    }
}
