//! An authority of its own: a certificate for `gateway.example`, and certificates
//! for clients, as files for the gateway and as configurations for clients.

use postgate::smtp::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The name in the gateway's certificate.
pub const HOSTNAME: &str = "gateway.example";

/// See the module.
pub struct Authority {
    directory: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// An authority nobody knows, and a certificate of it for the gateway.
    pub fn new() -> Authority {
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let authority = Authority { directory: tempfile::tempdir().unwrap(), certificate, issuer };
        let (certificate, key) = authority.issue(&[HOSTNAME.to_owned()]);
        let directory = authority.directory.path();
        write_pem(&directory.join("authority.pem"), "CERTIFICATE", &authority.certificate);
        write_pem(&directory.join("certificate.pem"), "CERTIFICATE", &certificate);
        write_pem(&directory.join("key.pem"), "PRIVATE KEY", key.secret_der());
        authority
    }

    /// What the gateway is to load; clients with a certificate of this authority
    /// are believed.
    pub fn files(&self) -> TlsFiles {
        let file = |name: &str| self.directory.path().join(name);
        TlsFiles {
            pairs: vec![(file("certificate.pem"), file("key.pem"))],
            self_signed: None,
            client_ca: Some(file("authority.pem")),
        }
    }

    /// A client that trusts this authority alone, with a certificate for these
    /// names, or with none for no names.
    pub fn client(&self, names: &[String]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        if names.is_empty() {
            return config.with_no_client_auth();
        }
        let (certificate, key) = self.issue(names);
        config.with_client_auth_cert(vec![certificate], key).unwrap()
    }

    fn issue(&self, names: &[String]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names).signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

fn params(names: &[String]) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}

fn write_pem(path: &Path, label: &str, octets: &[u8]) {
    let octets = data_encoding::BASE64.encode(octets);
    let lines: Vec<_> = octets.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    fs::write(path, pem).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
