//! Tasks and threads of a component, which log in its name.
//!
//! A component's run loop is entered in a [`span`] of its own. What it starts beside itself takes that
//! span along if it is started here; tokio's own functions would leave it behind.

use std::future::Future;

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{Instrument, Span};

/// The span's name, by which the log finds it.
pub const SPAN: &str = "component";

/// The span in which component `id` of type `kind` runs. It stands on its own, whatever span the
/// caller is in, and is on at each log level, or `--quiet` errors would not name their component.
pub fn span(id: &str, kind: &str) -> Span {
    tracing::error_span!(parent: None, SPAN, component_id = id, component_type = kind)
}

/// Runs `future` as a task in the caller's span.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.in_current_span())
}

/// Runs `future` as a task of `set` in the caller's span.
pub fn spawn_on<T: Send + 'static>(
    set: &mut JoinSet<T>,
    future: impl Future<Output = T> + Send + 'static,
) -> AbortHandle {
    set.spawn(future.in_current_span())
}

/// Runs `work`, which may block, on a thread kept for that, in the caller's span.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}
