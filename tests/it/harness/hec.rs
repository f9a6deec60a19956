//! An independent HEC receiver: an OpenTelemetry collector, with acknowledgements.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::{Scene, process, server};

/// The token it takes.
pub(crate) const TOKEN: &str = "11111111-2222-3333-4444-555555555555";
/// The one it takes until it is mended, if it is started so.
const OTHER_TOKEN: &str = "99999999-2222-3333-4444-555555555555";

/// The receiver, in the case's own folder; gone when dropped.
#[derive(Debug)]
pub(crate) struct HecReceiver {
    port: u16,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    written: PathBuf,
    child: Child,
}

// === impl HecReceiver ===

impl HecReceiver {
    /// Starts it.
    ///
    /// # Errors
    /// When it can't be built or started.
    pub(crate) fn start(scene: &Scene) -> Result<Self, Failed> {
        Self::start_with(scene, TOKEN)
    }

    /// Starts one that takes another token than [`TOKEN`].
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub(crate) fn start_with_another_token(scene: &Scene) -> Result<Self, Failed> {
        Self::start_with(scene, OTHER_TOKEN)
    }

    fn start_with(scene: &Scene, token: &str) -> Result<Self, Failed> {
        let program = server::bring("hec-receiver")?;
        let port = server::free_port()?;
        let written = scene.path("events.ndjson");
        let shipped =
            fs::read_to_string(Scene::project("tests/backends/hec-receiver/config.yaml"))?;
        let config = shipped
            .replace("127.0.0.1:18088", &format!("127.0.0.1:{port}"))
            .replace("OUT.ndjson", &written.display().to_string())
            .replace(TOKEN, token);
        let config = scene.write("hec-receiver.yaml", config);
        let log = scene.path("hec-receiver.log");
        let child = spawn(&program, &config, &log, port)?;
        Ok(Self { port, program, config, log, written, child })
    }

    /// Kills it with -9 and starts it again, with what it has written so far.
    ///
    /// # Errors
    /// When it doesn't start.
    pub(crate) fn restart(&mut self) -> Result<(), Failed> {
        self.kill()?;
        self.child = spawn(&self.program, &self.config, &self.log, self.port)?;
        Ok(())
    }

    /// Starts it again, and it takes [`TOKEN`] from now on.
    ///
    /// # Errors
    /// As for [`Self::restart`].
    pub(crate) fn mend_token(&mut self) -> Result<(), Failed> {
        let config = fs::read_to_string(&self.config)?.replace(OTHER_TOKEN, TOKEN);
        fs::write(&self.config, config)?;
        self.restart()
    }

    /// Whether it has written any event.
    pub(crate) fn has_events(&self) -> bool {
        fs::metadata(&self.written).is_ok_and(|file| file.len() > 0)
    }

    fn kill(&mut self) -> std::io::Result<()> {
        process::signal(self.child.id(), Signal::KILL);
        self.child.wait()?;
        server::ended(self.child.id());
        Ok(())
    }

    /// Its address for a config.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it, and counts the copies of each event it wrote, by the event's time.
    ///
    /// # Errors
    /// When its file can't be read.
    pub(crate) fn events(self) -> Result<BTreeMap<String, u64>, Failed> {
        let mut copies = BTreeMap::new();
        self.each(|record| {
            let time = record["timeUnixNano"].as_str().ok_or("an event without a time")?;
            *copies.entry(time.to_owned()).or_default() += 1;
            Ok(())
        })?;
        Ok(copies)
    }

    /// Ends it, and gives what it wrote, as OTLP has it.
    ///
    /// # Errors
    /// As for [`Self::events`].
    pub(crate) fn records(self) -> Result<Vec<Value>, Failed> {
        let mut records = Vec::new();
        self.each(|record| {
            records.push(record.clone());
            Ok(())
        })?;
        Ok(records)
    }

    fn each(mut self, mut take: impl FnMut(&Value) -> Result<(), Failed>) -> Result<(), Failed> {
        // Terminated, it writes out what it still has.
        process::signal(self.child.id(), Signal::TERM);
        self.child.wait()?;
        server::ended(self.child.id());
        for line in BufReader::new(File::open(&self.written)?).lines() {
            // One that was cut off by a kill was never acknowledged.
            let Ok(request) = serde_json::from_str::<Value>(&line?) else { continue };
            for record in log_records(&request) {
                take(record)?;
            }
        }
        Ok(())
    }
}

impl Drop for HecReceiver {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_)))
            && let Err(error) = self.kill()
        {
            eprintln!("can't wait for the HEC receiver: {error}");
        }
    }
}

fn spawn(program: &Path, config: &Path, log: &Path, port: u16) -> Result<Child, Failed> {
    let mut child = server::start(Command::new(program).arg("--config").arg(config), log)?;
    server::ready("the HEC receiver", &mut child, log, Duration::from_mins(1), || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    Ok(child)
}

/// The records in one line of OTLP JSON.
fn log_records(request: &Value) -> Vec<&Value> {
    let resources = request["resourceLogs"].as_array().into_iter().flatten();
    let scopes =
        resources.flat_map(|resource| resource["scopeLogs"].as_array().into_iter().flatten());
    scopes.flat_map(|scope| scope["logRecords"].as_array().into_iter().flatten()).collect()
}
