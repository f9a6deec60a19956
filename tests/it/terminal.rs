//! What a run shows on a terminal, by a pseudo-terminal of util-linux's `script`; and what it says of a SIGHUP.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::{
    Case, Outcome, Scene,
    faults::{FaultServer, Reply, Request},
    poll::{self, SOON},
    process,
    tidegate::{self, Tidegate},
};

/// How a line is taken back.
const CLEAR: &str = "\r\u{1b}[K";
const CONFIG: &str = "
data_dir: state
api: { address: '127.0.0.1:0' }
sources: { own: { type: health, interval_secs: 1 } }
transforms: {}
sinks: { out: { type: file, inputs: [own], path: reports.ndjson, batch: { timeout_secs: 1 } } }
";

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_terminal_has_one_line_that_changes_and_stays_in_its_row),
        Case::new(a_terminal_that_can_not_change_a_line_has_none),
        Case::new(what_a_destination_has_not_confirmed_is_waiting),
        Case::new(a_sighup_is_said_to_do_what_it_does_and_not_more),
        Case::new(a_config_that_can_not_be_read_to_its_end_keeps_no_signal_waiting),
    ]
}

/// A run on a terminal of so many columns.
struct OnTerminal<'a> {
    scene: &'a Scene,
    script: Child,
}

// === impl OnTerminal ===

impl<'a> OnTerminal<'a> {
    fn start(
        scene: &'a Scene,
        config: &str,
        columns: u32,
        variables: &[(&str, &str)],
    ) -> Result<Self, Failed> {
        let config = scene.write("tidegate.yaml", config);
        let command = format!(
            "stty rows 24 cols {columns}; exec {} run -c {}",
            tidegate::program(),
            config.display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command, "shown"])
            .current_dir(&scene.folder)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { scene, script })
    }

    fn shown(&self) -> String {
        let bytes = fs::read(self.scene.path("shown")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it shows this, then ends the run; answers all that was shown.
    fn until(mut self, what: &str, shows: impl Fn(&str) -> bool) -> Result<String, Failed> {
        let come = poll::until_true(what, SOON, || shows(&self.shown()));
        let runs = process::descendants(self.script.id());
        for process in &runs {
            process::signal(process.pid, Signal::INT);
        }
        let status = poll::until("the run to end", SOON, || self.script.try_wait().ok().flatten());
        if status.is_err() {
            for process in &runs {
                process::signal(process.pid, Signal::KILL);
            }
            self.script.kill()?;
            self.script.wait()?;
        }
        let all = self.shown();
        come.map_err(|late| format!("{}\n{all:?}", late.message().unwrap_or_default()))?;
        assert_eq!(status?.code(), Some(0), "{all}");
        Ok(all)
    }
}

fn lines(shown: &str) -> usize {
    shown.matches("packets/s").count()
}

fn a_terminal_has_one_line_that_changes_and_stays_in_its_row(scene: &Scene) -> Outcome {
    for (columns, colour) in [(120, "NO_COLOR"), (20, "COLORTERM")] {
        let run = OnTerminal::start(scene, CONFIG, columns, &[(colour, "1")])?;
        let shown = run.until("a line that has changed", |shown| lines(shown) >= 2)?;
        let columns = usize::try_from(columns)?;
        // One that comes below a line of the log has no clearance of its own.
        let all = shown.split(CLEAR).flat_map(str::lines);
        for line in all.filter(|line| line.contains("packets/s")) {
            assert!(line.chars().count() < columns, "{line:?} in {columns} columns");
        }
        // At the end it is taken back, and the account stands on its own.
        let (_, account) = shown.rsplit_once(CLEAR).ok_or("no line is taken back")?;
        assert!(account.contains("out  file: in"), "{shown:?}");
        assert_eq!(shown.contains("\u{1b}[3"), colour != "NO_COLOR", "{shown:?}");
        fs::remove_file(scene.path("shown"))?;
    }
    Ok(())
}

fn a_terminal_that_can_not_change_a_line_has_none(scene: &Scene) -> Outcome {
    let run = OnTerminal::start(scene, CONFIG, 80, &[("TERM", "dumb")])?;
    // Its reports come once a second, as the line would.
    let reports = scene.path("reports.ndjson");
    let shown = run.until("three reports", |_| {
        fs::read_to_string(&reports).is_ok_and(|reports| reports.lines().count() >= 3)
    })?;
    assert!(lines(&shown) == 0 && !shown.contains(CLEAR), "{shown:?}");
    Ok(())
}

fn what_a_destination_has_not_confirmed_is_waiting(scene: &Scene) -> Outcome {
    let runtime = Runtime::new()?;
    let slow = |_: &Request| {
        let answer = json!({"errors": false, "items": [{"create": {"status": 201}}]});
        Reply::Slow(Duration::from_secs(3), 200, answer.to_string())
    };
    let server = runtime.block_on(FaultServer::start(None, slow))?;
    let sink = format!("type: elasticsearch, endpoints: ['{}']", server.url());
    let config = CONFIG.replace("type: file", &sink).replace("path: reports.ndjson, ", "");
    let config = config.replace("timeout_secs: 1", "timeout_secs: 1, max_events: 1");
    let run = OnTerminal::start(scene, &config, 120, &[])?;
    run.until("a record that waits", |shown| {
        // "0 delivered, 1 waiting, 0 lost"
        let before: Vec<_> = shown.split(" waiting").collect();
        let mut counts = before.iter().rev().skip(1).filter_map(|text| text.rsplit(' ').next());
        counts.any(|count| count != "0")
    })?;
    Ok(())
}

fn a_sighup_is_said_to_do_what_it_does_and_not_more(scene: &Scene) -> Outcome {
    let config = scene.write("tidegate.yaml", CONFIG);
    let running = Tidegate::new(scene, ["run", "-c"]).arg(config).start()?;
    poll::until_true("the start", SOON, || running.stderr().contains("are served"))?;
    scene.write("tidegate.yaml", CONFIG.replace("interval_secs: 1", "interval_secs: 2"));
    running.signal(Signal::HUP);
    poll::until_true("the answer", SOON, || running.stderr().contains("takes a restart"))?;
    running.signal(Signal::INT);
    running.wait(SOON)?.expect(0)?.says(&[
        "output files are opened anew",
        "lists are read again",
        "all else in it, a key or a certificate takes a restart",
    ])
}

/// No signal was taken while a SIGHUP had the config read, which was on a server that hung.
fn a_config_that_can_not_be_read_to_its_end_keeps_no_signal_waiting(scene: &Scene) -> Outcome {
    let config = scene.write("tidegate.yaml", CONFIG);
    let mut running = Tidegate::new(scene, ["run", "-c"]).arg(&config).start()?;
    let reports = scene.path("reports.ndjson");
    poll::until_true("a report", SOON, || reports.exists())?;
    // Nobody writes to it: it can't even be opened.
    fs::remove_file(&config)?;
    let made = Command::new("mkfifo").arg(&config).status()?;
    assert!(made.success(), "mkfifo ended with {made}");
    running.signal(Signal::HUP);
    poll::until_true("the SIGHUP to be taken", SOON, || {
        running.stderr().contains("output files are opened anew")
    })?;
    // As logrotate does it: files are opened anew all the same.
    fs::rename(&reports, scene.path("rotated.ndjson"))?;
    running.signal(Signal::HUP);
    poll::until_true("a new file", SOON, || reports.exists())?;
    running.still_runs()?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}
