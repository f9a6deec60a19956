//! The built program, run to its end or beside the case.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::{Scene, netns::Namespace, poll, process};

/// How long a run that ends by itself may take.
const LIMIT: Duration = Duration::from_mins(15);

/// A command line of the built program.
#[derive(Debug)]
pub(crate) struct Tidegate {
    command: Command,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// The program while it runs; killed with all its children when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What the program left when it had ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed on stdout.
    pub(crate) stdout: String,
    /// What it printed on stderr.
    pub(crate) stderr: String,
}

// === impl Tidegate ===

impl Tidegate {
    /// The program with these arguments, started in the case's folder, where its output is kept.
    pub(crate) fn new<A: AsRef<OsStr>>(
        scene: &Scene,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::from(scene, Command::new(program()), arguments)
    }

    /// The same inside a network namespace.
    pub(crate) fn inside<A: AsRef<OsStr>>(
        scene: &Scene,
        namespace: &Namespace,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::from(scene, namespace.command(program()), arguments)
    }

    /// The same with the file systems of our own mount namespace, and so with what is pinned.
    pub(crate) fn entered<A: AsRef<OsStr>>(
        scene: &Scene,
        namespace: &Namespace,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::from(scene, namespace.entered(program()), arguments)
    }

    /// The same as what another command runs: its last argument, and then these.
    pub(crate) fn behind<A: AsRef<OsStr>>(
        scene: &Scene,
        mut command: Command,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        command.arg(program());
        Self::from(scene, command, arguments)
    }

    fn from<A: AsRef<OsStr>>(
        scene: &Scene,
        mut command: Command,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        command
            .args(arguments)
            .current_dir(&scene.folder)
            .env("TMPDIR", &scene.folder)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        let number = fs::read_dir(&scene.folder).map_or(0, Iterator::count);
        Self {
            command,
            stdout: scene.path(&format!("{number}.stdout")),
            stderr: scene.path(&format!("{number}.stderr")),
        }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it in another folder than the case's.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Starts it and goes on.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(mut self) -> Result<Running, Failed> {
        let child = self
            .command
            .stdout(File::create(&self.stdout)?)
            .stderr(File::create(&self.stderr)?)
            .spawn()
            .map_err(|error| format!("can't start {:?}: {error}", self.command))?;
        Ok(Running { child, stdout: self.stdout, stderr: self.stderr })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it can't be started, doesn't end in time, or leaves a temporary folder behind.
    pub(crate) fn run(self) -> Result<Ended, Failed> {
        let folder = self.stdout.parent().map(Path::to_owned).unwrap_or_default();
        let ended = self.start()?.wait(LIMIT)?;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with("tidegate-") {
                return Err(format!("{} is left over:\n{}", name.display(), ended.stderr).into());
            }
        }
        Ok(ended)
    }
}

/// The path of the program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_tidegate")
}

// === impl Running ===

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Stops it a second time: what comes soon after the first signal belongs to that one.
    ///
    /// # Errors
    /// When it does not hear.
    pub(crate) fn stop_again(&self) -> Result<(), Failed> {
        poll::until_true("the second stop to be heard", poll::SOON, || {
            self.signal(Signal::TERM);
            self.stderr().contains("stopped a second time")
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it goes on for longer than `limit`; it is killed then.
    pub(crate) fn wait(self, limit: Duration) -> Result<Ended, Failed> {
        self.wait_watching(limit, || ())
    }

    /// The same, calling `watch` many times a second meanwhile.
    ///
    /// # Errors
    /// As for [`Self::wait`].
    pub(crate) fn wait_watching(
        mut self,
        limit: Duration,
        mut watch: impl FnMut(),
    ) -> Result<Ended, Failed> {
        let status = poll::until("tidegate to end", limit, || {
            watch();
            self.child.try_wait().ok().flatten()
        });
        let ended = Ended {
            code: status.as_ref().ok().and_then(ExitStatus::code),
            stdout: read(&self.stdout),
            stderr: self.stderr(),
        };
        match status {
            Ok(_) => Ok(ended),
            Err(late) => {
                let why = late.message().unwrap_or_default();
                Err(format!("{why}; its stderr:\n{}", ended.stderr).into())
            }
        }
    }

    /// Fails at once if it has ended, with its words.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failed> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("it ended with {status}:\n{}", self.stderr()).into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let children = process::descendants(self.pid());
        for pid in [self.pid()].into_iter().chain(children.iter().map(|child| child.pid)) {
            process::signal(pid, Signal::KILL);
        }
        if let Err(error) = self.child.wait() {
            eprintln!("can't wait for tidegate {}: {error}", self.pid());
        }
    }
}

// === impl Ended ===

impl Ended {
    /// Fails unless it ended with this code.
    pub(crate) fn expect(self, code: i32) -> Result<Self, Failed> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let got = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        Err(format!("exit code {code} expected, got {got}; its stderr:\n{}", self.stderr).into())
    }

    /// Fails unless stderr has every one of these words.
    pub(crate) fn says(&self, words: &[&str]) -> Result<(), Failed> {
        for word in words {
            if !self.stderr.contains(word) {
                return Err(format!("stderr doesn't say `{word}`:\n{}", self.stderr).into());
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map_or_else(
        |error| format!("({}: {error})", path.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
