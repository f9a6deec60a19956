//! Waiting for something to become true, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;

/// How long what should happen soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Errors
/// When there is none within `limit`: the message names what was waited for.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T, Failed> {
    let deadline = now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if now() >= deadline {
            return Err(format!("waited {} s in vain for {what}", limit.as_secs_f32()).into());
        }
        thread::sleep(PAUSE);
    }
}

/// Like [`until`], for a plain yes.
pub(crate) fn until_true(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> bool,
) -> Result<(), Failed> {
    until(what, limit, || ask().then_some(()))
}

/// Like [`until`], for what is asked of a server.
///
/// # Errors
/// As for [`until`].
pub(crate) async fn until_answered<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Failed> {
    let deadline = now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if now() >= deadline {
            return Err(format!("waited {} s in vain for {what}", limit.as_secs_f32()).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The time, for deadlines and for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "the test is a runner: it lives in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
