//! What is pinned in the BPF file system, for each source of a config:
//!
//! ```text
//! /sys/fs/bpf/tidegate/SOURCE/HASH/MAP   the maps
//! /sys/fs/bpf/tidegate/SOURCE/current    a link to the folder of the maps in use
//! /sys/fs/bpf/tidegate/SOURCE/link       the attachment to the interface
//! /sys/fs/bpf/tidegate/SOURCE/filter     a link to nowhere that names a filter at tc egress, before Linux 6.6
//! ```
//!
//! So whoever follows `current` finds the maps, whatever version made them. What stands here is kept by
//! the kernel, not by a process; it is gone after a reboot.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::{fd::AsFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use aya::maps::MapData;

use crate::{Error, error::causes, layout::Settings, route::xdp_programs, sys};

/// Where the BPF file system is.
pub const FILE_SYSTEM: &str = "/sys/fs/bpf";
const FOLDER: &str = "tidegate";

/// What a source has pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    folder: PathBuf,
}

/// A filter at tc egress, which the kernel keeps until somebody removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The interface's index.
    pub(crate) interface: u32,
    /// Whether the queueing discipline it is in was made for it.
    pub(crate) is_ours: bool,
}

/// The sources that have anything pinned.
///
/// # Errors
/// If the folder can't be read; none at all is no error.
pub fn sources() -> Result<Vec<String>, Error> {
    let folder = Path::new(FILE_SYSTEM).join(FOLDER);
    let failed = |source| Error::Pin { path: folder.clone(), source };
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    names.sort_unstable();
    Ok(names)
}

/// Whether this process could pin anything. Makes nothing.
///
/// # Errors
/// If there is no BPF file system, or this process may not write there.
pub fn usable() -> Result<(), Error> {
    is_there()?;
    let root = Path::new(FILE_SYSTEM);
    let folder = root.join(FOLDER);
    match sys::may_write(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            sys::may_write(root).map_err(|source| Error::Pin { path: root.to_owned(), source })
        }
        may => may.map_err(|source| Error::Pin { path: folder, source }),
    }
}

/// Whose program it is that an interface has, as far as that is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A source of ours has it pinned.
    Pinned,
    /// A source of ours has maps, and no attachment pinned: it may be its.
    Perhaps,
    /// None of ours.
    Other,
}

/// Whose program this is, by its id.
///
/// # Errors
/// If what is pinned can't be read.
pub fn owner(program: u32) -> Result<Owner, Error> {
    let mut owner = Owner::Other;
    for source in sources()? {
        let pins = Pins::of(&source);
        match pins.attachment()? {
            Some(link) if link.program == program => return Ok(Owner::Pinned),
            None if pins.current().is_some() => owner = Owner::Perhaps,
            _ => {}
        }
    }
    Ok(owner)
}

/// Pins a map under a further path.
///
/// # Errors
/// If there is no map, or the path can't be pinned to.
pub fn again(map: &Path, path: &Path) -> Result<(), Error> {
    let failed = |error: &dyn std::error::Error| Error::Pin {
        path: path.to_owned(),
        source: io::Error::other(causes(error)),
    };
    let data = MapData::from_pin(map).map_err(|error| failed(&error))?;
    data.pin(path).map_err(|error| failed(&error))
}

// === impl Pins ===

impl Pins {
    /// Those of the source `id`.
    pub fn of(id: &str) -> Self {
        Self { folder: Path::new(FILE_SYSTEM).join(FOLDER).join(id) }
    }

    /// The folder of all of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the attachment is pinned.
    pub fn link(&self) -> PathBuf {
        self.folder.join("link")
    }

    /// The folder of the maps in use; `None` if there are none.
    pub fn current(&self) -> Option<PathBuf> {
        let name = fs::read_link(self.folder.join("current")).ok()?;
        Some(self.folder.join(name)).filter(|folder| folder.is_dir())
    }

    /// Notes that there is a filter at tc egress, or that there is none. A file has nowhere to be in a BPF file system:
    /// a link's target says it.
    pub(crate) fn note(&self, filter: Option<Filter>) -> Result<(), Error> {
        let path = self.folder.join("filter");
        let failed = |source| Error::Pin { path: path.clone(), source };
        absent(fs::remove_file(&path)).map_err(failed)?;
        let Some(Filter { interface, is_ours }) = filter else { return Ok(()) };
        let whose = if is_ours { "ours" } else { "found" };
        symlink(format!("{interface}-{whose}"), &path).map_err(failed)
    }

    /// The filter that was noted.
    pub(crate) fn noted(&self) -> Option<Filter> {
        let target = fs::read_link(self.folder.join("filter")).ok()?;
        let (interface, whose) = target.to_str()?.split_once('-')?;
        Some(Filter { interface: interface.parse().ok()?, is_ours: whose == "ours" })
    }

    /// Keeps other processes from what is pinned here, as long as the file that this returns is open: a second one
    /// would put its own program in the place of this one's. It is over with the folder, which
    /// [`detach`](Self::detach) removes.
    ///
    /// # Errors
    /// If another process has it, there is no BPF file system, or this one may not write there.
    pub fn lock(&self) -> Result<File, Error> {
        is_there()?;
        let failed = |source| Error::Pin { path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let folder = File::open(&self.folder).map_err(failed)?;
        match folder.try_lock() {
            Ok(()) => Ok(folder),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(self.folder.clone())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Makes the folder of the maps that `settings` want; it may be there.
    pub(crate) fn prepare(&self, settings: &Settings) -> Result<PathBuf, Error> {
        is_there()?;
        let folder = self.folder.join(settings.folder());
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Pin { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// Makes the folder the one in use, and removes those that were.
    pub(crate) fn switch(&self, folder: &Path) -> Result<(), Error> {
        let name = folder.file_name().unwrap_or_default();
        let (link, fresh) = (self.folder.join("current"), self.folder.join("next"));
        let failed = |source| Error::Pin { path: link.clone(), source };
        if fs::read_link(&link).is_ok_and(|to| to == Path::new(name)) {
            return Ok(());
        }
        absent(fs::remove_file(&fresh)).map_err(failed)?;
        symlink(name, &fresh).map_err(failed)?;
        // bpffs renames files, but no links: there is a moment without one.
        if fs::rename(&fresh, &link).is_err() {
            absent(fs::remove_file(&link)).map_err(failed)?;
            symlink(name, &link).map_err(failed)?;
            absent(fs::remove_file(&fresh)).map_err(failed)?;
        }
        for other in self.folders()? {
            if other != folder {
                remove_folder(&other)?;
            }
        }
        Ok(())
    }

    /// Removes a folder of maps that did not come into use; the one in use stays.
    pub(crate) fn leave(&self, folder: &Path) {
        if self.current().is_none_or(|current| current != folder) {
            // What can't be removed is emptied by the next start.
            remove_folder(folder).unwrap_or_default();
        }
    }

    fn folders(&self) -> Result<Vec<PathBuf>, Error> {
        let failed = |source| Error::Pin { path: self.folder.clone(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// The interface that the pinned attachment is on, by its index: 0 if the interface is gone. `None` if
    /// nothing is attached.
    ///
    /// # Errors
    /// If what is pinned there can't be read.
    pub fn attached_to(&self) -> Result<Option<u32>, Error> {
        Ok(self.attachment()?.map(|link| link.interface))
    }

    /// Whether the pinned attachment is on this interface of our network namespace: others have the same indices.
    pub(crate) fn is_on(&self, interface: u32) -> Result<bool, Error> {
        let Some(link) = self.attachment()?.filter(|link| link.interface == interface) else {
            return Ok(false);
        };
        let Some(name) = sys::name(interface) else { return Ok(false) };
        match xdp_programs(&name) {
            Ok(found) => Ok(found.contains(&link.program)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(source) => Err(Error::Pin { path: self.link(), source }),
        }
    }

    fn attachment(&self) -> Result<Option<sys::XdpLink>, Error> {
        let path = self.link();
        let link = match sys::pinned(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            link => link.and_then(|link| sys::xdp_link(link.as_fd())),
        };
        link.map(Some).map_err(|source| Error::Pin { path, source })
    }

    /// Takes the program off its interface, whoever runs, and removes all that is pinned. True if there was
    /// anything.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn detach(&self) -> Result<bool, Error> {
        if !self.folder.exists() {
            return Ok(false);
        }
        self.detach_link()?;
        if let Some(filter) = self.noted() {
            filter.sweep();
        }
        for folder in self.folders()? {
            remove_folder(&folder)?;
        }
        remove_folder(&self.folder)?;
        Ok(true)
    }

    /// Takes the program off its interface; the maps stay.
    pub(crate) fn detach_link(&self) -> Result<(), Error> {
        let path = self.link();
        let failed = |source| Error::Pin { path: path.clone(), source };
        match sys::pinned(&path) {
            Ok(link) => {
                // One whose interface is gone is detached already (ENOLINK).
                match sys::detach(link.as_fd()) {
                    Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                    detached => detached.map_err(failed)?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        absent(fs::remove_file(&path)).map_err(failed)
    }
}

/// Removes a folder and the files in it: in a BPF file system that unpins them.
fn remove_folder(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Pin { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        absent(fs::remove_file(entry.map_err(failed)?.path())).map_err(failed)?;
    }
    absent(fs::remove_dir(folder)).map_err(failed)
}

/// Whether the BPF file system is.
fn is_there() -> Result<(), Error> {
    let file_system = Path::new(FILE_SYSTEM);
    if sys::is_bpf_fs(file_system) {
        Ok(())
    } else {
        Err(Error::NoFileSystem(file_system.to_owned()))
    }
}

/// What is not there is removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
