//! How long each case took, and why it failed: noted as they end, printed when all have run, so that a log of
//! which only the end is kept has what matters.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    /// From its beginning to its end.
    took: Duration,
    /// For its turn on the machine, before it began.
    waited: Duration,
    case: String,
}

static TIMES: Mutex<Vec<Time>> = Mutex::new(Vec::new());

/// Cases that failed, and why.
static FAILED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The cases that took less are counted only.
const SHOWN: Duration = Duration::from_secs(20);
/// Of a reason so many lines are printed again.
const LINES: usize = 20;

/// Notes a case that has ended.
pub(crate) fn note(case: &str, waited: Duration, took: Duration) {
    let time = Time { took, waited, case: case.to_owned() };
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(time);
}

/// Notes why a case has failed.
pub(crate) fn failed(case: &str, reason: &str) {
    let failed = (case.to_owned(), reason.to_owned());
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
}

/// Prints them, the slowest last, and behind them what failed; `whole` is how long all of them took together.
pub(crate) fn print(whole: Duration) {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort();
    let mut text = format!("\n{:>8}  {:>8}  case\n", "took, s", "queued");
    let short = times.partition_point(|time| time.took < SHOWN);
    writeln!(text, "{short:8}            took less than {} s each", SHOWN.as_secs())
        .expect("a String takes all");
    for Time { took, waited, case } in &times[short..] {
        let (took, waited) = (took.as_secs_f64(), waited.as_secs_f64());
        writeln!(text, "{took:8.1}  {waited:8.1}  {case}").expect("a String takes all");
    }
    let sum: Duration = times.iter().map(|time| time.took).sum();
    let (count, whole, sum) = (times.len(), whole.as_secs_f64(), sum.as_secs_f64());
    writeln!(text, "{whole:8.1}  {count} cases, of {sum:.1} s one after the other")
        .expect("a String takes all");
    for (case, reason) in &*FAILED.lock().unwrap_or_else(PoisonError::into_inner) {
        let lines: Vec<_> = reason.lines().take(LINES).collect();
        writeln!(text, "failed: {case}: {}", lines.join("\n    ")).expect("a String takes all");
    }
    eprint!("{text}");
}
