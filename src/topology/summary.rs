//! The account of a run: for every component, what became of the records it saw.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Serialize;

use super::plan::READS_AGAIN;
use crate::{
    ack::{End, Receipts},
    component::Role,
    metrics::{Balance, Meter},
};

/// The reason under which a sink counts what its destination refused for good.
const REFUSED: &str = "refused";
/// The cause under which records count that a component still held, or had yet to make, when the run was
/// cut off.
const UNFINISHED: &str = "unfinished";

/// What became of every record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The components, in the plan's order.
    pub accounts: Vec<Account>,
    /// Receipts that ended as lost.
    pub lost_receipts: u64,
    /// Receipts that never ended: records on their way when the run was cut off.
    pub open_receipts: u64,
}

/// One component's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it stands.
    pub role: Role,
    /// Whether what it holds is kept elsewhere: in a disk buffer, or in Kafka.
    pub kept: bool,
    /// What it counted.
    pub balance: Balance,
    /// The last thing that went wrong, if anything did.
    pub last_error: Option<String>,
}

/// The totals as `--summary` writes them.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Totals {
    /// Packets, or dead letters, that the sources read.
    pub packets: u64,
    /// Records the sources handed on.
    pub records_in: u64,
    /// Records each sink handed on.
    pub records_out: BTreeMap<String, u64>,
    /// Records whose destination confirmed them.
    pub delivered: u64,
    /// Of these, records that were there already, or may be there twice.
    pub duplicated: u64,
    /// Records in dead-letter files.
    pub dead_lettered: u64,
    /// Records a destination refused for good.
    pub refused: u64,
    /// Records of no interest to the config.
    pub filtered: u64,
    /// Records dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets and records lost, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// Records in disk buffers, for the next start.
    pub stored: u64,
    /// How long the run took.
    pub seconds: f64,
}

/// A component as the outside may look at it while it runs.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Counts for it, and knows its id, type and state.
    pub meter: Arc<Meter>,
    /// Where it stands.
    pub role: Role,
    /// Whether what it holds is kept elsewhere: in a disk buffer, or in Kafka.
    pub kept: bool,
}

// === impl Summary ===

impl Summary {
    /// The account so far.
    pub fn of(components: &[Observed], receipts: &Receipts) -> Self {
        let account = |Observed { meter, role, kept }: &Observed| Account {
            id: meter.id().to_owned(),
            kind: meter.kind(),
            role: *role,
            kept: *kept,
            balance: meter.balance(),
            last_error: meter.last_error(),
        };
        Self {
            accounts: components.iter().map(account).collect(),
            lost_receipts: receipts.ended(End::Lost),
            open_receipts: receipts.outstanding(),
        }
    }

    /// Whether every account balances.
    pub fn balances(&self) -> bool {
        self.accounts.iter().all(|account| account.balance.holds())
    }

    /// Whether nothing was lost, dropped, refused, dead-lettered, damaged or left behind.
    pub fn is_clean(&self) -> bool {
        // A source's error is damaged input, but for one that can read again: what it could not use or has
        // missed is counted as dropped or lost. A sink's is one it got over, or its records are held.
        let clean = |Account { role, kind, balance, .. }: &Account| {
            balance.dropped.is_empty()
                && balance.lost.is_empty()
                && (*role != Role::Source || *kind == READS_AGAIN || balance.errors.is_empty())
                && balance.unknown_losses == 0
                && balance.dead_lettered == 0
                && balance.unmade == 0
                && balance.stored == 0
                && balance.held == 0
        };
        self.lost_receipts == 0
            && self.open_receipts == 0
            && self.balances()
            && self.accounts.iter().all(clean)
    }

    /// The totals over all components, of a run that took `seconds`.
    pub fn totals(&self, seconds: f64) -> Totals {
        let mut totals = Totals { seconds, ..Totals::default() };
        for Account { id, role, kept, balance, .. } in &self.accounts {
            match role {
                Role::Source => {
                    totals.packets += balance.received;
                    totals.records_in += balance.passed + balance.made;
                }
                Role::Sink => {
                    totals.records_out.insert(id.clone(), balance.out());
                }
                Role::Transform => {}
            }
            totals.delivered += balance.delivered;
            totals.duplicated += balance.duplicated;
            totals.dead_lettered += balance.dead_lettered;
            totals.filtered += balance.filtered;
            for (&reason, n) in &balance.dropped {
                match reason {
                    REFUSED => totals.refused += n,
                    _ => *totals.dropped.entry(reason).or_default() += n,
                }
            }
            for (&cause, n) in &balance.lost {
                *totals.lost.entry(cause).or_default() += n;
            }
            totals.stored += balance.stored;
            let held = if *kept { 0 } else { balance.held };
            if held + balance.unmade > 0 {
                *totals.lost.entry(UNFINISHED).or_default() += held + balance.unmade;
            }
        }
        totals
    }
}

/// One line a component: `in = out + absorbed + filtered + dropped + held`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.accounts.iter().map(|account| account.id.len()).max().unwrap_or(0);
        for Account { id, kind, role, balance, last_error, .. } in &self.accounts {
            write!(
                f,
                "{id:width$}  {kind}: in {} = out {} + absorbed {} + filtered {} + dropped {} + held {}",
                balance.received,
                balance.out(),
                balance.absorbed,
                balance.filtered,
                balance.dropped_total(),
                balance.held,
            )?;
            if balance.made > 0 {
                write!(f, "; made {}", balance.made)?;
            }
            if *role == Role::Sink {
                write!(
                    f,
                    "; delivered {}, dead-lettered {}",
                    balance.delivered, balance.dead_lettered
                )?;
            }
            if balance.duplicated > 0 {
                write!(f, "; of these {} there already or perhaps twice", balance.duplicated)?;
            }
            if balance.unmade > 0 {
                write!(f, "; {} cut off before they were made", balance.unmade)?;
            }
            if balance.stored > 0 {
                write!(f, "; {} on disk for the next start", balance.stored)?;
            }
            for (reason, n) in &balance.dropped {
                write!(f, "; dropped {n} ({reason})")?;
            }
            for (cause, n) in &balance.lost {
                write!(f, "; lost {n} ({cause})")?;
            }
            if balance.unknown_losses > 0 {
                write!(f, "; {} intervals with unknown loss", balance.unknown_losses)?;
            }
            for (error, n) in &balance.errors {
                write!(f, "; {n} errors ({error})")?;
            }
            if let Some(error) = last_error {
                write!(f, "; last error: {error}")?;
            }
            f.write_str(if balance.holds() { "\n" } else { "; DOES NOT BALANCE\n" })?;
        }
        let without_end = self.lost_receipts + self.open_receipts;
        if without_end > 0 {
            writeln!(f, "{without_end} batches were on their way at its end")?;
        }
        Ok(())
    }
}
