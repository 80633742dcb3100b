//! A spool in front of a spool, which keeps what is secret in posts from it.
//!
//! Values of fields that prove who sends a post (`Authorization`, `Cookie`, keys and
//! tokens) and paths with tokens in them are sealed before the spool behind gets them, and
//! opened when a request is made of the post: between that, in memory and in answers, it
//! shows `***`. The message may say the same anywhere, and so may what was composed of it:
//! both are veiled as a whole. Posts without secrets pass as they are.
//!
//! Without the key of what was sealed, or with another, a post stays where it is and says
//! so: it is never sent without what it was to prove. Nor is one taken that could not be
//! sealed.

use super::{
    Attempt, Census, Claim, Claimed, Committed, Content, Counts, Doorbell, Earlier, Health, Later, Noted,
    Order, Page, Query, Settlement, Spool, SpoolError, Usage,
};
use crate::event::{Event, Mark};
use crate::masked::{self, Masked};
use crate::post::{Admission, Blob, Destination, Field, HIDDEN, Post, PostId};
use crate::seal::{MessageKey, Salt, SealKey};
use crate::tenant::Tenant;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// What is veiled in one go holds up nobody up to so many octets.
const SMALL: usize = 128 * 1024;

/// The values of fields.
type Values = Zeroizing<Vec<Vec<u8>>>;

/// See the module.
pub struct Sealing {
    spool: Arc<dyn Spool>,
    key: Option<Arc<SealKey>>,
}

impl Sealing {
    /// In front of this spool; without a key posts with secrets are neither taken nor sent.
    pub fn new(spool: Arc<dyn Spool>, key: Option<Arc<SealKey>>) -> Sealing {
        Sealing { spool, key }
    }

    fn key(&self) -> Result<&SealKey, SpoolError> {
        self.key.as_deref().ok_or(SpoolError::Sealed)
    }

    /// Takes the veil off a piece of the message of a post, off the runtime if it is large.
    async fn unveiled(&self, post: &Post, blob: Blob, octets: Bytes) -> Result<Bytes, SpoolError> {
        if post.sealed.fields.is_none() || blob.length as usize <= SMALL {
            return unveiled(self.key.as_deref(), post, blob, octets);
        }
        let (key, post) = (self.key.clone(), post.clone());
        let unveiled = spawn_blocking(move || unveiled(key.as_deref(), &post, blob, octets)).await;
        unveiled.map_err(|_| SpoolError::Closed)?
    }
}

/// A post as it is sent, with what is sealed of it. [`SpoolError::Sealed`] without the key
/// that it was sealed with.
pub fn unsealed(key: Option<&SealKey>, post: &Post) -> Result<Post, SpoolError> {
    let (key, mut opened) = (|| key.ok_or(SpoolError::Sealed), post.clone());
    if let Some(fields) = &post.sealed.fields {
        let (_, mut values) = message_key(key()?, post.id, fields)?;
        // A post that was sent on to another origin has none of them left.
        let hidden: Vec<_> = opened.hidden_fields().collect();
        if ![0, values.len()].contains(&hidden.len()) {
            return Err(SpoolError::Sealed);
        }
        hidden
            .into_iter()
            .zip(values.iter_mut())
            .for_each(|(field, value)| field.value = std::mem::take(value));
    }
    if let Some(path) = &post.sealed.path {
        let own = key()?.of_sealed(path).ok_or(SpoolError::Sealed)?;
        let text = own.open(&path_name(&post.destination), path).ok_or(SpoolError::Sealed)?;
        opened.path = std::str::from_utf8(&text).map_err(|_| SpoolError::Sealed)?.to_owned();
    }
    Ok(opened)
}

/// Takes the veil off a piece of the message of a post. [`SpoolError::Sealed`] without the
/// key that it was veiled with.
pub fn unveiled(key: Option<&SealKey>, post: &Post, blob: Blob, octets: Bytes) -> Result<Bytes, SpoolError> {
    let Some(fields) = &post.sealed.fields else { return Ok(octets) };
    let key = message_key(key.ok_or(SpoolError::Sealed)?, post.id, fields)?.0;
    Ok(veiled(&key, (blob.number, blob.start), octets))
}

/// Whether anything of it must be sealed.
fn hides(admission: &Admission) -> bool {
    let hides = |post: &Post| masked::hides(&post.path) || post.headers.iter().any(Field::hides);
    // What tells a webhook of posts shows none of their secrets.
    admission.has_secrets || admission.posts.iter().any(hides)
}

/// The message with its secrets sealed, and veiled.
fn sealed(key: &SealKey, mut admission: Admission) -> Result<Admission, SpoolError> {
    let key = fresh(key)?;
    for post in &mut admission.posts {
        seal(&key, post).ok_or(SpoolError::Sealed)?;
    }
    let numbers = 0..=u16::MAX;
    let blobs = numbers.zip(std::mem::take(&mut admission.blobs));
    admission.blobs = blobs.map(|(number, blob)| veiled(&key, (number, 0), blob)).collect();
    Ok(admission)
}

/// The keys of a message that is sealed now.
fn fresh(key: &SealKey) -> Result<MessageKey, SpoolError> {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(|_| SpoolError::Sealed)?;
    Ok(key.of_message(salt))
}

/// Seals what a post hides. Each has two numbers that no other of its message has.
fn seal(key: &MessageKey, post: &mut Post) -> Option<()> {
    let (name, number) = (fields_name(post.id), 2 * u64::from(post.id.number));
    let hide = |field: &mut Field| std::mem::replace(&mut field.value, HIDDEN.into());
    let values: Values = Zeroizing::new(post.hidden_fields().map(hide).collect());
    let text = Zeroizing::new(postcard::to_stdvec(&*values).ok()?);
    post.sealed.fields = Some(key.seal(&name, number, &text)?.into());
    if masked::hides(&post.path) {
        post.recipient = masked::recipient(post);
        let path = key.seal(&path_name(&post.destination), number + 1, post.path.as_bytes())?;
        post.sealed.path = Some(path.into());
        post.path = Masked(&post.path).to_string();
    }
    Some(())
}

/// What the fields of a post are sealed for.
fn fields_name(id: PostId) -> String {
    format!("fields {id}")
}

/// What a path is sealed for.
fn path_name(destination: &Destination) -> String {
    format!("path {destination}")
}

/// The keys of the message of a post, and the values that its fields hide.
fn message_key(key: &SealKey, id: PostId, fields: &[u8]) -> Result<(MessageKey, Values), SpoolError> {
    let own = key.of_sealed(fields).ok_or(SpoolError::Sealed)?;
    let text = own.open(&fields_name(id), fields).ok_or(SpoolError::Sealed)?;
    let values = postcard::from_bytes(&text).map_err(|_| SpoolError::Sealed)?;
    Ok((own, Zeroizing::new(values)))
}

/// The octets from here on in a blob with their veil, or without that they had.
fn veiled(key: &MessageKey, from: (u16, u32), octets: Bytes) -> Bytes {
    let mut octets = octets.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    key.veil(from, &mut octets);
    octets.freeze()
}

impl Spool for Sealing {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        if !hides(&admission) {
            return self.spool.commit(admission);
        }
        let Some(key) = self.key.clone() else { return Box::pin(async { Err(SpoolError::Sealed) }) };
        if admission.all_octets() <= SMALL {
            return match sealed(&key, admission) {
                Ok(admission) => self.spool.commit(admission),
                Err(error) => Box::pin(async { Err(error) }),
            };
        }
        Box::pin(async move {
            let sealed = spawn_blocking(move || sealed(&key, admission)).await;
            self.spool.commit(sealed.map_err(|_| SpoolError::Closed)??).await
        })
    }

    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes> {
        let body = self.spool.body(claim);
        if claim.post.sealed.fields.is_none() {
            return body;
        }
        Box::pin(async move { self.unveiled(&claim.post, claim.post.body, body.await?).await })
    }

    fn may_send(&self) -> Result<(), SpoolError> {
        self.spool.may_send()
    }

    fn unsealed(&self, post: &Arc<Post>) -> Result<Arc<Post>, SpoolError> {
        if post.sealed.is_empty() {
            return Ok(Arc::clone(post));
        }
        unsealed(self.key.as_deref(), post).map(Arc::new)
    }

    fn order(&self, which: Query, order: Order) -> Later<'_, u64> {
        let order = match order {
            Order::Reroute { destination, trust, path, .. } if masked::hides(&path) => {
                let sealed = self.key().and_then(fresh).and_then(|key| {
                    key.seal(&path_name(&destination), 0, path.as_bytes()).ok_or(SpoolError::Sealed)
                });
                let sealed = match sealed {
                    Ok(sealed) => Some(sealed.into()),
                    Err(error) => return Box::pin(async { Err(error) }),
                };
                Order::Reroute { destination, trust, path: Masked(&path).to_string(), sealed }
            }
            order => order,
        };
        self.spool.order(which, order)
    }

    fn content(&self, id: PostId) -> Later<'_, Content> {
        Box::pin(async move {
            let Content { post, body, message } = self.spool.content(id).await?;
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let whole = Blob { number: 0, start: 0, length };
            let body = self.unveiled(&post, post.body, body).await?;
            let message = self.unveiled(&post, whole, message).await?;
            Ok(Content { post, body, message })
        })
    }

    fn earlier<'a>(&'a self, tenant: &'a Tenant, key: &'a str) -> Later<'a, Option<Earlier>> {
        self.spool.earlier(tenant, key)
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        self.spool.lanes()
    }

    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed> {
        self.spool.claim(lane, max)
    }

    fn claim_expired<'a>(
        &'a self,
        lane: &'a Arc<Destination>,
        max_age: Duration,
        max: usize,
    ) -> Later<'a, Claimed> {
        self.spool.claim_expired(lane, max_age, max)
    }

    fn settle(&self, done: Vec<(Claim, Settlement)>, events: Vec<Event>) -> Later<'_, ()> {
        self.spool.settle(done, events)
    }

    fn keeps(&self, post: &Post) -> bool {
        self.spool.keeps(post)
    }

    fn publish(&self, events: Vec<Event>) -> Later<'_, ()> {
        self.spool.publish(events)
    }

    fn events(&self, after: Mark) -> Later<'_, (Mark, Vec<Event>)> {
        self.spool.events(after)
    }

    fn search(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Page> {
        self.spool.search(which, before, most)
    }

    fn census(&self, which: Query) -> Later<'_, Census> {
        self.spool.census(which)
    }

    fn attempts(&self, id: PostId) -> Later<'_, Vec<Attempt>> {
        self.spool.attempts(id)
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        self.spool.counts()
    }

    fn note<'a>(&'a self, key: &'a str) -> Later<'a, Option<Noted>> {
        self.spool.note(key)
    }

    fn notes<'a>(&'a self, beginning: &'a str) -> Later<'a, Vec<(String, Noted)>> {
        self.spool.notes(beginning)
    }

    fn set_note<'a>(&'a self, key: &'a str, value: Option<Bytes>, expect: Option<u64>) -> Later<'a, u64> {
        self.spool.set_note(key, value, expect)
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        self.spool.doorbell()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.spool.health()
    }

    fn damages(&self) -> u64 {
        self.spool.damages()
    }

    fn usage(&self) -> Later<'_, Option<Usage>> {
        self.spool.usage()
    }
}
