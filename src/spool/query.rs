//! Which posts are meant: what is asked of a spool by those who look and those who
//! steer.
//!
//! State, destination and tenant are answered by the index alone; whatever else is
//! asked is looked up in the posts themselves. What might be a secret is not matched
//! but as it is shown: a filter must not tell what an answer would not.

use super::PostState;
use crate::masked::{self, Masked};
use crate::post::{Destination, MessageId, Post, PostId, Timestamp, Trust, WebhookId};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::time::Duration;

/// Which living posts are meant: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// This one.
    pub id: Option<PostId>,
    /// Those of this tenant.
    pub tenant: Option<Tenant>,
    /// Those for these origins.
    pub destination: Option<UrlPattern>,
    /// The batches of this webhook.
    pub webhook: Option<WebhookId>,
    /// Those in this state.
    pub state: Option<PostState>,
    /// Those with this tag.
    pub tag: Option<String>,
    /// Those whose sender gave them this mailing id (`X-xsMailingId`).
    pub job: Option<String>,
    /// Those whose sender gave them this message id (`X-xsMessageId`).
    pub xs_message_id: Option<String>,
    /// Those from such a sender.
    pub sender: Option<Glob>,
    /// Those for such a recipient.
    pub recipient: Option<Glob>,
    /// Those for such a recipient whose URL the configuration names.
    pub route: Option<Glob>,
    /// Those accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Those accepted before this time.
    pub until: Option<Timestamp>,
    /// Those that have this text in what is shown of them, whatever its case.
    pub text: Option<String>,
}

/// How far the time in an id may be from that of the acceptance.
const SLACK: Duration = Duration::from_secs(3600);

impl Query {
    /// Whether the posts themselves must be read to answer it.
    pub fn reads_posts(&self) -> bool {
        let texts = self.tag.is_some() || self.text.is_some();
        let ids = self.job.is_some() || self.xs_message_id.is_some();
        let globs = self.sender.is_some() || self.recipient.is_some() || self.route.is_some();
        texts || ids || globs || self.since.is_some() || self.until.is_some()
    }

    /// No post with this id or a greater one is meant, if there is such a bound.
    pub fn before(&self) -> Option<PostId> {
        let until = self.until?;
        Some(PostId { message: MessageId::at(until.after(SLACK)), number: 0 })
    }

    /// Whether no post with this id or a smaller one is meant.
    pub fn is_behind(&self, id: PostId) -> bool {
        self.since.is_some_and(|since| id.message < MessageId::at(Timestamp(0).after(since.since(FROM))))
    }

    /// Whether posts of a lane can be meant.
    pub fn means(&self, lane: &Destination) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == lane.tenant)
            && self.destination.as_ref().is_none_or(|pattern| pattern.matches(lane))
            && (self.webhook.is_none() || self.webhook == lane.webhook)
    }

    /// Whether what stands in a post is as is asked, its destination aside.
    pub fn fits(&self, post: &Post) -> bool {
        let is_routed = || post.trust == Trust::Operator;
        self.since.is_none_or(|since| post.accepted_at >= since)
            && self.until.is_none_or(|until| post.accepted_at < until)
            && self.tag.as_ref().is_none_or(|tag| post.tags.contains(tag))
            && (self.job.is_none() || self.job == post.xs_mailing_id)
            && (self.xs_message_id.is_none() || self.xs_message_id == post.xs_message_id)
            && self.sender.as_ref().is_none_or(|sender| sender.fits(&post.sender))
            && self.recipient.as_ref().is_none_or(|recipient| recipient.fits(&masked::recipient(post)))
            && self.route.as_ref().is_none_or(|route| is_routed() && route.fits(&post.recipient))
            && self.text.as_ref().is_none_or(|text| has_text(post, text))
    }
}

/// What is left of a time when the slack is taken from it.
const FROM: Timestamp = Timestamp(SLACK.as_millis() as u64);

/// Whether a text stands in what people know of a post.
fn has_text(post: &Post, text: &str) -> bool {
    let text = text.to_lowercase();
    let has = |other: &str| other.to_lowercase().contains(&text);
    let path = post.path.split('?').next().unwrap_or_default();
    let url = || Masked(&format!("{}{path}", post.destination)).to_string();
    let ids = [&post.xs_message_id, &post.xs_mailing_id, &post.ordering_key];
    has(&post.id.to_string())
        || has(&post.sender)
        || has(&masked::recipient(post))
        || has(&url())
        || post.tags.iter().any(|tag| has(tag))
        || ids.into_iter().flatten().any(|id| has(id))
}

/// A text in which `*` stands for any text; the case of ASCII letters means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern as it is written.
    pub fn new(text: &str) -> Glob {
        Glob(text.to_ascii_lowercase())
    }

    /// Whether it means an address, as that is shown.
    pub fn fits(&self, address: &str) -> bool {
        let shown = Masked(address).to_string().to_ascii_lowercase();
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = shown.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some((_, behind)) = rest.split_once(piece) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (glob, address, fits) in [
            ("a@b.example", "A@b.example", true),
            ("a@b.example", "aa@b.example", false),
            ("*@b.example", "x@B.example", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("orders+*@b", "orders+7@b", true),
            ("orders+*@b", "orders@b", false),
            ("a*b*c", "a-c-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*token=x*", "post@https://h/?token=x", false),
            ("*token=***", "post@https://h/?token=x", true),
        ] {
            assert_eq!(Glob::new(glob).fits(address), fits, "{glob} {address}");
        }
    }

    fn post(path: &str) -> Post {
        let text = r#"{"id":{"message":7,"number":0},"accepted_at":1769860800000,"destination":
            {"tenant":"default","scheme":"Https","host":"h.example","port":443},"method":"POST",
            "path":"PATH","headers":[],"body":{"number":0,"start":0,"length":0},"sender":"","recipient":"",
            "priority":0,"tags":[],"trust":"Wire","has_links":false}"#;
        serde_json::from_str(&text.replace("PATH", path)).unwrap()
    }

    #[test]
    fn what_answers_hide_is_not_matched() {
        let recipient = "post=3A=2F=2Fh.example=2Fx=3Ftoken=3Dcanary@postgate.local";
        let post = Post { recipient: recipient.to_owned(), ..post("/x?token=canary") };
        let any = Query::default();
        for (query, fits) in [
            (Query { text: Some("canary".to_owned()), ..any.clone() }, false),
            (Query { text: Some("3Dcan".to_owned()), ..any.clone() }, false),
            (Query { text: Some("token=***".to_owned()), ..any.clone() }, true),
            (Query { recipient: Some(Glob::new("*canary*")), ..any.clone() }, false),
            (Query { recipient: Some(Glob::new("*3Dc*")), ..any.clone() }, false),
            (Query { recipient: Some(Glob::new("post@*h.example/x?token=***")), ..any.clone() }, true),
        ] {
            assert_eq!(query.fits(&post), fits, "{query:?}");
        }
    }

    #[test]
    fn ids_of_the_sender_are_matched_whole() {
        let (job, id) = (Some("spring".to_owned()), Some("17".to_owned()));
        let post = Post { xs_mailing_id: job.clone(), xs_message_id: id.clone(), ..post("/x") };
        let any = Query::default();
        let other = Some("sprin".to_owned());
        for (query, fits) in [
            (Query { job: job.clone(), ..any.clone() }, true),
            (Query { job: job.clone(), xs_message_id: id.clone(), ..any.clone() }, true),
            (Query { job: other.clone(), xs_message_id: id.clone(), ..any.clone() }, false),
            (Query { job, xs_message_id: other, ..any.clone() }, false),
            (Query { xs_message_id: id, ..any.clone() }, true),
        ] {
            assert!(query.reads_posts());
            assert_eq!(query.fits(&post), fits, "{query:?}");
        }
        let none = Post { xs_mailing_id: None, ..post };
        assert!(!Query { job: Some("spring".to_owned()), ..any }.fits(&none));
    }

    #[test]
    fn times_bound_the_ids_that_are_looked_at() {
        let id = |millis: u64| PostId { message: MessageId::at(Timestamp(millis)), number: 0 };
        let day = 86_400_000;
        let query =
            Query { since: Some(Timestamp(day)), until: Some(Timestamp(2 * day)), ..Query::default() };
        for (id, is_behind) in [(id(day), false), (id(day - 3_600_000), false), (id(day - 3_700_000), true)] {
            assert_eq!(query.is_behind(id), is_behind);
        }
        assert_eq!(query.before(), Some(id(2 * day + 3_600_000)));
        assert!(!Query { since: Some(Timestamp(5)), ..Query::default() }.is_behind(id(0)));
    }
}
