//! How long each case took: noted as they end, printed when all have run.

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

/// Notes a case that has ended.
pub(crate) fn note(case: &str, waited: Duration, took: Duration) {
    let time = Time { took, waited, case: case.to_owned() };
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(time);
}

/// Prints them, the slowest last; `whole` is how long all of them took together.
pub(crate) fn print(whole: Duration) {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort();
    let mut text = format!("\n{:>8}  {:>8}  case\n", "took, s", "queued");
    for Time { took, waited, case } in &times {
        let (took, waited) = (took.as_secs_f64(), waited.as_secs_f64());
        writeln!(text, "{took:8.1}  {waited:8.1}  {case}").expect("a String takes all");
    }
    let sum: Duration = times.iter().map(|time| time.took).sum();
    let (count, whole, sum) = (times.len(), whole.as_secs_f64(), sum.as_secs_f64());
    writeln!(text, "{whole:8.1}  {count} cases, of {sum:.1} s one after the other")
        .expect("a String takes all");
    eprint!("{text}");
}
