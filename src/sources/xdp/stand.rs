//! Where the gate stands: on its interface; waiting for that; or nowhere any more.
//!
//! ```text
//! awaited → attached → its interface goes: awaited again
//!        ↖ refused  ↘ somebody takes it off: that is obeyed (docs/adr/0033)
//! ```
//!
//! The program, its maps and what they hold are the same all the while.

use std::{future::pending, sync::Arc, time::Duration};

use rustix::net::{
    AddressFamily, SocketType,
    netdevice::{index_to_name, name_to_index},
    socket,
};
use tidegate_ebpf::{Attached, Gate, Mode, Promiscuous, Standing, pins::Pins};
use tokio::time::sleep;
use tracing::{error, warn};

use super::{
    Config,
    gate::{explained, promiscuous, unreadable, wanted},
};
use crate::{
    component::{Error, with_causes},
    host::interfaces,
    metrics::{ERRORS, ErrorType, Holding, Meter},
};

/// How often it is looked for an interface that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const WAITS: &str = "the gate is not attached until the interface is there";

/// The gate and its place.
#[derive(Debug)]
pub(super) struct Stand {
    config: Config,
    gate: Gate,
    pins: Pins,
    meter: Arc<Meter>,
    /// Whether what the interface sends is to be seen.
    sees_egress: bool,
    place: Place,
    /// It was attached, once at least: from then on no refusal is the config's fault.
    has_stood: bool,
    /// Its interface has another name, and that was said.
    is_renamed: bool,
    /// A mirror's interface, while the gate is on it.
    promiscuous: Option<Promiscuous>,
    /// Why it is not where it should be, as long as that is so.
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The interface is not there.
    Awaited,
    /// The interface is there again, and the kernel refuses the program.
    Refused,
    /// On the interface of this index.
    On(u32, Attached),
    /// Somebody took it off.
    TakenOff,
}

/// The source is neither ready nor healthy while there is one.
#[derive(Debug)]
struct Trouble {
    why: String,
    _holding: Holding,
}

/// The interface's index in our network namespace.
pub(super) fn index(interface: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    name_to_index(&socket, interface).ok()
}

/// The name of an interface in our network namespace.
fn called(index: u32) -> Option<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    index_to_name(&socket, index).ok()
}

// === impl Stand ===

impl Stand {
    /// A gate that is loaded, and attached to nothing.
    pub(super) fn new(config: &Config, gate: Gate, pins: Pins, meter: Arc<Meter>) -> Self {
        Self {
            config: config.clone(),
            gate,
            pins,
            meter,
            sees_egress: false,
            place: Place::Awaited,
            has_stood: false,
            is_renamed: false,
            promiscuous: None,
            trouble: None,
        }
    }

    /// Puts the gate on its interface, or begins to wait for that. How it is attached, if it is.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn begin(&mut self, sees_egress: bool) -> Result<Option<Attached>, Error> {
        self.sees_egress = sees_egress;
        let attached = self.take_up()?;
        if attached.is_none() {
            self.gate.wait().map_err(|error| explained(error, &self.config))?;
            self.waits(WAITS);
        }
        Ok(attached)
    }

    /// Looks whether the gate is where it was put, or can be put where it should be. How it is attached, if it has just
    /// been.
    ///
    /// # Errors
    /// If the kernel refuses it on an interface that was awaited since the start.
    pub(super) fn look(&mut self) -> Result<Option<Attached>, Error> {
        match self.place {
            Place::On(interface, _) => {
                // Before the gate is looked for: both are there at once then.
                let named = index(&self.config.interface);
                match self.gate.standing(interface) {
                    Ok(Standing::Attached) => self.stands(interface, named),
                    Ok(Standing::TakenOff) => self.was_taken_off(),
                    Ok(Standing::InterfaceGone) => self.lost_its_interface(),
                    Err(error) => self.is_not_there(&format!(
                        "whether the gate is on {} is not known: {}",
                        self.config.interface,
                        with_causes(&error)
                    )),
                }
                Ok(None)
            }
            Place::Awaited | Place::Refused if !self.gate.is_kept() => {
                self.was_taken_off();
                Ok(None)
            }
            Place::Awaited | Place::Refused => {
                let attached = self.take_up()?;
                if matches!(self.place, Place::Awaited) {
                    self.waits(WAITS);
                }
                Ok(attached)
            }
            Place::TakenOff => Ok(None),
        }
    }

    /// Waits until an interface that is awaited is there; for ever if none is.
    pub(super) async fn comes(&self) {
        if !matches!(self.place, Place::Awaited) {
            return pending().await;
        }
        while index(&self.config.interface).is_none() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// How it is attached, as `/health` says it.
    pub(super) fn attachment(&self) -> &'static str {
        match self.place {
            Place::On(_, attached) => attachment(attached.mode),
            _ => "no",
        }
    }

    /// The program that runs, as `bpftool` names it.
    pub(super) fn program(&self) -> &'static str {
        match self.place {
            Place::On(_, Attached { frags: true, .. }) => "tidegate_frags",
            _ => "tidegate",
        }
    }

    /// Whether it is on its interface.
    pub(super) fn is_attached(&self) -> bool {
        matches!(self.place, Place::On(..))
    }

    /// Puts the gate on its interface, if that is there and the kernel takes it.
    fn take_up(&mut self) -> Result<Option<Attached>, Error> {
        let Some(interface) = index(&self.config.interface) else {
            self.place = Place::Awaited;
            return Ok(None);
        };
        match self.attach(interface) {
            Ok(attached) => {
                self.place = Place::On(interface, attached);
                self.has_stood = true;
                self.trouble = None;
                Ok(Some(attached))
            }
            Err(_) if index(&self.config.interface) != Some(interface) => {
                self.let_go();
                self.place = Place::Awaited;
                Ok(None)
            }
            Err(error) if !self.has_stood => Err(error),
            Err(error) => {
                self.let_go();
                self.place = Place::Refused;
                self.is_not_there(&refusal(&error));
                Ok(None)
            }
        }
    }

    fn attach(&mut self, interface: u32) -> Result<Attached, Error> {
        if let Some(error) = unreadable(&self.config.interface) {
            return Err(error);
        }
        self.promiscuous = promiscuous(&self.config, interface)?;
        let wanted = wanted(self.config.attach);
        let attached = self.gate.attach(interface, wanted, self.config.persist);
        let attached = attached.map_err(|error| explained(error, &self.config))?;
        if self.sees_egress {
            let attached = self.gate.attach_egress(&self.config.interface);
            attached.map_err(|error| explained(error, &self.config))?;
        }
        Ok(attached)
    }

    /// It is attached to `interface`, and the one that the config names is `named`. The gate goes along with an interface
    /// that is renamed.
    fn stands(&mut self, interface: u32, named: Option<u32>) {
        let is_here = named == Some(interface);
        if is_here || named.is_none() {
            self.trouble = None;
        }
        if is_here {
            self.is_renamed = false;
            return;
        }
        let name = &self.config.interface;
        let called = called(interface).unwrap_or_else(|| format!("interface {interface}"));
        if named.is_some() {
            self.is_not_there(&format!(
                "another interface is {name} now, and has no gate: that is on {called}, which was {name} when it was \
                 attached; `tidegate gate detach` and a new start put it on {name}"
            ));
        } else if !std::mem::replace(&mut self.is_renamed, true) {
            warn!(
                "{name} is called {called} now: the gate stays on it, and the next start waits for {name}; name it so \
                 in the config"
            );
        }
    }

    fn let_go(&mut self) {
        self.gate.let_go();
        self.promiscuous = None;
    }

    fn waits(&mut self, words: &str) {
        self.place = Place::Awaited;
        let interface = &self.config.interface;
        let why = format!("there is no interface {interface}");
        if self.is_in_trouble(&why) {
            let interface = &self.config.interface;
            error!(interface, there_are = interfaces().join(", "), "{words}");
        }
    }

    fn lost_its_interface(&mut self) {
        self.let_go();
        self.meter.count(ERRORS, ErrorType::InterfaceGone, 1);
        self.waits(
            "the interface is gone: the gate is put back when it is there again, with its verdicts",
        );
    }

    fn was_taken_off(&mut self) {
        self.let_go();
        self.place = Place::TakenOff;
        self.is_not_there(&format!(
            "the gate is no longer on {}, with what was pinned in {}: somebody took it off; start tidegate again to \
             put it back",
            self.config.interface,
            self.pins.folder().display(),
        ));
    }

    /// Counts what keeps the gate off an interface that is there, and says it.
    fn is_not_there(&mut self, why: &str) {
        if self.is_in_trouble(why) {
            self.meter.count(ERRORS, ErrorType::GateDetached, 1);
            error!("{why}");
        }
    }

    /// From now on `/ready` and `/health` say so. True if it is news.
    fn is_in_trouble(&mut self, why: &str) -> bool {
        if self.trouble.as_ref().is_some_and(|before| before.why == why) {
            return false;
        }
        self.meter.failed(why);
        self.trouble = Some(Trouble { why: why.to_owned(), _holding: self.meter.holding() });
        true
    }
}

/// What the kernel says against an interface that was lost and is there again.
fn refusal(error: &Error) -> String {
    let hint = error.remedy().unwrap_or("the log of the kernel may say more");
    format!("{}; tried again each second: {hint}", with_causes(error))
}

/// In words.
pub(super) fn attachment(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native",
        Mode::Skb => "skb",
    }
}
