//! A real Elasticsearch, started once a run on free ports.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use libtest_mimic::Failed;
use reqwest::Method;
use rustix::process::{Signal, geteuid};
use serde_json::Value;

use super::{poll, process, server};

/// From nothing to a green cluster on a busy machine.
const START: Duration = Duration::from_mins(5);
const NOBODY: u32 = 65534;
const NOGROUP: u32 = 65534;

/// The server.
#[derive(Debug)]
pub(crate) struct Elasticsearch {
    home: PathBuf,
    folder: PathBuf,
    port: u16,
    launcher: Option<Child>,
    http: reqwest::Client,
}

static RUNNING: OnceLock<Mutex<Option<Elasticsearch>>> = OnceLock::new();

/// The server, for one case at a time; the first one starts it.
///
/// # Errors
/// When it can't be started.
pub(crate) fn elasticsearch() -> Result<MutexGuard<'static, Option<Elasticsearch>>, Failed> {
    let mut running =
        RUNNING.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if running.is_none() {
        let mut server = Elasticsearch::prepare("elasticsearch")?;
        server.start()?;
        *running = Some(server);
    }
    Ok(running)
}

// === impl Elasticsearch ===

impl Elasticsearch {
    fn prepare(backend: &str) -> Result<Self, Failed> {
        let home = server::bring(backend)?;
        // It refuses to run as root, and the folders above the project may be closed to others.
        let folder =
            std::env::temp_dir().join(format!("tidegate-{backend}-{}", std::process::id()));
        let port = server::free_port()?;
        let config = folder.join("config");
        for name in ["config", "data", "logs", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        for file in fs::read_dir(home.join("config"))? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), config.join(file.file_name()))?;
            }
        }
        let shown = folder.display();
        let settings = [
            "cluster.name: tidegate-tests".to_owned(),
            "network.host: 127.0.0.1".to_owned(),
            format!("http.port: {port}"),
            format!("transport.port: {}", server::free_port()?),
            "discovery.type: single-node".to_owned(),
            format!("path.data: {shown}/data"),
            format!("path.logs: {shown}/logs"),
            "cluster.routing.allocation.disk.threshold_enabled: false".to_owned(),
            "xpack.security.enabled: false".to_owned(),
        ];
        fs::write(config.join("elasticsearch.yml"), settings.join("\n"))?;
        if geteuid().is_root() {
            give_away(&folder)?;
        }
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        let http = reqwest::Client::builder().tls_certs_only([]).timeout(Duration::from_mins(1));
        Ok(Self { home, folder, port, launcher: None, http: http.build()? })
    }

    /// Starts it, on the same port and data as before.
    ///
    /// # Errors
    /// When it does not answer in time: with the end of its log.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        let java = java_home()?;
        let pid_file = self.pid_file();
        if pid_file.exists() {
            fs::remove_file(&pid_file)?;
        }
        let program = self.home.join("bin/elasticsearch");
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .arg("-p")
            .arg(&pid_file)
            .env("ES_JAVA_HOME", java)
            .env("ES_PATH_CONF", self.folder.join("config"))
            .env("ES_TMPDIR", self.folder.join("tmp"))
            .env("ES_JAVA_OPTS", "-Xms512m -Xmx512m")
            .current_dir(&self.folder);
        let log = self.folder.join("console.log");
        let mut launcher = server::start(&mut command, &log)?;
        let runtime = runtime()?;
        server::ready("Elasticsearch", &mut launcher, &log, START, || {
            let health = self.ask(Method::GET, "_cluster/health", None);
            runtime.block_on(health).is_ok_and(|health| health["status"] != "red")
        })?;
        server::ends_with_run(self.pid()?, Some(self.folder.clone()));
        self.launcher = Some(launcher);
        Ok(())
    }

    /// Kills the server with -9 and waits until it has gone.
    ///
    /// # Errors
    /// When it doesn't go.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        let pid = self.pid()?;
        process::signal(pid, Signal::KILL);
        poll::until_true("Elasticsearch to be gone", Duration::from_secs(30), || {
            process::get(pid).is_none_or(|process| process.state == 'Z')
        })?;
        if let Some(mut launcher) = self.launcher.take() {
            launcher.wait()?;
            server::ended(launcher.id());
        }
        server::ended(pid);
        Ok(())
    }

    /// Its address for a config.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Documents in an index or data stream, once all of them can be seen.
    ///
    /// # Errors
    /// When it can't be asked.
    pub(crate) async fn count(&self, index: &str) -> Result<u64, Failed> {
        self.ask(Method::POST, &format!("{index}/_refresh"), None).await?;
        let answer = self.ask(Method::GET, &format!("{index}/_count"), None).await?;
        answer["count"].as_u64().ok_or_else(|| format!("no count: {answer}").into())
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("tmp/pid")
    }

    fn pid(&self) -> Result<u32, Failed> {
        Ok(fs::read_to_string(self.pid_file())?.trim().parse()?)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The JDK of the `java` on the path.
fn java_home() -> Result<PathBuf, Failed> {
    let java =
        process::output(Command::new("sh").args(["-c", "readlink -f \"$(command -v java)\""]))?;
    let home = Path::new(java.trim()).ancestors().nth(2).map(Path::to_owned);
    home.ok_or_else(|| "no java: scripts/install-deps test installs one".into())
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
