//! A look at the cluster before the first record: that the password is wrong, or nobody there, shows at
//! once, not with the first request, which may be hours away.
//!
//! It changes what `/health` says and nothing else: requests are sent whatever it finds.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use super::{
    super::http::{self, Client, Failure},
    nodes::Nodes,
};
use crate::{
    component::Clock,
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Holding, Meter},
    retry::Delays,
    task,
};

/// A request that is sent meanwhile says the same, and more.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Looks at the cluster until it once answered well.
#[derive(Debug)]
pub(super) struct Probe {
    look: Arc<Look>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Look {
    client: Arc<Client>,
    nodes: Arc<Nodes>,
    meter: Arc<Meter>,
    phase: Mutex<Phase>,
}

/// What is known of the cluster.
#[derive(Debug)]
enum Phase {
    /// Nothing.
    Unknown,
    /// It does not answer, or refuses us, and the sink says so.
    Bad { _holding: Holding },
    /// It answered well, or requests are sent and say how it does.
    Over,
}

// === impl Probe ===

impl Probe {
    pub(super) fn new(client: Arc<Client>, nodes: Arc<Nodes>, meter: Arc<Meter>) -> Self {
        let look = Look { client, nodes, meter, phase: Mutex::new(Phase::Unknown) };
        Self { look: Arc::new(look), task: OnceLock::new() }
    }

    /// Begins; once. It ends by itself, or when dropped.
    pub(super) fn start(&self) {
        let begin = || AbortOnDropHandle::new(task::spawn(Arc::clone(&self.look).run()));
        self.task.get_or_init(begin);
    }

    /// A request is about to be sent.
    pub(super) fn sending(&self) {
        let mut phase = self.look.phase();
        if matches!(*phase, Phase::Unknown) {
            *phase = Phase::Over;
        }
    }

    /// The cluster answered a request.
    pub(super) fn answered(&self) {
        self.look.well();
    }
}

// === impl Look ===

impl Look {
    async fn run(self: Arc<Self>) {
        tokio::time::sleep(PATIENCE).await;
        let mut delays = Delays::new(FIRST_DELAY, LONGEST_DELAY);
        let logged = LogLimit::series();
        while !matches!(*self.phase(), Phase::Over) {
            let Err(reason) = self.ask().await else { return self.well() };
            if self.badly()
                && let Some(suppressed) = logged.admit(1, Clock::Wall.now(None))
            {
                error!(suppressed, "no good answer, before any record: {reason}");
            }
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    /// Asks a node who it is. Not everybody may know (403), and not every server says (405): that is
    /// good enough.
    async fn ask(&self) -> Result<(), String> {
        let mut round = self.nodes.round();
        let mut reason = "no endpoint".to_owned();
        while let Some(node) = round.next(Instant::now()) {
            let headers = HeaderMap::from_iter([http::header("accept", "application/json")]);
            let url = http::below(&node.base, "");
            let asked =
                self.client.request(Method::GET, url, headers, Vec::new(), MAX_ANSWER_BYTES);
            let answer = asked.await;
            let next = round.answered(node, answer.as_ref(), Instant::now());
            reason = match answer {
                Ok(answer)
                    if answer.status == StatusCode::UNAUTHORIZED
                        || answer.status.is_server_error() =>
                {
                    format!("{}: {}", node.name, self.client.quote(&answer))
                }
                Ok(_) | Err(Failure::TooLong { .. }) => return Ok(()),
                Err(failure) => format!("{}: {failure}", node.name),
            };
            if !next {
                break;
            }
        }
        Err(reason)
    }

    /// Takes note of an answer that is not good; false if requests say by now how the cluster does.
    fn badly(&self) -> bool {
        let mut phase = self.phase();
        if let Phase::Unknown = *phase {
            *phase = Phase::Bad { _holding: self.meter.holding() };
        }
        let is_bad = matches!(*phase, Phase::Bad { .. });
        if is_bad {
            self.meter.count(ERRORS, ErrorType::DestinationNotReady, 1);
        }
        is_bad
    }

    fn well(&self) {
        if let Phase::Bad { .. } = std::mem::replace(&mut *self.phase(), Phase::Over) {
            info!("the server answers now");
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
