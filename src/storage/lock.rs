//! Locks that end with the process that holds them, and whose they are.
//!
//! A lock is one of flock(2) on the file or directory itself. Who holds it is read from `/proc/locks`
//! (`proc_locks(5)`): a line like `1: FLOCK ADVISORY WRITE 4242 fe:01:1234567 0 EOF` for each, with the
//! process, and the device and inode of the file.
//!
//! The kernel gives a page of it at a read and finds the place of the next by counting lines: if a lock
//! further up is given back in between, a line is passed over.

use std::{
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    process,
};

use rustix::{
    fs::{FlockOperation, flock, major, minor},
    io::Errno,
};

const LOCKS: &str = "/proc/locks";

/// How often the table is read before a holder that is not in it is unknown.
const LOOKS: usize = 8;

/// More than a page, so that a table of up to sixty locks is seen as it is at one moment, bytes.
const TABLE: usize = 64 << 10;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Somebody has it.
    #[error("{0} has it")]
    Held(Holder),
    /// There is none to be had: some network file systems have no locks.
    #[error("the file system has no locks")]
    Unsupported(#[source] io::Error),
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Another process, by its id.
    Process(u32),
    /// This process itself, by another open file.
    Ourselves,
    /// Somebody the kernel does not name to us: a process of another pid namespace or machine.
    Unknown,
}

/// Takes the lock of a file or directory, without waiting, until [`unlock`] or until every copy of
/// the descriptor is closed.
///
/// # Errors
/// If somebody has it, or the file system has none.
pub fn lock(file: &File) -> Result<(), NotLocked> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(NotLocked::Held(Holder::of(file))),
        Err(error) => Err(NotLocked::Unsupported(error.into())),
    }
}

/// Gives the lock back. Closing alone does not while a copy of the descriptor lives, and a child that is
/// just being started has one until its exec (`flock(2)`).
pub fn unlock(file: &File) {
    // Where there are no locks there is none to give back.
    flock(file, FlockOperation::Unlock).unwrap_or_default();
}

// === impl Holder ===

impl Holder {
    /// Who holds the lock of a file, if anybody does; `Unknown` if nobody is seen to.
    pub(super) fn of(file: &File) -> Self {
        let Ok(meta) = file.metadata() else { return Self::Unknown };
        let tables = (0..LOOKS).map_while(|_| table().ok());
        let mut holders = tables.map(|locks| Self::among(&locks, &meta));
        holders.find(|holder| *holder != Self::Unknown).unwrap_or(Self::Unknown)
    }

    /// The holder of the lock on the file with this metadata, among the lines of `/proc/locks`.
    fn among(locks: &str, meta: &Metadata) -> Self {
        let device = (major(meta.dev()), minor(meta.dev()));
        let same_inode: Vec<_> =
            locks.lines().filter_map(held).filter(|held| held.inode == meta.ino()).collect();
        // A file system may show another device here than in stat(2), as btrfs does for subvolumes.
        let held = match same_inode.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|held| held.device == device),
        };
        match held.map(|held| held.process) {
            Some(process) if process == process::id() => Self::Ourselves,
            Some(process) if process > 0 => Self::Process(process),
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => write!(f, "another process (pid {process})"),
            Self::Ourselves => f.write_str("another component of this process"),
            Self::Unknown => f.write_str("another process"),
        }
    }
}

/// The table of all locks.
fn table() -> io::Result<String> {
    let mut locks = String::with_capacity(TABLE);
    File::open(LOCKS)?.read_to_string(&mut locks)?;
    Ok(locks)
}

/// A line of `/proc/locks`.
struct Held {
    process: u32,
    device: (u32, u32),
    inode: u64,
}

/// Reads the line of a lock that is held; those that are waited for begin with `->`.
fn held(line: &str) -> Option<Held> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let process = words.nth(2)?.parse().unwrap_or(0);
    let mut file = words.next()?.split(':');
    let major = u32::from_str_radix(file.next()?, 16).ok()?;
    let minor = u32::from_str_radix(file.next()?, 16).ok()?;
    Some(Held { process, device: (major, minor), inode: file.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    /// Another process that holds the lock of a file, by flock(1) of util-linux.
    fn other(path: &std::path::Path) -> Child {
        let mut child = Command::new("flock")
            .arg(path)
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        child
    }

    fn holder(file: &File) -> Holder {
        match lock(file) {
            Err(NotLocked::Held(holder)) => holder,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_names_the_process_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        for path in [path.as_path(), folder.path()] {
            let mut child = other(path);
            let file = File::open(path).unwrap();
            let expected = Holder::Process(child.id());
            assert_eq!(holder(&file), expected);
            assert_eq!(expected.to_string(), format!("another process (pid {})", child.id()));
            drop(child.stdin.take());
            child.wait().unwrap();
            lock(&file).unwrap();
        }
    }

    #[test]
    fn a_lock_that_this_process_has_by_another_descriptor_is_not_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = [0, 1].map(|_| File::open(folder.path()).unwrap());
        lock(&one).unwrap();
        assert_eq!(holder(&two), Holder::Ourselves);
        let copy = one.try_clone().unwrap();
        unlock(&one);
        lock(&two).unwrap();
        drop(copy);
    }

    #[test]
    fn a_holder_is_found_while_others_take_locks_and_give_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let other = |name: usize| File::create(folder.path().join(name.to_string())).unwrap();
        let others: Vec<_> = (0..5).map(other).collect();
        let [one, two] = [0, 1].map(|_| File::open(folder.path()).unwrap());
        lock(&one).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for file in &others {
                        lock(file).unwrap();
                    }
                    for file in &others {
                        unlock(file);
                    }
                }
            });
            let found = (0..2_000).filter(|_| holder(&two) == Holder::Ourselves).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(found, 2_000);
        });
    }

    #[test]
    fn of_several_files_with_one_inode_number_the_device_decides() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().metadata().unwrap();
        let (inode, device) = (meta.ino(), meta.dev());
        let (major, minor) = (major(device), minor(device));
        let elsewhere = minor + 1;
        let line = |kind: &str, process: &str, minor: u32, inode: u64| {
            format!("7: {kind}  ADVISORY  WRITE {process} {major:02x}:{minor:02x}:{inode} 0 EOF\n")
        };
        let waits =
            format!("7: -> FLOCK  ADVISORY  WRITE 9 {major:02x}:{minor:02x}:{inode} 0 EOF\n");
        for (locks, expected) in [
            (line("FLOCK", "9", minor, inode), Holder::Process(9)),
            (line("FLOCK", "9", elsewhere, inode), Holder::Process(9)),
            (
                line("FLOCK", "8", elsewhere, inode) + &line("FLOCK", "9", minor, inode),
                Holder::Process(9),
            ),
            (line("FLOCK", "9", minor, inode + 1), Holder::Unknown),
            (line("POSIX", "9", minor, inode), Holder::Unknown),
            (line("FLOCK", "0", minor, inode), Holder::Unknown),
            (line("FLOCK", "-1", minor, inode), Holder::Unknown),
            (waits, Holder::Unknown),
            ("7: FLOCK\n\n: :\nFLOCK a b c d:e:f".to_owned(), Holder::Unknown),
        ] {
            assert_eq!(Holder::among(&locks, &meta), expected, "{locks}");
        }
    }
}
