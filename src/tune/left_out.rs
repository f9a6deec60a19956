//! What of a log is not judged though it can be read, by the reason: said once, with how many rows it was.

use std::collections::BTreeMap;

/// Names that are told apart; the others are counted.
const MAX_NAMES: usize = 10;
/// Bytes of a name that are told.
const MAX_NAME_BYTES: usize = 64;

/// Rows that were left out, and labels that were.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    dropped: u64,
    without_transport: u64,
    /// Rows of flows whose two directions may be two rows, by their datasets.
    foreign: Names,
    labels: Names,
}

/// How often each name was met.
#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<Box<str>, u64>,
    others: u64,
}

// === impl LeftOut ===

impl LeftOut {
    /// A firewall let nothing of it pass.
    pub(super) fn drop(&mut self) {
        self.dropped += 1;
    }

    /// It has neither ports nor a protocol above IP: ARP, IGMP.
    pub(super) fn miss_transport(&mut self) {
        self.without_transport += 1;
    }

    /// It is of a dataset that is not read.
    pub(super) fn skip(&mut self, dataset: Option<&str>) {
        self.foreign.add(dataset.unwrap_or("no dataset"));
    }

    /// A row has a label that says neither.
    pub(super) fn disregard(&mut self, label: &str) {
        self.labels.add(label);
    }

    /// How many rows were left out.
    pub(super) fn rows(&self) -> u64 {
        self.dropped + self.without_transport + self.foreign.all()
    }

    /// What of it could have told something, and was not read.
    pub(super) fn faults(&self) -> Vec<String> {
        let fault = |(name, count)| {
            format!(
                "{count} rows are of {name}, which is not read: what is must have both directions \
                 of a flow in one row"
            )
        };
        self.foreign.told().map(fault).collect()
    }

    /// What of it is as it should be.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.dropped > 0 {
            notes.push(format!("{} rows of dropped traffic are left out", self.dropped));
        }
        if self.without_transport > 0 {
            notes.push(format!(
                "{} rows without a transport (ARP, IGMP) are left out",
                self.without_transport
            ));
        }
        let label = |(name, count)| {
            format!(
                "the label {name} of {count} rows says neither benign nor malicious, and counts as \
                 none: `--labels` can say it"
            )
        };
        notes.extend(self.labels.told().map(label));
        notes
    }
}

// === impl Names ===

impl Names {
    fn add(&mut self, name: &str) {
        let name = name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default();
        if let Some(count) = self.known.get_mut(name) {
            *count += 1;
        } else if self.known.len() < MAX_NAMES {
            self.known.insert(name.into(), 1);
        } else {
            self.others += 1;
        }
    }

    fn all(&self) -> u64 {
        self.known.values().sum::<u64>() + self.others
    }

    fn told(&self) -> impl Iterator<Item = (String, u64)> {
        // Whoever wrote them, they go to a terminal.
        let known =
            self.known.iter().map(|(name, count)| (name.escape_debug().to_string(), *count));
        let others = (self.others > 0).then(|| ("other names".to_owned(), self.others));
        known.chain(others)
    }
}
