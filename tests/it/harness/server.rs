//! Real servers: brought by `scripts/test-backends`, started once a run, ended by their process id.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::{Case, Outcome, Scene, poll, process};

/// What is ended when the run is over.
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Folders of this run outside the project, deleted when it is over.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// How long a killed process may take to be gone: a server's memory is not given back at once.
const GONE: Duration = Duration::from_secs(30);

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

/// A port nobody listens on, nor will: it is handed out once, and the kernel chooses none like it for
/// those who let it choose.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> Result<u16, Failed> {
    // Below Linux's default of `net.ipv4.ip_local_port_range`; runs begin at ports of their own.
    const FIRST: u16 = 16_384;
    const PORTS: u16 = 16_384;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS))?.wrapping_mul(64);
    for _ in 0..PORTS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(next) % PORTS;
        let place = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(place).is_ok() && UdpSocket::bind(place).is_ok() {
            return Ok(port);
        }
    }
    Err("every port is taken".into())
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
    ends_with_run(child.id());
    Ok(child)
}

/// Ends a process when the run is over.
pub(crate) fn ends_with_run(pid: u32) {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
}

/// A process was ended and waited for: its id may be somebody else's from now on.
pub(crate) fn ended(pid: u32) {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != pid);
}

/// A folder for a server, empty, open to users other than ours, and deleted when the run is over. The
/// first one also deletes those of runs that were killed.
///
/// # Errors
/// When it can't be made.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Failed> {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| sweep(&std::env::temp_dir()));
    // The folders above the project may be closed to others.
    let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
    Ok(folder)
}

/// The file below such a folder where a server writes its process id.
pub(crate) fn pid_file(folder: &Path) -> PathBuf {
    folder.join("tmp/pid")
}

/// Kills what still runs in folders of runs that are no more, and deletes them.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix("tidegate-")?.rsplit_once('-'));
        let Some(run) = run.and_then(|(_, pid)| pid.parse().ok()) else { continue };
        let folder = entry.path();
        if process::get(run).is_some() || !folder.join("config").is_dir() {
            continue;
        }
        let left = fs::read_to_string(pid_file(&folder)).ok().and_then(|id| id.trim().parse().ok());
        // The id may have become somebody else's: the server names its folder among its arguments.
        let ours = format!("{}/", folder.display());
        if let Some(pid) = left.filter(|pid| process::command_line(*pid).contains(&ours)) {
            kill(pid);
        }
        delete(&folder);
    }
}

/// Kills a process and waits until it is gone, or has nobody who asks for its end.
pub(crate) fn kill(pid: u32) {
    process::signal(pid, Signal::KILL);
    if let Err(late) = poll::until_true("a killed server to be gone", GONE, || is_gone(pid)) {
        eprintln!("{pid}: {}", late.message().unwrap_or_default());
    }
}

fn is_gone(pid: u32) -> bool {
    process::get(pid).is_none_or(|process| process.state == 'Z')
}

fn delete(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("can't delete {}: {error}", folder.display());
    }
}

/// Ends what was started; `keep_logs` if a case failed.
pub(crate) fn end_all(keep_logs: bool) {
    let started = std::mem::take(&mut *STARTED.lock().unwrap_or_else(PoisonError::into_inner));
    for pid in &started {
        process::signal(*pid, Signal::KILL);
    }
    // One that is not gone yet would still write into its folder.
    started.into_iter().for_each(kill);
    for folder in std::mem::take(&mut *FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)) {
        if keep_logs {
            eprintln!("logs are kept in {}", folder.display());
        } else {
            delete(&folder);
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

/// The cases about what is left over.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(what_a_killed_run_left_is_ended_and_deleted)]
}

fn what_a_killed_run_left_is_ended_and_deleted(scene: &Scene) -> Outcome {
    let mut ended = Command::new("true").spawn()?;
    ended.wait()?;
    let of_run = |run: u32| {
        let folder = scene.path(&format!("tidegate-some-server-1.2-{run}"));
        for name in ["config", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("config/words"), "")?;
        Ok::<_, Failed>(folder)
    };
    let (left, living) = (of_run(ended.id())?, of_run(std::process::id())?);
    // Something that runs on and names the folder among its arguments, as a server does.
    let follow = |folder: &Path| {
        let child = Command::new("tail").arg("-f").arg(folder.join("config/words")).spawn()?;
        fs::write(pid_file(folder), child.id().to_string())?;
        // Its arguments are there a moment after it was started.
        let named = folder.display().to_string();
        poll::until_true("a process with its arguments", GONE, || {
            process::command_line(child.id()).contains(&named)
        })?;
        Ok::<_, Failed>(child)
    };
    let (mut stray, mut wanted) = (follow(&left)?, follow(&living)?);
    sweep(&scene.folder);
    let (stray_ended, wanted_ended) = (is_gone(stray.id()), is_gone(wanted.id()));
    for child in [&mut stray, &mut wanted] {
        child.kill()?;
        child.wait()?;
    }
    assert!(stray_ended && !left.exists(), "the killed run's: {}", left.display());
    assert!(!wanted_ended && living.exists(), "a living run's: {}", living.display());
    Ok(())
}
