//! Certificates, keys and authorities from their files.
//!
//! Files are PEM (RFC 7468). A certificate's own comes first in its file, then
//! those that lead to its authority. Every error names the file and the remedy;
//! a key that others can read is refused like any other secret.

use super::names::{Pair, days_of, names_of};
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Which files there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates with their keys. The client's server name chooses; the first is
    /// for clients that name none, or one that is not there.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Makes a certificate for this host, `localhost` and the loopback addresses,
    /// behind the others: for tests.
    pub self_signed: Option<String>,
    /// Authorities of clients' certificates.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// Neither a file is named nor a certificate to be made.
    Nothing,
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// A file is no PEM.
    Pem(PathBuf),
    /// There is no certificate in a file.
    NoCertificate(PathBuf),
    /// There is no private key in a file.
    NoKey(PathBuf),
    /// The key is encrypted, and there is nobody to ask for its password.
    Encrypted(PathBuf),
    /// Others can read the key, by this mode.
    Exposed(PathBuf, u32),
    /// The key is of a kind that is not known.
    Key(PathBuf, rustls::Error),
    /// A certificate that is none.
    Certificate(PathBuf, String),
    /// The key is another certificate's.
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// An authority of clients that cannot be one.
    Authority(PathBuf, String),
    /// The self-signed certificate cannot be made.
    SelfSigned(rcgen::Error),
    /// rustls wants none of it.
    Unfit(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Nothing => f.write_str("there is no certificate; name one, with its key"),
            TlsError::Read(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::Pem(path) => {
                write!(f, "{}: this is not PEM, or a part of it is missing", path.display())
            }
            TlsError::NoCertificate(path) => {
                write!(f, "{}: there is no \"BEGIN CERTIFICATE\" in this file", path.display())
            }
            TlsError::NoKey(path) => {
                write!(f, "{}: there is no \"BEGIN PRIVATE KEY\" in this file", path.display())
            }
            TlsError::Encrypted(path) => write!(
                f,
                "{}: the key is encrypted; decrypt it with \"openssl pkey -in OLD -out NEW\"",
                path.display()
            ),
            TlsError::Exposed(path, mode) => write!(
                f,
                "{}: everybody can read this key (mode {mode:04o}); chmod 0600 or 0640",
                path.display()
            ),
            TlsError::Key(path, error) => write!(f, "{}: the key cannot be used: {error}", path.display()),
            TlsError::Certificate(path, error) => {
                write!(f, "{}: the certificate cannot be used: {error}", path.display())
            }
            TlsError::Mismatch { certificate, key } => write!(
                f,
                "{}: the key does not match the certificate in {}, the first one there",
                key.display(),
                certificate.display()
            ),
            TlsError::Authority(path, error) => {
                write!(f, "{}: clients cannot be verified with this: {error}", path.display())
            }
            TlsError::SelfSigned(error) => {
                write!(f, "a self-signed certificate cannot be made: {error}; is the host name one?")
            }
            TlsError::Unfit(error) => write!(f, "TLS cannot begin: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// By which a file is seen to be another: device, inode, size and the time it was
/// written, or nothing when it is not there.
pub(super) type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The stamps of all files.
pub(super) fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    let pairs = files.pairs.iter().flat_map(|(certificate, key)| [certificate, key]);
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    pairs.chain(&files.client_ca).map(stamp).collect()
}

/// A certificate and its key.
pub(super) fn pair(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
    let chain = certificates(certificate)?;
    let broken = |error: String| TlsError::Certificate(certificate.to_owned(), error);
    let own = chain.first().ok_or_else(|| TlsError::NoCertificate(certificate.to_owned()))?;
    let names = names_of(own).map_err(broken)?;
    let days = days_of(own).map_err(broken)?;
    let remark = days.trouble().map(|trouble| format!("{}: {trouble}", certificate.display()));
    let signing = any_supported_type(&private_key(key)?);
    let signing = signing.map_err(|error| TlsError::Key(key.to_owned(), error))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) => Ok(Pair::new(names, certified, remark)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(error) => Err(TlsError::Certificate(certificate.to_owned(), error.to_string())),
    }
}

/// The authorities of clients.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::Authority(path.to_owned(), error.to_string()))?;
    }
    Ok(roots)
}

/// A certificate that nobody vouches for.
pub(super) fn self_signed(hostname: &str) -> Result<Pair, TlsError> {
    let mut names = vec![hostname.to_owned()];
    names.extend(
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter().filter(|name| name != hostname),
    );
    let mut params = rcgen::CertificateParams::new(names.clone()).map_err(TlsError::SelfSigned)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, hostname);
    let key = rcgen::KeyPair::generate().map_err(TlsError::SelfSigned)?;
    let certificate = params.self_signed(&key).map_err(TlsError::SelfSigned)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = any_supported_type(&key).map_err(TlsError::Unfit)?;
    let remark = format!("the certificate for {hostname} was made by ourselves: for tests, nobody trusts it");
    Ok(Pair::new(names, CertifiedKey::new(vec![certificate.into()], signing), Some(remark)))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|_| TlsError::Pem(path.to_owned()))?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let mode = fs::metadata(path).map_err(|error| TlsError::Read(path.to_owned(), error))?.mode() & 0o777;
    // The group may: that is how web and mail servers share a key.
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed(path.to_owned(), mode));
    }
    // In the label of PKCS #8, in a header line of the older form.
    if memchr::memmem::find(&text, b"ENCRYPTED").is_some() {
        return Err(TlsError::Encrypted(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        // Its own words show octets as numbers.
        _ => TlsError::Pem(path.to_owned()),
    })
}
