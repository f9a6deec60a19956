//! The memory budget, divided among all that waits: `docs/adr/0008-memory-is-divided-beforehand.md`.

use crate::{
    buffer,
    component::{Error, edge::Bounds},
    config::{Components, Config},
    sinks::driver,
};

/// The budget of a config that names none and does not need more.
const DEFAULT_BYTES: u64 = 96 << 20;
/// The least a buffer works with: some batches of tshark's lines.
const MIN_SHARE_BYTES: u64 = 1 << 20;

/// Checks that the config keeps to the budget it names.
///
/// # Errors
/// What it needs, where that is more.
pub fn check(config: &Config<Components>) -> Result<(), Error> {
    share(config).map(drop)
}

/// Bytes that may wait before each transform, and before each sink that sets no limit of its own: an
/// even share of what the memory budget leaves beside those limits, the sinks' requests, what transforms
/// let wait and what sources read ahead.
///
/// # Errors
/// When the config needs more than the budget it names.
pub(super) fn share(config: &Config<Components>) -> Result<u32, Error> {
    let requests = config
        .sinks
        .iter()
        .map(|sink| driver::memory_bytes(sink.config.configure().requests(), &sink.common));
    let limits = config.sinks.iter().map(|sink| sink.common.buffer.memory_bytes());
    let on_disk = config.sinks.iter().filter(|sink| sink.common.buffer.is_on_disk()).count();
    // A disk buffer has an edge before it beside that of its sink.
    let sharing =
        config.transforms.len() + limits.clone().filter(Option::is_none).count() + on_disk;
    let limits = limits.map(|limit| limit.unwrap_or(0).into());
    let queues =
        config.transforms.iter().map(|transform| transform.config.configure().memory_bytes());
    let ahead = config.sources.iter().map(|source| source.config.configure().memory_bytes());
    let buffers = std::iter::repeat_n(buffer::stage::memory_bytes(), on_disk);
    let fixed = requests
        .chain(limits)
        .chain(queues)
        .chain(ahead)
        .chain(buffers)
        .fold(0, u64::saturating_add);
    divide(config.globals.memory_budget_bytes, fixed, sharing as u64)
}

fn divide(budget: Option<u64>, fixed: u64, sharing: u64) -> Result<u32, Error> {
    let needed = fixed.saturating_add(MIN_SHARE_BYTES.saturating_mul(sharing));
    let budget = budget.unwrap_or(DEFAULT_BYTES.max(needed));
    if needed > budget {
        let message = format!(
            "memory_budget_bytes is {budget}, and this config needs {needed}: {fixed} for the \
             requests and buffer.max_bytes of its sinks, what waits for names and what sources read ahead, {MIN_SHARE_BYTES} for each of {sharing} \
             other buffers"
        );
        return Err(Error::configuration(message).hint(
            "raise memory_budget_bytes, or lower batch.max_bytes, request.concurrency or \
             buffer.max_bytes of sinks",
        ));
    }
    let share = (budget - fixed) / sharing.max(1);
    Ok(u32::try_from(share).unwrap_or(u32::MAX).min(Bounds::default().max_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_requests_leave_is_shared_evenly_up_to_what_any_buffer_needs() {
        let cases = [
            (96 * MIB, 50 * MIB, 4, Some(46 * MIB / 4)),
            (96 * MIB, 5 * MIB, 2, Some(16 * MIB)),
            (96 * MIB, 92 * MIB, 4, Some(MIB)),
            (96 * MIB, 92 * MIB + 1, 4, None),
            (96 * MIB, 96 * MIB, 0, Some(0)),
            (96 * MIB, 97 * MIB, 0, None),
            (96 * MIB, u64::MAX, u64::MAX, None),
        ];
        for (fixed, sharing, expected) in [(50, 4, 46 * MIB / 4), (200, 4, MIB)] {
            let share = divide(None, fixed * MIB, sharing).map(u64::from);
            assert_eq!(share.ok(), Some(expected), "{fixed} MiB without a budget of its own");
        }
        for (budget, fixed, sharing, expected) in cases {
            let share = divide(Some(budget), fixed, sharing).map(u64::from);
            assert_eq!(share.as_ref().ok(), expected.as_ref(), "{fixed} of {budget}, {sharing}");
            assert!(share.err().is_none_or(|error| error.is_configuration()));
        }
    }
}
