//! Posts that are handed in as such: a request and how it is to be delivered, without
//! any mail.
//!
//! What may be asked for, and how much of it, is what a message may say of itself by
//! its controls (`control`). All posts that are handed in together are composed or
//! none is; everything that is wrong with any of them is told, by post and field. Equal
//! bodies are kept once. Whether a URL may be reached is not asked here.

use super::control::{self, Controls};
use super::{DEFAULT_PRIORITY, Endpoint, Options, Receipt, address, fingerprint, when};
use crate::post::{Admission, Blob, Field, Notice, Post, PostId, Sealed, Trust};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Faults after which no further post is looked at.
const MOST_FAULTS: usize = 200;

/// One post as it is asked for; all text as it was written.
#[derive(Clone, Debug, Default)]
pub struct Direct {
    /// Where to.
    pub url: String,
    /// HTTP method; POST without.
    pub method: Option<String>,
    /// Request headers, in order.
    pub headers: Vec<(String, String)>,
    /// `Content-Type`, before that of the body.
    pub content_type: Option<String>,
    /// What is sent; only GET and DELETE go without.
    pub body: Option<DirectBody>,
    /// A time, or a duration from now.
    pub not_before: Option<String>,
    /// The same.
    pub expires: Option<String>,
    /// 0 to 9.
    pub priority: Option<u64>,
    /// Keeps its order with others of the same key.
    pub ordering_key: Option<String>,
    /// Goes to the receiver, and makes a repeat a no-op.
    pub idempotency_key: Option<String>,
    /// Up to five.
    pub tags: Vec<String>,
    /// Name of a signing key.
    pub sign_with: Option<String>,
    /// Name of an auth profile.
    pub auth: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct DirectBody {
    /// The octets.
    pub octets: Bytes,
    /// Its type when nobody names another.
    pub usual_type: &'static str,
}

/// What is wrong with one of several posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its place among them.
    pub at: usize,
    /// Which field.
    pub field: String,
    /// What was expected.
    pub reason: String,
}

/// Composes posts of `tenant`; `key` makes a repeat of all of them a no-op. Either they
/// are all good, or what is wrong is told, at least of the first that are not.
pub fn direct(
    options: &Options,
    (tenant, key): (&Tenant, Option<String>),
    receipt: Receipt,
    asked: Vec<Direct>,
) -> Result<Admission, Vec<Fault>> {
    let mut bodies = Bodies::default();
    let mut faults = Vec::new();
    let mut posts: Vec<Post> = Vec::with_capacity(asked.len());
    let count = asked.len();
    let fingerprint = key.is_some().then(|| fingerprint::of_posts(&asked));
    for (at, asked) in asked.into_iter().enumerate() {
        if faults.len() >= MOST_FAULTS {
            break;
        }
        let number = u16::try_from(if count == 1 { 0 } else { at + 1 }).unwrap_or(u16::MAX);
        let place = Place { id: PostId { message: receipt.message, number }, tenant, receipt };
        let proof = Proof { at, faults: &mut faults };
        let Some(mut post) = place.post(options, asked, proof, &mut bodies) else { continue };
        if let Some(before) = posts.last().filter(|before| before.destination == post.destination) {
            post.destination = Arc::clone(&before.destination);
        }
        posts.push(post);
    }
    let mut proof = Proof { at: 0, faults: &mut faults };
    let idempotency_key = proof.read("idempotency_key", key.map(key_text).transpose()).flatten();
    if !faults.is_empty() {
        return Err(faults);
    }
    let (message, tenant) = (receipt.message, tenant.clone());
    let (blobs, events) = (bodies.blobs, Vec::new());
    let has_secrets = false;
    Ok(Admission { message, tenant, idempotency_key, fingerprint, blobs, posts, events, has_secrets })
}

fn key_text(key: String) -> Result<String, String> {
    control::visible(control::short(key)?.into_bytes())
}

fn line(text: String) -> Result<String, String> {
    control::short(control::plain(text)?)
}

/// What is wrong with one post, while it is read.
struct Proof<'f> {
    at: usize,
    faults: &'f mut Vec<Fault>,
}

impl Proof<'_> {
    /// A value, unless it is bad.
    fn read<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        let bad = |reason| self.faults.push(Fault { at: self.at, field: field.to_owned(), reason });
        value.map_err(bad).ok()
    }
}

/// Bodies that are kept: behind that of the mail, of which there is none.
struct Bodies {
    blobs: Vec<Bytes>,
    numbers: HashMap<Bytes, u16>,
}

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies { blobs: vec![Bytes::new()], numbers: HashMap::new() }
    }
}

impl Bodies {
    /// Keeps a body, unless one is the same.
    fn keep(&mut self, octets: Bytes) -> Result<Blob, String> {
        let length = u32::try_from(octets.len()).map_err(|_| "too large")?;
        if octets.is_empty() {
            return Ok(Blob { number: 0, start: 0, length });
        }
        if let Some(number) = self.numbers.get(&octets) {
            return Ok(Blob { number: *number, start: 0, length });
        }
        let number = u16::try_from(self.blobs.len()).map_err(|_| "too many posts")?;
        self.numbers.insert(octets.clone(), number);
        self.blobs.push(octets);
        Ok(Blob { number, start: 0, length })
    }
}

/// Which post is made, and whose.
struct Place<'a> {
    id: PostId,
    tenant: &'a Tenant,
    receipt: Receipt,
}

impl Place<'_> {
    /// The post, unless something is wrong with it.
    fn post(
        &self,
        options: &Options,
        mut asked: Direct,
        mut proof: Proof<'_>,
        bodies: &mut Bodies,
    ) -> Option<Post> {
        let before = proof.faults.len();
        let endpoint = asked.url.parse::<Endpoint>().map_err(|wrong| wrong.to_string());
        let endpoint = proof.read("url", endpoint);
        let body = asked.body.take();
        let controls = self.controls(options, asked, &mut proof);
        let method = controls.method.unwrap_or("POST");
        if body.is_none() && !matches!(method, "GET" | "DELETE") {
            proof.read::<()>("body", Err(format!("a {method} needs body, body_base64 or json")));
        }
        let usual_type = body.as_ref().map(|body| body.usual_type);
        let blob = proof.read("body", bodies.keep(body.map(|body| body.octets).unwrap_or_default()));
        let headers = endpoint.as_ref().and_then(|it| headers(&controls, it, usual_type, &mut proof));
        let (endpoint, body, headers) = (endpoint?, blob?, headers?);
        (proof.faults.len() == before).then(|| Post {
            id: self.id,
            accepted_at: self.receipt.received_at,
            destination: Arc::new(endpoint.destination(self.tenant)),
            headers,
            method: method.to_owned(),
            path: endpoint.path,
            body,
            idempotency_key: controls.idempotency_key.or(controls.receivers_key),
            sender: String::new(),
            recipient: String::new(),
            not_before_at: controls.not_before_at,
            expires_at: controls.expires_at,
            priority: controls.priority.unwrap_or(DEFAULT_PRIORITY),
            tags: controls.tags,
            xs_message_id: None,
            xs_mailing_id: None,
            ordering_key: controls.ordering_key,
            sign_with: controls.sign_with,
            auth: controls.auth,
            trace: None,
            notice: Notice::default(),
            trust: Trust::Wire,
            has_links: false,
            lean_body: None,
            batch: None,
            sealed: Sealed::default(),
        })
    }

    /// All but the URL and the body, as a message would ask for it.
    fn controls(&self, options: &Options, asked: Direct, proof: &mut Proof<'_>) -> Controls {
        let mut controls = Controls::default();
        let received_at = self.receipt.received_at;
        let mut octets = 0;
        let own_type = asked.content_type.map(|kind| ("content_type", "Content-Type".to_owned(), kind));
        let named = asked.headers.into_iter().map(|(name, value)| ("", name, value));
        for (field, name, value) in own_type.into_iter().chain(named) {
            let value = value.trim_matches([' ', '\t']).as_bytes().to_vec();
            let set = controls.set_header(&name, value, &mut octets);
            let field = if field.is_empty() { format!("headers.{name}") } else { field.to_owned() };
            proof.read(&field, set);
        }
        let method = asked.method.map(|text| address::method(&text).ok_or_else(control::expected_method));
        controls.method = proof.read("method", method.transpose()).flatten();
        let mut time = |field, text: Option<String>| {
            let at = text.map(|text| when::read(&text, received_at));
            proof.read(field, at.transpose()).flatten()
        };
        controls.not_before_at = time("not_before", asked.not_before);
        controls.expires_at = time("expires", asked.expires);
        let priority = asked.priority.map(|number| control::priority(&number.to_string()));
        controls.priority = proof.read("priority", priority.transpose()).flatten();
        for (at, tag) in asked.tags.into_iter().enumerate() {
            let tagged = line(tag).and_then(|tag| controls.tag(tag));
            proof.read(&format!("tags[{at}]"), tagged);
        }
        let ordering_key = asked.ordering_key.map(|key| line(key.trim().to_owned()));
        controls.ordering_key = proof.read("ordering_key", ordering_key.transpose()).flatten();
        let key = asked.idempotency_key.map(key_text);
        controls.idempotency_key = proof.read("idempotency_key", key.transpose()).flatten();
        (controls.sign_with, controls.auth) = (asked.sign_with, asked.auth);
        proof.read("sign_with", controls.check_key(options));
        proof.read("auth", controls.check_profile(options));
        proof.read("expires", controls.check_times(received_at));
        controls
    }
}

/// The header of the request, in the order to be sent.
fn headers(
    controls: &Controls,
    endpoint: &Endpoint,
    usual_type: Option<&str>,
    proof: &mut Proof<'_>,
) -> Option<Vec<Field>> {
    let field = |name: &str, value: &str| Field { name: name.to_owned(), value: value.as_bytes().to_vec() };
    let kind = controls.content_type.as_deref().or(usual_type);
    let mut headers: Vec<_> = kind.map(|kind| field("Content-Type", kind)).into_iter().collect();
    if let Some(authorization) = &endpoint.authorization {
        let is_twice = |field: &Field| field.name.eq_ignore_ascii_case("Authorization");
        let twice = controls.headers.iter().find(|field| is_twice(field));
        let once = twice.map_or(Ok(()), |_| Err("the URL holds credentials already".to_owned()));
        proof.read("headers.Authorization", once)?;
        headers.push(field("Authorization", authorization));
    }
    headers.extend(controls.headers.iter().cloned());
    Some(headers)
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
