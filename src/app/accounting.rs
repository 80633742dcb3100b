//! Files of records as the configuration has them.

use crate::config::{self, Config, Discretion};
use crate::fanout::accounting::accounts::{Accounts, Terms};
use crate::fanout::accounting::{Fields, Naming, Privacy};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What each of them holds, and how long.
pub(super) fn terms(config: &Config) -> Vec<Terms> {
    // One that is neither is refused with the configuration.
    config.accounting.iter().filter_map(|file| self::file(config, file).ok()).collect()
}

fn file(config: &Config, file: &config::Accounting) -> Result<Terms, String> {
    let path = config.server.data_dir.join(&file.path);
    let fields: Vec<_> = file.fields.iter().map(String::as_str).collect();
    Ok(Terms {
        naming: Naming::of(&file.path)?.below(&config.server.data_dir),
        path,
        layout: file.format,
        types: file.types.clone(),
        fields: Fields::select(&fields)?,
        privacy: match (file.privacy, &file.privacy_key) {
            (Discretion::Retain, _) => Privacy::Retain,
            (Discretion::Hmac, Some(key)) => Privacy::hmac_sha256(key.value.reveal()),
            (Discretion::Redact | Discretion::Hmac, _) => Privacy::Redact,
        },
        filter: file.filter.clone(),
        max_octets: file.max_size.0,
        rotate: file.rotate,
        keep: file.keep,
        packing: file.compress,
    })
}

/// Has records written until `stopped` turns true, and then what is left.
pub(super) async fn begin(
    config: &Config,
    accounts: &Accounts,
    stopped: &watch::Receiver<bool>,
    parts: &mut JoinSet<()>,
) {
    accounts.renew(terms(config)).await;
    accounts.forget_others().await;
    parts.spawn(carry(accounts.clone(), stopped.clone()));
}

async fn carry(accounts: Accounts, mut stopped: watch::Receiver<bool>) {
    // Its sender lives as long as the gateway.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    accounts.end().await;
}
