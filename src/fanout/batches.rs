//! Batches as posts: each body once, and a post for each webhook that it is for.
//!
//! The webhook is named by the destination; its path, headers and secrets are not here:
//! delivery knows them. What was reached in the journal stands in each post, so that a
//! batch and its position are kept together or not at all.

use super::group::{Closed, Member, Wish};
use super::{Body, Told, bodies, headers};
use crate::clock::Ids;
use crate::post::{Admission, Batch, Blob, Field, Post, PostId, Timestamp};
use bytes::Bytes;
use std::sync::Arc;

/// The header that says the CRC-32C of a batch's body, before it is compressed: nobody else
/// remembers the body of one that is over.
pub(super) const CHECKSUM: &str = "Postgate-Checksum";

/// What it says of a body.
pub(super) fn checksum(body: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(body))
}

/// Posts of one admission at most, if one body does not make more.
const POSTS: usize = 1000;
/// Octets of their bodies.
const OCTETS: usize = 8 << 20;

/// A full batch, and whose it is.
pub(super) struct Full {
    pub wish: Arc<Wish>,
    pub members: Vec<Member>,
    pub closed: Closed,
    /// Where that is less: what was told again moves no position.
    pub reached: Option<u64>,
}

/// Makes posts of batches, in as few admissions as may be.
pub(super) struct Press<'a> {
    pub ids: &'a Ids,
    pub hostname: &'a str,
    pub now: Timestamp,
    made: Vec<Admission>,
    octets: usize,
}

impl<'a> Press<'a> {
    pub fn new(ids: &'a Ids, hostname: &'a str, now: Timestamp) -> Press<'a> {
        Press { ids, hostname, now, made: Vec::new(), octets: 0 }
    }

    /// Adds a batch.
    pub fn add(&mut self, full: &Full) {
        let events = &full.closed.events;
        if full.wish.is_single() {
            for one in events {
                self.add_bodies(full, std::slice::from_ref(one), one.0);
            }
        } else {
            self.add_bodies(full, events, full.closed.reached);
        }
    }

    /// One body, or two halves of what is too long in this format.
    fn add_bodies(&mut self, full: &Full, events: &[(u64, Arc<Told>)], reached: u64) {
        let told: Vec<&Told> = events.iter().map(|(_, told)| &**told).collect();
        let wish = &full.wish;
        for body in bodies(wish.format(), &told, wish.style(self.hostname)) {
            if body.events > 1 && body.octets.len() > wish.most_octets() {
                let (first, second) = events.split_at(events.len() / 2);
                let between = first.last().map_or(reached, |(position, _)| *position);
                self.add_bodies(full, first, between);
                self.add_bodies(full, second, reached);
                return;
            }
            self.add_body(full, body, full.reached.unwrap_or(reached));
        }
    }

    fn add_body(&mut self, full: &Full, body: Body, reached: u64) {
        let is_full = |admission: &Admission, octets: usize| {
            admission.tenant != *full.wish.tenant()
                || admission.posts.len() + full.members.len() > POSTS && !admission.posts.is_empty()
                || octets + body.octets.len() > OCTETS && !admission.posts.is_empty()
        };
        if self.made.last().is_none_or(|last| is_full(last, self.octets)) {
            self.octets = 0;
            self.made.push(Admission {
                message: self.ids.next(),
                tenant: full.wish.tenant().clone(),
                idempotency_key: None,
                fingerprint: None,
                blobs: vec![Bytes::new()],
                posts: Vec::new(),
                events: Vec::new(),
                has_secrets: false,
            });
        }
        let Some(admission) = self.made.last_mut() else { return };
        let number = u16::try_from(admission.blobs.len()).unwrap_or(u16::MAX);
        let length = u32::try_from(body.octets.len()).unwrap_or(u32::MAX);
        let blob = Blob { number, start: 0, length };
        let checksum = checksum(&body.octets);
        let batch = Batch { events: u32::try_from(body.events).unwrap_or(u32::MAX), reached };
        for member in &full.members {
            let number = u16::try_from(admission.posts.len() + 1).unwrap_or(u16::MAX);
            let id = PostId { message: admission.message, number };
            let all = [("Content-Type", body.content_type.to_owned()), (CHECKSUM, checksum.clone())];
            let own = headers(full.wish.format(), &id.to_string(), self.hostname);
            let field = |(name, value): (&str, String)| Field { name: name.to_owned(), value: value.into() };
            let headers = all.into_iter().chain(own).map(field).collect();
            admission.posts.push(Post {
                headers,
                recipient: member.id.to_string(),
                trust: member.trust,
                batch: Some(batch),
                ..Post::own(id, self.now, Arc::clone(&member.destination), blob)
            });
        }
        self.octets += body.octets.len();
        admission.blobs.push(body.octets);
    }

    /// What came of it.
    pub fn finish(self) -> Vec<Admission> {
        self.made
    }
}
