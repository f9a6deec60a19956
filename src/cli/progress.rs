//! A progress line on a terminal while captures are replayed.

use std::{sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::{component::Role, metrics::Meter, topology::Running};

/// Shows how many packets the sources have read, and how fast, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    ticking: tokio::task::JoinHandle<()>,
}

impl Progress {
    /// Starts it; `None` where nobody would see it. Needs a tokio runtime.
    pub(super) fn start(running: &Running, quiet: bool) -> Option<Self> {
        if quiet || !output::can_change_a_line() {
            return None;
        }
        let sources: Vec<Arc<Meter>> = running
            .components()
            .iter()
            .filter(|component| component.role == Role::Source)
            .map(|component| Arc::clone(&component.meter))
            .collect();
        let bar = ProgressBar::no_length();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {human_pos} packets  {per_sec}  {elapsed}")
        {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let ticking = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(200));
            loop {
                every.tick().await;
                shown.set_position(sources.iter().map(|meter| meter.balance().received).sum());
            }
        });
        Some(Self { bar, ticking })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ticking.abort();
        self.bar.finish_and_clear();
    }
}
