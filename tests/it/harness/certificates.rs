//! Authorities of the case's own, and the certificates they give: good ones, and flawed ones.

use std::{path::PathBuf, sync::Arc};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::Scene;

/// Who vouches for certificates.
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What shows who a server is, before it is mended and after.
pub(crate) struct Certificates {
    /// The authority's certificate, a PEM file.
    pub(crate) ca: PathBuf,
    /// A client's certificate and its key, PEM files.
    pub(crate) client: [PathBuf; 2],
    first: Arc<ServerConfig>,
    good: Arc<ServerConfig>,
}

/// A certificate that clients must not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    WrongName,
    WrongAuthority,
    Expired,
}

// === impl Authority ===

impl Authority {
    /// A fresh one.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("the system has randomness");
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a good name");
        // Not that of the certificates it gives: OpenSSL would take those for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a fresh key signs").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server of this name, and its key, as PEM.
    pub(crate) fn server(&self, name: &str) -> [String; 2] {
        self.sign(&named(name))
    }

    /// A certificate for a client, and its key, as PEM.
    pub(crate) fn client(&self, name: &str) -> [String; 2] {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a good name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> [String; 2] {
        let key = KeyPair::generate().expect("the system has randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("a fresh key signs");
        [certificate.pem(), key.serialize_pem()]
    }

    fn config(&self, flaw: Option<Flaw>, clients: Option<&Self>) -> Arc<ServerConfig> {
        let name = if flaw == Some(Flaw::WrongName) { "elsewhere.test" } else { "localhost" };
        let mut params = named(name);
        if flaw == Some(Flaw::Expired) {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let [certificate, key] = self.sign(&params);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let builder = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM");
                roots.add(root).expect("an authority");
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                ServerConfig::builder().with_client_cert_verifier(verifier.expect("one root"))
            }
        };
        let config = builder.with_single_cert(vec![certificate], key.into());
        Arc::new(config.expect("the key fits the certificate"))
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).expect("a DNS name")
}

// === impl Certificates ===

impl Certificates {
    /// Good ones.
    pub(crate) fn good(scene: &Scene, name: &str) -> Self {
        Self::new(scene, name, None, false)
    }

    /// One with this flaw, until the server is mended.
    pub(crate) fn flawed(scene: &Scene, name: &str, flaw: Flaw) -> Self {
        Self::new(scene, name, Some(flaw), false)
    }

    /// Good ones, of a server that asks each client for its own.
    pub(crate) fn mutual(scene: &Scene, name: &str) -> Self {
        Self::new(scene, name, None, true)
    }

    /// What the server shows before it is mended, and after.
    pub(super) fn configs(&self) -> [Arc<ServerConfig>; 2] {
        [Arc::clone(&self.first), Arc::clone(&self.good)]
    }

    fn new(scene: &Scene, name: &str, flaw: Option<Flaw>, mutual: bool) -> Self {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let clients = mutual.then_some(&ours);
        let authority = if flaw == Some(Flaw::WrongAuthority) { &theirs } else { &ours };
        let (first, good) = (authority.config(flaw, clients), ours.config(None, clients));
        let [certificate, key] = ours.client("tidegate");
        Self {
            ca: scene.write(&format!("{name}.pem"), &ours.pem),
            client: [
                scene.write(&format!("{name}.client.pem"), certificate),
                scene.write(&format!("{name}.client.key"), key),
            ],
            first,
            good,
        }
    }
}
