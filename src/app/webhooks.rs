//! Webhooks as the configuration has them, and the key that those of the API are sealed
//! with.
//!
//! The key stays in the data directory, beside the spool and not in it. One that is there
//! and is none is not replaced: what was sealed with it could never be opened again.

use super::links::keep;
use super::options::Common;
use crate::api;
use crate::config::{self, Config};
use crate::deliver;
use crate::deliver::inquiry::Inquirer;
use crate::fanout::SealKey;
use crate::fanout::shelf::Shelf;
use crate::fanout::webhook::{Settings, Webhook};
use crate::intake::Checks;
use crate::post::Timestamp;
use crate::tenant::Tenant;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Who asks receivers, for the doors and for webhooks, and the webhooks.
pub(super) fn open(config: &Config, common: &mut Common, delivery: watch::Receiver<Arc<deliver::Options>>) {
    let inquirer = Arc::new(Inquirer::new(delivery));
    common.checks = Checks::by(Arc::clone(&inquirer) as Arc<_>);
    let shelf = Arc::new(Shelf::new(common.shared_spool(), key(&config.server.data_dir)));
    shelf.fix(fixed(config));
    let hostname = config.server.hostname.clone();
    common.webhooks = Some(api::Webhooks { shelf, inquirer, hostname });
}

/// Puts the webhooks of another configuration in force.
pub(super) fn renew(common: &Common, config: &Config) {
    if let Some(webhooks) = &common.webhooks {
        webhooks.shelf.fix(fixed(config));
    }
}

/// Those of the configuration. Whoever wrote it need not be asked whether he wants them.
fn fixed(config: &Config) -> Vec<Webhook> {
    let webhook = |(at, webhook): (usize, &config::Webhook)| {
        let config::Webhook { settings, secret, tenant } = webhook;
        let earlier = config.webhooks.iter().take(at);
        let is_same = |it: &&config::Webhook| it.settings.url == settings.url && it.tenant == *tenant;
        let name = format!("{tenant}\n{}\n{}", settings.url, earlier.filter(is_same).count());
        let mark = HEXLOWER.encode(digest(&SHA256, name.as_bytes()).as_ref());
        Webhook {
            // The same after a restart, as long as it is told to the same URL.
            id: format!("wh_fixed_{}", mark.get(..16).unwrap_or(&mark)),
            tenant: Tenant::new(tenant),
            created_at: Timestamp::default(),
            settings: Settings {
                secret: secret.as_ref().map(|secret| secret.value.reveal().to_owned()),
                ..settings.clone()
            },
            token: mark,
            verified: Some((Timestamp::default(), "configuration".to_owned())),
            old_secret: None,
            last_success_at: None,
            last_failure_at: None,
        }
    };
    config.webhooks.iter().enumerate().map(webhook).collect()
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
