//! A pipeline at work: its tasks, how it is stopped, and how it ended.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, Span, error, info, warn};

use super::{
    journal::Journal,
    plan::{Part, Plan, kept},
    summary::{Observed, Summary},
    wire::wire,
};
use crate::{
    ack::Receipts,
    component::{Clock, Error, with_causes},
    metrics::{Meter, State},
    storage::directory::OwnDirectory,
    task,
};

/// A pipeline at work.
#[derive(Debug)]
pub struct Running {
    tasks: JoinSet<Result<(), Error>>,
    members: HashMap<tokio::task::Id, Vec<Arc<Meter>>>,
    components: Vec<Observed>,
    receipts: Receipts,
    stop: CancellationToken,
    abort: CancellationToken,
    journal: Option<Journal>,
    _data_dir: Option<OwnDirectory>,
    /// At work for as long as the run.
    _networks: Option<AbortOnDropHandle<()>>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The components that failed, the cause first.
    pub failures: Vec<Failure>,
    /// Components that were cut off by the deadline or a second signal.
    pub unfinished: Vec<String>,
    /// The account of every component.
    pub summary: Summary,
}

/// A component that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its id.
    pub component: String,
    /// Why.
    pub error: Error,
}

// === impl Running ===

impl Running {
    /// Connects a plan and starts its tasks. Needs a tokio runtime.
    pub fn start(mut plan: Plan) -> Self {
        let data_dir = plan.data_dir.take();
        let stop = CancellationToken::new();
        let receipts = plan.receipts.clone();
        let keeper = plan.networks.take();
        let keeper = keeper.map(|keeper| AbortOnDropHandle::new(task::spawn(keeper.follow())));
        let observe = |(part, kept): (&Part, bool)| {
            let (meter, role) = (Arc::clone(&part.meter), part.role());
            Observed { meter, role, kept }
        };
        let components: Vec<_> = plan.parts.iter().zip(kept(&plan.parts)).map(observe).collect();
        let own = data_dir.as_ref().filter(|_| plan.clock == Clock::Wall);
        let journal = own.map(|own| Journal::start(own.path(), &components));
        let (mut tasks, mut members) = (JoinSet::new(), HashMap::new());
        for task in wire(plan, &stop) {
            for meter in &task.members {
                meter.set_state(State::Running);
            }
            let handle = tasks.spawn(task.run.instrument(speaker(&task.members)));
            members.insert(handle.id(), task.members);
        }
        let abort = CancellationToken::new();
        Self {
            tasks,
            members,
            components,
            receipts,
            stop,
            abort,
            journal,
            _data_dir: data_dir,
            _networks: keeper,
        }
    }

    /// Cancelling it stops the sources; the rest drains.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Cancelling it ends everything at once; what is unfinished is named.
    pub fn abort_token(&self) -> CancellationToken {
        self.abort.clone()
    }

    /// How many tasks are at work.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// All components, in the plan's order.
    pub fn components(&self) -> &[Observed] {
        &self.components
    }

    /// Runs until every task has ended. Once stopped, or once a component has failed, the rest has
    /// `deadline` to drain.
    pub async fn ended(mut self, deadline: Duration) -> Ended {
        let mut failures = Vec::new();
        let mut cut_off_at = None;
        loop {
            let cut_off = async {
                match cut_off_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.abort.cancelled() => break,
                task = self.tasks.join_next_with_id() => {
                    let Some(task) = task else { break };
                    failures.extend(self.task_ended(task));
                }
                () = self.stop.cancelled(), if cut_off_at.is_none() => {
                    cut_off_at = Some(after(deadline));
                }
                () = cut_off => break,
            }
        }
        let unfinished = self.cut_off().await;
        if let Some(journal) = self.journal.take() {
            journal.end().await;
        }
        // A task that only stopped because its reader had gone is not the cause.
        failures.sort_by_key(|failure| failure.error.is_downstream());
        Ended { failures, unfinished, summary: Summary::of(&self.components, &self.receipts) }
    }

    fn task_ended(
        &mut self,
        task: Result<(tokio::task::Id, Result<(), Error>), tokio::task::JoinError>,
    ) -> Option<Failure> {
        let (id, result) = match task {
            Ok((id, result)) => (id, result),
            Err(join) => {
                (join.id(), Err(Error::failure("it panicked: this is a bug").because(join)))
            }
        };
        let members = self.members.remove(&id).unwrap_or_default();
        let state = if result.is_ok() { State::Ended } else { State::Failed };
        for meter in &members {
            meter.set_state(state);
        }
        let error = result.err()?;
        if !error.is_downstream() {
            for meter in &members {
                meter.failed(&with_causes(&error));
            }
        }
        speaker(&members).in_scope(|| {
            if error.is_downstream() {
                info!("stopped: {error}");
            } else {
                error!("failed: {error}");
            }
        });
        self.stop.cancel();
        Some(Failure { component: names(&members, Meter::id), error })
    }

    /// Ends what still runs and names it.
    async fn cut_off(&mut self) -> Vec<String> {
        self.tasks.shutdown().await;
        let mut unfinished: Vec<_> = self.members.values().flatten().collect();
        unfinished.sort_unstable_by_key(|meter| meter.id());
        for meter in &unfinished {
            meter.span().in_scope(|| warn!("cut off before it had finished"));
        }
        unfinished.into_iter().map(|meter| meter.id().to_owned()).collect()
    }
}

/// The span of a task: all its members' if it is a chain, whose transforms enter their own besides.
fn speaker(members: &[Arc<Meter>]) -> Span {
    task::span(&names(members, Meter::id), &names(members, |meter| meter.kind()))
}

fn names(members: &[Arc<Meter>], name: impl Fn(&Meter) -> &str) -> String {
    members.iter().map(|meter| name(meter)).collect::<Vec<_>>().join(", ")
}

fn after(deadline: Duration) -> Instant {
    Instant::now() + deadline
}

impl Ended {
    /// Whether nothing failed, was cut off, lost, dropped, dead-lettered or damaged.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.unfinished.is_empty() && self.summary.is_clean()
    }
}
