//! One child process: started without privileges and environment, its complaints read, watched, and
//! never left behind.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    programs::{self, CHILD_PATH, Privilege},
    spawn::spawn,
};
use crate::{
    component::{Clock, Error},
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Meter},
    task,
};

/// Of a child's complaints, this much of the beginning and as much of the end is kept.
const WORDS_BYTES: usize = 4 << 10;

/// Lines of a child's complaints that reach the log.
const LOGGED_LINES: u32 = 20;

/// How often it is looked whether a child was stopped by a signal.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait for the end of a dead child's complaints: a grandchild may hold the pipe.
const WORDS_DEADLINE: Duration = Duration::from_secs(1);

/// How long the kernel may hold captured packets back: dumpcap asks for 250 ms
/// (`CAP_READ_TIMEOUT`), and here is as much again for a busy machine.
const RING_TIME: Duration = Duration::from_millis(500);

/// What our children say on each success.
const NOISE: &[&str] =
    &["Running as user ", "Capturing on ", "File: ", "dumpcap: cap_set_proc() fail return"];

/// What to start.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Launch {
    /// The program, by [`programs::find`].
    pub(in crate::sources::tshark) program: PathBuf,
    /// Its arguments.
    pub(in crate::sources::tshark) arguments: Vec<String>,
    /// What it reads.
    pub(in crate::sources::tshark) stdin: Stdio,
    /// Where it writes.
    pub(in crate::sources::tshark) stdout: Stdio,
    /// What it may do.
    pub(in crate::sources::tshark) privilege: Privilege,
    /// The signal that ends it when we die.
    pub(in crate::sources::tshark) death_signal: &'static str,
}

/// A running child, in a process group of its own; killed when dropped.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Child {
    /// The group, until its leader is reaped and the number may be somebody else's.
    group: Arc<Mutex<Option<Pid>>>,
    watch: JoinHandle<Ended>,
    end: Option<Ended>,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::tshark) struct Ended {
    /// Its exit code, or the signal that ended it.
    pub(in crate::sources::tshark) exit: Exit,
    /// What it complained of, without what it says on each success.
    pub(in crate::sources::tshark) words: String,
}

/// An exit code or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::tshark) enum Exit {
    /// It exited by itself.
    Code(i32),
    /// It was killed.
    Signal(i32),
}

// === impl Child ===

impl Child {
    /// Starts it. This is how every child is started; `meter` counts what happens to it.
    pub(in crate::sources::tshark) async fn start(
        launch: Launch,
        meter: Option<&Arc<Meter>>,
    ) -> Result<Self, Error> {
        let name = launch.program.clone();
        let setpriv = programs::find(&"setpriv".into())?;
        let mut command = Command::new(setpriv);
        command
            .args(programs::setpriv(launch.privilege, launch.death_signal))
            .arg(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .env("PATH", CHILD_PATH)
            .env("LC_ALL", "C")
            // No profile of any user: what we ask for stands on the command line.
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .stdin(launch.stdin)
            .stdout(launch.stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let failed = |error| {
            Error::failure(format!("{} could not be started", name.display())).because(error)
        };
        let mut process = spawn(command).await.map_err(failed)?;
        let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let group = Arc::new(Mutex::new(pid));
        let words = process.stderr.take().map(|stderr| {
            let name = short_name(&launch.program);
            task::spawn(listen(stderr, name))
        });
        let watch = task::spawn(watch(
            process,
            Arc::clone(&group),
            words,
            short_name(&launch.program),
            meter.map(Arc::clone),
        ));
        Ok(Self { group, watch, end: None })
    }

    /// Sends a signal to the child and whatever it started.
    pub(in crate::sources::tshark) fn signal(&self, signal: Signal) {
        signal_group(&self.group, signal);
    }

    /// Waits until it has ended; may be called again.
    pub(in crate::sources::tshark) async fn ended(&mut self) -> Ended {
        if let Some(ended) = &self.end {
            return ended.clone();
        }
        let ended = (&mut self.watch)
            .await
            .unwrap_or(Ended { exit: Exit::Signal(Signal::KILL.as_raw()), words: String::new() });
        self.end.insert(ended).clone()
    }

    /// Lets a capturer read what the kernel holds for it, then finishes it.
    ///
    /// The ring hands a block over when it is full or its time-out has passed; a SIGINT before that
    /// loses the block, and dumpcap's statistics don't know of it.
    pub(in crate::sources::tshark) async fn finish_capture(&mut self, deadline: Duration) -> Ended {
        if let Ok(ended) = timeout(RING_TIME, self.ended()).await {
            return ended;
        }
        self.finish(deadline).await
    }

    /// Asks it to finish (SIGINT), waits, and kills it after `deadline`.
    pub(in crate::sources::tshark) async fn finish(&mut self, deadline: Duration) -> Ended {
        self.signal(Signal::INT);
        if let Ok(ended) = timeout(deadline, self.ended()).await {
            return ended;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn signal_group(group: &Mutex<Option<Pid>>, signal: Signal) {
    let group = group.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(group) = *group
        && let Err(error) = kill_process_group(group, signal)
    {
        tracing::debug!(%error, ?signal, "a child could not be signalled");
    }
}

/// Waits for the child; wakes it up if somebody stopped it.
async fn watch(
    mut process: tokio::process::Child,
    group: Arc<Mutex<Option<Pid>>>,
    words: Option<JoinHandle<String>>,
    name: String,
    meter: Option<Arc<Meter>>,
) -> Ended {
    let pid = process.id().unwrap_or_default();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = loop {
        tokio::select! {
            status = process.wait() => break status,
            _ = look.tick() => if is_stopped(pid) {
                tracing::warn!(child = name, pid, "a child was stopped by a signal; it is continued");
                if let Some(meter) = &meter {
                    meter.count(ERRORS, ErrorType::ChildStopped, 1);
                }
                signal_group(&group, Signal::CONT);
            },
        }
    };
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let words = match words {
        Some(words) => timeout(WORDS_DEADLINE, words)
            .await
            .map_or_else(|_| String::new(), Result::unwrap_or_default),
        None => String::new(),
    };
    Ended { exit: status.map_or(Exit::Signal(Signal::KILL.as_raw()), Exit::from), words }
}

/// Whether the process is in the state `T` of proc(5).
fn is_stopped(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// Reads complaints to their end, so that the child never blocks on them.
async fn listen(mut stderr: impl AsyncRead + Unpin, name: String) -> String {
    let mut words = Words::default();
    let mut buffer = vec![0; 4096];
    let logged = LogLimit::first(LOGGED_LINES);
    loop {
        match stderr.read(&mut buffer).await {
            Ok(0) | Err(_) => break words.finish(),
            Ok(length) => {
                let heard = buffer.get(..length).unwrap_or_default();
                words.add(heard);
                for line in String::from_utf8_lossy(heard).lines() {
                    if !is_noise(line) && logged.admit(1, Clock::Wall.now(None)).is_some() {
                        tracing::debug!(child = name, says = line);
                    }
                }
            }
        }
    }
}

/// The beginning and the end of what a child said.
#[derive(Debug, Default)]
struct Words {
    begin: Vec<u8>,
    end: Vec<u8>,
    left_out: bool,
}

impl Words {
    fn add(&mut self, heard: &[u8]) {
        let room = WORDS_BYTES.saturating_sub(self.begin.len());
        let (begin, rest) = heard.split_at(room.min(heard.len()));
        self.begin.extend_from_slice(begin);
        self.end.extend_from_slice(rest);
        if self.end.len() > WORDS_BYTES {
            self.end.drain(..self.end.len() - WORDS_BYTES);
            self.left_out = true;
        }
    }

    fn finish(mut self) -> String {
        if self.left_out {
            self.begin.extend_from_slice("\n…\n".as_bytes());
        }
        self.begin.append(&mut self.end);
        let all = String::from_utf8_lossy(&self.begin);
        let lines: Vec<_> = all
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !is_noise(line))
            .collect();
        lines.join("\n")
    }
}

fn is_noise(line: &str) -> bool {
    NOISE.iter().any(|noise| line.starts_with(noise))
}

fn short_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

// === impl Exit ===

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
