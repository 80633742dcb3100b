//! TLS towards destinations: rustls, on the terms of each.
//!
//! Equal terms share a configuration and with it the sessions that can be
//! resumed. One is built when it is first needed, off the runtime's threads:
//! reading the machine's trust store takes a while. A machine without one gets
//! Mozilla's list. Revocation lists count that stand in `ca` beside the
//! certificates; none is fetched.

use super::retry::Trouble;
use super::terms::{TlsTerms, TlsTrust, TlsVersion};
use super::tls_words;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime, pem,
};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) use tls_words::fault;

/// Receivers whose sessions are kept for resumption.
const SESSIONS: usize = 1024;

/// What is offered as the protocol inside (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2, or else HTTP/1.1.
    Both,
    /// HTTP/2 alone.
    Two,
    /// Nothing: it is no HTTP.
    Nothing,
}

impl Offer {
    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Offer::One => &[b"http/1.1"],
            Offer::Both => &[b"h2", b"http/1.1"],
            Offer::Two => &[b"h2"],
            Offer::Nothing => &[],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Makes TLS sessions; one for all destinations.
#[derive(Default)]
pub(super) struct Tls {
    configs: Mutex<Vec<Entry>>,
}

struct Entry {
    terms: Arc<TlsTerms>,
    offer: Offer,
    config: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl Tls {
    /// A TLS session over `stream` with `host`, whose certificate must be valid
    /// for that name or address.
    pub(super) async fn connect<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        terms: &Arc<TlsTerms>,
        offer: Offer,
        stream: S,
        host: &str,
    ) -> Result<TlsStream<S>, Trouble> {
        let cell = self.cell(terms, offer);
        let config = cell.get_or_try_init(|| load(Arc::clone(terms), offer)).await?;
        let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned();
        let name = ServerName::try_from(name).map_err(|error| Trouble::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(config));
        let plain = if offer == Offer::Nothing { "smtp://" } else { "http://" };
        let connected = connector.connect(name, stream).await;
        connected.map_err(|error| Trouble::Tls(tls_words::explain(&error, plain)))
    }

    /// Forgets what was built so far: who has no place in the configuration any more
    /// leaves no key and no session behind.
    pub(super) fn forget(&self) {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn cell(&self, terms: &Arc<TlsTerms>, offer: Offer) -> Arc<OnceCell<Arc<ClientConfig>>> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |entry: &&Entry| {
            entry.offer == offer && (Arc::ptr_eq(&entry.terms, terms) || entry.terms == *terms)
        };
        if let Some(entry) = configs.iter().find(is_same) {
            return Arc::clone(&entry.config);
        }
        let config = Arc::new(OnceCell::new());
        configs.push(Entry { terms: Arc::clone(terms), offer, config: Arc::clone(&config) });
        config
    }
}

/// Whether TLS on these terms is possible; the error names what is wrong with a
/// certificate or a key, without showing it.
pub fn check(terms: &TlsTerms) -> Result<(), String> {
    // The machine's store is no matter of the terms.
    let roots = match &terms.ca {
        Some(_) => None,
        None => Some(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()),
    };
    build(terms, Offer::One, roots).map(|_| ())
}

async fn load(terms: Arc<TlsTerms>, offer: Offer) -> Result<Arc<ClientConfig>, Trouble> {
    let config = tokio::task::spawn_blocking(move || build(&terms, offer, None)).await;
    let config = config.map_err(|error| Trouble::Tls(error.to_string()))?;
    config.map(Arc::new).map_err(Trouble::Tls)
}

/// `roots` stand in for the machine's.
fn build(terms: &TlsTerms, offer: Offer, roots: Option<RootCertStore>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = match terms.least {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let verifier = verifier(terms, &provider, roots)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &terms.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain, "client_cert")?;
            let key = PrivateKeyDer::from_pem_slice(&key.0).map_err(|_| "client_key holds no private key")?;
            builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                Error::InconsistentKeys(_) => "client_key is not the key of client_cert".to_owned(),
                error => format!("client_cert and client_key cannot be used: {error}"),
            })?
        }
    };
    config.alpn_protocols = offer.protocols();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

fn verifier(
    terms: &TlsTerms,
    provider: &Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut crls = Vec::new();
    let roots = match &terms.ca {
        Some(pem) => {
            crls = revocation_lists(pem)?;
            private_roots(pem)?
        }
        None => roots.unwrap_or_else(machine_roots),
    };
    if terms.trust == TlsTrust::Anyone {
        return Ok(Arc::new(Anyone(Arc::clone(provider))));
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    // A list says who is revoked, not that all others are known.
    let builder = builder.with_crls(crls).allow_unknown_revocation_status();
    let verifier = builder.build().map_err(|error| format!("ca cannot be used: {error}"))?;
    Ok(verifier)
}

/// The authorities that the machine trusts (`$SSL_CERT_FILE` names others), or Mozilla's.
/// Blocks.
pub fn machine_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("trust store: {error}");
    }
    let mut roots = RootCertStore::empty();
    // A store usually holds some certificates that rustls cannot use.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn private_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "ca")? {
        roots
            .add(certificate)
            .map_err(|error| format!("ca holds a certificate that is not valid: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("{key} is not PEM: {error}"))?;
    if read.is_empty() { Err(format!("{key} holds no certificate in PEM")) } else { Ok(read) }
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let read: Result<Vec<_>, pem::Error> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    read.map_err(|error| format!("ca is not PEM: {error}"))
}

/// Believes every certificate: `insecure = true`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
