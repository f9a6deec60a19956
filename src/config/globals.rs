//! The keys beside `sources`, `transforms` and `sinks`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{networks::Networks, paths, ranges, schema::schema_of};
use crate::component::{Problem, View};
use crate::document::{de::read, report::Diagnostic, tree::Node};
use crate::field::{Schema, check_added};
use crate::record::Added;
use crate::storage::directory::{holder, unmakable};

/// The smallest memory budget that anything runs in: 16 MiB.
const MIN_MEMORY_BYTES: u64 = 16 << 20;

/// What holds for the whole process.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Globals {
    /// Where buffers, capture segments, snapshots and the verdict log lie. Made on start, readable by its owner only.
    #[schemars(extend("format" = "path"))]
    pub data_dir: PathBuf,
    /// Whether the config says so itself.
    #[serde(skip)]
    pub names_data_dir: bool,
    /// The HTTP endpoint for metrics and health.
    pub api: Api,
    /// Bytes of memory that all that waits in the pipeline may take together (default: 96 MiB, or what the sinks' requests and limits need if that is more): before transforms and sinks, and in the sinks' requests, under way or not yet; 16 MiB or more. Each buffer without a limit of its own has an even share of it. What transforms know (flows, names) has limits of its own.
    #[schemars(range(min = MIN_MEMORY_BYTES))]
    pub memory_budget_bytes: Option<u64>,
    /// What this sensor is called.
    pub observer: Observer,
    /// Labels and tags that every record has.
    pub add: Added,
    /// Whose networks are whose: read by `flow`, `score`, the source `xdp` and `tidegate tune`.
    pub networks: Networks,
}

/// The HTTP endpoint with `/metrics`, `/health` and `/ready`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address and port it listens on. It has no authentication: leave it on loopback, or restrict who reaches it.
    pub address: SocketAddr,
}

/// The sensor.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Observer {
    /// The name in records and in their ids; the host's name if absent. Give each sensor its own, and keep it: another name makes other ids.
    pub name: Option<String>,
    /// Whose traffic it sees: that of its own machine (`host`: documents have `host.*`), or others' (`span`, the default, as at a mirror port: they are tagged `forwarded`).
    pub role: View,
}

// === impl Globals ===

impl Default for Globals {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/tidegate"),
            names_data_dir: false,
            api: Api::default(),
            memory_budget_bytes: None,
            observer: Observer::default(),
            networks: Networks::default(),
            add: Added::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9598)) }
    }
}

impl Globals {
    /// Reads them; `others` are the top level's further keys.
    pub(super) fn read(
        root: &Node,
        others: &[&str],
        folder: &Path,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let schema = schema_of::<Self>();
        let mut own = root.only(|key| !others.contains(&key));
        paths::anchor(&schema, &mut own, folder);
        let reading = read::<Self>(own, 0);
        for error in &reading.errors {
            let span = error.span.unwrap_or(root.span);
            let more = if error.key.contains('.') { &[] } else { others };
            let (message, hint) = error.explain(more);
            let mut problem = Diagnostic::error(span, format!("{}: {message}", error.key));
            if matches!(*error.fault, crate::document::de::Fault::UnknownKey(..)) {
                problem.message = message;
            }
            problem.hint = hint;
            let is_component =
                |key: &str| root.get(key).is_some_and(|entry| entry.value.get("type").is_some());
            if let crate::document::de::Fault::UnknownKey(key, _) = &*error.fault
                && is_component(key)
            {
                let hint = format!("indent `{key}` under `sources`, `transforms` or `sinks`");
                problem.hint = Some(hint);
            }
            problems.push(problem);
        }
        let mut globals = reading.value.unwrap_or_default();
        globals.names_data_dir = root.get("data_dir").is_some();
        let values = ranges::problems(&schema, root).into_iter();
        let values = values.chain(paths::unexpanded(&schema, root));
        for problem in values.chain(globals.check()) {
            if reading.left_out.iter().any(|key| problem.key.starts_with(key.as_str())) {
                continue;
            }
            let span = root.locate(&problem.key).unwrap_or(root.span);
            let mut located =
                Diagnostic::error(span, format!("{}: {}", problem.key, problem.message));
            located.hint = problem.hint;
            problems.push(located);
        }
        if !globals.api.address.ip().is_loopback() {
            let span = root.locate("api.address").unwrap_or(root.span);
            problems.push(
                Diagnostic::warning(
                    span,
                    "api.address: others than this host can reach the endpoint",
                )
                .hint("it has no authentication: use 127.0.0.1, or restrict who reaches it"),
            );
        }
        globals
    }

    /// What this machine lacks for them.
    pub(super) fn check_environment(&self) -> Vec<Problem> {
        let folder = unmakable(&self.data_dir).map(|message| {
            Problem::new("data_dir", message).hint("choose another, or give the user access")
        });
        let address = self.api.address;
        let api = TcpListener::bind(address).err().map(|error| {
            let message = format!("{address} can't be listened on: {error}");
            let problem = Problem::new("api.address", message);
            if error.kind() != io::ErrorKind::AddrInUse {
                return problem.hint("choose an address of this machine");
            }
            match holder(&self.data_dir) {
                // Most likely the service whose config this is.
                Some(holder) => {
                    problem.hint(format!("{holder} has data_dir: it may be that run")).warning()
                }
                None => problem.hint("stop who listens there, or choose another port"),
            }
        });
        folder.into_iter().chain(api).collect()
    }

    fn check(&self) -> Vec<Problem> {
        // Any sink may write them in any schema.
        let mut problems = check_added(&self.add, &Schema::ALL);
        if self.data_dir.as_os_str().is_empty() {
            problems.push(Problem::new("data_dir", "the path is empty").hint("name a directory"));
        }
        if self
            .observer
            .name
            .as_ref()
            .is_some_and(|name| name.trim().is_empty() || name.len() > 255)
        {
            problems.push(
                Problem::new("observer.name", "the name is empty or longer than 255 bytes")
                    .hint("remove the key to use the host's name"),
            );
        }
        problems
    }
}
