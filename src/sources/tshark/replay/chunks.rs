//! Cuts capture files into chunks of a fixed number of packets, so that several tsharks share a file
//! and none grows without bound. Where the cuts are depends on the file alone.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::super::process::{
    arguments,
    child::{Child, Exit, Launch},
    programs::Privilege,
};
use super::cuts::{Cuts, list};
use crate::{
    component::{Error, drain},
    metrics::Meter,
    storage::{private::PrivateFolder, space::space},
    task,
};

/// Packets in a chunk.
pub(in crate::sources::tshark) const CHUNK_PACKETS: u64 = 50_000;

/// Files up to this size are read as they are.
const WHOLE_BYTES: u64 = 4 << 20;

/// What packets of a compressed file are taken to grow by, for [`WHOLE_BYTES`] and the space needed.
const INFLATION: u64 = 10;

/// Disk space that must remain beside the chunks.
const SPARE_BYTES: u64 = 64 << 20;

/// First bytes of compressed files: gzip, zstd, lz4.
const COMPRESSED: &[&[u8]] = &[b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"];

/// How often it is looked for new chunks, and for space.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The next thing to do.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Unit {
    /// Which of the files.
    pub(in crate::sources::tshark) file: usize,
    /// What to do with it.
    pub(in crate::sources::tshark) work: Work,
}

/// What to do with a file, or with a part of it.
#[derive(Debug)]
pub(in crate::sources::tshark) enum Work {
    /// Read all of it that was not read in chunks.
    Rest,
    /// Read this chunk and delete it.
    Chunk {
        /// Where it is.
        path: PathBuf,
        /// How many packets it has, if that is known.
        packets: Option<u64>,
    },
    /// Say that it is damaged, in these words.
    Damaged(String),
    /// Say that it can't be read, for this reason.
    Unreadable(String),
}

/// Cuts files.
#[derive(Debug, Clone)]
pub(in crate::sources::tshark) struct Cutter {
    /// Where editcap is.
    pub(in crate::sources::tshark) editcap: PathBuf,
    /// The folder to make the chunks' folder in.
    pub(in crate::sources::tshark) base: PathBuf,
    /// Counts what happens to children.
    pub(in crate::sources::tshark) meter: Arc<Meter>,
}

/// The units of one file.
struct Queue<'a> {
    units: &'a mpsc::Sender<Unit>,
    file: usize,
}

/// Nobody wants the units any more.
#[derive(Debug)]
struct Unwanted;

// === impl Cutter ===

impl Cutter {
    /// Sends what there is to do for each of `files`, in order, until nobody wants it. The chunks are
    /// there as long as the folder that is returned.
    pub(in crate::sources::tshark) async fn run(
        self,
        files: Arc<[PathBuf]>,
        units: mpsc::Sender<Unit>,
    ) -> Option<PrivateFolder> {
        let mut folder = None;
        for (file, path) in files.iter().enumerate() {
            let queue = Queue { units: &units, file };
            let (cutter, of, had) = (self.clone(), path.clone(), folder.take());
            let space = task::blocking(move || cutter.space(&of, had)).await;
            let Ok((kept, space)) = space else { break };
            folder = kept;
            let done = match space {
                Ok(Some(into)) => {
                    let prefix = into.join(format!("{file}"));
                    self.cut(path, Cuts::new(prefix), queue).await
                }
                Ok(None) => queue.send(Work::Rest).await,
                Err(reason) => queue.send(reason).await,
            };
            if done.is_err() {
                break;
            }
        }
        folder
    }

    /// The folder for all chunks, if there is one by now, and that to cut `path` in; `None` to read it
    /// as it is. May wait for the disk.
    fn space(
        &self,
        path: &Path,
        mut folder: Option<PrivateFolder>,
    ) -> (Option<PrivateFolder>, Result<Option<PathBuf>, Work>) {
        let into = self.space_in(path, &mut folder);
        (folder, into)
    }

    fn space_in(
        &self,
        path: &Path,
        folder: &mut Option<PrivateFolder>,
    ) -> Result<Option<PathBuf>, Work> {
        let unreadable = |error: io::Error| Work::Unreadable(error.to_string());
        let meta = path.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Ok(None);
        }
        if meta.len() == 0 {
            return Err(Work::Damaged("it is empty (zero bytes)".to_owned()));
        }
        let bytes = if is_compressed(path).map_err(unreadable)? {
            meta.len().saturating_mul(INFLATION)
        } else {
            meta.len()
        };
        if bytes <= WHOLE_BYTES {
            return Ok(None);
        }
        // In pcapng, into which editcap writes, a packet's header is twice as long.
        let needed = bytes.saturating_mul(2).saturating_add(SPARE_BYTES);
        match space(&self.base).map(|space| space.free) {
            Ok(free) if free >= needed => {}
            Ok(free) => {
                tracing::warn!(
                    file = %path.display(), folder = %self.base.display(), free, needed,
                    "too little space to cut the file into chunks: one tshark reads it alone; set TMPDIR to a roomier folder"
                );
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(folder = %self.base.display(), %error, "no chunks can be written: one tshark reads the file alone");
                return Ok(None);
            }
        }
        if folder.is_none() {
            match PrivateFolder::create(&self.base) {
                Ok(created) => *folder = Some(created),
                Err(error) => {
                    tracing::warn!(folder = %self.base.display(), %error, "no chunks can be written: one tshark reads the file alone");
                }
            }
        }
        Ok(folder.as_ref().map(|folder| folder.path().to_owned()))
    }

    async fn cut(&self, path: &Path, mut cuts: Cuts, queue: Queue<'_>) -> Result<(), Unwanted> {
        let mut editcap = match self.editcap(path, cuts.prefix()).await {
            Ok(editcap) => editcap,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the file can't be cut: one tshark reads it alone");
                return queue.send(Work::Rest).await;
            }
        };
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready = None;
        let mut is_full = false;
        let ended = loop {
            ready = ready.or_else(|| cuts.next_complete());
            tokio::select! {
                ended = editcap.ended() => break ended,
                permit = queue.units.reserve(), if ready.is_some() => {
                    let permit = permit.map_err(|_| Unwanted)?;
                    if let Some(path) = ready.take() {
                        let work = Work::Chunk { path, packets: Some(CHUNK_PACKETS) };
                        permit.send(Unit { file: queue.file, work });
                    }
                }
                _ = look.tick() => {
                    // Compressed packets may grow by far more than was expected.
                    let look_into = ready.is_none().then(|| cuts.folder().to_owned());
                    let (files, full) = self.look(look_into).await;
                    cuts.add(files);
                    is_full = full;
                    if is_full {
                        break editcap.finish(drain::WRITER).await;
                    }
                }
            }
        };
        let complete = ended.exit == Exit::Code(0);
        if let Some(path) = ready {
            queue.send(Work::Chunk { path, packets: Some(CHUNK_PACKETS) }).await?;
        }
        cuts.add(self.look(Some(cuts.folder().to_owned())).await.0);
        while let Some((path, is_last)) = cuts.next_of_all() {
            if is_last && !complete {
                if let Err(error) = tokio::fs::remove_file(&path).await {
                    tracing::debug!(%error, "half a chunk stays until the end of the run");
                }
                break;
            }
            let packets = (!is_last).then_some(CHUNK_PACKETS);
            queue.send(Work::Chunk { path, packets }).await?;
        }
        if !complete {
            let says = if is_full {
                format!("there is too little space left in {}", self.base.display())
            } else {
                ended.words
            };
            tracing::warn!(file = %path.display(), says, "the file can't be cut: one tshark reads the rest");
            queue.send(Work::Rest).await
        } else if ended.words.is_empty() {
            Ok(())
        } else {
            queue.send(Work::Damaged(ended.words)).await
        }
    }

    /// The files in `folder`, if one is given, and whether there is too little space for more of them.
    async fn look(&self, folder: Option<PathBuf>) -> (Vec<PathBuf>, bool) {
        let base = self.base.clone();
        let look = move || {
            let files = folder.map_or_else(|| Ok(Vec::new()), |folder| list(&folder));
            let files = files.unwrap_or_else(|error| {
                tracing::warn!(folder = %base.display(), %error, "chunks can't be listed");
                Vec::new()
            });
            (files, space(&base).is_ok_and(|it| it.free < SPARE_BYTES))
        };
        task::blocking(look).await.unwrap_or_default()
    }

    async fn editcap(&self, path: &Path, prefix: &Path) -> Result<Child, Error> {
        let file = open(path).await?;
        Child::start(
            Launch {
                program: self.editcap.clone(),
                arguments: arguments::editcap(CHUNK_PACKETS, &prefix.to_string_lossy()),
                stdin: file,
                stdout: Stdio::null(),
                privilege: Privilege::None,
                death_signal: "KILL",
            },
            Some(&self.meter),
        )
        .await
    }
}

// === impl Queue ===

impl Queue<'_> {
    async fn send(&self, work: Work) -> Result<(), Unwanted> {
        let file = self.file;
        let unit = Unit { file, work };
        self.units.send(unit).await.map_err(|_| Unwanted)
    }
}

/// Opens a capture for a child to read: a child may not itself be allowed to.
pub(in crate::sources::tshark) async fn open(path: &Path) -> Result<Stdio, Error> {
    let opened = path.to_owned();
    let opened = task::blocking(move || File::open(opened)).await;
    opened.map_err(io::Error::other).flatten().map(Stdio::from).map_err(|error| {
        Error::failure(format!("{} can't be opened", path.display())).because(error)
    })
}

fn is_compressed(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(COMPRESSED.iter().any(|known| magic.starts_with(known)))
}
