//! An Elasticsearch that asks who is there, over TLS, by certificate and by password, and has little
//! room for writes.

use std::{fs, sync::Mutex, time::Duration};

use libtest_mimic::Failed;
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{Admin, Flavor, Server, Shared, give_away, share};
use crate::harness::certificates::Authority;

/// The user that writes.
pub(crate) const USER: &str = "flow";
/// That user's password.
pub(crate) const PASSWORD: &str = "hunter2-of-flow";
/// What the server's own file has of [`PASSWORD`]: bcrypt, with few rounds.
const PASSWORD_HASH: &str = "$2a$04$abcdefghijklmnopqrstuuYQYffFalDGqIt1SKiVSQukOPhKlZDF.";
const ADMIN: &str = "admin";
const ADMIN_PASSWORD: &str = "admin-of-the-tests";
const ADMIN_HASH: &str = "$2a$04$abcdefghijklmnopqrstuuBIiirizKuApIS8L/dTu4KRZs.TlTVMu";

/// Writers may do no more than the reference says they need.
const ROLES: &str = "
writer:
  indices:
    - names: ['logs-tidegate.*']
      privileges: [auto_configure, create_doc]
stranger:
  indices:
    - names: ['logs-other-*']
      privileges: [auto_configure, create_doc]
";

/// One thread, one place to wait, and 2 MB for all that is being indexed.
const NARROW: [&str; 3] = [
    "thread_pool.write.size: 1",
    "thread_pool.write.queue_size: 1",
    "indexing_pressure.memory.limit: 2mb",
];

const SECURED: [&str; 8] = [
    "resource.reload.interval.high: 1s",
    "xpack.security.enrollment.enabled: false",
    "xpack.security.autoconfiguration.enabled: false",
    "xpack.security.http.ssl.enabled: true",
    "xpack.security.http.ssl.key: server.key",
    "xpack.security.http.ssl.certificate: server.crt",
    "xpack.security.http.ssl.certificate_authorities: ca.crt",
    "xpack.security.http.ssl.client_authentication: required",
];

/// How soon it reads its files of users anew once they have changed.
pub(crate) const NOTICES_WITHIN: Duration = Duration::from_secs(1);

/// What [`USER`] may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Create documents where the sink writes.
    Writer,
    /// Create documents elsewhere.
    Stranger,
}

static GUARDED: Mutex<Option<Server>> = Mutex::new(None);

/// The server, for one case at a time; the first one starts it.
///
/// # Errors
/// When it can't be started.
pub(crate) fn shared() -> Result<Shared, Failed> {
    share(&GUARDED, || {
        let authority = Authority::new();
        let admin = Admin {
            user: ADMIN,
            password: ADMIN_PASSWORD,
            ca: authority.pem.clone(),
            identity: authority.client("admin").concat(),
        };
        let settings: Vec<_> = SECURED.into_iter().chain(NARROW).map(str::to_owned).collect();
        let server = Server::prepare(Flavor::Elasticsearch8, "guarded", &settings, Some(admin))?;
        let [certificate, key] = authority.server("localhost");
        let [client, client_key] = authority.client(USER);
        for (name, content) in [
            ("ca.crt", authority.pem.as_str()),
            ("server.crt", &certificate),
            ("server.key", &key),
            ("client.crt", &client),
            ("client.key", &client_key),
            ("roles.yml", ROLES),
        ] {
            fs::write(server.config().join(name), content)?;
        }
        server.admit(PASSWORD_HASH, Role::Writer)?;
        Ok(server)
    })
}

// === impl Server ===

impl Server {
    /// Rewrites its files of users; it reads them anew every few seconds.
    fn admit(&self, hash: &str, role: Role) -> Result<(), Failed> {
        let role = if role == Role::Writer { "writer" } else { "stranger" };
        let config = self.config();
        // At once, or it may read a file of no users, and know not even the one who asks.
        for (name, content) in [
            ("users", format!("{ADMIN}:{ADMIN_HASH}\n{USER}:{hash}\n")),
            ("users_roles", format!("superuser:{ADMIN}\n{role}:{USER}\n")),
        ] {
            let new = config.join(format!("{name}.new"));
            fs::write(&new, content)?;
            if geteuid().is_root() {
                give_away(&new)?;
            }
            fs::rename(new, config.join(name))?;
        }
        Ok(())
    }

    /// Gives [`USER`] a role and the password [`PASSWORD`].
    ///
    /// # Errors
    /// When its files can't be written.
    pub(crate) fn let_in(&self, role: Role) -> Result<(), Failed> {
        self.admit(PASSWORD_HASH, role)
    }

    /// Gives [`USER`] another password than [`PASSWORD`].
    ///
    /// # Errors
    /// When its files can't be written.
    pub(crate) fn change_password(&self) -> Result<(), Failed> {
        self.admit(ADMIN_HASH, Role::Writer)
    }

    /// The part of a config that gets in: authority, certificate, user.
    pub(crate) fn access(&self) -> Value {
        let file = |name| self.config().join(name);
        json!({
            "tls": {"ca": file("ca.crt"), "cert": file("client.crt"), "key": file("client.key")},
            "auth": {"user": USER, "password": PASSWORD},
        })
    }
}
