//! Changes of verdicts as records on the port `alerts`. The gate goes on whether anybody reads them or not: what
//! finds no room waits in the log.

use std::sync::Arc;

use tracing::warn;

use crate::{
    ack::Ack,
    batch::Batch,
    component::{Context, Error, Outputs, Port},
    gate::{Unseen, alert, log::VerdictLog},
    metrics::{ERRORS, ErrorType, Meter},
    record::{Alert, Interface, ObservationPoint, Records},
};

/// Reads the log; it goes to a thread that may wait, and comes back.
#[derive(Debug)]
pub(super) struct LogReader {
    unseen: Unseen,
    origin: ObservationPoint,
    config_hash: Arc<str>,
    /// Read, and not handed over yet.
    fresh: Vec<Alert>,
    /// Whether what was read last is on its way.
    is_waiting: bool,
}

/// What waits for room.
#[derive(Debug)]
pub(super) struct Desk {
    port: Port,
    is_read: bool,
    batch: Option<Batch>,
    is_gone: bool,
}

// === impl LogReader ===

impl LogReader {
    pub(super) fn new(context: &Context, log: &VerdictLog, interface: &str) -> Self {
        let source = context.meter.id();
        let interface = Interface::Named(interface.into());
        Self {
            unseen: Unseen::open(log, &context.data_dir, source),
            origin: ObservationPoint::of(source, Some(interface)),
            config_hash: Arc::clone(&context.config_hash),
            fresh: Vec::new(),
            is_waiting: false,
        }
    }

    /// Reads on, once what it read before is gone. Waits for the disk.
    pub(super) fn look(&mut self, desk: &Desk, meter: &Meter) {
        if !desk.is_read {
            return self.noted(Unseen::skip, meter);
        }
        if self.is_waiting && desk.is_gone {
            self.is_waiting = false;
            self.noted(Unseen::told, meter);
        }
        if self.is_waiting {
            return;
        }
        match self.unseen.read() {
            Ok(logged) => {
                let told = |one| alert(one, self.origin, &self.config_hash);
                self.fresh = logged.iter().filter_map(told).collect();
            }
            Err(error) => {
                meter.count(ERRORS, ErrorType::VerdictLog, 1);
                warn!(%error, "the verdict log can't be read: its changes have no records yet");
            }
        }
        self.is_waiting = !self.fresh.is_empty();
        if !self.is_waiting {
            self.noted(Unseen::told, meter);
        }
    }

    fn noted(&mut self, note: impl Fn(&mut Unseen) -> std::io::Result<()>, meter: &Meter) {
        if let Err(error) = note(&mut self.unseen) {
            meter.count(ERRORS, ErrorType::VerdictLog, 1);
            warn!(%error, "how far the verdict log was told can't be written: after a restart it is told again");
        }
    }
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(port: Port, out: &Outputs) -> Self {
        Self { port, is_read: out.wants(port), batch: None, is_gone: false }
    }

    /// Takes what the reader has read.
    pub(super) fn take(&mut self, reader: &mut LogReader) {
        self.is_gone = false;
        let fresh = std::mem::take(&mut reader.fresh);
        if !fresh.is_empty() {
            let records = Records::Alerts(Arc::new(fresh));
            self.batch = Some(Batch { records, ack: Ack::none(), watermark: None });
        }
    }

    /// Waits until there is room for what waits: for ever if nothing does. Dropped, it loses nothing.
    pub(super) async fn room(&self, out: &Outputs) {
        match &self.batch {
            Some(batch) => out.room(self.port, batch).await,
            None => std::future::pending().await,
        }
    }

    /// Hands over what waits.
    ///
    /// # Errors
    /// If whoever reads it has gone.
    pub(super) async fn hand_over(&mut self, out: &Outputs) -> Result<(), Error> {
        if let Some(batch) = self.batch.take() {
            out.emit(self.port, batch.records, batch.watermark).await?;
            self.is_gone = true;
        }
        Ok(())
    }
}
