//! How a connection is secured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::Problem;

/// How the connection to a server is secured: TLS 1.2 or 1.3.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the authorities to trust, and no others (default: those of the machine).
    #[schemars(extend("format" = "path"))]
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate and those that lead to its authority, for a server that asks
    /// for one (default: none). Needs `key`.
    #[schemars(extend("format" = "path"))]
    pub cert: Option<PathBuf>,
    /// A PEM file with the private key of `cert`, without a passphrase.
    #[schemars(extend("format" = "path"))]
    pub key: Option<PathBuf>,
    /// Whether the server has to show who it is (default true). `false` lets anybody between us and
    /// the server read and change what is sent: for a first test, never for more.
    pub verify: bool,
}

// === impl TlsConfig ===

impl Default for TlsConfig {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, verify: true }
    }
}

impl TlsConfig {
    /// What is wrong with the values, keys below `tls`.
    pub(crate) fn check(&self) -> Option<Problem> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Some(
                Problem::new("tls.cert", "a certificate is of no use without its key")
                    .hint("add tls.key, the file with its private key"),
            ),
            (None, Some(_)) => Some(
                Problem::new("tls.key", "a key is of no use without its certificate")
                    .hint("add tls.cert, the file with the certificate"),
            ),
            _ => None,
        }
    }
}
