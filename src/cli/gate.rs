//! `tidegate gate`: where gates are attached, and taking one off its interface. It looks at what is pinned,
//! so it works with the daemon dead.

#[cfg(feature = "xdp")]
use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
#[cfg(feature = "xdp")]
use tidegate_ebpf::{Error as Refused, Maps, Mode, now_ns, pins, pins::Pins};

use super::{exit::Exit, output};
use crate::component::Error;

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
    /// Take the program off its interface, and remove all that is pinned: verdicts end.
    Detach(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The source's id; without it, all.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
}

pub(super) fn run(args: &Args) -> Exit {
    let done = match &args.command {
        Command::Status(which) => status(which),
        Command::Detach(which) => detach(which),
    };
    done.unwrap_or_else(|error| {
        output::error(&error);
        Exit::of_error(&error)
    })
}

/// What is pinned can't be read, or removed.
#[cfg(feature = "xdp")]
pub(super) fn unusable(error: Refused) -> Error {
    Error::failure("what is pinned in the kernel can't be used")
        .because(error)
        .hint("it takes root, or the user that the daemon runs as with CAP_BPF and CAP_NET_ADMIN")
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
    let mut lines = Vec::new();
    for source in meant(which.source.as_deref())? {
        let pins = Pins::of(&source);
        let Some(folder) = pins.current() else { continue };
        let maps = Maps::open(&folder).map_err(unusable)?;
        let attached = pins.attached_to().map_err(unusable)?;
        let place = match attached {
            None => "attached to nothing".to_owned(),
            Some(0) => "its interface is gone".to_owned(),
            Some(index) => {
                let name = socket(AddressFamily::INET, SocketType::DGRAM, None)
                    .and_then(|socket| index_to_name(&socket, index));
                let mode = match maps.mode().map_err(unusable)? {
                    Some(Mode::Native) => "native",
                    Some(Mode::Skb) => "skb",
                    None => "unknown",
                };
                let name = name.unwrap_or_else(|_| format!("interface {index}"));
                format!("attached to {name} ({mode})")
            }
        };
        let mode = match maps.enforces().map_err(unusable)? {
            Some(true) => "enforces",
            Some(false) => "observes",
            None => "not started",
        };
        let is_open = maps.daemon().map_err(unusable)?.open_ns(now_ns()).is_some();
        let silent = maps.silent_ns().map_err(unusable)?;
        let beat = match silent.map(|silent| (silent, silent / 1_000_000_000)) {
            None => "its daemon never ran".to_owned(),
            Some((_, secs)) if is_open => {
                format!("its daemon is silent for {secs} s: everything passes")
            }
            Some((silent, _)) if is_recent(silent) => "its daemon lives".to_owned(),
            Some((_, secs)) => format!("its daemon is silent for {secs} s"),
        };
        let verdicts = maps.blocks().map_err(unusable)?.len();
        lines.push(format!("{source}: {place}; {mode}; {verdicts} verdicts; {beat}\n"));
    }
    if lines.is_empty() {
        output::report("no gate is attached");
        return Ok(Exit::Failure);
    }
    Ok(output::data(&lines.concat()))
}

/// Whether a daemon that was silent for so long lives: it says so each second.
#[cfg(feature = "xdp")]
fn is_recent(silent_ns: u64) -> bool {
    silent_ns < 3_000_000_000
}

#[cfg(feature = "xdp")]
fn detach(which: &Which) -> Result<Exit, Error> {
    let mut any = false;
    for source in meant(which.source.as_deref())? {
        let pins = Pins::of(&source);
        let lives = pins.current().is_some_and(|folder| {
            let maps = Maps::open(&folder);
            maps.is_ok_and(|maps| {
                maps.silent_ns().is_ok_and(|silent| silent.is_some_and(is_recent))
            })
        });
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

#[cfg(not(feature = "xdp"))]
fn status(_which: &Which) -> Result<Exit, Error> {
    Err(absent())
}

#[cfg(not(feature = "xdp"))]
fn detach(_which: &Which) -> Result<Exit, Error> {
    Err(absent())
}

/// This program has no gate.
#[cfg(not(feature = "xdp"))]
pub(super) fn absent() -> Error {
    Error::failure("this Tidegate was built without the gate (feature `xdp`)")
}
