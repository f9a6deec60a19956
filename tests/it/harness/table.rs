//! The table of faults: what was done to a sink, and what became of the records. Filled by the cases,
//! printed when all of them have run.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use libtest_mimic::Failed;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// The sink.
    pub(crate) sink: &'static str,
    /// Who it was that did it: a real server by name and version, or `scripted`.
    pub(crate) server: &'static str,
    /// What was done.
    pub(crate) fault: String,
    /// Records that went into the sink.
    pub(crate) sent: u64,
    /// Distinct records at the destination, as the destination counts them.
    pub(crate) delivered: u64,
    /// Copies at the destination beyond the first.
    pub(crate) doubled: u64,
    /// Lines in the dead-letter file.
    pub(crate) dead_lettered: u64,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

// === impl Row ===

impl Row {
    /// Records nobody can account for.
    pub(crate) fn lost(&self) -> i64 {
        let [sent, delivered, dead] =
            [self.sent, self.delivered, self.dead_lettered].map(u64::cast_signed);
        sent - delivered - dead
    }

    /// Puts it into the table.
    ///
    /// # Errors
    /// When a record is lost.
    pub(crate) fn enter(&self) -> Result<(), Failed> {
        ROWS.lock().unwrap_or_else(PoisonError::into_inner).push(self.clone());
        if self.lost() == 0 {
            return Ok(());
        }
        Err(format!("{} records are lost: {self:?}", self.lost()).into())
    }
}

/// Prints the table, if any case has filled it.
pub(crate) fn print() {
    let mut rows = std::mem::take(&mut *ROWS.lock().unwrap_or_else(PoisonError::into_inner));
    if rows.is_empty() {
        return;
    }
    rows.sort();
    let server = |row: &Row| format!("{}, {}", row.sink, row.server);
    let widest = |text: &dyn Fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or_default();
    let (of_server, of_fault) = (widest(&|row| server(row).len()), widest(&|row| row.fault.len()));
    let head = ["sent", "delivered", "doubled", "dead-lettered", "lost"];
    let mut text = format!("\n{:of_server$}  {:of_fault$}", "sink, server", "fault");
    let line = |text: &mut String, cells: [String; 5]| {
        for (cell, name) in cells.into_iter().zip(head) {
            write!(text, "  {cell:>width$}", width = name.len().max(9))
                .expect("a String takes all");
        }
        text.push('\n');
    };
    line(&mut text, head.map(str::to_owned));
    for row in &rows {
        write!(text, "{:of_server$}  {:of_fault$}", server(row), row.fault)
            .expect("a String takes all");
        let Row { sent, delivered, doubled, dead_lettered, .. } = row;
        let counts = [sent, delivered, doubled, dead_lettered].map(u64::to_string);
        let [sent, delivered, doubled, dead_lettered] = counts;
        line(&mut text, [sent, delivered, doubled, dead_lettered, row.lost().to_string()]);
    }
    eprint!("{text}");
}
