//! How a case says what it needs, and what it is given to work with.

pub(crate) mod all_captures;
pub(crate) mod captures;
pub(crate) mod certificates;
pub(crate) mod config;
pub(crate) mod delivery;
pub(crate) mod expected;
pub(crate) mod faults;
pub(crate) mod frames;
pub(crate) mod hec;
pub(crate) mod http;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod live;
pub(crate) mod machine;
pub(crate) mod memory_disk;
pub(crate) mod netns;
pub(crate) mod nfdump;
pub(crate) mod packets;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod recorded;
pub(crate) mod search;
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod table;
pub(crate) mod tidegate;
pub(crate) mod times;
pub(crate) mod tshark;
pub(crate) mod unbound;

use std::{
    any::{Any, type_name},
    env, fs,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::{Completion, Failed, Trial};

use self::machine::Load;

/// What a case ends with; any error with a text will do.
pub(crate) type Outcome = Result<(), Failed>;

/// One test: a function whose name is a sentence, and what it needs.
pub(crate) struct Case {
    name: String,
    run: Box<dyn FnOnce(&Scene) -> Outcome + Send>,
    needs: Vec<Need>,
    load: Load,
}

/// What a case can't do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Data,
    Root,
    FullRun,
}

/// What this run may do, from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    data: PathBuf,
    full: bool,
    unprivileged: bool,
    root: bool,
}

/// What a case works with.
#[derive(Debug)]
pub(crate) struct Scene {
    /// A folder of its own, empty at the start, kept if the case fails.
    pub(crate) folder: PathBuf,
    /// The captures with known answers; there only for a case that said [`Case::needs_data`].
    pub(crate) data: PathBuf,
    /// Whether the slow matrix is wanted.
    pub(crate) full: bool,
}

// === impl Case ===

impl Case {
    /// A case of this function, named by its path.
    pub(crate) fn new<F: FnOnce(&Scene) -> Outcome + Send + 'static>(run: F) -> Self {
        let path = type_name::<F>();
        Self {
            name: path.split_once("::").map_or(path, |(_, rest)| rest).to_owned(),
            run: Box::new(run),
            needs: Vec::new(),
            load: Load::Waits,
        }
    }

    /// A case of this function for one of the `things` that it is to be shown with.
    pub(crate) fn with<T, F>(run: F, name: &str, thing: T) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&Scene, T) -> Outcome + Send + 'static,
    {
        let path = type_name::<F>();
        let path = path.split_once("::").map_or(path, |(_, rest)| rest);
        Self {
            name: format!("{path}::{name}"),
            run: Box::new(move |scene| run(scene, thing)),
            needs: Vec::new(),
            load: Load::Waits,
        }
    }

    /// It reads the captures of `TIDEGATE_DATA`: without them it is ignored, and says so.
    pub(crate) fn needs_data(mut self) -> Self {
        self.needs.push(Need::Data);
        self
    }

    /// It captures or makes namespaces: without root it fails, unless that was expected.
    pub(crate) fn needs_root(mut self) -> Self {
        self.needs.push(Need::Root);
        self
    }

    /// It is listed only with `TIDEGATE_TESTS=full`.
    pub(crate) fn slow(mut self) -> Self {
        self.needs.push(Need::FullRun);
        self
    }

    /// It computes: no more of its kind run at once than there are processors on a small machine.
    pub(crate) fn busy(self) -> Self {
        Self { load: Load::Busy, ..self }
    }

    /// It watches a live capture: only its like may run beside it.
    pub(crate) fn live(self) -> Self {
        Self { load: Load::Live, ..self }.needs_root()
    }

    /// Nothing else may run beside it: it measures, or fills the machine.
    pub(crate) fn alone(self) -> Self {
        Self { load: Load::Alone, ..self }
    }

    /// What it asks of the machine.
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Its module: cases of one are likely to want the same server.
    pub(crate) fn module(&self) -> &str {
        // `module::case`, or `module::module::case` and perhaps what it is shown with.
        let mut ends = self.name.match_indices("::").map(|(at, _)| at);
        let end = ends.next().map(|first| ends.next().unwrap_or(first));
        end.and_then(|end| self.name.get(..end)).unwrap_or_default()
    }

    /// What the test runner takes; `None` for a slow case in a short run.
    pub(crate) fn trial(self, settings: &Settings) -> Option<Trial> {
        if self.needs(Need::FullRun) && !settings.full {
            return None;
        }
        let settings = settings.clone();
        let name = self.name.clone();
        Some(Trial::ignorable_test(name, move || {
            if self.needs(Need::Data) && !settings.data.is_dir() {
                return Ok(Completion::ignored_with(format!(
                    "ignored: no data in {}",
                    settings.data.display()
                )));
            }
            if self.needs(Need::Root) && !settings.root {
                if settings.unprivileged {
                    return Ok(Completion::ignored_with("ignored: needs root"));
                }
                return Err("needs root; TIDEGATE_TESTS=unprivileged leaves it out".into());
            }
            self.play(&settings).map(|()| Completion::Completed)
        }))
    }

    fn needs(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }

    fn play(self, settings: &Settings) -> Outcome {
        let queued = poll::now();
        let _place = machine::enter(self.load);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name.replace("::", "-"));
        delete(&folder)?;
        fs::create_dir_all(&folder)?;
        let scene = Scene { folder, data: settings.data.clone(), full: settings.full };
        let began = poll::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(&scene)))
            .unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
        times::note(&self.name, began - queued, began.elapsed());
        if let Err(failed) = outcome {
            let reason = failed.message().unwrap_or("failed without a word");
            let kept = scene.folder.display();
            times::failed(&self.name, reason);
            return Err(format!("{reason}\nits files and logs are kept in {kept}").into());
        }
        delete(&scene.folder)
    }
}

/// Deletes a folder, if it is there. What a case has ended may still write into it for a moment.
fn delete(folder: &Path) -> Outcome {
    let mut why = None;
    let deleted = poll::until_true("a folder to be deleted", poll::SOON, || {
        why = fs::remove_dir_all(folder).err();
        why.as_ref().is_none_or(|error| error.kind() == ErrorKind::NotFound && !folder.exists())
    });
    deleted.map_err(|_| format!("can't delete {}: {why:?}", folder.display()).into())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked without a word")
}

// === impl Settings ===

impl Settings {
    /// Reads `TIDEGATE_DATA` and `TIDEGATE_TESTS`.
    pub(crate) fn from_environment() -> Self {
        let tests = env::var("TIDEGATE_TESTS").unwrap_or_default();
        let has = |word| tests.split(',').any(|one| one.trim() == word);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            data: env::var_os("TIDEGATE_DATA")
                .map_or_else(|| root.join("../shared/data"), |data| root.join(data)),
            full: has("full"),
            unprivileged: has("unprivileged"),
            root: rustix::process::geteuid().is_root(),
        }
    }
}

// === impl Scene ===

impl Scene {
    /// The path of a file in the case's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file into the case's folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the case's folder is writable");
        path
    }

    /// Writes a program into the case's folder, by another process: what this one has open to write, a child that
    /// another case starts meanwhile holds open still, and what is open to write can't be run.
    ///
    /// # Errors
    /// When `install` fails: with its words.
    pub(crate) fn write_program(&self, name: &str, text: &str) -> Result<PathBuf, Failed> {
        let draft = self.write(&format!("{name}.draft"), text);
        let path = self.path(name);
        process::output(Command::new("install").args(["-m", "755"]).args([&draft, &path]))?;
        fs::remove_file(draft)?;
        Ok(path)
    }

    /// A file of the project.
    pub(crate) fn project(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }
}

/// The harness's own cases.
pub(crate) fn cases() -> Vec<Case> {
    [captures::cases(), faults::cases(), http::cases(), netns::cases(), server::cases()]
        .into_iter()
        .flatten()
        .collect()
}
