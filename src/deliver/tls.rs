//! TLS towards destinations: rustls with the machine's trust store.
//!
//! The store is read when the first `https` destination is met, off the
//! runtime's threads, and kept; a machine without one gets Mozilla's list. There
//! is no switch that skips verification.

use super::retry::Trouble;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes TLS sessions; one for all destinations.
#[derive(Default)]
pub(super) struct Tls {
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// A TLS session over `socket` with `host`, whose certificate must be valid
    /// for that name or address.
    pub(super) async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        let config = self.config.get_or_try_init(load).await?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| Trouble::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, socket).await.map_err(|error| Trouble::Tls(explain(&error)))
    }
}

async fn load() -> Result<Arc<ClientConfig>, Trouble> {
    let config = tokio::task::spawn_blocking(build).await;
    config.map_err(|error| Trouble::Tls(error.to_string()))?.map(Arc::new)
}

fn build() -> Result<ClientConfig, Trouble> {
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Trouble::Tls(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The reason of a failed handshake in words.
fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(certificate)) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the connection was closed in the handshake".to_owned(),
            _ => error.to_string(),
        };
    };
    match certificate {
        CertificateError::UnknownIssuer => "the certificate is not trusted: unknown issuer".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        other => format!("the certificate is not trusted: {other}"),
    }
}
