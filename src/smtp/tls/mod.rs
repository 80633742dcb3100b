//! What we show under TLS, and whom we believe: certificates with their keys, and
//! the authorities of clients' certificates.
//!
//! TLS 1.2 and 1.3 with the suites of rustls, nothing older. Sessions are resumed
//! by tickets; early data is never taken (RFC 8446 section 8: it can be replayed).
//! A client that offers protocols by ALPN must offer SMTP, so that nobody can be
//! led to speak HTTP with us (ALPACA), or HTTP where that is spoken; most offer none.
//!
//! [`Certificates::watch`] notices files that changed. New ones are for new
//! connections, open ones go on. Files that cannot be used change nothing: half
//! of a pair may just be on its way, so they are tried again and again, and only
//! what stays wrong is said.
//!
//! A client is asked for a certificate where authorities are configured, and may
//! show none or any: one that they do not vouch for counts for nothing, because
//! some mail programs show theirs to everyone.

mod load;
mod names;
mod ours;

pub use load::{TlsError, TlsFiles};

use load::{Stamp, self_signed, stamps};
use names::{AskOnly, ByName, Pair, names_of};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// What a client may want to speak, if it says so at all.
const PROTOCOLS: [&[u8]; 3] = [b"smtp", b"esmtp", b"lmtp"];

/// Certificates in force; clones share them.
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    /// Made once: who trusts it now does so after a reload.
    self_signed: Option<Pair>,
    /// Kept over reloads, so that clients can resume.
    tickets: Arc<dyn ProducesTickets>,
    current: RwLock<Current>,
}

struct Current {
    loaded: Loaded,
    stamps: Vec<Stamp>,
}

/// What one handshake is made with.
#[derive(Clone)]
pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    /// The same for HTTP.
    http: Arc<ServerConfig>,
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// What a client of our own believes.
    ours: Arc<ClientConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.0.files).finish()
    }
}

impl Certificates {
    /// Reads the files. Blocks. What is about to go wrong is said in the log: a
    /// certificate that has expired, or one made by ourselves.
    pub fn load(files: &TlsFiles) -> Result<Certificates, TlsError> {
        let self_signed = files.self_signed.as_deref().map(self_signed).transpose()?;
        let tickets = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Unfit)?;
        let stamps = stamps(files);
        let loaded = Loaded::read(files, self_signed.as_ref(), &tickets)?;
        let current = RwLock::new(Current { loaded, stamps });
        Ok(Certificates(Arc::new(Shared { files: files.clone(), self_signed, tickets, current })))
    }

    /// Reads the files again, changed or not. Blocks. After an error everything is
    /// as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let shared = &self.0;
        // Taken before the files are read: what changes meanwhile is noticed next time.
        let stamps = stamps(&shared.files);
        let loaded = Loaded::read(&shared.files, shared.self_signed.as_ref(), &shared.tickets)?;
        *shared.current.write().unwrap_or_else(PoisonError::into_inner) = Current { loaded, stamps };
        Ok(())
    }

    /// Looks at the files every so often until `stop` turns true, and reloads them
    /// when one has changed.
    pub async fn watch(self, every: Duration, mut stop: watch::Receiver<bool>) {
        let mut last = String::new();
        let mut said = String::new();
        loop {
            tokio::select! {
                () = super::stopped(&mut stop) => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = self.clone();
            let look = move || this.has_changed().then(|| this.reload());
            match tokio::task::spawn_blocking(look).await {
                Ok(Some(Ok(()))) => {
                    tracing::info!("the certificates have changed and are in force");
                    said.clear();
                    last.clear();
                }
                Ok(Some(Err(error))) => {
                    let error = error.to_string();
                    // Twice the same is no pair that is half written.
                    if error == last && error != said {
                        tracing::warn!(%error, "the new certificates cannot be used; the old ones stay in force");
                        said.clone_from(&error);
                    }
                    last = error;
                }
                Ok(None) => {
                    said.clear();
                    last.clear();
                }
                // The look itself died, and has said of what.
                Err(_) => {}
            }
        }
    }

    /// What a handshake is made with where HTTP is spoken: nobody is asked for a
    /// certificate there, and SMTP is not spoken.
    pub fn http(&self) -> Arc<ServerConfig> {
        self.loaded().http
    }

    /// What a client of our own believes: a server that shows a certificate that is in
    /// force here, and proves that it has the key. Its name and who vouches for it count
    /// for nothing.
    pub fn ours(&self) -> Arc<ClientConfig> {
        self.loaded().ours
    }

    fn has_changed(&self) -> bool {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        current.stamps != stamps(&self.0.files)
    }

    /// What is in force now.
    pub(super) fn loaded(&self) -> Loaded {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).loaded.clone()
    }
}

impl Loaded {
    fn read(
        files: &TlsFiles,
        self_signed: Option<&Pair>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Loaded, TlsError> {
        let mut pairs = Vec::new();
        for (certificate, key) in &files.pairs {
            pairs.push(load::pair(certificate, key)?);
        }
        pairs.extend(self_signed.cloned());
        if pairs.is_empty() {
            return Err(TlsError::Nothing);
        }
        let remarks: Vec<String> = pairs.iter().filter_map(|pair| pair.remark.clone()).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = pairs.iter().filter_map(Pair::certificate).collect();
        let ours = ours::believing(own, &provider).map_err(TlsError::Unfit)?;
        let authorities = match &files.client_ca {
            None => None,
            Some(path) => {
                let roots = Arc::new(load::roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(verifier.build().map_err(|error| TlsError::Authority(path.clone(), error.to_string()))?)
            }
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unfit)?;
        let pairs: Arc<dyn ResolvesServerCert> = Arc::new(ByName(pairs));
        let http = builder.clone().with_no_client_auth().with_cert_resolver(Arc::clone(&pairs));
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(inner) => builder.with_client_cert_verifier(Arc::new(AskOnly(Arc::clone(inner)))),
        };
        let finish = |mut config: ServerConfig, protocols: &[&[u8]]| {
            config.ignore_client_order = true;
            config.ticketer = Arc::clone(tickets);
            config.max_early_data_size = 0;
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let config = finish(builder.with_cert_resolver(pairs), &PROTOCOLS);
        let http = finish(http, &[b"http/1.1"]);
        // Only now: what cannot be used is tried again and again.
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        Ok(Loaded { config, http, authorities, ours })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The names that a client's certificate vouches for, or why it does not.
    /// Asked anew for a session that is resumed: the authorities may be others now.
    pub(super) fn client_names(&self, chain: &[CertificateDer<'_>]) -> Result<Vec<String>, String> {
        let Some(authorities) = &self.authorities else { return Err("nobody asked for it".to_owned()) };
        let Some((own, others)) = chain.split_first() else { return Err("it is empty".to_owned()) };
        let verified = authorities.verify_client_cert(own, others, UnixTime::now());
        verified.map_err(|error| error.to_string())?;
        let names = names_of(own)?;
        if names.is_empty() { Err("there is no name in it".to_owned()) } else { Ok(names) }
    }
}
