//! Real Elasticsearch and OpenSearch servers, each started once a run on free ports.

pub(crate) mod guarded;

use std::{
    collections::BTreeMap,
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use libtest_mimic::Failed;
use reqwest::{Certificate, Identity, Method};
use rustix::process::geteuid;
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::block_in_place};

use super::{
    faults::{Reply, Request},
    http, process, server,
};

/// From nothing to a green cluster on a busy machine.
const START: Duration = Duration::from_mins(5);
/// Heap; and compiled once, quickly: for the minutes it lives, more costs more than it saves (to start
/// 14 s of CPU, not 7, and for 20,000 documents 8 s, not 2).
const JAVA_OPTIONS: &str = "-Xms512m -Xmx512m -XX:TieredStopAtLevel=1";
const NOBODY: u32 = 65534;
const NOGROUP: u32 = 65534;

/// A product and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavor {
    Elasticsearch8,
    Elasticsearch9,
    OpenSearch3,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    /// What it is.
    pub(crate) flavor: Flavor,
    home: PathBuf,
    java: PathBuf,
    folder: PathBuf,
    port: u16,
    launcher: Option<Child>,
    http: reqwest::Client,
    admin: Option<Admin>,
}

/// A server that cases share: each writes where no other does.
#[derive(Debug)]
pub(crate) struct Shared(RwLockReadGuard<'static, Option<Server>>);

/// The same server in the hands of one case, which may kill it.
#[derive(Debug)]
pub(crate) struct Exclusive(RwLockWriteGuard<'static, Option<Server>>);

/// Who may do all, on a server that asks who is there.
#[derive(Debug, Clone)]
struct Admin {
    user: &'static str,
    password: &'static str,
    ca: String,
    identity: String,
}

/// Where a server is, once a case has started it.
type Slot = RwLock<Option<Server>>;

static ELASTICSEARCH_8: Slot = RwLock::new(None);
static ELASTICSEARCH_9: Slot = RwLock::new(None);
static OPENSEARCH_3: Slot = RwLock::new(None);

/// The server of this kind, open to all; the first case starts it.
///
/// # Errors
/// When it can't be started.
pub(crate) fn shared(flavor: Flavor) -> Result<Shared, Failed> {
    loop {
        let running = flavor.slot().read().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(Shared(running));
        }
        drop(running);
        exclusive(flavor)?;
    }
}

/// The same while no other case uses it.
///
/// # Errors
/// As for [`shared`].
pub(crate) fn exclusive(flavor: Flavor) -> Result<Exclusive, Failed> {
    hold(flavor.slot(), || Server::prepare(flavor, flavor.name(), &[], None))
}

fn hold(
    slot: &'static Slot,
    prepare: impl FnOnce() -> Result<Server, Failed>,
) -> Result<Exclusive, Failed> {
    let mut running = slot.write().unwrap_or_else(PoisonError::into_inner);
    if running.is_none() {
        let mut server = prepare()?;
        server.start()?;
        *running = Some(server);
    }
    Ok(Exclusive(running))
}

// === impl Flavor ===

impl Flavor {
    /// All of them.
    pub(crate) const ALL: [Self; 3] =
        [Self::Elasticsearch8, Self::Elasticsearch9, Self::OpenSearch3];

    /// Its name in `scripts/test-backends`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch8 => "elasticsearch-8.19.21",
            Self::Elasticsearch9 => "elasticsearch-9.5.3",
            Self::OpenSearch3 => "opensearch-3.6.0",
        }
    }

    const fn slot(self) -> &'static Slot {
        match self {
            Self::Elasticsearch8 => &ELASTICSEARCH_8,
            Self::Elasticsearch9 => &ELASTICSEARCH_9,
            Self::OpenSearch3 => &OPENSEARCH_3,
        }
    }

    /// The name of its program, and how the names of its variables begin.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Elasticsearch8 | Self::Elasticsearch9 => ("bin/elasticsearch", "ES"),
            Self::OpenSearch3 => ("bin/opensearch", "OPENSEARCH"),
        }
    }

    /// What it runs on, by its name in `scripts/test-backends`.
    const fn java(self) -> &'static str {
        match self {
            Self::Elasticsearch8 => "jdk-17",
            Self::Elasticsearch9 | Self::OpenSearch3 => "jdk-21",
        }
    }

    /// What it calls a value that does not fit its field.
    pub(crate) const fn parsing_exception(self) -> &'static str {
        match self {
            Self::Elasticsearch8 | Self::Elasticsearch9 => "document_parsing_exception",
            Self::OpenSearch3 => "mapper_parsing_exception",
        }
    }
}

// === impl Shared ===

impl Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0.as_ref().expect("shared() saw it run")
    }
}

// === impl Exclusive ===

impl Deref for Exclusive {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0.as_ref().expect("hold() started it")
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Server {
        self.0.as_mut().expect("hold() started it")
    }
}

// === impl Server ===

impl Server {
    /// A server that has not started yet, with these further settings.
    fn prepare(
        flavor: Flavor,
        name: &str,
        settings: &[String],
        admin: Option<Admin>,
    ) -> Result<Self, Failed> {
        let home = server::bring(flavor.name())?;
        let java = server::bring(flavor.java())?;
        let folder = server::folder(name)?;
        let port = server::free_port()?;
        let config = folder.join("config");
        for name in ["config", "data", "logs", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        for file in fs::read_dir(home.join("config"))? {
            let file = file?;
            if !file.file_type()?.is_file() {
                continue;
            }
            // Its log of collections would go where it can't write.
            let text = fs::read_to_string(file.path())?;
            let kept = text.lines().filter(|line| !line.contains("logs/gc.log"));
            fs::write(config.join(file.file_name()), kept.collect::<Vec<_>>().join("\n"))?;
        }
        let shown = folder.display();
        let mut all = vec![
            "cluster.name: tidegate-tests".to_owned(),
            "network.host: 127.0.0.1".to_owned(),
            format!("http.port: {port}"),
            format!("transport.port: {}", server::free_port()?),
            "discovery.type: single-node".to_owned(),
            format!("path.data: {shown}/data"),
            format!("path.logs: {shown}/logs"),
            "cluster.routing.allocation.disk.threshold_enabled: false".to_owned(),
        ];
        if flavor != Flavor::OpenSearch3 {
            all.push(format!("xpack.security.enabled: {}", admin.is_some()));
        }
        all.extend_from_slice(settings);
        let (program, _) = flavor.program();
        let file = Path::new(program).file_name().unwrap_or_default().display();
        fs::write(config.join(format!("{file}.yml")), all.join("\n"))?;
        let http = match &admin {
            None => http::client().tls_certs_only([]),
            Some(admin) => http::client()
                .tls_certs_only([Certificate::from_pem(admin.ca.as_bytes())?])
                .identity(Identity::from_pem(admin.identity.as_bytes())?),
        };
        let http = http.build()?;
        Ok(Self { flavor, home, java, folder, port, launcher: None, http, admin })
    }

    /// Starts it, on the same port and data as before.
    ///
    /// # Errors
    /// When it does not answer in time: with the end of its log.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        let pid_file = server::pid_file(&self.folder);
        if pid_file.exists() {
            fs::remove_file(&pid_file)?;
        }
        let (program, variables) = self.flavor.program();
        let program = self.home.join(program);
        // It refuses to run as root.
        let mut command = if geteuid().is_root() {
            give_away(&self.folder)?;
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .arg("-p")
            .arg(&pid_file)
            .env(format!("{variables}_JAVA_HOME"), &self.java)
            .env(format!("{variables}_PATH_CONF"), self.config())
            .env(format!("{variables}_TMPDIR"), self.folder.join("tmp"))
            .env(format!("{variables}_JAVA_OPTS"), JAVA_OPTIONS)
            .current_dir(&self.folder);
        let log = self.folder.join("console.log");
        let mut launcher = server::start(&mut command, &log)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ready = server::ready(self.flavor.name(), &mut launcher, &log, START, || {
            let health = self.ask(Method::GET, "_cluster/health", None);
            runtime.block_on(health).is_ok_and(|health| health["status"] != "red")
        });
        if let Err(failed) = ready {
            // The launcher's child is the server itself, which outlives it.
            let children = process::descendants(launcher.id());
            let children = children.into_iter().map(|child| child.pid);
            children.chain(self.pid()).chain([launcher.id()]).for_each(server::kill);
            launcher.wait()?;
            server::ended(launcher.id());
            return Err(failed);
        }
        server::ends_with_run(self.pid()?);
        self.launcher = Some(launcher);
        Ok(())
    }

    /// Kills the server with -9 and waits until it has gone.
    ///
    /// # Errors
    /// When it doesn't go.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        let pid = self.pid()?;
        server::kill(pid);
        if let Some(mut launcher) = self.launcher.take() {
            launcher.wait()?;
            server::ended(launcher.id());
        }
        server::ended(pid);
        Ok(())
    }

    /// Its address for a config.
    pub(crate) fn url(&self) -> String {
        match self.admin {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// Sends a request and reads its JSON.
    ///
    /// # Errors
    /// When the answer is no success: with its words.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failed> {
        let mut request = self.http.request(method, format!("{}/{path}", self.url()));
        if let Some(admin) = &self.admin {
            request = request.basic_auth(admin.user, Some(admin.password));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = http::send(request).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Documents in an index or data stream, once all of them can be seen; none if it isn't there.
    ///
    /// # Errors
    /// When it can't be asked.
    pub(crate) async fn count(&self, index: &str) -> Result<u64, Failed> {
        let at = |what| format!("{index}/{what}?ignore_unavailable=true");
        self.ask(Method::POST, &at("_refresh"), None).await?;
        let answer = self.ask(Method::GET, &at("_count"), None).await?;
        answer["count"].as_u64().ok_or_else(|| format!("no count: {answer}").into())
    }

    /// How often each id is there, over all indices of a data stream of at most 10,000 documents.
    ///
    /// # Errors
    /// When it can't be asked, or there are more documents.
    pub(crate) async fn copies(&self, stream: &str) -> Result<BTreeMap<String, u64>, Failed> {
        let count = self.count(stream).await?;
        let query = json!({"size": 10_000, "_source": false});
        let answer = self.ask(Method::POST, &format!("{stream}/_search"), Some(query)).await?;
        let mut copies = BTreeMap::new();
        for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
            let id = hit["_id"].as_str().ok_or("a document without an id")?;
            *copies.entry(id.to_owned()).or_default() += 1;
        }
        let found = copies.values().sum::<u64>();
        if found == count {
            return Ok(copies);
        }
        Err(format!("{found} of {count} documents found").into())
    }

    /// Documents in each index of a data stream, once all of them can be seen.
    ///
    /// # Errors
    /// When it can't be asked.
    pub(crate) async fn counts(&self, stream: &str) -> Result<Vec<u64>, Failed> {
        self.count(stream).await?;
        let query = json!({"size": 0, "aggs": {"indices": {"terms": {"field": "_index"}}}});
        let answer = self.ask(Method::POST, &format!("{stream}/_search"), Some(query)).await?;
        let buckets = answer["aggregations"]["indices"]["buckets"].as_array();
        let counts = buckets.into_iter().flatten().map(|bucket| bucket["doc_count"].as_u64());
        counts.collect::<Option<_>>().ok_or_else(|| format!("no counts: {answer}").into())
    }

    /// What passes a bulk request on to it, for a fault server in between; called within a runtime
    /// of several threads.
    pub(crate) fn passes_on(&self) -> impl Fn(&Request) -> Reply + Send + Sync + use<> {
        let (http, url) = (self.http.clone(), self.url());
        move |request| {
            let passed = http
                .post(format!("{url}{}", request.target))
                .header("content-type", "application/x-ndjson")
                .body(request.body.clone());
            let answer = async {
                let answer = passed.send().await?;
                Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
            };
            match block_in_place(|| Handle::current().block_on(answer)) {
                Ok((status, body)) => Reply::Answer(status, body, None),
                Err(_) => Reply::Hangup,
            }
        }
    }

    /// What gives a data stream a new index to write to, from anywhere.
    pub(crate) fn rollover(
        &self,
        stream: &str,
    ) -> impl AsyncFn() -> Result<(), reqwest::Error> + Send + Sync + use<> {
        let (http, url) = (
            self.http.clone(),
            format!("{}/{stream}/_rollover?master_timeout=5m&timeout=5m", self.url()),
        );
        async move || http.post(&url).send().await?.error_for_status().map(drop)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    fn pid(&self) -> Result<u32, Failed> {
        Ok(fs::read_to_string(server::pid_file(&self.folder))?.trim().parse()?)
    }
}

fn give_away(path: &Path) -> Result<(), Failed> {
    chown(path, Some(NOBODY), Some(NOGROUP))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give_away(&entry?.path())?;
        }
    }
    Ok(())
}
