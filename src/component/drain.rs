//! How long what was stopped may still take: the run as a whole, and within it each part that waits for
//! another. A part's time ends before that of whoever waits for it; what is left then is counted as lost.
//!
//! The capturer ends → the readers print what it captured → the `health` source makes its last report →
//! the sinks deliver until the run is cut off → the threads end.

use std::time::Duration;

/// The run: from the moment its sources are stopped, or a component has failed.
pub const RUN: Duration = Duration::from_mins(1);
/// A capturer that writes segments, and a program that cuts a capture into pieces.
pub const WRITER: Duration = Duration::from_secs(5);
/// A capturer that writes into a pipe, and so waits for its reader.
pub const WRITER_TO_PIPE: Duration = Duration::from_secs(15);
/// The readers of what a stopped capturer left: in `pipe` mode from its end, in `segments` mode from the
/// stop.
pub const READERS: Duration = Duration::from_secs(30);
/// A source that tells where it reads up to where it was acknowledged, for those acknowledgements.
pub const ACKNOWLEDGEMENTS: Duration = Duration::from_secs(40);
/// The same source, to have a coordinator that may be away take what was acknowledged.
pub const COMMIT: Duration = Duration::from_secs(8);
/// And to leave its group too.
pub const LEAVE: Duration = Duration::from_secs(9);
/// The `health` source, for the other sources: what they lose by stopping is still reported.
pub const LAST_REPORT: Duration = Duration::from_secs(50);
/// A component that keeps what it knows over a restart, for the last time it is written: what comes behind
/// it does not wait for that.
pub const STATE: Duration = Duration::from_secs(30);
/// The pause of a sink between two tries while a stopped run drains: a try more is worth more than what
/// is lost at the end.
pub const BETWEEN_TRIES: Duration = Duration::from_secs(5);
/// A client of the HTTP endpoint that keeps its connection open.
pub const CLIENTS: Duration = Duration::from_secs(1);
/// The file that tells the next run what this one had in memory, to be removed when all is done.
pub const JOURNAL: Duration = Duration::from_secs(5);
/// Threads that are still in a system call when all is done.
pub const THREADS: Duration = Duration::from_secs(1);

/// Each fits into the next.
const _: () = {
    assert!(WRITER.as_secs() <= WRITER_TO_PIPE.as_secs());
    assert!(WRITER_TO_PIPE.as_secs() + READERS.as_secs() < LAST_REPORT.as_secs());
    assert!(COMMIT.as_secs() < LEAVE.as_secs());
    assert!(ACKNOWLEDGEMENTS.as_secs() + LEAVE.as_secs() < LAST_REPORT.as_secs());
    assert!(STATE.as_secs() < LAST_REPORT.as_secs());
    assert!(LAST_REPORT.as_secs() + BETWEEN_TRIES.as_secs() < RUN.as_secs());
};
