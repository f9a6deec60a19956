//! `tidegate verdicts`: what is blocked, why, and changing it. It opens the pinned maps, so it works with
//! the daemon dead, and appends to the same verdict log.

mod table;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::{exit::Exit, gate::source_id, output};
#[cfg(not(feature = "xdp"))]
use crate::component::Error;
use crate::{
    networks::parse_exact,
    verdict::{Action, MAX_REASON_BYTES, Scope},
};

/// List, add and remove verdicts in the kernel; also while no daemon runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

/// Which gate, and where its log is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The source's id; without it, all (to add, the only one).
    #[arg(long, global = true, value_name = "ID", value_parser = source_id)]
    source: Option<String>,
    /// The config: its `data_dir`, and its `networks` that are never blocked.
    #[arg(short, long, global = true, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// Where the verdict log is.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/tidegate")]
    data_dir: PathBuf,
    /// One object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What holds, with the packets it met and the time that is left.
    List,
    /// Put a verdict on an address or a network in force.
    Add(Add),
    /// Take the verdict on exactly this address or network back.
    Remove {
        /// The address or network.
        #[arg(value_name = "ADDR[/PREFIX]", value_parser = network)]
        network: IpNet,
    },
    /// Every verdict about an address, also the last one that has ended, with its reasons.
    Explain {
        /// The address.
        #[arg(value_name = "ADDR")]
        address: IpAddr,
    },
    /// Take all verdicts back.
    Flush,
}

/// Ten years: whatever is to hold longer has no end.
const MAX_TTL_SECS: u64 = 315_360_000;

#[derive(Debug, clap::Args)]
struct Add {
    /// The address or network.
    #[arg(value_name = "ADDR[/PREFIX]", value_parser = network)]
    network: IpNet,
    /// Seconds until it ends by itself; without it, it holds until it is removed.
    #[arg(long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    ttl: Option<u64>,
    /// What becomes of packets.
    #[arg(long, value_enum, default_value = "drop")]
    action: WhichAction,
    /// All packets, or those that begin something.
    #[arg(long, value_enum, default_value = "all")]
    scope: WhichScope,
    /// Why, for whoever reads the list.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    reason: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum WhichAction {
    /// They are dropped.
    Drop,
    /// Those above a rate are dropped.
    RateLimit,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum WhichScope {
    /// All.
    All,
    /// Those that begin something.
    New,
}

pub(super) fn run(args: &Args) -> Exit {
    act(args).unwrap_or_else(|error| {
        output::error(&error);
        Exit::of_error(&error)
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    parse_exact(text).map_err(|(message, hint)| format!("{message}: {hint}"))
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        ..=MAX_REASON_BYTES => Ok(text.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, and may have {MAX_REASON_BYTES}")),
    }
}

/// The seconds that a verdict may hold.
fn seconds(text: &str) -> Result<u64, String> {
    let found = text.parse().ok().filter(|seconds: &u64| (1..=MAX_TTL_SECS).contains(seconds));
    found.ok_or_else(|| format!("write the seconds in digits, 1 to {MAX_TTL_SECS}: 300"))
}

impl Add {
    fn action(&self) -> Action {
        match self.action {
            WhichAction::Drop => Action::Drop,
            WhichAction::RateLimit => Action::RateLimit,
        }
    }

    fn scope(&self) -> Scope {
        match self.scope {
            WhichScope::All => Scope::All,
            WhichScope::New => Scope::New,
        }
    }

    fn ttl(&self) -> Option<Duration> {
        self.ttl.map(Duration::from_secs)
    }
}

#[cfg(feature = "xdp")]
use pinned::act;

#[cfg(not(feature = "xdp"))]
fn act(_args: &Args) -> Result<Exit, Error> {
    Err(super::gate::absent())
}

#[cfg(feature = "xdp")]
mod pinned {
    use std::{fs::File, net::IpAddr, path::Path, sync::Arc};

    use ipnet::IpNet;
    use tidegate_ebpf::{Maps, pins::Pins};
    use tokio::sync::watch;

    use super::{
        super::{
            exit::Exit,
            gate::{meant, person, unusable},
            output,
        },
        Add, Args, Command, Place, table,
    };
    use crate::{
        component::{Clock, Error},
        config::{Components, load_file},
        gate::{GateStore, Occasion, Pinned, Policy, Protected, Spared, log::VerdictLog},
        host::Facts,
        networks::Networks,
        record::{Id, Timestamp},
        verdict::{Answer, By, Entry, Mode, Store, Verdict},
    };

    /// How verdicts are printed.
    #[derive(Debug, Clone, Copy)]
    enum Format {
        Json,
        Text,
        /// With what records name them by.
        TextWithIds,
    }

    /// One gate, opened.
    struct Opened {
        source: String,
        store: GateStore,
        log: VerdictLog,
        /// What the gate lets through, and nobody said why.
        unexplained: Vec<IpNet>,
        /// Why nobody did.
        untold: String,
    }

    pub(super) fn act(args: &Args) -> Result<Exit, Error> {
        let now = Clock::Wall.now(None);
        let (networks, log) = said(&args.place)?;
        let (opened, unusable) = open(&args.place, &networks, &log, now)?;
        let format = match (args.place.json, &args.command) {
            (true, _) => Format::Json,
            (false, Command::Explain { .. }) => Format::TextWithIds,
            (false, _) => Format::Text,
        };
        let exit = match &args.command {
            Command::Explain { address } if opened.is_empty() => {
                return logged(&args.place, &log, address.to_canonical(), format, now);
            }
            // It was said why.
            _ if opened.is_empty() && unusable > 0 => Exit::Failure,
            _ if opened.is_empty() => return Err(none_attached(&args.place)),
            Command::List => {
                let entries = all(&opened, |store| store.list(now));
                warn_of_no_log(&entries, &log);
                print(&entries, format, now)
            }
            Command::Explain { address } => {
                let address = address.to_canonical();
                let entries = all(&opened, |store| store.explain(address, now));
                warn_of_no_log(&entries, &log);
                found(&entries, format, now)
            }
            Command::Remove { network } => {
                let entries =
                    all(&opened, |store| store.remove(*network, now).into_iter().collect());
                found(&entries, format, now)
            }
            Command::Flush => {
                let entries = all(&opened, |store| store.flush(now));
                print(&entries, format, now)
            }
            Command::Add(add) => apply(add, &opened, now)?,
        };
        // What is done at one gate is told there, also where it can't be at another.
        let told: Vec<_> = opened.iter().map(tell).collect();
        told.into_iter().collect::<Result<(), _>>()?;
        Ok(exit)
    }

    /// Writes what was done into the log, and tells the daemon.
    fn tell(gate: &Opened) -> Result<(), Error> {
        let (lines, _) = gate.store.take_lines();
        let written = gate.log.append(&lines);
        // With its lines in the log: the daemon finds the reasons there.
        if !lines.is_empty() {
            let told = gate.store.announce();
            told.map_err(|error| Error::failure("the daemon can't be told").because(error))?;
        }
        written.map_err(|error| {
            let path = gate.log.path().display();
            Error::failure(format!("it is done, but the verdict log {path} can't be written"))
                .because(error)
                .hint("name the data directory: `-c FILE` or `--data-dir DIR`")
        })
    }

    /// Where reasons stand that the kernel does not keep: without them a verdict looks as if it had none.
    fn warn_of_no_log(entries: &[(&str, Entry)], log: &VerdictLog) {
        let is_silent = |(_, entry): &(&str, Entry)| entry.verdict.reasons.is_empty();
        if entries.iter().any(is_silent)
            && let Err(error) = File::open(log.path())
        {
            output::warning(format_args!(
                "the reasons are not known: there is no verdict log at {} ({error}); name it by its config, \
                 `-c FILE`, or its folder, `--data-dir DIR`",
                log.path().display()
            ));
        }
    }

    /// A network that holds what the gate lets through: where that is more than an entry of the allow list, the daemon
    /// will not have the verdict.
    fn warn_of_unexplained(gate: &Opened, network: IpNet) {
        if let Some(inside) = gate.unexplained.iter().find(|one| network.contains(*one)) {
            output::warning(format_args!(
                "why `{}` lets {inside} through is not known, as {}: if it never blocks it (a sink's server, an \
                 administrator), its daemon lifts this verdict; name the data directory: `-c FILE` or `--data-dir DIR`",
                gate.source, gate.untold
            ));
        }
    }

    /// What the log says of an address, where there is no gate to ask.
    fn logged(
        place: &Place,
        log: &VerdictLog,
        address: IpAddr,
        format: Format,
        now: Timestamp,
    ) -> Result<Exit, Error> {
        let none = none_attached(place);
        if let Err(error) = File::open(log.path()) {
            let hint =
                "name the verdict log by its config, `-c FILE`, or its folder, `--data-dir DIR`";
            let message =
                format!("{none}, and there is no verdict log at {}", log.path().display());
            return Err(Error::failure(message).because(error).hint(hint));
        }
        let path = log.path().display();
        output::say(false, format_args!("{none}: this is what the verdict log {path} has"));
        let is_about = |source: &str, entry: &Entry| {
            place.source.as_deref().is_none_or(|wanted| wanted == source)
                && entry.verdict.network.contains(&address)
        };
        let kept = log.read_all().map_err(|error| {
            Error::failure(format!("the verdict log {path} can't be read")).because(error)
        })?;
        let entries = kept.iter().filter(|(source, entry)| is_about(source, entry));
        let entries: Vec<_> =
            entries.map(|(source, entry)| (source.as_str(), entry.clone())).collect();
        Ok(found(&entries, format, now))
    }

    fn none_attached(place: &Place) -> Error {
        let message = place.source.as_ref().map_or_else(
            || "no gate is attached".to_owned(),
            |source| format!("the source `{source}` has no gate"),
        );
        Error::failure(message).hint("`tidegate gate status` lists them")
    }

    /// The networks of the config, if one is named, and the log that is meant.
    fn said(place: &Place) -> Result<(Networks, VerdictLog), Error> {
        let (networks, data_dir) = match &place.config {
            None => (Networks::default(), place.data_dir.clone()),
            Some(path) => {
                let loaded = load_file::<Components>(path, true);
                let loaded = loaded.map_err(|report| {
                    output::problems(&report);
                    Error::configuration(format!("{} can't be used", path.display()))
                })?;
                let (networks, _) = loaded.config.networks.read();
                (networks, loaded.config.globals.data_dir.clone())
            }
        };
        Ok((networks, VerdictLog::new(&data_dir)))
    }

    /// The gates that are meant; of all, those that can be used, and how many can't be.
    fn open(
        place: &Place,
        networks: &Networks,
        log: &VerdictLog,
        now: Timestamp,
    ) -> Result<(Vec<Opened>, usize), Error> {
        let (mut opened, mut passed_over) = (Vec::new(), 0);
        for source in meant(place.source.as_deref())? {
            let Some(folder) = Pins::of(&source).current() else { continue };
            let maps = match Maps::open(&folder) {
                // Those of the others can be used all the same.
                Err(error) if place.source.is_none() => {
                    output::error(&unusable(error));
                    passed_over += 1;
                    continue;
                }
                maps => maps.map_err(unusable)?,
            };
            let mode = match maps.enforces().map_err(unusable)? {
                Some(true) => Mode::Enforce,
                _ => Mode::Observe,
            };
            // The daemon put its lists there, and whatever else it never blocks.
            let kept = maps.allowed().map_err(unusable)?;
            let path = Spared::path(log.path().parent().unwrap_or(Path::new(".")), &source);
            let told = Spared::read(&path);
            let untold = told.as_ref().err().map_or_else(
                || format!("{} is of an earlier time", path.display()),
                |error| format!("{} can't be read ({error})", path.display()),
            );
            let protected = Protected::of(&Facts::read());
            let (protected, networks, unexplained) =
                told.unwrap_or_default().complete(protected, networks.clone(), kept);
            let max = Maps::room(&folder).map_err(unusable)? as usize;
            let policy = Policy { mode, percent: 100, max };
            let networks = watch::channel(Arc::new(networks)).1;
            let user = person();
            let kernel = Box::new(Pinned(maps));
            let store = GateStore::new(&source, kernel, policy, networks, Some(&user));
            store.respect(protected);
            let logged = log.read(&source).unwrap_or_else(|error| {
                let path = log.path().display();
                output::report(format!(
                    "the verdict log {path} can't be read, so reasons are missing: {error}"
                ));
                Vec::new()
            });
            let adopted = store.adopt(logged, Occasion::Change, now);
            adopted.map_err(|error| Error::failure("the maps can't be read").because(error))?;
            let log = log.clone();
            opened.push(Opened { source, store, log, unexplained, untold });
        }
        Ok((opened, passed_over))
    }

    fn apply(add: &Add, opened: &[Opened], now: Timestamp) -> Result<Exit, Error> {
        let [gate] = opened else {
            let names: Vec<_> = opened.iter().map(|gate| gate.source.as_str()).collect();
            let message = format!("there are several gates: {}", names.join(", "));
            return Err(Error::failure(message).hint("name one: `--source ID`"));
        };
        let network = add.network;
        let reason = if add.reason.is_empty() {
            format!("added by {}", person())
        } else {
            format!("{} (added by {})", add.reason, person())
        };
        let number = u64::try_from(now.nanos()).unwrap_or(0);
        let id = Id::of("verdict", &gate.source).bytes(network.to_string().as_bytes());
        let verdict = Verdict {
            id: id.number(number).finish(),
            network,
            action: add.action(),
            scope: add.scope(),
            port: None,
            ttl: add.ttl(),
            score: 0,
            offence: 0,
            reasons: vec![reason.into_boxed_str()],
            by: By::Cli,
        };
        let answer = gate.store.apply(verdict, now);
        if matches!(answer, Answer::Applied(_)) {
            warn_of_unexplained(gate, network);
        }
        match answer {
            Answer::Applied(Mode::Enforce) => {
                output::say(false, format_args!("{network}: blocked by `{}`", gate.source));
            }
            Answer::Applied(Mode::Observe) => output::say(
                false,
                format_args!(
                    "{network}: noted by `{}`, which observes: nothing is dropped",
                    gate.source
                ),
            ),
            Answer::Refused(refusal) => {
                let message = format!("{network} is not blocked");
                return Err(Error::failure(message).because(refusal));
            }
        }
        Ok(Exit::Clean)
    }

    fn all(
        opened: &[Opened],
        mut entries: impl FnMut(&GateStore) -> Vec<Entry>,
    ) -> Vec<(&str, Entry)> {
        let of = opened.iter().flat_map(|gate| {
            entries(&gate.store).into_iter().map(|entry| (gate.source.as_str(), entry))
        });
        of.collect()
    }

    fn print(entries: &[(&str, Entry)], format: Format, now: Timestamp) -> Exit {
        output::data(&match format {
            Format::Json => table::json(entries, now),
            Format::Text => table::text(entries, now, false),
            Format::TextWithIds => table::text(entries, now, true),
        })
    }

    fn found(entries: &[(&str, Entry)], format: Format, now: Timestamp) -> Exit {
        if entries.is_empty() {
            output::report("there is no such verdict");
            return Exit::Failure;
        }
        print(entries, format, now)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    #[test]
    fn a_time_that_is_no_seconds_is_told_how_to_be_written() {
        let parse = |ttl: &str| {
            Cli::try_parse_from(["tidegate", "verdicts", "add", "192.0.2.1", "--ttl", ttl])
        };
        for ttl in ["5m", "-1", "0", "1.5", "", "315360001"] {
            let said = parse(ttl).unwrap_err().to_string();
            assert!(said.contains("write the seconds in digits"), "{ttl}: {said}");
        }
        assert!(parse("1").is_ok() && parse("315360000").is_ok());
    }
}
