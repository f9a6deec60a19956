//! What a run says of itself while it goes on: a block at its start, a line on a terminal, and the same
//! figures in the log once a minute.

use std::{fmt::Write as _, io::stderr, path::Path, time::Duration};

use rustix::termios::tcgetwinsize;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{output, stderr as writer};
use crate::{
    component::Role,
    config::{Components, Config},
    metrics::{Books, Figures},
    topology::Observed,
};

/// How often the line on a terminal changes.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How often the log has the figures, in changes of the line.
const LOG_EVERY: u64 = 60;

/// The figures of a run as they change, until it is dropped.
#[derive(Debug)]
pub(super) struct Live(JoinHandle<()>);

/// The packets that were counted at the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    packets: u64,
}

/// The start block: which program, which config, what is captured how, and where it goes.
pub(super) fn introduction(config: &Config<Components>, file: &Path) -> String {
    let mut text = format!("tidegate {}: {}", env!("CARGO_PKG_VERSION"), file.display());
    for source in &config.sources {
        if let Some(outline) = source.config.configure().outline() {
            outlined(&mut text, &source.id, source.kind, &outline);
        }
    }
    sinks(&mut text, config);
    text
}

/// The start block of a replay: where it writes.
pub(super) fn destinations(config: &Config<Components>) -> String {
    let mut text = "replaying into".to_owned();
    sinks(&mut text, config);
    text
}

fn sinks(text: &mut String, config: &Config<Components>) {
    for sink in &config.sinks {
        if let Some(outline) = sink.config.configure().outline() {
            outlined(text, &sink.id, sink.kind, &outline);
        }
    }
}

fn outlined(text: &mut String, id: &str, kind: &str, outline: &str) {
    // Writing to a string can't fail.
    write!(text, "\n  {id} ({kind}): {outline}").unwrap_or_default();
}

// === impl Live ===

impl Live {
    /// Starts telling. Needs a tokio runtime.
    pub(super) fn start(components: &[Observed], quiet: bool) -> Self {
        let of = |wanted: bool| {
            let of_role = components.iter().filter(move |it| (it.role == Role::Source) == wanted);
            of_role.map(|component| std::sync::Arc::clone(&component.meter))
        };
        let books = Books::new(of(true), of(false));
        let shows = !quiet && output::can_change_a_line();
        Self(tokio::spawn(tell(books, shows)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.abort();
        writer::status(String::new());
    }
}

async fn tell(books: Books, shows: bool) {
    let mut every = interval(LINE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    let (mut of_line, mut of_log) = (Seen::default(), Seen::default());
    let (mut line_at, mut log_at, mut ticks) = (Instant::now(), Instant::now(), 0);
    loop {
        every.tick().await;
        ticks += 1;
        if shows {
            let figures = books.figures();
            let rate = of_line.rate(figures.packets, line_at.elapsed());
            line_at = Instant::now();
            writer::status(fitted(line(&figures, rate), columns()));
        }
        if ticks % LOG_EVERY == 0 {
            let figures = books.figures();
            let packets_per_sec = of_log.rate(figures.packets, log_at.elapsed());
            log_at = Instant::now();
            tracing::info!(
                packets_per_sec,
                flows_open = figures.flows_open,
                delivered = figures.delivered,
                waiting = figures.under_way(),
                lost = lost(&figures),
                "at work"
            );
        }
    }
}

/// The columns of the terminal; none if it does not tell.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(stderr()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// What fits into one row: of a line that goes on in the next one only a part could be taken back.
fn fitted(line: String, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if line.chars().count() >= columns => {
            line.chars().take(columns.saturating_sub(2)).chain(['…']).collect()
        }
        _ => line,
    }
}

/// Packets and records that are lost, as far as they could be counted.
fn lost(figures: &Figures) -> u64 {
    figures.lost.values().sum()
}

fn line(figures: &Figures, rate: u64) -> String {
    let mut line = format!(
        "{rate} packets/s, {} flows open, {} delivered, {} waiting, {} lost",
        figures.flows_open,
        figures.delivered,
        figures.under_way(),
        lost(figures)
    );
    if figures.unknown_losses > 0 {
        write!(line, ", {} intervals of unknown loss", figures.unknown_losses).unwrap_or_default();
    }
    line
}

// === impl Seen ===

impl Seen {
    /// How many a second have come since the last look.
    fn rate(&mut self, packets: u64, since: Duration) -> u64 {
        let came = packets.saturating_sub(self.packets);
        self.packets = packets;
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        came.saturating_mul(1000) / millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_file;

    #[test]
    fn a_line_has_the_rate_since_the_last_one() {
        let mut seen = Seen::default();
        assert_eq!(seen.rate(5_000, Duration::from_secs(2)), 2_500);
        assert_eq!(seen.rate(5_000, Duration::from_secs(1)), 0);
        assert_eq!(seen.rate(5_300, Duration::ZERO), 300_000);
        let figures = Figures {
            delivered: 7,
            on_disk: 1,
            held: 2,
            flows_open: 2,
            lost: [("kernel_buffer", 4), ("disk_budget", 1)].into(),
            ..Figures::default()
        };
        assert_eq!(
            line(&figures, 12),
            "12 packets/s, 2 flows open, 7 delivered, 3 waiting, 5 lost"
        );
        let figures = Figures { unknown_losses: 1, ..figures };
        assert!(line(&figures, 12).ends_with("5 lost, 1 intervals of unknown loss"));
    }

    #[test]
    fn a_line_stays_in_its_row() {
        let line = || "12 packets/s, 2 flows open".to_owned();
        for (columns, shown) in [
            (None, "12 packets/s, 2 flows open"),
            (Some(80), "12 packets/s, 2 flows open"),
            (Some(27), "12 packets/s, 2 flows open"),
            (Some(26), "12 packets/s, 2 flows op…"),
            (Some(4), "12…"),
            (Some(2), "…"),
            (Some(1), "…"),
        ] {
            assert_eq!(fitted(line(), columns), shown, "{columns:?}");
        }
    }

    #[test]
    fn the_introduction_says_what_is_captured_how_and_where_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.yaml");
        let text = "
sources:
  wire: { type: tshark, interface: eth0, mode: pipe, dissect: headers, capture_filter: not port 9200 }
  self: { type: health }
transforms:
  packets: { type: extract, inputs: [wire] }
sinks:
  siem:
    type: elasticsearch
    inputs: [packets, self]
    endpoints: [\"https://es:9200\"]
    auth: { api_key: \"very:secret\" }
  out: { type: file, inputs: [packets], path: /var/log/flows-%F }
";
        std::fs::write(&file, text).unwrap();
        let loaded = load_file::<Components>(&file, true).unwrap();
        let said = introduction(&loaded.config, Path::new("tidegate.yaml"));
        let expected = format!(
            "tidegate {}: tidegate.yaml
  wire (tshark): captures on eth0 as they come, up to the ports, without tshark, \"not port 9200\"
  siem (elasticsearch): to https://es:9200
  out (file): to /var/log/flows-%F",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(said, expected);
    }
}
