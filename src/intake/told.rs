//! What is told of posts that are taken, as events that are kept with them or not at
//! all.

use super::Options;
use crate::envelope::Client;
use crate::event::Event;
use crate::event::posts::{self, News};
use crate::post::{Admission, Post};
use bytes::Bytes;

/// Adds what somebody wants to be told of each post; `remarks` are about the message.
pub(super) fn received(options: &Options, client: &Client, remarks: &[String], admission: &mut Admission) {
    let message = admission.blobs.first().map_or(0, Bytes::len);
    if options.wanted.is_wanted() {
        let told = admission.posts.iter().filter(|post| posts::is_told(post));
        let event = |post: &Post| {
            // No mail is without a recipient; what is without was handed in as a post.
            let size = if post.recipient.is_empty() { post.body.length as usize } else { message };
            let news = News::Received { size, source: options.source, client, remarks };
            posts::event(post, &news, post.accepted_at, fastrand::u128(..))
        };
        admission.events.reserve_exact(admission.posts.len());
        admission.events.extend(told.map(event));
    }
}

/// Adds what somebody wants to be told of what the message reports.
pub(super) fn reported(options: &Options, reported: Vec<Event>, admission: &mut Admission) {
    if options.wanted.is_wanted() {
        admission.events.extend(reported);
    }
}
