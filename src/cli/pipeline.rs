//! A pipeline's life as a process: built, running, stopped by signals, accounted for.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::Api,
    component::{Error, drain},
    metrics,
    topology::{Ended, Plan, Running, Unbuilt},
};

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

/// Runs a plan to its end. The first SIGINT or SIGTERM stops the sources and lets the rest drain,
/// the second ends everything now; SIGHUP reopens files and reads lists again.
///
/// # Errors
/// If signals can't be caught.
pub(super) async fn run(
    plan: Plan,
    reload: watch::Sender<u64>,
    api: Option<(Api, PrometheusHandle)>,
    watch_progress: impl FnOnce(&Running),
) -> Result<Ended, Error> {
    let signals = Signals::catch()?;
    let running = Running::start(plan);
    watch_progress(&running);

    let over = CancellationToken::new();
    let reacting = tokio::spawn(signals.react(running.stop_token(), running.abort_token(), reload));
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
    ) {
        // A component that failed stops the sources too: nobody has signalled then.
        let mut signalled = false;
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hang_up.recv() => {
                    info!(
                        "SIGHUP: output files are opened anew; a changed config, key or certificate takes a restart"
                    );
                    reload.send_modify(|generation| *generation += 1);
                    continue;
                }
            }
            if signalled {
                warn!("stopped a second time: ending now, what is on its way is lost");
                abort.cancel();
            } else {
                let at_most = drain::RUN.as_secs();
                info!(
                    "stopping: the sources end, the rest drains for {at_most} s at most (signal again to end now)"
                );
                signalled = true;
                stop.cancel();
            }
        }
    }
}
