//! The cases' own HTTP client: it goes straight to the servers on this machine.

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use reqwest::{RequestBuilder, Response};
use tidegate::component::with_causes;
use tokio::runtime::Runtime;

use super::{
    Case, Outcome, Scene,
    faults::{FaultServer, Reply},
    poll::SOON,
};

/// What a server may take for an answer when every other case wants the processors too.
const PATIENCE: Duration = Duration::from_mins(5);

/// A client to be built: whatever proxy the environment names, it is not asked. Cases share it, each
/// with a runtime of its own: it keeps no connection, which would end with the runtime that made it,
/// in the middle of another case's request.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().http1_only().pool_max_idle_per_host(0).timeout(PATIENCE)
}

/// Sends a request.
///
/// # Errors
/// When there is no answer: with all its causes.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, Failed> {
    request.send().await.map_err(|error| with_causes(&error).into())
}

/// The status and the text of a page in the clear.
///
/// # Errors
/// When there is no whole answer.
pub(crate) async fn get(url: &str) -> Result<(u16, String), reqwest::Error> {
    let answer = client().tls_certs_only([]).build()?.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The cases about this client.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(a_request_outlives_the_runtime_of_another_case)]
}

fn a_request_outlives_the_runtime_of_another_case(_scene: &Scene) -> Outcome {
    let (asked, is_asked) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let has_ended = Mutex::new(has_ended);
    let runtime = Runtime::new()?;
    let server = runtime.block_on(FaultServer::start(None, move |request| {
        if request.number == 1 {
            asked.send(()).expect("the case waits for it");
            has_ended.lock().expect("nobody panics").recv_timeout(SOON).expect("it ends");
        }
        Reply::Answer(200, String::new(), None)
    }))?;
    let client = client().tls_certs_only([]).build()?;
    let ask = |runtime: &Runtime| runtime.block_on(send(client.get(server.url()))).map(drop);
    let first = Runtime::new()?;
    ask(&first)?;
    thread::scope(|scope| {
        let second = scope.spawn(|| ask(&Runtime::new()?));
        is_asked.recv_timeout(SOON)?;
        drop(first);
        ended.send(())?;
        second.join().expect("it does not panic")
    })
}
