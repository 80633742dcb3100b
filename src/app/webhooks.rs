//! Webhooks as the configuration has them, and what those of the API need.

use super::options::Common;
use crate::api;
use crate::config::{self, Config};
use crate::deliver;
use crate::deliver::inquiry::Inquirer;
use crate::fanout::engine::{self, Fanout, Spooled};
use crate::fanout::replay::Replays;
use crate::fanout::shelf::Shelf;
use crate::fanout::webhook::{Settings, Webhook};
use crate::intake::Checks;
use crate::post::Timestamp;
use crate::tenant::Tenant;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use tokio::sync::watch;

/// Who asks receivers, for the doors and for webhooks, and the webhooks; answers what
/// they are told by. What they are still to be told of is held from here on.
pub(super) async fn open(
    config: &Config,
    common: &mut Common,
    delivery: watch::Receiver<Arc<deliver::Options>>,
) -> (engine::Options, engine::Requests, (Replays, (Fanout, Arc<Shelf>))) {
    let inquirer = Arc::new(Inquirer::new(delivery));
    common.checks = Checks::by(Arc::clone(&inquirer) as Arc<_>);
    let spool = common.shared_spool();
    let told = (common.subscribers.clone(), common.wanted.clone());
    let key = common.seal_key.clone();
    let shelf = Arc::new(Shelf::new(Arc::clone(&spool), key, told, common.journal.clone()));
    shelf.fix(fixed(config));
    if let Err(error) = shelf.recall().await {
        tracing::error!("the webhooks of the API cannot be read: {error}");
    }
    let hostname = config.server.hostname.clone();
    let (fanout, requests) = Fanout::new();
    let options = engine::Options {
        shelf: Arc::clone(&shelf),
        journal: common.journal.clone(),
        spool: Spooled(spool),
        ids: Arc::clone(&common.ids),
        subscribers: common.subscribers.clone(),
        hostname: hostname.clone(),
        retain_held: config.retention.held,
    };
    engine::prepare(&options).await;
    let replays = Replays::new(options.spool.0.clone(), options.journal.clone());
    common.webhooks =
        Some(api::Webhooks { shelf: Arc::clone(&shelf), inquirer, hostname, replays: replays.clone() });
    (options, requests, (replays, (fanout, shelf)))
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
        // The same after a restart, as long as it is told to the same URL.
        let id = format!("wh_fixed_{}", mark.get(..16).unwrap_or(&mark));
        let secret = secret.as_ref().map(|secret| secret.value.reveal().to_owned().into());
        let settings = Settings { secret, ..settings.clone() };
        let webhook = Webhook::new((id, Tenant::new(tenant)), Timestamp::default(), settings, mark);
        let verified = Some((Timestamp::default(), "configuration".to_owned()));
        Webhook { verified, ..webhook }
    };
    config.webhooks.iter().enumerate().map(webhook).collect()
}
