//! An Elasticsearch that asks who is there, over TLS, by certificate and by password, and has little
//! room for writes.

use std::{fs, path::PathBuf, sync::RwLock};

use libtest_mimic::Failed;
use reqwest::Method;
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{Admin, Exclusive, Flavor, Server, Slot, give_away, hold};
use crate::harness::{
    Outcome,
    certificates::Authority,
    http,
    poll::{self, SOON},
};

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
    // How soon it reads its files of users anew once they have changed.
    "resource.reload.interval.high: 1s",
    "xpack.security.enrollment.enabled: false",
    "xpack.security.autoconfiguration.enabled: false",
    "xpack.security.http.ssl.enabled: true",
    "xpack.security.http.ssl.key: server.key",
    "xpack.security.http.ssl.certificate: server.crt",
    "xpack.security.http.ssl.certificate_authorities: ca.crt",
    "xpack.security.http.ssl.client_authentication: required",
];

/// What [`USER`] may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Create documents where the sink writes.
    Writer,
    /// Create documents elsewhere.
    Stranger,
}

static GUARDED: Slot = RwLock::new(None);

/// The server, for one case at a time; the first one starts it.
///
/// # Errors
/// When it can't be started.
pub(crate) fn exclusive() -> Result<Exclusive, Failed> {
    hold(&GUARDED, || {
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
            // One that the server's does not come from.
            ("other-ca.crt", &Authority::new().pem),
            ("roles.yml", ROLES),
        ] {
            fs::write(server.config().join(name), content)?;
        }
        server.admit(PASSWORD_HASH, Role::Writer)?;
        Ok(server)
    })
}

// === impl Role ===

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Stranger => "stranger",
        }
    }
}

// === impl Server ===

impl Server {
    /// Rewrites its files of users; it notices before long.
    fn admit(&self, hash: &str, role: Role) -> Result<(), Failed> {
        let role = role.name();
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

    /// Gives [`USER`] a role and the password [`PASSWORD`], and waits until the server knows.
    ///
    /// # Errors
    /// When its files can't be written, or it doesn't notice.
    pub(crate) async fn let_in(&self, role: Role) -> Outcome {
        self.admit(PASSWORD_HASH, role)?;
        self.until_user_is(200, &json!([role.name()])).await
    }

    /// Gives [`USER`] another password than [`PASSWORD`], and waits until the server knows.
    ///
    /// # Errors
    /// When its files can't be written, or it doesn't notice.
    pub(crate) async fn change_password(&self) -> Outcome {
        self.admit(ADMIN_HASH, Role::Writer)?;
        self.until_user_is(401, &Value::Null).await
    }

    /// Asks as [`USER`] until the answer has this status and names these roles.
    async fn until_user_is(&self, status: u16, roles: &Value) -> Outcome {
        let what = format!("the server to answer {USER} with {status} and {roles}");
        poll::until_answered(&what, SOON, async || {
            let answer = self.ask_as_user(Method::GET, "_security/_authenticate", "").await.ok()?;
            (answer.0 == status && answer.1["roles"] == *roles).then_some(())
        })
        .await
    }

    /// The status and the JSON it answers [`USER`] with, who says [`PASSWORD`].
    ///
    /// # Errors
    /// When there is no such answer.
    pub(crate) async fn ask_as_user(
        &self,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> Result<(u16, Value), Failed> {
        let request = self.http.request(method, format!("{}/{path}", self.url()));
        let request = request.header("content-type", "application/json").body(body);
        let answer = http::send(request.basic_auth(USER, Some(PASSWORD))).await?;
        Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?)?))
    }

    /// Its address by a name that its certificate lacks.
    pub(crate) fn url_by_another_name(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of an authority that its own does not come from.
    pub(crate) fn other_ca(&self) -> PathBuf {
        self.config().join("other-ca.crt")
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
