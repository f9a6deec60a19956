//! A pipeline's life as a process: built, running, stopped by signals, accounted for.

use std::{path::PathBuf, pin::Pin, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::output;
use crate::{
    api::Api,
    component::{Error, drain},
    metrics, task,
    topology::{Ended, Plan, Renewal, Renewer, Running, Unbuilt},
};

/// Reads a config again on SIGHUP.
pub(super) struct Rereading {
    /// The config's file.
    pub(super) path: PathBuf,
    /// Hands on what it says.
    pub(super) renewer: Renewer,
}

/// A reading of the config that is under way: a file of it may be on a server that does not answer.
type Reading = Pin<Box<dyn Future<Output = Rereading> + Send>>;

/// One request to stop may come as several signals: `timeout` signals its child and then the group that it is
/// in, a terminal the whole group. What comes within this time of the first belongs to it.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What a run's process reacts to.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    /// A file may grow no further (`ulimit -f`). Caught, so that the write fails (EFBIG) and its sink waits,
    /// where the signal alone would end the process.
    _file_size: Signal,
}

/// Runs one run in a runtime of its own. A thread that is stuck in a system call (a reader of stdout
/// that reads no more) does not keep the process.
///
/// # Errors
/// If the system gives no threads, or the run's own.
pub(super) fn block_on<T>(run: impl Future<Output = Result<T, Unbuilt>>) -> Result<T, Unbuilt> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failure("cannot start the runtime's threads").because(error))?;
    let ended = runtime.block_on(run);
    runtime.shutdown_timeout(drain::THREADS);
    ended
}

/// Installs the recorder that components' meters report to; to be called before they are built.
///
/// # Errors
/// If there is one already.
pub(super) fn record_metrics() -> Result<PrometheusHandle, Error> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Error::failure("cannot record metrics").because(error))?;
    metrics::describe();
    Ok(handle)
}

/// Runs a plan to its end. The first SIGINT or SIGTERM stops the sources and lets the rest drain, one that
/// comes a second later or more ends everything now; SIGHUP reopens files, reads lists again, and of the
/// config what may change while it runs.
///
/// # Errors
/// If signals can't be caught.
pub(super) async fn run(
    plan: Plan,
    reload: watch::Sender<u64>,
    rereading: Option<Rereading>,
    api: Option<(Api, PrometheusHandle)>,
    watch_progress: impl FnOnce(&Running),
) -> Result<Ended, Error> {
    let signals = Signals::catch()?;
    let running = Running::start(plan);
    watch_progress(&running);

    let over = CancellationToken::new();
    let reacting =
        tokio::spawn(signals.react(running.stop_token(), running.abort_token(), reload, rereading));
    let serving = api.map(|(api, metrics)| {
        info!(address = %api.address(), "metrics and health are served");
        tokio::spawn(api.serve(running.components().to_vec(), metrics, over.clone()))
    });

    let ended = running.ended(drain::RUN).await;
    over.cancel();
    reacting.abort();
    if let Some(serving) = serving {
        // A client that keeps its connection open must not keep the process.
        match tokio::time::timeout(drain::CLIENTS, serving).await {
            Ok(Ok(Ok(()))) | Err(_) => {}
            Ok(Ok(Err(error))) => warn!("the metrics endpoint ended early: {error}"),
            Ok(Err(join)) => warn!("the metrics endpoint ended early: {join}"),
        }
    }
    Ok(ended)
}

// === impl Rereading ===

impl Rereading {
    /// Reads the config, and hands on what may change. One that can't be used changes nothing.
    async fn read(mut self) -> Self {
        let path = self.path.clone();
        let loaded = task::blocking(move || output::load(&path)).await.ok().flatten();
        match loaded {
            None => error!("SIGHUP: the config can't be used, so what held before goes on to hold"),
            Some(loaded) => said(&self.renewer.renew(&loaded.config)),
        }
        self
    }
}

/// Waits for a reading, if one is under way.
async fn read(reading: &mut Option<Reading>) -> Rereading {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

fn said(renewal: &Renewal) {
    let Renewal { is_new, taken, missing } = renewal;
    for id in missing {
        warn!("SIGHUP: the config has no `{id}` any more: it goes on as before, until a restart");
    }
    if *is_new {
        let taken = taken.join(", ");
        info!(
            taken,
            "SIGHUP: the networks of the config hold from now on, and the levels, signals and limits of \
             the judge; all else in it, a key or a certificate takes a restart"
        );
    }
}

// === impl Signals ===

impl Signals {
    fn catch() -> Result<Self, Error> {
        let catch = |kind| {
            signal(kind).map_err(|error| Error::failure("cannot catch signals").because(error))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
            _file_size: catch(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn react(
        mut self,
        stop: CancellationToken,
        abort: CancellationToken,
        reload: watch::Sender<u64>,
        mut rereading: Option<Rereading>,
    ) {
        let reopen = || reload.send_modify(|generation| *generation += 1);
        let mut reading: Option<Reading> = None;
        // The config may have been changed again since it began to be read.
        let mut is_outdated = false;
        // A component that failed stops the sources too: nobody has signalled then.
        let mut signalled: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hang_up.recv() => {
                    info!("SIGHUP: output files are opened anew, and lists are read again");
                    if let Some(known) = rereading.take() {
                        reading = Some(Box::pin(known.read()));
                    } else {
                        is_outdated = reading.is_some();
                        reopen();
                    }
                    continue;
                }
                known = read(&mut reading) => {
                    if std::mem::take(&mut is_outdated) {
                        reading = Some(Box::pin(known.read()));
                    } else {
                        (reading, rereading) = (None, Some(known));
                    }
                    reopen();
                    continue;
                }
            }
            let Some(first) = signalled else {
                let at_most = drain::RUN.as_secs();
                info!(
                    "stopping: the sources end, the rest drains for {at_most} s at most (signal again to end now)"
                );
                signalled = Some(Instant::now());
                stop.cancel();
                continue;
            };
            if first.elapsed() >= ONE_REQUEST {
                warn!("stopped a second time: ending now, what is on its way is lost");
                abort.cancel();
            }
        }
    }
}
