//! The thread that starts children.
//!
//! Children are told to die with their parent (`PR_SET_PDEATHSIG`), and for the kernel the parent is
//! the *thread* that forked (prctl(2)): a runtime's worker may end long before the process does, this
//! thread never does.

use std::{
    io,
    sync::{LazyLock, mpsc},
    thread,
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

/// Requests that may wait; a sender beyond them waits itself.
const QUEUE: usize = 16;

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: LazyLock<io::Result<mpsc::SyncSender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::sync_channel::<Request>(QUEUE);
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for mut request in requests {
            let _runtime = request.runtime.enter();
            let child = request.command.spawn();
            // Nobody waits any more: the child is dropped, and killed by that.
            drop(request.answer.send(child));
        }
    })?;
    Ok(sender)
});

/// Starts `command` on the thread that lives as long as the process.
pub(in crate::sources::tshark) async fn spawn(command: Command) -> io::Result<Child> {
    let spawner =
        SPAWNER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (answer, child) = oneshot::channel();
    let request = Request { command, runtime: Handle::current(), answer };
    let gone = |_| io::Error::other("the thread that starts children has ended");
    spawner
        .send(request)
        .map_err(|_| io::Error::other("the thread that starts children has ended"))?;
    child.await.map_err(gone)?
}
