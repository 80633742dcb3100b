//! Addresses of attachments in the words of composing, and the key that signs them.
//!
//! The key is this gateway's own and stays in its data directory: addresses that were
//! made before a restart are good after it.

use super::{StartError, delivery};
use crate::compose::{LinkKey, Links};
use crate::config::{self, ApiTls, Config};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// The key that an earlier process left in `directory`, or a new one; none only on a
/// machine without randomness. One that is there and cannot be read is not replaced:
/// addresses that others were given would be void.
pub(super) fn key(directory: &Path) -> Result<Option<LinkKey>, StartError> {
    let path = directory.join("attachment-key");
    match fs::read(&path).map(<[u8; LinkKey::LENGTH]>::try_from) {
        Ok(Ok(octets)) => return Ok(Some(LinkKey::new(&octets))),
        Ok(Err(_)) => tracing::warn!("{} is not a key; attachments have new addresses", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StartError::LinkKey(path, error)),
    }
    let mut octets = [0; LinkKey::LENGTH];
    if let Err(error) = getrandom::fill(&mut octets) {
        tracing::warn!("attachments have no addresses: no randomness: {error}");
        return Ok(None);
    }
    // Without it mail flows as well; on a full disk it has to.
    if let Err(error) = keep(&path, &octets) {
        let path = path.display();
        tracing::warn!("{path} cannot be written: {error}; a restart makes addresses of attachments void");
    }
    Ok(Some(LinkKey::new(&octets)))
}

/// Writes it whole or not at all, for nobody else to read.
pub(super) fn keep(path: &Path, octets: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// How addresses are made while the API is answered at `api`; nobody could fetch
/// anything without.
pub(super) fn links(config: &Config, key: Option<&LinkKey>, api: Option<SocketAddr>) -> Option<Links> {
    let scheme = if config.api.tls == ApiTls::Implicit { "https" } else { "http" };
    let own = format!("{scheme}://{}", api?);
    Some(Links {
        key: key?.clone(),
        base: config.api.public_url.clone().unwrap_or(own),
        life: life(config),
        fallback: delivery::fallbacks(config),
    })
}

/// How long a post can live after its age began: it is tried, then it waits for
/// somebody or was delivered.
fn life(config: &Config) -> Duration {
    let terms = config.destinations.iter().map(|block| &block.terms).chain([&config.delivery.terms]);
    let oldest = terms.filter_map(|terms: &config::Terms| terms.max_age).max().unwrap_or_default();
    let config::Retention { delivered, failed, held, .. } = config.retention;
    oldest.saturating_add(failed.max(held)).saturating_add(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{MessageId, PostId, Timestamp};
    use std::os::unix::fs::PermissionsExt as _;

    fn signed(key: Option<LinkKey>) -> String {
        let api = "127.0.0.1:8025".parse().ok();
        let links = links(&Config::default(), key.as_ref(), api).unwrap();
        links.url(PostId { message: MessageId(1), number: 0 }, 1, Timestamp(0))
    }

    #[test]
    fn a_key_stays_and_is_nobody_elses() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = |directory: &Path| key(directory).unwrap();
        let own = signed(key(one.path()));
        assert!(own.starts_with("http://127.0.0.1:8025/attachments/0000000000000001/1?expires="), "{own}");
        assert_eq!(signed(key(one.path())), own);
        assert_ne!(signed(key(other.path())), own);
        let path = one.path().join("attachment-key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        let again = signed(key(one.path()));
        assert!(again != own && signed(key(one.path())) == again);
        assert!(key(&one.path().join("nowhere")).is_some());
    }

    #[test]
    fn what_cannot_be_read_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("attachment-key");
        fs::create_dir(&path).unwrap();
        let error = key(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&*path.to_string_lossy()) && error.contains("remove it"), "{error}");
        assert!(path.is_dir());
    }

    #[test]
    fn an_address_outlives_every_post() {
        let text = "[delivery]\nmax_age = \"1h\"\n[[destination]]\nmatch = \"*\"\nmax_age = \"2h\"\n\
                    [retention]\nfailed = \"3h\"\nheld = \"4h\"\ndelivered = \"5h\"";
        assert_eq!(life(&config::parse("x.toml", text).unwrap()), Duration::from_hours(11));
    }
}
