//! `tidegate replay`: capture files through a config's pipeline, in their own time; or dead letters,
//! once more to their sinks.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{exit::Exit, live, output, pipeline, progress::Progress};
use crate::{
    component::Error,
    config::{Components, Config, Declared, Replayed, SourceConfig},
    storage::directory::{directory_of, unwritable},
    topology::{Ended, Unbuilt, build_dead_letters, build_replay},
};

/// Run capture files through a config's pipeline, in their own time; or send dead letters again.
///
/// The captures replace the config's tshark source; other sources do not start. The sinks are the
/// configured ones. With --dead-letters nothing but sinks starts: each record that a destination
/// refused goes again, as it was written, to the sink that its line names.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config file, YAML or JSON.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The capture files, in this order; any format tshark knows.
    #[arg(required_unless_present = "dead_letters", value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// A dead-letter file to send again, once what the records were refused for is mended; given once for each
    /// file. Move a file away from its sink first.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["captures", "source"])]
    dead_letters: Vec<PathBuf>,
    /// The tshark source to replace, where the config has several.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// How deep packets are looked into, whatever the config says: `headers` runs no tshark, and
    /// takes about a fiftieth of the CPU.
    #[arg(
        long,
        value_name = "DEPTH",
        value_parser = ["headers", "transport", "application"],
        conflicts_with = "dead_letters"
    )]
    dissect: Option<String>,
    /// Send again until a destination takes the first record, whatever it refuses us for. Without it the
    /// replay ends, exit code 78, where a password, a certificate or a host's name is wrong.
    #[arg(long)]
    wait: bool,
    /// Write the summary to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

pub(super) fn run(args: &Args, quiet: bool) -> Exit {
    let loaded = if args.dead_letters.is_empty() {
        let replayed = Replayed {
            source: args.source.as_deref(),
            captures: &args.captures,
            dissect: args.dissect.as_deref(),
        };
        output::load_replay(&args.config, &replayed)
    } else {
        output::load(&args.config)
    };
    let Some(mut loaded) = loaded else { return Exit::Configuration };
    if args.dead_letters.is_empty()
        && let Err(error) = replace_source(&mut loaded.config, args)
    {
        output::error(&error);
        return Exit::Configuration;
    }
    for line in live::destinations(&loaded.config).lines() {
        output::say(quiet, line);
    }
    if let Some(why) = args.summary.as_deref().and_then(unsummed) {
        output::error(&why);
        return Exit::Failure;
    }
    let (ended, took) = match pipeline::block_on(replay(&loaded.config, args, quiet)) {
        Ok(ended) => ended,
        Err(unbuilt) => return output::unbuilt(&unbuilt),
    };
    output::ended(&ended, quiet);
    if let Some(path) = &args.summary
        && let Err(error) = write_summary(path, &ended, took)
    {
        output::error(&error);
        return Exit::Failure;
    }
    Exit::of(&ended)
}

async fn replay(
    config: &Config<Components>,
    args: &Args,
    quiet: bool,
) -> Result<(Ended, Duration), Unbuilt> {
    let started = Instant::now();
    let (reload, reloaded) = watch::channel(0);
    let plan = if args.dead_letters.is_empty() {
        build_replay(config, args.wait, reloaded).await?
    } else {
        build_dead_letters(config, &args.dead_letters, args.wait, reloaded).await?
    };
    let mut progress = None;
    let ended = pipeline::run(plan, reload, None, None, |running| {
        progress = Progress::start(running, quiet);
    });
    let ended = ended.await?;
    drop(progress);
    Ok((ended, started.elapsed()))
}

/// Lets the config's tshark source read the captures, under their exact paths, which begin where the
/// command was given, and takes the other sources out.
fn replace_source(config: &mut Config<Components>, args: &Args) -> Result<(), Error> {
    let is_tshark = |source: &&Declared<_>| matches!(source.config, SourceConfig::Tshark(_));
    let ids: Vec<_> =
        config.sources.iter().filter(is_tshark).map(|source| source.id.clone()).collect();
    let replaced = match (&args.source, ids.as_slice()) {
        (Some(id), ids) if ids.contains(id) => id.clone(),
        (Some(id), ids) => {
            let message = format!("the config has no tshark source `{id}`");
            return Err(Error::configuration(message).hint(format!("it has {}", ids.join(", "))));
        }
        (None, [only]) => only.clone(),
        (None, []) => {
            let message = "the config has no tshark source for the captures to replace";
            return Err(Error::configuration(message).hint("add one: `{ type: tshark }`"));
        }
        (None, ids) => {
            let message = "the config has several tshark sources".to_owned();
            let hint = format!("name one with --source: {}", ids.join(", "));
            return Err(Error::configuration(message).hint(hint));
        }
    };
    let mut removed: Vec<_> = config.sources.iter().map(|source| source.id.clone()).collect();
    removed.retain(|id| *id != replaced);
    config.sources.retain(|source| source.id == replaced);
    let captures = args.captures.iter();
    let captures: Vec<_> =
        captures.map(|path| absolute(path).unwrap_or_else(|_| path.clone())).collect();
    for source in &mut config.sources {
        if let SourceConfig::Tshark(tshark) = &source.config {
            source.config = SourceConfig::Tshark(Box::new(tshark.replay(captures.clone())));
        }
    }
    for declared in &mut config.transforms {
        declared.inputs.retain(|edge| !removed.contains(&edge.from));
    }
    for declared in &mut config.sinks {
        declared.inputs.retain(|edge| !removed.contains(&edge.from));
    }
    Ok(())
}

/// Why there is no place for the summary: found before the replay, which would otherwise be over by then.
fn unsummed(path: &Path) -> Option<Error> {
    // Something else, such as a pipe, is written as it is.
    let is_file = fs::metadata(path).map_or(true, |meta| meta.is_file() || meta.is_dir());
    let why = is_file.then(|| unwritable(path)).flatten();
    let missing = || {
        let folder = directory_of(path);
        (!folder.exists()).then(|| format!("there is no directory {}", folder.display()))
    };
    why.or_else(missing).map(|why| unwritten(path).because(why))
}

fn write_summary(path: &Path, ended: &Ended, took: Duration) -> Result<(), Error> {
    let totals = ended.summary.totals(took.as_secs_f64());
    let mut text =
        serde_json::to_string_pretty(&totals).map_err(|error| unwritten(path).because(error))?;
    text.push('\n');
    fs::write(path, text).map_err(|error| unwritten(path).because(error))
}

fn unwritten(path: &Path) -> Error {
    Error::failure(format!("the summary can't be written to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::super::{Cli, Command};

    /// The flag took every argument behind it: a capture was sent as dead letters.
    #[test]
    fn dead_letters_take_one_file_each_and_no_capture_beside_them() {
        let parse = |arguments: &str| {
            let words = "tidegate replay -c tidegate.yaml ".to_owned() + arguments;
            Cli::try_parse_from(words.split_whitespace())
        };
        for arguments in ["--dead-letters a.ndjson a.pcap", "a.pcap --dead-letters a.ndjson"] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{error}");
        }
        let cli = parse("--dead-letters a.ndjson --dead-letters=b.ndjson").unwrap();
        let Command::Replay(args) = cli.command else { panic!("another command") };
        assert_eq!(args.dead_letters, ["a.ndjson", "b.ndjson"].map(std::path::PathBuf::from));
    }
}
