//! The command line: one file a subcommand. Data goes to stdout, everything else to stderr.

mod buffer;
mod completion;
mod exit;
mod gate;
mod graph;
mod live;
mod log;
mod man;
mod output;
mod pipeline;
mod progress;
mod replay;
mod run;
mod schema;
mod stderr;
mod tune;
mod validate;
#[cfg_attr(
    not(feature = "xdp"),
    expect(dead_code, reason = "without the gate there is nothing to show")
)]
mod verdicts;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use self::{
    exit::Exit,
    log::{LogFormat, LogLevel},
};

/// Where help lists the options that every command has: behind its own, which clap numbers from 0.
const BEHIND_OWN: usize = 900;

/// Ships network-flow records to a SIEM: every record acknowledged or accounted for.
///
/// Exit status: 0 all delivered; 1 failure; 2 usage; 3 ended, but something was refused, lost or
/// dropped, or the input was damaged; 78 configuration.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
struct Cli {
    /// How the log on stderr is written.
    #[arg(long, global = true, value_enum, default_value_t, display_order = BEHIND_OWN)]
    log_format: LogFormat,
    /// The least severe events that are logged.
    #[arg(long, global = true, value_enum, default_value_t, display_order = BEHIND_OWN)]
    log_level: LogLevel,
    /// Log errors only, and show no progress or summary.
    #[arg(long, short, global = true, display_order = BEHIND_OWN)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipeline of a config file until it is stopped or its sources end.
    Run(run::Args),
    /// Run capture files through a config's pipeline, in their own time.
    Replay(replay::Args),
    /// Judge the sources of captures and flow logs, and measure how well that tells them apart.
    Tune(tune::Args),
    /// Check config files, and what they need on this machine.
    Validate(validate::Args),
    /// Draw a config's pipeline as a mermaid flowchart.
    Graph(graph::Args),
    /// Print the JSON Schema of the config.
    Schema,
    /// List, add and remove verdicts in the kernel; also while no daemon runs.
    Verdicts(verdicts::Args),
    /// Say where a gate is attached, or take it off; also while no daemon runs.
    Gate(gate::Args),
    /// Look into a disk buffer, or mend it.
    Buffer(buffer::Args),
    /// Print what lets a shell complete the command line.
    Completion(completion::Args),
    /// Print the manual page, or write those of all commands.
    Man(man::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error).into(),
    };
    stderr::start();
    output::set_format(cli.log_format);
    log::start(cli.log_format, cli.log_level, cli.quiet);
    hide_secrets();
    let exit = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet),
        Command::Replay(args) => replay::run(&args, cli.quiet),
        Command::Tune(args) => tune::run(&args, cli.quiet),
        Command::Validate(args) => validate::run(&args, cli.quiet),
        Command::Graph(args) => graph::run(&args),
        Command::Schema => schema::run(),
        Command::Verdicts(args) => verdicts::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::Buffer(args) => buffer::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
    };
    stderr::finish();
    exit.into()
}

/// Prints why there is no command line to run.
fn unparsed(error: &clap::Error) -> Exit {
    // Help and version are data; usage errors go to stderr. clap knows which is which.
    if error.use_stderr() && wants_json(env::args_os().skip(1)) {
        stderr::start();
        output::set_format(LogFormat::Json);
        log::start(LogFormat::Json, LogLevel::default(), false);
        output::report(error.render().to_string().trim_end());
        stderr::finish();
        return Exit::Usage;
    }
    let printed = error.print();
    if error.use_stderr() {
        return Exit::Usage;
    }
    stderr::start();
    let exit = output::written(printed);
    stderr::finish();
    exit
}

/// Whether a command line that can't be read asks for JSON all the same.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for argument in arguments {
        if argument == "--log-format=json" || before == "--log-format" && argument == "json" {
            return true;
        }
        before = argument;
    }
    false
}

/// The config file of a command that takes one: `-c FILE` or FILE alone.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ConfigFile {
    /// The config file, YAML or JSON.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> &Path {
        self.file.as_deref().or(self.config.as_deref()).unwrap_or(Path::new(""))
    }
}

/// Keeps our memory and environment, which hold tokens, from other processes of our user, children
/// that read hostile packets among them: `PR_SET_DUMPABLE` of prctl(2). There is no core dump of us.
fn hide_secrets() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "processes of the same user can read our memory and environment");
    }
}
