//! Webhooks as the configuration has them, and the key that those of the API are sealed
//! with.
//!
//! The key stays in the data directory, beside the spool and not in it. One that is there
//! and is none is not replaced: what was sealed with it could never be opened again.

use super::links::keep;
use crate::api;
use crate::config::Config;
use crate::deliver::inquiry::Inquirer;
use crate::fanout::SealKey;
use crate::fanout::shelf::Shelf;
use crate::spool::Spool;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The webhooks of a gateway.
pub(super) fn open(config: &Config, spool: Arc<dyn Spool>, inquirer: Arc<Inquirer>) -> api::Webhooks {
    let shelf = Shelf::new(spool, key(&config.server.data_dir));
    api::Webhooks { shelf: Arc::new(shelf), inquirer, hostname: config.server.hostname.clone() }
}

/// The key that an earlier process left in `directory`, or a new one that is kept there.
/// Without one webhooks cannot be made, and those that were cannot be read.
fn key(directory: &Path) -> Option<SealKey> {
    let path = directory.join("webhook-key");
    let octets = match fs::read(&path).map(<[u8; SealKey::LENGTH]>::try_from) {
        Ok(Ok(octets)) => Ok(octets),
        Ok(Err(_)) => Err("is not a key; put the right one there".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fresh(&path),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    let octets = octets.map_err(|why| tracing::error!("no webhooks of the API: {} {why}", path.display()));
    SealKey::new(&octets.ok()?)
}

fn fresh(path: &Path) -> Result<[u8; SealKey::LENGTH], String> {
    let mut octets = [0; SealKey::LENGTH];
    getrandom::fill(&mut octets).map_err(|error| format!("cannot be made: no randomness: {error}"))?;
    keep(path, &octets).map_err(|error| format!("cannot be written: {error}"))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_stays_is_nobody_elses_and_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webhook-key");
        assert!(key(directory.path()).is_some());
        let first = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(key(directory.path()).is_some());
        assert_eq!(fs::read(&path).unwrap(), first);
        fs::write(&path, "short").unwrap();
        assert!(key(directory.path()).is_none());
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert!(key(&directory.path().join("nowhere")).is_none(), "one that is not kept seals nothing");
    }
}
