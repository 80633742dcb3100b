//! Certificates for tests, their files, and clients that trust them.
#![allow(dead_code)]

use postgate::smtp::{Certificates, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name in the gateway's certificate.
pub const HOSTNAME: &str = "gateway.example";

/// Signs certificates, and has a directory for their files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub directory: TempDir,
}

/// Whom a server takes.
#[derive(Clone, Copy)]
pub enum Clients {
    Anybody,
    /// Those with a certificate of the authority.
    Own,
}

/// A certificate and its key.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    pub key: Vec<u8>,
}

impl Issued {
    /// The certificate and the key in PEM.
    pub fn pems(&self) -> (String, String) {
        (pem("CERTIFICATE", &self.certificate), pem("PRIVATE KEY", &self.key))
    }
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Not to be taken for another authority of the same name.
        params.distinguished_name.push(DnType::CommonName, format!("Authority {}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Authority { issuer, directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate whose common name is `common`, for these hosts and mailboxes.
    pub fn issue(&self, common: &str, names: &[&str]) -> Issued {
        self.issue_with(common, names, |_| {})
    }

    pub fn issue_with(
        &self,
        common: &str,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let alternative = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains('@') => SanType::Rfc822Name((*name).try_into().unwrap()),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(alternative).collect();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.into(), key: key.serialize_der() }
    }

    /// A certificate for these names that vouches for itself.
    pub fn self_signed(names: &[&str]) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Issued { certificate: certificate.into(), key: key.serialize_der() }
    }

    /// The authority's own certificate in PEM.
    pub fn own_pem(&self) -> String {
        pem("CERTIFICATE", self.issuer.as_ref().der())
    }

    /// A list in PEM that revokes the certificates with this serial number.
    pub fn revocation_list(&self, serial: u64) -> String {
        let this_update = rcgen::date_time_ymd(2025, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: this_update,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        pem("X509 CRL", list.signed_by(&self.issuer).unwrap().der())
    }

    /// What a server shows that has this certificate.
    pub fn server(&self, own: &Issued, clients: Clients, protocols: &[&str]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = match clients {
            Clients::Anybody => builder.unwrap().with_no_client_auth(),
            Clients::Own => builder.unwrap().with_client_cert_verifier(verifier.build().unwrap()),
        };
        let key = PrivateKeyDer::Pkcs8(own.key.clone().into());
        let mut config = builder.with_single_cert(vec![own.certificate.clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Writes a certificate and its key as `name.pem` and `name.key`.
    pub fn write(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        let files = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&files.0, pem("CERTIFICATE", &issued.certificate)).unwrap();
        write_key(&files.1, &pem("PRIVATE KEY", &issued.key));
        files
    }

    /// The authority's own certificate, as a file.
    pub fn own_file(&self) -> PathBuf {
        let path = self.path("authority.pem");
        fs::write(&path, pem("CERTIFICATE", self.issuer.as_ref().der())).unwrap();
        path
    }

    /// The files of one certificate, for [`HOSTNAME`]; clients with a certificate of
    /// this authority are believed.
    pub fn files(&self) -> TlsFiles {
        let pair = self.write("gateway", &self.issue("gateway", &[HOSTNAME]));
        TlsFiles { pairs: vec![pair], client_ca: Some(self.own_file()), ..TlsFiles::default() }
    }

    pub fn certificates(&self) -> Certificates {
        Certificates::load(&self.files()).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).unwrap();
        roots
    }

    /// What a client connects with that trusts this authority alone, with a
    /// certificate for these names, or with none for no names.
    pub fn client(&self, names: &[String]) -> ClientConfig {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let own = (!names.is_empty()).then(|| self.issue(names[0], &names));
        self.client_of(rustls::ALL_VERSIONS, own.as_ref())
    }

    /// The same, of these versions of TLS.
    pub fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::Pkcs8(own.key.clone().into());
                builder.with_client_auth_cert(vec![own.certificate.clone()], key).unwrap()
            }
        }
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let octets = data_encoding::BASE64.encode(der);
    format!("-----BEGIN {label}-----\n{octets}\n-----END {label}-----\n")
}

pub fn write_key(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Begins TLS as a client that wants to reach `name`.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}
