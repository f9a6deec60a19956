//! `tidegate gate`: where gates are attached, and taking one off its interface. It looks at what is pinned,
//! so it works with the daemon dead.

use std::path::PathBuf;
#[cfg(feature = "xdp")]
use std::{env, io::ErrorKind, path::Path, sync::Arc};

#[cfg(feature = "xdp")]
use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
#[cfg(feature = "xdp")]
use tidegate_ebpf::{Error as Refused, Maps, Mode, now_ns, pins, pins::Pins};

#[cfg(feature = "xdp")]
use tokio::sync::watch;

use super::{exit::Exit, output};
use crate::{
    component::Error,
    config::{ID, is_id},
};
#[cfg(feature = "xdp")]
use crate::{
    component::{Clock, with_causes},
    gate::{GateStore, Occasion, Pinned, Policy, log::VerdictLog},
    verdict::{Mode as Effect, Store},
};

/// Say where a gate is attached, or take it off; also while no daemon runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Where each gate is attached, whether it enforces, and whether its daemon lives; if not, whether everything passes.
    Status(Which),
    /// Take the program off its interface, and remove all that is pinned: verdicts end, and the log says so.
    Detach(Detach),
}

#[derive(Debug, clap::Args)]
struct Detach {
    #[command(flatten)]
    which: Which,
    /// Where the verdict log is: what is not written there, the next start puts back.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tidegate")]
    data_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The source's id; without it, all.
    #[arg(long, value_name = "ID", value_parser = source_id)]
    source: Option<String>,
}

pub(super) fn run(args: &Args) -> Exit {
    let done = match &args.command {
        Command::Status(which) => status(which),
        Command::Detach(args) => detach(args),
    };
    done.unwrap_or_else(|error| {
        output::error(&error);
        Exit::of_error(&error)
    })
}

/// The id of a source. Folders and files are named by it, and removed: so it is nothing else.
pub(super) fn source_id(text: &str) -> Result<String, &'static str> {
    if is_id(text) { Ok(text.to_owned()) } else { Err(ID) }
}

/// What is pinned can't be read, or removed.
#[cfg(feature = "xdp")]
pub(super) fn unusable(error: Refused) -> Error {
    let is_denied = matches!(
        &error,
        Refused::Map { source, .. } | Refused::Pin { source, .. }
            if source.kind() == ErrorKind::PermissionDenied
    );
    let hint = if is_denied {
        "it takes root, or the user that the daemon runs as with CAP_BPF and CAP_NET_ADMIN"
    } else {
        "if another version of Tidegate made it: `tidegate gate detach --source ID` takes it off"
    };
    Error::failure("what is pinned in the kernel can't be used").because(error).hint(hint)
}

/// The sources that are meant: the one that is named, else all that have anything pinned.
#[cfg(feature = "xdp")]
pub(super) fn meant(source: Option<&str>) -> Result<Vec<String>, Error> {
    match source {
        Some(source) => Ok(vec![source.to_owned()]),
        None => pins::sources().map_err(unusable),
    }
}

#[cfg(feature = "xdp")]
fn status(which: &Which) -> Result<Exit, Error> {
    let (mut lines, mut unread) = (Vec::new(), 0);
    for source in meant(which.source.as_deref())? {
        let pins = Pins::of(&source);
        let Some(folder) = pins.current() else { continue };
        match told(&source, &pins, &folder) {
            Ok(line) => lines.push(line),
            // The others are told of all the same.
            Err(error) if which.source.is_none() => {
                output::error(&unusable(error));
                unread += 1;
            }
            Err(error) => return Err(unusable(error)),
        }
    }
    if lines.is_empty() {
        if unread == 0 {
            output::report("no gate is attached");
        }
        return Ok(Exit::Failure);
    }
    Ok(output::data(&lines.concat()))
}

/// The line of one gate.
#[cfg(feature = "xdp")]
fn told(source: &str, pins: &Pins, folder: &Path) -> Result<String, Refused> {
    let maps = Maps::open(folder)?;
    let place = match pins.attached_to()? {
        None => "attached to nothing".to_owned(),
        Some(0) => "its interface is gone".to_owned(),
        Some(index) => {
            let name = socket(AddressFamily::INET, SocketType::DGRAM, None)
                .and_then(|socket| index_to_name(&socket, index));
            let mode = match maps.mode()? {
                Some(Mode::Native) => "native",
                Some(Mode::Skb) => "skb",
                None => "unknown",
            };
            let name = name.unwrap_or_else(|_| format!("interface {index}"));
            format!("attached to {name} ({mode})")
        }
    };
    let mode = match maps.enforces()? {
        Some(true) => "enforces",
        Some(false) => "observes",
        None => "not started",
    };
    let is_open = maps.daemon()?.open_ns(now_ns()).is_some();
    let beat = match maps.silent_ns()?.map(|silent| (silent, silent / 1_000_000_000)) {
        None => "its daemon never ran".to_owned(),
        Some((_, secs)) if is_open => {
            format!("its daemon is silent for {secs} s: everything passes")
        }
        Some((silent, _)) if is_recent(silent) => "its daemon lives".to_owned(),
        Some((_, secs)) => format!("its daemon is silent for {secs} s"),
    };
    let verdicts = maps.blocks()?.len();
    Ok(format!("{source}: {place}; {mode}; {verdicts} verdicts; {beat}\n"))
}

/// Whether a daemon that was silent for so long lives: it says so each second.
#[cfg(feature = "xdp")]
fn is_recent(silent_ns: u64) -> bool {
    silent_ns < 3_000_000_000
}

#[cfg(feature = "xdp")]
fn detach(args: &Detach) -> Result<Exit, Error> {
    let mut any = false;
    for source in meant(args.which.source.as_deref())? {
        let pins = Pins::of(&source);
        // The daemon has the lock as long as it runs.
        let lives = pins.folder().exists() && matches!(pins.lock(), Err(Refused::InUse(_)));
        if let Err(why) =
            pins.current().map_or(Ok(()), |folder| end(&source, &folder, &args.data_dir))
        {
            output::say(
                false,
                format_args!(
                    "{source}: the next start puts verdicts of people back, if they are in its log: {why}"
                ),
            );
        }
        if pins.detach().map_err(unusable)? {
            any = true;
            let and = if lives {
                "; its daemon runs on, lets go of the rest within seconds, and puts nothing back"
            } else {
                ""
            };
            output::say(
                false,
                format_args!("{source}: detached; its program, maps and pins are gone{and}"),
            );
        }
    }
    if !any {
        output::say(false, "no gate is attached");
    }
    Ok(Exit::Clean)
}

/// Ends the verdicts of a gate, in its log too.
#[cfg(feature = "xdp")]
fn end(source: &str, folder: &Path, data_dir: &Path) -> Result<(), String> {
    let log = VerdictLog::new(data_dir);
    let explained = |error: &dyn std::error::Error| format!("{}: {error}", log.path().display());
    if !log.path().exists() {
        return Err(format!(
            "there is no {}; name the data directory: `--data-dir DIR`",
            log.path().display()
        ));
    }
    let maps = Maps::open(folder).map_err(|error| with_causes(&error))?;
    let policy = Policy { mode: Effect::Observe, percent: 100, max: usize::MAX };
    let networks = watch::channel(Arc::default()).1;
    let store = GateStore::new(source, Box::new(Pinned(maps)), policy, networks, Some(&person()));
    let logged = log.read(source).map_err(|error| explained(&error))?;
    let now = Clock::Wall.now(None);
    store.adopt(logged, Occasion::Fresh, now).map_err(|error| error.to_string())?;
    store.flush(now);
    log.append(&store.take_lines().0).map_err(|error| explained(&error))?;
    // A daemon that runs on counts them no longer.
    store.announce().map_err(|error| error.to_string())
}

/// Who does it: whoever became root to do so, else the user.
#[cfg(feature = "xdp")]
pub(super) fn person() -> String {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    variable("SUDO_USER")
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

#[cfg(not(feature = "xdp"))]
fn status(_which: &Which) -> Result<Exit, Error> {
    Err(absent())
}

#[cfg(not(feature = "xdp"))]
fn detach(_args: &Detach) -> Result<Exit, Error> {
    Err(absent())
}

/// This program has no gate.
#[cfg(not(feature = "xdp"))]
pub(super) fn absent() -> Error {
    Error::failure("this Tidegate was built without the gate (feature `xdp`)")
}
