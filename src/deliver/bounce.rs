//! Reports to senders of posts that were given up, as posts of their own.
//!
//! A report is admitted to the spool before the post that it is about is settled,
//! under an idempotency key that names that post: a crash in between makes no
//! second report, and none is lost. From then on it is delivered like any post, in
//! a lane of its own to the relay; it has no sender, so none is reported about it.

use super::conclusion::Conclusion;
use super::profile::Bounce;
use super::shop::{Settled, Shop};
use super::work::{Done, SPOOL_PAUSE};
use crate::clock::{self, Ids};
use crate::compose::notice::{self, Failure, Reporter};
use crate::event::Event;
use crate::masked::Masked;
use crate::metrics::Metrics;
use crate::post::{Admission, Blob, Destination, Post, PostId, Scheme, Timestamp, Trust};
use crate::spool::{Attempt, Claim, Committed, Content, Settlement, Spool, SpoolError};
use bytes::Bytes;
use std::sync::Arc;

/// Reports go before other mail.
const PRIORITY: u8 = 0;

/// Whether a failure is to be reported before it is noted.
pub(super) fn is_due(shop: &Shop, claim: &Claim) -> bool {
    shop.bounce.is_some() && notice::is_wanted(&claim.post)
}

/// Counts what became of a report, or that there is none because nobody could have it.
pub(super) fn count(metrics: &Metrics, post: &Post, conclusion: &Conclusion) {
    let counter = match (conclusion, post.destination.scheme) {
        (Conclusion::Settled(settled), Scheme::Smtp) if settled.is_delivered() => &metrics.reports_delivered,
        (Conclusion::Failed(_), Scheme::Smtp) => &metrics.reports_failed,
        (Conclusion::Failed(_), _) if post.sender.is_empty() => &metrics.reports_dropped,
        _ => return,
    };
    counter.inc();
}

/// Settles failures, each after its report when one is due.
pub(super) async fn report_and_settle(shop: Arc<Shop>, failed: Vec<(Claim, Attempt, Option<Event>)>) -> Done {
    for (claim, last, event) in failed {
        if let Some(bounce) = &shop.bounce
            && is_due(&shop, &claim)
        {
            report(&shop, bounce, &claim, &last).await;
        }
        shop.settle(Settled::one(claim, Settlement::Failed { last }, event)).await;
    }
    Done::Nothing
}

/// Admits the report of a post that ended with this attempt. A spool that fails is
/// asked again and again: the post is not settled before.
async fn report(shop: &Shop, bounce: &Bounce, claim: &Claim, last: &Attempt) {
    let (spool, id) = (&*shop.spool, claim.post.id);
    let Some(Content { message, .. }) = content(spool, id).await else { return };
    if !notice::is_reportable(&message) {
        tracing::info!(post = %id, "no report of its failure: its message was not sent by a person");
        return;
    }
    let admission = admission((bounce, &shop.ids), claim, last, &message);
    let octets = admission.octets();
    loop {
        match spool.commit(admission.clone()).await {
            Ok(Committed::Kept) => {
                shop.metrics.accept(1, octets);
                shop.metrics.reports_made.inc();
                return tracing::info!(post = %id, "its sender gets a report of its failure");
            }
            // It failed before, not long ago, and its sender knows.
            Ok(Committed::Repeated(_)) => return,
            Err(SpoolError::Closed) => return,
            Err(error) => tracing::error!(post = %id, "cannot keep the report of its failure: {error}"),
        }
        tokio::time::sleep(SPOOL_PAUSE).await;
    }
}

async fn content(spool: &dyn Spool, id: PostId) -> Option<Content> {
    loop {
        match spool.content(id).await {
            Ok(content) => return Some(content),
            // It was deleted just now.
            Err(SpoolError::Closed | SpoolError::Unknown) => return None,
            Err(error @ (SpoolError::Damaged(_) | SpoolError::Sealed)) => {
                tracing::error!(post = %id, "no report of its failure: its message cannot be read: {error}");
                return None;
            }
            Err(error) => tracing::error!(post = %id, "cannot read the message of a failed post: {error}"),
        }
        tokio::time::sleep(SPOOL_PAUSE).await;
    }
}

/// The report as a message of one post.
fn admission((bounce, ids): (&Bounce, &Ids), claim: &Claim, last: &Attempt, message: &[u8]) -> Admission {
    let (post, message_id, at) = (&*claim.post, ids.next(), clock::wall());
    let url = || Masked(&format!("{}{}", post.destination, post.path)).to_string();
    let url = (post.trust == Trust::Wire).then(url);
    let failure = Failure {
        post,
        url: url.as_deref(),
        recipient: &Masked(&post.recipient).to_string(),
        attempts: claim.ended.saturating_add(1),
        status: last.status,
        reason: &last.reason,
        excerpt: &last.excerpt,
        last_at: if last.started_at == Timestamp::default() { at } else { last.started_at },
        message,
    };
    let id = message_id.to_string();
    let reporter = Reporter { hostname: &bounce.hostname, from: &bounce.from, id: &id, at };
    let report = Bytes::from(notice::compose(reporter, &failure));
    let body = Blob { number: 0, start: 0, length: u32::try_from(report.len()).unwrap_or(u32::MAX) };
    let posts = vec![report_post(bounce, post, PostId { message: message_id, number: 0 }, (at, body))];
    let (tenant, key) = (post.destination.tenant.clone(), format!("bounce:{}", post.id));
    let idempotency_key = Some(key);
    let (fingerprint, events) = (None, Vec::new());
    // It repeats what the message says.
    let has_secrets = !post.sealed.is_empty();
    Admission {
        message: message_id,
        tenant,
        idempotency_key,
        fingerprint,
        blobs: vec![report],
        posts,
        events,
        has_secrets,
    }
}

/// A post to the relay about a post that failed.
fn report_post(bounce: &Bounce, failed: &Post, id: PostId, (at, body): (Timestamp, Blob)) -> Post {
    let destination = Destination {
        tenant: failed.destination.tenant.clone(),
        scheme: Scheme::Smtp,
        host: bounce.relay.host.clone(),
        port: bounce.relay.port,
        webhook: None,
    };
    Post {
        method: "MAIL".to_owned(),
        recipient: failed.sender.clone(),
        priority: PRIORITY,
        ..Post::own(id, at, Arc::new(destination), body)
    }
}
