//! The dumpcap of a pipe, attended by a task of its own: whoever hands on what it captured may wait for a
//! destination without end, and dumpcap has to be told to stop meanwhile.

use tokio_util::sync::CancellationToken;

use super::super::process::child::{Child, Ended};
use crate::{
    component::drain,
    metrics::{CAPTURE_UNKNOWN_LOSS, Meter},
};

/// Room in the pipe from dumpcap.
pub(in crate::sources::tshark) const PIPE_BYTES: usize = 1 << 20;

/// Why a dumpcap has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::tshark) enum Reason {
    /// By itself, or by somebody else.
    Ended,
    /// We were told to stop.
    Stopped,
    /// Its reader is gone: without it dumpcap has nowhere to write.
    ReaderGone,
}

/// A capture whose losses are not counted yet; if it is dropped, nobody will.
pub(in crate::sources::tshark) struct Unaccounted<'a>(Option<&'a Meter>);

/// Stays with dumpcap to its end, which it brings about on `stop`.
pub(in crate::sources::tshark) async fn attend(
    mut dumpcap: Child,
    stop: CancellationToken,
    reader_gone: CancellationToken,
) -> (Ended, Reason) {
    tokio::select! {
        biased;
        ended = dumpcap.ended() => (ended, Reason::Ended),
        () = stop.cancelled() => (dumpcap.finish_capture(drain::WRITER_TO_PIPE).await, Reason::Stopped),
        () = reader_gone.cancelled() => (dumpcap.finish(drain::WRITER_TO_PIPE).await, Reason::ReaderGone),
    }
}

// === impl Unaccounted ===

impl<'a> Unaccounted<'a> {
    /// A capture begins.
    pub(in crate::sources::tshark) fn new(meter: &'a Meter) -> Self {
        Self(Some(meter))
    }

    /// From now on somebody counts.
    pub(in crate::sources::tshark) fn is_counted(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unaccounted<'_> {
    fn drop(&mut self) {
        if let Some(meter) = self.0 {
            meter.count(CAPTURE_UNKNOWN_LOSS, (), 1);
            tracing::error!("the capture was cut off: packets may be lost uncounted");
        }
    }
}
