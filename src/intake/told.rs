//! What is told of posts that are taken, as events that are kept with them or not at
//! all.

use super::Options;
use crate::clock;
use crate::envelope::Client;
use crate::event::Event;
use crate::event::posts::{self, News};
use crate::post::{Admission, Post};
use crate::spool::{Query, Spool};
use bytes::Bytes;

/// Adds what somebody wants to be told of each post.
pub(super) fn received(options: &Options, client: &Client, admission: &mut Admission) {
    let size = admission.blobs.first().map_or(0, Bytes::len);
    let news = News::Received { size, source: options.source, client };
    if options.wanted.is_wanted() {
        let told = admission.posts.iter().filter(|post| posts::is_told(post));
        let event = |post: &Post| posts::event(post, &news, post.accepted_at, fastrand::u128(..));
        admission.events.extend(told.map(event));
    }
}

/// What is told of a post when it is deleted because its client is to bring it again.
pub(super) async fn handing_back(options: &Options, spool: &dyn Spool, which: &Query) -> Option<Event> {
    if !options.wanted.is_wanted() {
        return None;
    }
    let listed = spool.page(which.clone(), None, 1).await.ok()?.pop()?;
    let news = News::Failed { attempts: listed.ended, last: None, reason: "handed-back" };
    Some(posts::event(&listed.post, &news, clock::wall(), fastrand::u128(..)))
}

/// Publishes what is told of a post that has gone.
pub(super) async fn publish(spool: &dyn Spool, told: Option<Event>) {
    let Some(event) = told else { return };
    if let Err(error) = spool.publish(vec![event]).await {
        tracing::error!("cannot publish that a post was handed back: {error}");
    }
}

/// Adds what somebody wants to be told of what the message reports.
pub(super) fn reported(options: &Options, reported: Vec<Event>, admission: &mut Admission) {
    if options.wanted.is_wanted() {
        admission.events.extend(reported);
    }
}
