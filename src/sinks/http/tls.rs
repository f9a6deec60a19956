//! How a connection is secured.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::{component::Error, remote::TlsConfig};

/// Sets a client up; one that is not `secure` only talks in the clear.
///
/// # Errors
/// When a file can't be read, or doesn't hold what it should.
pub(super) fn apply(
    tls: &TlsConfig,
    builder: ClientBuilder,
    secure: bool,
) -> Result<ClientBuilder, Error> {
    // It is the process's, and stays what it is if somebody set it before.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let mut builder = builder.tls_danger_accept_invalid_certs(!tls.verify);
    if let Some(path) = &tls.ca {
        let certificates = Certificate::from_pem_bundle(&read(path)?);
        let certificates = certificates.map_err(|error| unusable("certificate", path, error))?;
        if certificates.is_empty() {
            return Err(unusable("certificate", path, "it holds none"));
        }
        builder = builder.tls_certs_only(certificates);
    } else if !secure {
        builder = builder.tls_certs_only([]);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let private = read(key)?;
        if is_encrypted(&private) {
            return Err(Error::configuration(format!("{} has a passphrase", key.display()))
                .hint("take it off: openssl pkey -in KEY -out PLAIN, readable by this user only"));
        }
        let pem = [read(cert)?, b"\n".to_vec(), private].concat();
        let identity = Identity::from_pem(&pem);
        builder = builder.identity(identity.map_err(|error| unusable("key pair", cert, error))?);
    }
    Ok(builder)
}

/// What to do about a handshake that failed, by what rustls and webpki say of it.
pub(super) fn advice(causes: &str) -> Option<&'static str> {
    let known = [
        ("UnknownIssuer", "name the authority that signed the server's certificate in tls.ca"),
        (
            "CaUsedAsEndEntity",
            "the server shows an authority's certificate: give it one that is signed by it, and name the \
             authority in tls.ca",
        ),
        ("NotValidForName", "use a name in the address that stands in the server's certificate"),
        (
            "certificate not valid for name",
            "use a name in the address that stands in the certificate",
        ),
        ("Expired", "the server's certificate has expired, or this machine's clock is wrong"),
        ("NotValidYet", "this machine's clock is wrong, or the certificate is of the future"),
        (
            "InvalidContentType",
            "the server does not speak TLS there: write http:// if that is meant",
        ),
        ("CertificateRequired", "the server wants a certificate of ours: tls.cert and tls.key"),
    ];
    known.into_iter().find(|(said, _)| causes.contains(said)).map(|(_, advice)| advice)
}

/// Whether a private key needs a passphrase (PKCS #8, RFC 7468 §11; or the older headers of RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        Error::configuration(format!("can't read {}", path.display())).because(error)
    })
}

fn unusable(
    what: &str,
    path: &Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::configuration(format!("{} holds no usable {what}", path.display()))
        .hint("it has to be in PEM: -----BEGIN …")
        .because(cause)
}
