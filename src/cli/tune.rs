//! `tidegate tune`: the judge over captures and flow logs, with what is known of their sources.

use std::{
    fs,
    io::{IsTerminal, stderr},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{exit::Exit, output};
use crate::{
    component::Error,
    config::{Components, Config, TransformConfig},
    networks::Networks,
    record::Kind,
    score::Settings,
    transforms::{flow, score},
    tune::{Labels, gather, judge, measure, page, table},
};

/// Sources that a warning names.
const MAX_NAMED: usize = 10;

/// Judge the sources of captures and flow logs, and measure how well that tells them apart.
///
/// Reads captures (pcap, pcapng), Zeek's conn.log (text and JSON), Suricata's EVE flow events and flows in
/// the Elastic Common Schema (Packetbeat, Filebeat's Zeek and Suricata modules), plain or packed with gzip or zstd. Nothing is blocked and nothing sent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config file, whose score transform, flow transform and networks count. Defaults without it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is known of the sources: a file of `src,label,scenario`. The label `benign` is negative,
    /// `ignore` none, any other positive. Labels of the logs' own rows count where it has none.
    #[arg(long, value_name = "CSV")]
    labels: Option<PathBuf>,
    /// Captures and flow logs.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a page of HTML to this file, which needs nothing from anywhere.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// The false-positive rate that the recommended threshold stays below, by its upper bound at 95 %: more than 0
    /// and less than 1. It takes some 4 divided by the rate of benign sources to show that.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    target_fpr: f64,
}

/// What a config says of judging.
struct Said {
    settings: Settings,
    networks: Networks,
    flow: flow::Config,
    hash: Arc<str>,
    /// Whether the judge hears what sources resolve.
    learns_names: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> Exit {
    let said = match &args.config {
        Some(path) => match output::load(path) {
            Some(loaded) => said(&loaded.config),
            None => return Exit::Configuration,
        },
        None => defaults(),
    };
    match tune(args, said, quiet) {
        Ok(exit) => exit,
        Err(error) => {
            output::error(&error);
            if error.is_configuration() { Exit::Configuration } else { Exit::Failure }
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate < 1.0);
    rate.ok_or_else(|| "a rate is more than 0 and less than 1".to_owned())
}

fn defaults() -> Said {
    Said {
        settings: score::Config::default().settings(),
        networks: Networks { admin_ports: vec![22], ..Networks::default() },
        flow: flow::Config::default(),
        hash: "".into(),
        learns_names: true,
    }
}

/// The first score and flow transform of a config.
fn said(config: &Config<Components>) -> Said {
    let (networks, faults) = config.networks.read();
    for fault in faults {
        tracing::warn!("the list of networks {fault}");
    }
    let mut said = Said { networks, hash: Arc::clone(&config.hash), ..defaults() };
    for transform in config.transforms.iter().rev() {
        match &transform.config {
            TransformConfig::Score(score) => {
                said.settings = score.settings();
                let mut inputs = transform.inputs.iter();
                said.learns_names = inputs.any(|edge| edge.carries.contains(Kind::Packet));
            }
            TransformConfig::Flow(flow) => said.flow = flow.clone(),
            _ => {}
        }
    }
    said
}

fn tune(args: &Args, said: Said, quiet: bool) -> Result<Exit, Error> {
    let mut labels = match &args.labels {
        Some(path) => Labels::read(path).map_err(Error::configuration)?,
        None => Labels::default(),
    };
    let networks = Arc::new(said.networks);
    let learns_names = said.learns_names;
    let policy = said.flow.policy(&"tune".into(), &networks.internal)?;
    let settings = said.settings.at_once();
    let bar = progress(quiet);
    let (mut inputs, mut is_damaged) = (Vec::new(), false);
    for path in &args.inputs {
        let mut count = |units| bar.inc(units);
        let read =
            gather(path, &settings, &networks, (&policy, learns_names), &mut labels, &mut count);
        let input = read.map_err(|error| {
            Error::failure(format!("{} can't be read", path.display())).because(error)
        })?;
        for fault in &input.faults {
            output::warning(format_args!("{}: {fault}", path.display()));
        }
        for note in &input.notes {
            output::report(format_args!("{}: {note}", path.display()));
        }
        if input.bad_rows > 0 {
            let what = format!("{} rows could not be read", input.bad_rows);
            output::warning(format_args!("{}: {what}", path.display()));
        }
        is_damaged |= input.bad_rows > 0 || !input.faults.is_empty();
        inputs.push(input);
    }
    judge(&mut inputs, &settings, &networks);
    bar.finish_and_clear();
    if let Some(path) = &args.labels {
        let unmet = labels.unmet(&inputs);
        if !unmet.is_empty() {
            output::warning(format_args!("{}: {}", path.display(), unlabelling(&unmet)));
        }
    }
    let measured = measure(&inputs, &labels, &settings, (&said.hash, args.target_fpr));
    if let Some(path) = &args.report {
        fs::write(path, page(&measured)).map_err(|error| {
            let message = format!("the report can't be written to {}", path.display());
            Error::failure(message).because(error)
        })?;
    }
    let text = if args.json {
        let json = serde_json::to_string_pretty(&measured);
        json.map_err(|error| Error::failure("the measurement is no JSON").because(error))? + "\n"
    } else {
        table(&measured)
    };
    Ok(match output::data(&text) {
        Exit::Clean if is_damaged => Exit::Unclean,
        exit => exit,
    })
}

/// Labels of sources that were not met: of a misspelt address, or of another input.
fn unlabelling(unmet: &[IpAddr]) -> String {
    let named: Vec<_> = unmet.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let (s, more) = match unmet.len() {
        1 => ("", String::new()),
        many if many > MAX_NAMED => ("s", format!(" and {} more", many - MAX_NAMED)),
        _ => ("s", String::new()),
    };
    let (count, named) = (unmet.len(), named.join(", "));
    format!("{count} label{s} of sources that no input has count nowhere: {named}{more}")
}

/// A line on a terminal that counts what was read.
fn progress(quiet: bool) -> ProgressBar {
    if quiet || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{spinner} {human_pos} rows or frames  {per_sec}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
