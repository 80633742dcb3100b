//! Whose a certificate is, and which of ours a client is shown.
//!
//! A server name is compared in lower case. `*.example.com` answers for one
//! further label (RFC 6125 section 6.4.3). Of several certificates for one name
//! that is taken whose key the client can verify, so an old client gets RSA where
//! there is one.

use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// A certificate with its key, and whom it is for.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
    /// What the operator should know about it.
    pub(super) remark: Option<String>,
}

impl Pair {
    pub(super) fn new(names: Vec<String>, key: CertifiedKey, remark: Option<String>) -> Pair {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Pair { names, key: Arc::new(key), remark }
    }

    /// The certificate itself, without those of who vouches for it.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.key.cert.first().cloned()
    }
}

/// Chooses by the name that the client wants to reach.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Vec<Pair>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let wildcard = wanted.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let exact = self.0.iter().filter(|pair| pair.names.contains(&wanted));
        let wider =
            self.0.iter().filter(|pair| wildcard.as_ref().is_some_and(|name| pair.names.contains(name)));
        let fits = |pair: &&Pair| pair.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let pair = exact.chain(wider).chain(&self.0).find(fits).or_else(|| self.0.first());
        pair.map(|pair| Arc::clone(&pair.key))
    }
}

/// Asks for a certificate and takes any whose key the client has; what it is worth
/// is found out when the handshake is over.
#[derive(Debug)]
pub(super) struct AskOnly(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let parsed = X509Certificate::from_der(certificate);
    parsed.map(|(_, certificate)| certificate).map_err(|error| error.to_string())
}

/// The names in a certificate: of hosts and mailboxes (RFC 5280 section 4.2.1.6),
/// then its common names, none twice.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let certificate = parse(certificate)?;
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let alternatives = alternatives.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = Vec::new();
    for name in alternatives.chain(common) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// From when until when a certificate is valid.
pub(super) struct Days {
    begin: x509_parser::time::ASN1Time,
    end: x509_parser::time::ASN1Time,
}

/// The days of a certificate.
pub(super) fn days_of(certificate: &CertificateDer<'_>) -> Result<Days, String> {
    let validity = parse(certificate)?.validity().clone();
    Ok(Days { begin: validity.not_before, end: validity.not_after })
}

impl Days {
    /// What is wrong with them today, if anything is.
    pub(super) fn trouble(&self) -> Option<String> {
        let now = x509_parser::time::ASN1Time::now();
        if now > self.end {
            return Some(format!("the certificate has expired on {}", self.end));
        }
        (now < self.begin).then(|| format!("the certificate is not valid before {}", self.begin))
    }
}
