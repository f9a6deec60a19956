//! Real servers: brought by `scripts/test-backends`, started once a run, ended by their process id.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::{Scene, poll, process};

/// What is ended when the run is over, and the folders that go with it.
static STARTED: Mutex<Vec<(u32, Option<PathBuf>)>> = Mutex::new(Vec::new());

/// One bringing at a time: two would write the same files.
static BRINGING: Mutex<()> = Mutex::new(());

/// Brings a backend by its name in `scripts/test-backends`, and answers where it is.
///
/// # Errors
/// When it can't be had: that is a failure, not a reason to leave a case out.
pub(crate) fn bring(backend: &str) -> Result<PathBuf, Failed> {
    let _one = BRINGING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = process::output(Command::new(Scene::project("scripts/test-backends")).arg(backend))?;
    Ok(PathBuf::from(path.trim()))
}

/// A port nobody listens on just now.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts a server with its words in `log`, to be ended with the run.
///
/// # Errors
/// When it can't be started.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Child, Failed> {
    let words = File::options().create(true).append(true).open(log)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(words.try_clone()?)
        .stderr(words)
        .spawn()
        .map_err(|error| format!("can't start {command:?}: {error}"))?;
    ends_with_run(child.id(), None);
    Ok(child)
}

/// Ends a process, and deletes a folder, when the run is over.
pub(crate) fn ends_with_run(pid: u32, folder: Option<PathBuf>) {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).push((pid, folder));
}

/// A process was ended and waited for: its id may be somebody else's from now on.
pub(crate) fn ended(pid: u32) {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.retain(|(other, _)| *other != pid);
}

/// Ends what was started; `keep_logs` if a case failed.
pub(crate) fn end_all(keep_logs: bool) {
    let started = std::mem::take(&mut *STARTED.lock().unwrap_or_else(PoisonError::into_inner));
    for (pid, folder) in started {
        process::signal(pid, Signal::KILL);
        match folder {
            Some(folder) if keep_logs => eprintln!("logs are kept in {}", folder.display()),
            Some(folder) => fs::remove_dir_all(&folder).unwrap_or_else(|error| {
                eprintln!("can't delete {}: {error}", folder.display());
            }),
            None => {}
        }
    }
}

/// Waits until a server answers, or says why it has ended.
///
/// # Errors
/// When it ends or takes longer than `limit`: with the end of its log.
pub(crate) fn ready(
    what: &str,
    child: &mut Child,
    log: &Path,
    limit: Duration,
    mut answers: impl FnMut() -> bool,
) -> Result<(), Failed> {
    let mut ended = None;
    let waited = poll::until_true(what, limit, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some() || answers()
    });
    if waited.is_ok() && ended.is_none() {
        return Ok(());
    }
    let words = fs::read_to_string(log).unwrap_or_default();
    let from = words.len().saturating_sub(3000);
    let tail = words.get(words.ceil_char_boundary(from)..).unwrap_or_default();
    Err(format!("{what} is not to be had ({ended:?}):\n{tail}").into())
}
