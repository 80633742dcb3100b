//! What is told of posts that are taken, as events that are kept with them or not at
//! all.

use super::Options;
use crate::envelope::Client;
use crate::event::Event;
use crate::event::posts::{self, News};
use crate::post::{Admission, Post};
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

/// Adds what somebody wants to be told of what the message reports.
pub(super) fn reported(options: &Options, reported: Vec<Event>, admission: &mut Admission) {
    if options.wanted.is_wanted() {
        admission.events.extend(reported);
    }
}
