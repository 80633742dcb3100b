//! Composing: one message becomes finished posts, one for each recipient, or for each
//! of the routes that take it.
//!
//! A rule from end to end: the message, its envelope and the moment of its
//! receipt go in, an admission or a refusal comes out, always the same one. All
//! recipients get their posts or none does. A message is read once, whatever
//! the number of recipients; a body that is a piece of the message is not
//! copied, equal bodies are kept once. What cannot be taken apart is posted
//! whole and marked, never refused and never lost. Nothing here asks whether a
//! URL may be reached or a client be trusted.

mod address;
mod attachments;
mod base64;
mod body;
mod contents;
mod control;
mod decode;
mod direct;
mod doubts;
mod endpoint;
mod entry;
mod fingerprint;
mod forms;
mod html;
mod json;
mod json_octets;
mod json_repairs;
mod letter;
mod links;
pub(crate) mod mail;
mod mime;
mod names;
pub mod notice;
mod pattern;
mod payload;
mod pieces;
mod plan;
mod publish;
mod render;
mod reply;
mod report;
mod room;
mod safe_html;
mod template;
mod text;
mod value;
mod vendor;
mod when;

pub use address::{hides_credentials, routes, target};
pub use attachments::{Attachments, File, Room, attachment};
pub use control::{is_reserved, without_secrets};
pub use direct::{Direct, DirectBody, Fault, direct};
pub use endpoint::{BadUrl, Endpoint, MAX_URL};
pub use entry::{Allowed, Answer, Check, CheckFallback, CheckFormat, Entry, Facts};
pub use forms::forms;
pub use letter::{Enclosure, Letter};
pub use links::{BadLink, Link, LinkKey, Links};
pub use notice::failure_status;
pub use pattern::Pattern;
pub use payload::{Payload, Vendor};
pub use safe_html::safe_html;
pub use template::{Mistake, Origin, Templates};

use crate::envelope::{Envelope, Refusal};
use crate::event::Event;
use crate::post::{Admission, Field, MessageId, Post, PostId, Sealed, Timestamp};
use bytes::Bytes;
use control::Controls;
use plan::{Matter, Plan};
use render::{About, Renderer};
use std::sync::Arc;
use std::time::Duration;

/// Hops that a message may have come through; beyond them it goes in circles
/// (RFC 5321 section 6.3).
const MAX_HOPS: usize = 50;

/// Priority of a post whose message names none.
const DEFAULT_PRIORITY: u8 = 5;

/// What composing needs of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Domains of the recipient forms that hold a URL; compared without case.
    pub gateway_domains: Vec<String>,
    /// Configured recipients; of the highest priority the more specific pattern wins,
    /// and all routes of that pattern and priority make posts.
    pub routes: Vec<Route>,
    /// Whether controls count for recipients that hold a URL.
    pub header_control: HeaderControl,
    /// What payload `template:NAME` may name.
    pub templates: Arc<Templates>,
    /// What is read of a message at most.
    pub limits: Limits,
    /// Names of the signing keys that a message may ask for.
    pub signing_keys: Vec<String>,
    /// Names of the auth profiles that a message may ask for.
    pub profiles: Vec<String>,
    /// How addresses of attachments are made; without, all come with their contents.
    pub links: Option<Arc<Links>>,
}

/// Bounds that keep reading cheap; past them a message is posted unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a header section.
    pub header_octets: usize,
    /// Fields of a header section.
    pub header_fields: usize,
    /// Multiparts within each other.
    pub mime_depth: usize,
    /// Parts of a message.
    pub mime_parts: usize,
    /// Octets that all posts of a message may add to it.
    pub composed_octets: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_octets: 256 * 1024,
            header_fields: 1000,
            mime_depth: 64,
            mime_parts: 1000,
            composed_octets: 384 * 1024 * 1024,
        }
    }
}

/// A configured recipient and what becomes of its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which recipients; names the route.
    pub recipient: Pattern,
    /// Higher ones are asked first.
    pub priority: i32,
    /// Whose mail is taken for it, and how much.
    pub entry: Entry,
    /// HTTP method in capitals.
    pub method: String,
    /// Where to.
    pub url: Endpoint,
    /// In which format.
    pub payload: Payload,
    /// How attachments come, in formats that have a place for them.
    pub attachments: Attachments,
    /// Words for a template.
    pub vars: Vec<(String, String)>,
    /// Whether one of them is a secret.
    pub has_secret_vars: bool,
    /// Whether the message's own controls count.
    pub header_control: HeaderControl,
    /// What becomes of reports about mail that was sent.
    pub reports: Reports,
    /// Fixed request headers; a message cannot change them.
    pub headers: Vec<Field>,
    /// Whether its posts keep the order of their messages.
    pub order: Order,
    /// When the client hears what became of a post.
    pub mode: Mode,
    /// Name of the key that signs its posts, before that of the destination.
    pub sign_with: Option<String>,
    /// Name of the auth profile of its posts, before that of the destination.
    pub auth: Option<String>,
}

impl Route {
    /// A route as it is when nothing but the two is said.
    pub fn new(recipient: Pattern, url: Endpoint) -> Route {
        Route {
            recipient,
            priority: 0,
            entry: Entry::default(),
            method: "POST".to_owned(),
            url,
            payload: Payload::Json,
            attachments: Attachments::Inline,
            vars: Vec::new(),
            has_secret_vars: false,
            header_control: HeaderControl::Off,
            reports: Reports::AsMail,
            headers: Vec::new(),
            order: Order::Any,
            mode: Mode::Async,
            sign_with: None,
            auth: None,
        }
    }
}

/// What becomes of reports about mail that was sent: bounces, complaints, receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reports {
    /// They are mail like any other.
    #[default]
    AsMail,
    /// They are posted as events instead.
    AsEvents,
    /// They are posted as both, each in a post of its own.
    AsBoth,
}

/// Whether posts keep the order of their messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// They do not, unless a message names an ordering key.
    #[default]
    Any,
    /// `ordering = "fifo"`: one after another, all of the route.
    Fifo,
}

/// When a client hears what became of a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When it is kept.
    #[default]
    Async,
    /// When its first attempt has ended, unless that takes too long.
    Sync(Sync),
}

/// A first attempt that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// How long it waits.
    pub timeout: Duration,
    /// What it hears when there is no answer by then, or none that ends the post.
    pub fallback: Fallback,
}

impl Default for Sync {
    fn default() -> Sync {
        Sync { timeout: Duration::from_secs(10), fallback: Fallback::Queue }
    }
}

/// What becomes of a post whose first attempt did not end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// It is queued like any other.
    #[default]
    Queue,
    /// `451`: nothing is kept, the client tries again.
    Refuse,
}

/// Whether `X-XsHttp-*` and `X-Postgate-*` steer a post; they are never part of
/// a payload either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderControl {
    /// They do.
    #[default]
    On,
    /// They are ignored: the mail of strangers.
    Off,
}

/// What the gateway adds to a message when it takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub message: MessageId,
    /// When it was complete.
    pub received_at: Timestamp,
}

/// A composed message.
#[derive(Debug)]
pub struct Composition {
    /// Its posts, ready for the spool.
    pub admission: Admission,
    /// Whom each post is for, by the place of the recipient in the envelope; in the
    /// order of the posts, and never falling.
    pub recipients: Vec<usize>,
    /// What it reports, for whoever wants to be told.
    pub reported: Vec<Event>,
    /// Whose first attempts the client waits for, by their place among the posts.
    pub waits: Vec<(usize, Sync)>,
    /// Repairs and failures to read it, for the log.
    pub remarks: Vec<String>,
}

/// Composes the posts of one message. Refuses with `550 5.6.0` for a bad control
/// (the text names it), `554 5.4.6` when it has come through too many hops, `552
/// 5.3.4` when its posts would take too much room and `451 4.3.0` when a route is
/// gone since RCPT.
pub fn compose(
    options: &Options,
    envelope: &Envelope,
    receipt: Receipt,
    raw: Bytes,
) -> Result<Composition, Refusal> {
    let section = mail::read(&raw, &options.limits);
    check_hops(&section)?;
    let plans = plan::plans(options, envelope)?;
    let is_steered = plans.iter().any(|plan| plan.control == HeaderControl::On);
    let steering = is_steered.then(|| control::read(&section.fields, receipt.received_at));
    let steering = steering.transpose()?.unwrap_or_default();
    steering.check_names(options)?;
    plan::check_url_is_used(&plans, &steering)?;
    let has_secrets =
        section.fields.iter().any(control::holds_secret) || plans.iter().any(Plan::has_secret_vars);
    let mut renderer = Renderer::new(options, (envelope, receipt), (&raw, section), &plans);
    let plans: Vec<_> = plans.iter().filter(|plan| renderer.has_matter_of(plan)).collect();
    let mut posts: Vec<Post> = Vec::with_capacity(plans.len());
    let mut waits = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let number = if plans.len() == 1 { 0 } else { at + 1 };
        let number = u16::try_from(number).map_err(|_| render::too_large())?;
        let controls = match plan.control {
            HeaderControl::On => steering.clone(),
            HeaderControl::Off => Controls::default(),
        };
        if let Mode::Sync(sync) = plan.mode(&controls, receipt.received_at) {
            waits.push((at, sync));
        }
        let id = PostId { message: receipt.message, number };
        let mut post = post(id, plan, controls, &mut renderer, (envelope, receipt))?;
        if let Some(before) = posts.last().filter(|before| before.destination == post.destination) {
            post.destination = Arc::clone(&before.destination);
        }
        posts.push(post);
    }
    let (message, tenant) = (receipt.message, envelope.client.tenant.clone());
    let events = publish::events(envelope, receipt, &mut renderer)?;
    let told = plans.iter().zip(&posts).find(|(plan, _)| plan.matter != Matter::Mail);
    let reported = told.map(|(_, post)| renderer.reported((post.id, &tenant))).unwrap_or_default();
    let (blobs, remarks) = renderer.finish();
    let recipients = plans.iter().map(|plan| plan.at).collect();
    let idempotency_key = envelope.idempotency_key.clone().or(steering.idempotency_key);
    // A mail program that sends a message again may have written it anew.
    let is_asked = envelope.idempotency_key.is_some();
    let fingerprint = is_asked.then(|| fingerprint::of_message(envelope, &raw));
    let admission =
        Admission { message, tenant, idempotency_key, fingerprint, blobs, posts, events, has_secrets };
    Ok(Composition { admission, recipients, reported, waits, remarks })
}

/// Refuses mail that goes in circles.
fn check_hops(section: &mail::Section<'_>) -> Result<(), Refusal> {
    let is_hop = |field: &&mail::HeaderField<'_>| field.name.eq_ignore_ascii_case("Received");
    match section.fields.iter().filter(is_hop).count() {
        0..=MAX_HOPS => Ok(()),
        hops => Err(Refusal::new(554, (4, 6), format!("a loop: the message has come through {hops} hops"))),
    }
}

fn post(
    id: PostId,
    plan: &Plan,
    controls: Controls,
    renderer: &mut Renderer,
    (envelope, receipt): (&Envelope, Receipt),
) -> Result<Post, Refusal> {
    let aim = plan.aim(&controls)?;
    let destination = Arc::new(aim.endpoint.destination(&envelope.client.tenant));
    let about = About { id, plan, controls: &controls, destination: &destination };
    let rendered = renderer.render(about)?;
    let (sign_with, auth) = plan.credentials(&controls)?;
    let own_id = envelope.recipients.get(plan.at).and_then(|recipient| recipient.message_id.clone());
    Ok(Post {
        id,
        accepted_at: receipt.received_at,
        destination,
        headers: plan.headers(&controls, &aim, &rendered)?,
        method: aim.method,
        path: aim.endpoint.path,
        body: rendered.body,
        idempotency_key: controls.idempotency_key.or(controls.receivers_key),
        sender: envelope.reverse_path.clone(),
        recipient: plan.recipient.clone(),
        not_before_at: controls.not_before_at,
        expires_at: controls.expires_at,
        priority: controls.priority.unwrap_or(DEFAULT_PRIORITY),
        tags: controls.tags,
        xs_message_id: own_id.or(controls.xs_message_id),
        xs_mailing_id: envelope.mailing_id.clone().or(controls.xs_mailing_id),
        ordering_key: plan.ordering_key(controls.ordering_key),
        sign_with,
        auth,
        trace: None,
        notice: plan.notice(envelope),
        trust: plan.trust,
        has_links: rendered.has_links,
        lean_body: rendered.lean_body,
        batch: None,
        sealed: Sealed::default(),
    })
}
