//! Loads the program and attaches it.
//!
//! With pinned maps: the folder that the settings name is made or found ([`pins`](crate::pins)), each map in it is
//! checked ([`layout`](crate::layout)), the program is loaded with those maps, and takes the place of the one that the
//! pinned attachment runs, in one step. So a restart lets nothing through and loses no verdict.

mod egress;
mod trial;

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, MapData, MapInfo},
    programs::{
        ProgramError, SchedClassifier, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};

use self::egress::Attachment;
pub use self::trial::Ran;
use crate::{
    Accounting, Denials, Denying, Error, Evidence, Flows, Maps, OBJECT, Packets, Sampling, Watch,
    abi::{Daemon, Word},
    error::causes,
    layout::{MAPS, Settings, Spec, of_blocks},
    maps::Copied,
    pins::Pins,
    sys,
};

const GATE: &str = "tidegate";
/// For frames in several pieces.
const GATE_FRAGS: &str = "tidegate_frags";
/// At tc egress.
const EGRESS: &str = "tidegate_egress";
/// Marks flows.
const END: &str = "tidegate_end";

/// How the program is to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// In the driver if it can, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Generic: after the kernel has made an `sk_buff` of the frame.
    Skb,
}

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Generic.
    Skb,
}

/// A loaded program. An attachment that is not pinned ends with it.
#[derive(Debug)]
pub struct Gate {
    ebpf: Ebpf,
    pins: Option<Pins>,
    specs: [Spec; MAPS],
    folder: Option<PathBuf>,
    /// What was taken over, until its maps are those in use.
    copied: Option<Copied>,
    /// Whether its maps were those in use.
    was_in_use: bool,
    enforce: bool,
    persist: bool,
    link: Option<(&'static str, XdpLinkId)>,
    egress: Option<Attachment>,
}

/// What the program does beside verdicts; nothing of it by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Duties {
    /// What it tells of contacts.
    pub watch: Watch,
    /// What it counts by flow.
    pub accounting: Accounting,
    /// Which frames it reports.
    pub sampling: Sampling,
    /// What it counts of what it drops.
    pub denying: Denying,
}

/// How the program came to the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// How.
    pub mode: Mode,
    /// Whether it took the place of a program that was attached by an earlier run.
    pub adopted: bool,
    /// Whether it is the program for frames in several pieces.
    pub frags: bool,
}

/// What became of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is where it was put.
    Attached,
    /// Somebody took it off.
    TakenOff,
    /// Its interface is gone, and it went with it.
    InterfaceGone,
}

// === impl Gate ===

impl Gate {
    /// Loads the program, with maps pinned for a source, or with maps of its own. Verdicts that an earlier
    /// run left under other settings are carried over, but none that was only observed into a gate that
    /// enforces.
    ///
    /// # Errors
    /// If there is no BPF file system, a pinned map is not as it should be, or the kernel refuses.
    pub fn load(settings: &Settings, pins: Option<Pins>) -> Result<Self, Error> {
        Self::load_for(settings, &Duties::default(), pins)
    }

    /// The same, and it does what is asked of it beside. What that takes is not pinned: it goes with the program.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for(
        settings: &Settings,
        duties: &Duties,
        pins: Option<Pins>,
    ) -> Result<Self, Error> {
        let folder = pins.as_ref().map(|pins| pins.prepare(settings)).transpose()?;
        let prepared = pins.clone().zip(folder.clone());
        let loaded = Self::load_into(settings, duties, pins, folder);
        if let (Err(_), Some((pins, folder))) = (&loaded, prepared) {
            pins.leave(&folder);
        }
        loaded
    }

    fn load_into(
        settings: &Settings,
        duties: &Duties,
        pins: Option<Pins>,
        folder: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let specs = settings.maps();
        let tick_ns = sys::tick_ns();
        let numbers = [
            ("tg_tick_ns", tick_ns),
            ("tg_fail_open_ns", settings.fail_open_ns),
            ("tg_new_interval_ns", settings.new_interval_ns),
            ("tg_new_burst_ns", settings.new_burst_ns),
            ("tg_all_interval_ns", settings.all_interval_ns),
            ("tg_all_burst_ns", settings.all_burst_ns),
        ];
        let enforce = u32::from(settings.enforce);
        let Duties { watch, accounting, sampling, denying } = duties;
        let [places, sources, suspects] = watch.masks();
        let shares = denying.mask();
        let mut loader = EbpfLoader::new();
        watch.tell(&mut loader, [&places, &sources, &suspects]);
        accounting.tell(&mut loader);
        sampling.tell(&mut loader);
        denying.tell(&mut loader, &shares);
        loader.override_global("tg_enforce", &enforce, true);
        for (name, value) in &numbers {
            loader.override_global(name, value, true);
        }
        for spec in &specs {
            loader.map_max_entries(spec.name, spec.entries);
            let Some(folder) = &folder else { continue };
            let path = folder.join(spec.name);
            // aya takes whatever stands there.
            if path.exists() {
                let info =
                    MapInfo::from_pin(&path).map_err(|error| Error::of_map(spec.name, error))?;
                spec.check(&path, &info)?;
            }
            loader.map_pin_path(spec.name, path);
        }
        let ebpf = loader.load(OBJECT).map_err(|error| Error::Load(causes(&error)))?;
        let mut gate = Self {
            ebpf,
            pins,
            specs,
            folder,
            copied: None,
            was_in_use: false,
            enforce: settings.enforce,
            persist: false,
            link: None,
            egress: None,
        };
        gate.set_up(tick_ns, settings)?;
        gate.carry_over()?;
        Ok(gate)
    }

    /// Writes into the maps what the program, and later versions, have to know of them.
    fn set_up(&mut self, tick_ns: u64, settings: &Settings) -> Result<(), Error> {
        let (ticks, now_ns) = self.clock()?;
        let clock_ns = now_ns.wrapping_sub(ticks.wrapping_mul(tick_ns));
        let failed = |error| Error::of_map("tg_daemon", error);
        let mut daemon: Array<_, Daemon> = typed(&mut self.ebpf, "tg_daemon")?;
        let found = daemon.get(&0, 0).map_err(failed)?;
        let fail_open_ms = u32::try_from(settings.fail_open_ns / 1_000_000).unwrap_or(u32::MAX);
        daemon.set(0, Daemon { clock_ns, fail_open_ms, ..found }, 0).map_err(failed)?;
        let mut state: Array<_, u64> = typed(&mut self.ebpf, "tg_state")?;
        let set = state.set(Word::Layout as u32, of_blocks(), 0);
        set.map_err(|error| Error::of_map("tg_state", error))
    }

    /// Copies what the folder in use until now has into the new one, where a start that was killed may have left
    /// something.
    fn carry_over(&mut self) -> Result<(), Error> {
        let (Some(pins), Some(folder)) = (&self.pins, &self.folder) else { return Ok(()) };
        if pins.current().as_ref() == Some(folder) {
            return Ok(());
        }
        if let Some((mut fresh, before)) = self.fresh_and_before()? {
            self.copied = Some(fresh.copy_from(&before, self.enforce)?);
        } else if pins.attached_to()?.is_none() {
            // Else it may have been in use: one that was killed while it made another the one in use leaves none.
            Maps::open(folder)?.clear()?;
        }
        Ok(())
    }

    /// Makes the folder of its maps the one in use, with what was done to the verdicts in the other one meanwhile.
    fn switch(&mut self) -> Result<(), Error> {
        if let Some(copied) = self.copied.take()
            && let Some((mut fresh, before)) = self.fresh_and_before()?
            && fresh.catch_up(&before, &copied, self.enforce)?
        {
            let changes = fresh.word(Word::Changes)?;
            fresh.set(Word::Changes, changes.wrapping_add(1))?;
        }
        let (Some(pins), Some(folder)) = (&self.pins, &self.folder) else { return Ok(()) };
        pins.switch(folder)?;
        self.was_in_use = true;
        Ok(())
    }

    /// The maps of its folder, and those of the folder in use until now, if that is another one.
    fn fresh_and_before(&self) -> Result<Option<(Maps, Maps)>, Error> {
        let (Some(pins), Some(folder)) = (&self.pins, &self.folder) else { return Ok(None) };
        let Some(before) = pins.current().filter(|before| before != folder) else {
            return Ok(None);
        };
        let fresh = Maps::open(folder)?;
        // Of another version, with other maps: nothing that could be read.
        Ok(Maps::open_readable(&before, &self.specs).ok().map(|before| (fresh, before)))
    }

    /// The maps. Once only: they are taken out of the object.
    ///
    /// # Errors
    /// If they were taken already.
    pub fn take_maps(&mut self) -> Result<Maps, Error> {
        let ebpf = &mut self.ebpf;
        Maps::new(|name| ebpf.take_map(name).ok_or_else(|| missing_map(name)))
    }

    /// What it tells of contacts. Once only: its maps are taken out of the object.
    ///
    /// # Errors
    /// If it was taken already.
    pub fn take_evidence(&mut self) -> Result<Evidence, Error> {
        let ebpf = &mut self.ebpf;
        Evidence::new(|name| ebpf.take_map(name).ok_or_else(|| missing_map(name)))
    }

    /// What it counts of flows. Once only: its maps are taken out of the object.
    ///
    /// # Errors
    /// If it was taken already, or the kernel refuses the program that marks flows.
    pub fn take_flows(&mut self) -> Result<Flows, Error> {
        let fd = self.classifier(END)?.fd();
        let program = fd.and_then(|fd| fd.try_clone().map_err(Into::into));
        let end = program.map_err(|error| Error::Load(causes(&error)))?;
        let ebpf = &mut self.ebpf;
        Flows::new(|name| ebpf.take_map(name).ok_or_else(|| missing_map(name)), end)
    }

    /// The frames that it reports. Once only: its maps are taken out of the object.
    ///
    /// # Errors
    /// If it was taken already.
    pub fn take_packets(&mut self) -> Result<Packets, Error> {
        let ebpf = &mut self.ebpf;
        Packets::new(|name| ebpf.take_map(name).ok_or_else(|| missing_map(name)))
    }

    /// What it counts of what it drops. Once only: its maps are taken out of the object.
    ///
    /// # Errors
    /// If it was taken already.
    pub fn take_denials(&mut self) -> Result<Denials, Error> {
        let ebpf = &mut self.ebpf;
        Denials::new(|name| ebpf.take_map(name).ok_or_else(|| missing_map(name)))
    }

    fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        let missing = || Error::Load(format!("the object has no program {name}"));
        let program = self.ebpf.program_mut(name).ok_or_else(missing)?;
        let program: &mut SchedClassifier = program.try_into().map_err(|_| missing())?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(Error::Load(causes(&error))),
        }
    }

    /// Attaches it to an interface. If an earlier run left its attachment there, it takes that over
    /// without a gap. Then the folder of its maps is the one in use. With `persist` the attachment is
    /// pinned: it outlives this process, which otherwise ends it.
    ///
    /// # Errors
    /// If another program is attached, the driver can't or the interface is gone.
    pub fn attach(
        &mut self,
        interface: u32,
        wanted: Wanted,
        persist: bool,
    ) -> Result<Attached, Error> {
        self.persist = persist;
        let attached = match self.adopt(interface, wanted)? {
            Some(attached) => attached,
            None => self.attach_anew(interface, wanted)?,
        };
        if let Some(folder) = &self.folder {
            let mode = match attached.mode {
                Mode::Native => 1,
                Mode::Skb => 2,
            };
            let mut maps = Maps::open(folder)?;
            maps.set(Word::Attached, mode)?;
            maps.set(Word::Mode, if self.enforce { 2 } else { 1 })?;
            self.switch()?;
        }
        Ok(attached)
    }

    /// Takes the place of the program that an earlier run left, if it did so here and in this way.
    fn adopt(&mut self, interface: u32, wanted: Wanted) -> Result<Option<Attached>, Error> {
        let Some(pins) = self.pins.clone() else { return Ok(None) };
        if pins.attached_to()?.is_none() {
            return Ok(None);
        }
        let mode = pins.current().and_then(|folder| Maps::open_any(&folder).ok()?.mode().ok()?);
        let fits = match wanted {
            Wanted::Auto => true,
            Wanted::Native => mode == Some(Mode::Native),
            Wanted::Skb => mode == Some(Mode::Skb),
        };
        if !pins.is_on(interface)? || !fits || !self.persist {
            pins.detach_link()?;
            return Ok(None);
        }
        for (program, frags) in [(GATE, false), (GATE_FRAGS, true)] {
            let path = pins.link();
            let link =
                PinnedLink::from_pin(&path).map_err(|error| Error::Attach(causes(&error)))?;
            let link = XdpLink::try_from(FdLink::from(link))
                .map_err(|error| Error::Attach(causes(&error)))?;
            match self.program(program)?.attach_to_link(link) {
                Ok(id) => {
                    self.link = Some((program, id));
                    let mode = mode.unwrap_or(Mode::Native);
                    return Ok(Some(Attached { mode, adopted: true, frags }));
                }
                // The attachment is of the other program.
                Err(_) if !frags => {}
                Err(error) => return Err(Error::of_attachment(&error)),
            }
        }
        Ok(None)
    }

    fn attach_anew(&mut self, interface: u32, wanted: Wanted) -> Result<Attached, Error> {
        let modes: &[Mode] = match wanted {
            Wanted::Auto => &[Mode::Native, Mode::Skb],
            Wanted::Native => &[Mode::Native],
            Wanted::Skb => &[Mode::Skb],
        };
        let mut refused = Error::NoInterface(interface);
        for mode in modes {
            for (name, frags) in [(GATE, false), (GATE_FRAGS, true)] {
                match self.attach_one(name, interface, *mode) {
                    Ok(()) => return Ok(Attached { mode: *mode, adopted: false, frags }),
                    Err(error @ (Error::Occupied | Error::Load(_) | Error::Pin { .. })) => {
                        return Err(error);
                    }
                    Err(error) => refused = error,
                }
            }
        }
        Err(refused)
    }

    fn attach_one(&mut self, name: &'static str, interface: u32, mode: Mode) -> Result<(), Error> {
        let flags = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Skb => XdpMode::Skb,
        };
        let (pins, persist) = (self.pins.clone(), self.persist);
        let program = self.program(name)?;
        let attached = program.attach_to_if_index(interface, flags);
        let id = attached.map_err(|error| Error::of_attachment(&error))?;
        let Some(pins) = pins.filter(|_| persist) else {
            self.link = Some((name, id));
            return Ok(());
        };
        let link = program.take_link(id).map_err(|error| Error::Attach(causes(&error)))?;
        let link = FdLink::try_from(link).map_err(|error| Error::Attach(causes(&error)))?;
        let path = pins.link();
        let pinned = link
            .pin(&path)
            .map_err(|error| Error::Pin { path, source: io::Error::other(causes(&error)) })?;
        let link = XdpLink::try_from(FdLink::from(pinned))
            .map_err(|error| Error::Attach(causes(&error)))?;
        let id = program.attach_to_link(link).map_err(|error| Error::of_attachment(&error))?;
        self.link = Some((name, id));
        Ok(())
    }

    /// Where the interface is not there yet: the kernel takes the program as it is, the folder of its maps is the one in
    /// use, and what an earlier run attached elsewhere is taken off.
    ///
    /// # Errors
    /// If the kernel refuses the program, or something in the BPF file system can't be used.
    pub fn wait(&mut self) -> Result<(), Error> {
        self.program(GATE)?;
        let (Some(pins), Some(folder)) = (&self.pins, &self.folder) else { return Ok(()) };
        pins.detach_link()?;
        Maps::open(folder)?.set(Word::Mode, if self.enforce { 2 } else { 1 })?;
        self.switch()
    }

    /// What became of it since it was attached to this interface.
    ///
    /// # Errors
    /// If what is pinned can't be read.
    pub fn standing(&self, interface: u32) -> Result<Standing, Error> {
        let is_attached = match &self.pins {
            Some(pins) if self.persist => match pins.attached_to()? {
                // Who takes it off takes the pin, too.
                None => return Ok(Standing::TakenOff),
                Some(_) => pins.is_on(interface)?,
            },
            _ if !self.is_kept() => return Ok(Standing::TakenOff),
            // Nothing tells of a link that is not pinned.
            _ => self.link.is_some() && sys::name(interface).is_some(),
        };
        Ok(match (is_attached, sys::name(interface)) {
            (true, _) => Standing::Attached,
            (false, None) => Standing::InterfaceGone,
            (false, Some(_)) => Standing::TakenOff,
        })
    }

    /// Whether the folder of its maps is still the one in use: not where somebody took the gate off.
    pub fn is_kept(&self) -> bool {
        self.pins.as_ref().is_none_or(|pins| pins.current() == self.folder)
    }

    /// The folder of the pinned maps.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn program(&mut self, name: &'static str) -> Result<&mut Xdp, Error> {
        let missing = || Error::Load(format!("the object has no program {name}"));
        let program = self.ebpf.program_mut(name).ok_or_else(missing)?;
        let program: &mut Xdp = program.try_into().map_err(|_| missing())?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(Error::Load(causes(&error))),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.detach_egress();
        if let (false, Some(pins), Some(folder)) = (self.was_in_use, &self.pins, &self.folder) {
            pins.leave(folder);
        }
    }
}

fn missing_map(map: &'static str) -> Error {
    let source = io::Error::new(io::ErrorKind::NotFound, "it is no part of the object");
    Error::Map { map, source }
}

/// A map of the object, borrowed.
fn typed<'a, V: Pod>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<Array<&'a mut MapData, V>, Error> {
    let map = ebpf.map_mut(name).ok_or_else(|| missing_map(name))?;
    Array::try_from(map).map_err(|error| Error::of_map(name, error))
}
