//! One process of Kafka, with a folder of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use libtest_mimic::Failed;

use super::NAME;
use crate::harness::{process, server};

/// From nothing to a broker that answers, on a busy machine.
const START: Duration = Duration::from_mins(3);
/// Compiled once, quickly, as it lives for minutes only; less heap is too little.
const JAVA_OPTIONS: &[&str] = &[
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Those of one id find each other.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// The process, and what it is started with.
pub(super) struct Node {
    name: String,
    java: PathBuf,
    libraries: PathBuf,
    pub(super) folder: PathBuf,
    child: Option<Child>,
}

// === impl Node ===

impl Node {
    /// A process that is not started yet, in a folder of this name.
    pub(super) fn new(name: &str) -> Result<Self, Failed> {
        let libraries = server::bring(NAME)?;
        let java = server::bring("jdk-17")?.join("bin/java");
        let folder = server::folder(name)?;
        for name in ["config", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        Ok(Self { name: name.to_owned(), java, libraries, folder, child: None })
    }

    /// Writes its properties, and makes its storage.
    pub(super) fn format(&self, properties: &str, more: &[&str]) -> Result<(), Failed> {
        fs::write(self.config(), properties)?;
        let mut tool = self.java("kafka.tools.StorageTool");
        tool.args(["format", "-t", CLUSTER]).args(more).arg("-c").arg(self.config());
        process::output(&mut tool).map(drop)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config/server.properties")
    }

    /// A program of Kafka's.
    pub(super) fn java(&self, class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.args(JAVA_OPTIONS).arg("-cp").arg(self.libraries.join("*")).arg(class);
        command.current_dir(&self.folder);
        command
    }

    /// Whether it was started, and not killed since.
    pub(super) fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Starts it, without waiting.
    pub(super) fn launch(&mut self) -> Result<(), Failed> {
        let mut command = self.java("kafka.Kafka");
        command.arg(self.config());
        let child = server::start(&mut command, &self.log())?;
        fs::write(server::pid_file(&self.folder), child.id().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers, as `answers` sees it.
    pub(super) fn ready(&mut self, answers: impl FnMut() -> bool) -> Result<(), Failed> {
        let log = self.log();
        let Some(child) = &mut self.child else { return Err("it was not started".into()) };
        server::ready(&self.name, child, &log, START, answers)
    }

    /// Kills it with -9 and waits until it has gone.
    pub(super) fn kill(&mut self) -> Result<(), Failed> {
        if let Some(mut child) = self.child.take() {
            server::kill(child.id());
            child.wait()?;
            server::ended(child.id());
        }
        Ok(())
    }
}
