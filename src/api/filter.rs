//! Which posts are asked for, in a query or in a body, and which part of them.

use super::ask::state;
use super::problem::Problem;
use crate::post::{PostId, Timestamp};
use crate::spool::{Glob, Query};
use crate::tenant::Tenant;
use data_encoding::BASE64URL_NOPAD;
use schemars::JsonSchema;
use serde::Deserialize;

/// Most posts of a page.
pub(super) const MOST: usize = 1000;

/// Posts of a page, when nothing else is asked.
const USUAL: usize = 50;

/// Most octets of a text that is looked for: as many as an address may have, for every
/// post may be compared with it.
const LONGEST: usize = 4096;

/// Which posts, as it stands in a query or in `filter`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[schemars(with = "Option<State>")]
    pub state: Option<String>,
    pub destination: Option<String>,
    #[schemars(length(min = 1))]
    pub tag: Option<String>,
    /// The mailing id that the sender gave (`X-xsMailingId`, `campaign_id`).
    #[schemars(length(min = 1))]
    pub job: Option<String>,
    /// The message id that the sender gave (`X-xsMessageId`).
    #[schemars(length(min = 1))]
    pub xs_message_id: Option<String>,
    /// With `*` for any text, as in the next two.
    #[schemars(length(min = 1))]
    pub sender: Option<String>,
    #[schemars(length(min = 1))]
    pub recipient: Option<String>,
    /// The recipient as the route in the configuration has it.
    #[schemars(length(min = 1))]
    pub route: Option<String>,
    /// RFC 3339, as the next one.
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
    /// A text that stands somewhere in what is shown of a post.
    #[schemars(length(min = 1))]
    pub q: Option<String>,
}

/// How a post stands, as it is asked for.
#[derive(JsonSchema)]
#[schemars(extend("enum" = ["queued", "deferred", "sending", "held", "failed", "delivered"]))]
struct State(#[expect(dead_code, reason = "it is there for its schema")] String);

/// The query of `GET /posts`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[schemars(with = "Option<State>")]
    state: Option<String>,
    /// An origin, or a pattern such as `https://*.shop.example`.
    destination: Option<String>,
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The mailing id that the sender gave (`X-xsMailingId`, `campaign_id`).
    #[schemars(length(min = 1))]
    job: Option<String>,
    /// The message id that the sender gave (`X-xsMessageId`).
    #[schemars(length(min = 1))]
    xs_message_id: Option<String>,
    /// With `*` for any text, as in the next two.
    #[schemars(length(min = 1))]
    sender: Option<String>,
    #[schemars(length(min = 1))]
    recipient: Option<String>,
    /// The recipient as the route in the configuration has it.
    #[schemars(length(min = 1))]
    route: Option<String>,
    /// The earliest acceptance.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Accepted before.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// A text that stands somewhere in what is shown of a post.
    #[schemars(length(min = 1))]
    q: Option<String>,
    #[schemars(with = "Option<u16>", range(min = 1, max = 1000))]
    limit: Option<String>,
    /// The field `next` of the page before.
    cursor: Option<String>,
}

impl Filter {
    /// Whether it leaves posts out.
    pub(super) fn says_something(&self) -> bool {
        let Filter { state, destination, tag, job, xs_message_id, sender, recipient, route, since, until, q } =
            self;
        let all = [state, destination, tag, job, xs_message_id, sender, recipient, route, since, until, q];
        all.into_iter().any(Option::is_some)
    }

    /// In the spool's words.
    pub(super) fn query(&self, tenant: Option<Tenant>) -> Result<Query, Problem> {
        let texts = [
            ("tag", &self.tag),
            ("job", &self.job),
            ("xs_message_id", &self.xs_message_id),
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("route", &self.route),
            ("q", &self.q),
        ];
        // It stands in every post: a variable that was not set must not mean all.
        if let Some((field, _)) = texts.iter().find(|(_, text)| text.as_deref() == Some("")) {
            return Err(Problem::bad_field(*field, "it is empty; leave it out"));
        }
        let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > LONGEST);
        if let Some((field, _)) = texts.iter().find(|(_, text)| is_long(text)) {
            return Err(Problem::bad_field(*field, format!("it has more than {LONGEST} octets")));
        }
        let wrong = |reason: String| Problem::bad_field("destination", reason);
        Ok(Query {
            id: None,
            tenant,
            webhook: None,
            destination: self.destination.as_deref().map(str::parse).transpose().map_err(wrong)?,
            state: self.state.as_deref().map(state).transpose()?,
            tag: self.tag.clone(),
            job: self.job.clone(),
            xs_message_id: self.xs_message_id.clone(),
            sender: self.sender.as_deref().map(Glob::new),
            recipient: self.recipient.as_deref().map(Glob::new),
            route: self.route.as_deref().map(Glob::new),
            since: self.since.as_deref().map(|text| time("since", text)).transpose()?,
            until: self.until.as_deref().map(|text| time("until", text)).transpose()?,
            text: self.q.clone(),
        })
    }
}

impl Page {
    /// Which posts; how many at most; and what the page before ended with.
    pub(super) fn taken_apart(self) -> Result<(Filter, usize, Option<PostId>), Problem> {
        let Page { state, destination, tag, job, xs_message_id, .. } = self;
        let Page { sender, recipient, route, since, until, q, limit, cursor, .. } = self;
        let filter =
            Filter { state, destination, tag, job, xs_message_id, sender, recipient, route, since, until, q };
        let (most, before) = part(limit.as_deref(), cursor.as_deref())?;
        Ok((filter, most, before))
    }
}

/// How many posts a page has at most, and what the page before ended with.
pub(super) fn part(limit: Option<&str>, cursor: Option<&str>) -> Result<(usize, Option<PostId>), Problem> {
    let most = match limit {
        Some(text) => text.parse().ok().filter(|limit| (1..=MOST).contains(limit)),
        None => Some(USUAL),
    };
    let most = most.ok_or_else(|| Problem::bad_field("limit", format!("write a number from 1 to {MOST}")))?;
    Ok((most, cursor.map(place).transpose()?))
}

/// Where a next page begins, as nobody needs to understand it.
pub(super) fn cursor(id: PostId) -> String {
    BASE64URL_NOPAD.encode(id.to_string().as_bytes())
}

fn place(cursor: &str) -> Result<PostId, Problem> {
    let text = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
    let id = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
    id.ok_or_else(|| Problem::bad_field("cursor", "take it from the field next of the page before"))
}

/// RFC 3339, to the millisecond.
pub(super) fn time(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    // A plus of an offset that nobody encoded is a blank in a query.
    let time: Option<jiff::Timestamp> = text.replace(' ', "+").parse().ok();
    let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let wrong = || Problem::bad_field(field, "write a time such as 2026-01-31T12:00:00Z (RFC 3339)");
    millis.map(Timestamp).ok_or_else(wrong)
}
