//! `[[route]]`: where mail to one address or domain goes, and whose mail is taken.

use super::super::secret::Var;
use super::super::value::Size;
use crate::compose::{Allowed, CheckFallback, CheckFormat, Fallback, Order, Pattern, Payload, Reports};
use crate::post::is_secret;
use std::time::Duration;

/// `[[route]]`: where mail to one address or domain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// An address, `*@domain`, `user+*@domain`, or a regular expression (`regex`).
    pub recipient: Pattern,
    /// Higher ones are asked first.
    pub priority: i32,
    /// The operator's own URLs, each of which gets a post; at least one.
    pub urls: Vec<String>,
    /// Method of the request.
    pub method: Method,
    /// Format of the request's body.
    pub payload: Payload,
    /// How attachments come.
    pub attachments: Attachments,
    /// Octets up to which they come with their contents, with [`Attachments::Url`].
    pub inline_limit: Size,
    /// Words for a template.
    pub vars: Vec<(String, Var)>,
    /// Whether headers in the message steer the post.
    pub header_control: bool,
    /// What becomes of reports about mail that was sent.
    pub reports: Reports,
    /// Fixed headers of the request.
    pub headers: Vec<(String, String)>,
    /// Name of the signing key, before that of the destination.
    pub sign_with: Option<String>,
    /// Name of the auth profile, before that of the destination.
    pub auth: Option<String>,
    /// Whether its posts keep the order of their messages.
    pub ordering: Order,
    /// When a client hears what became of its message.
    pub mode: Mode,
    /// How long it waits for that, with [`Mode::Sync`].
    pub sync_timeout: Duration,
    /// What it hears when there was no answer by then.
    pub sync_fallback: Fallback,
    /// Octets of a message, besides the limit for all.
    pub message_size: Option<Size>,
    /// Senders and networks whose mail is taken; empty is anybody's.
    pub allow_from: Vec<Allowed>,
    /// Who is asked about each recipient.
    pub check: Option<Check>,
}

impl Route {
    /// A route as it is when nothing but the two is said.
    pub fn new(recipient: Pattern, url: String) -> Route {
        Route {
            recipient,
            priority: 0,
            urls: vec![url],
            method: Method::Post,
            payload: Payload::Json,
            attachments: Attachments::Inline,
            inline_limit: Size(256 << 10),
            vars: Vec::new(),
            header_control: false,
            reports: Reports::AsMail,
            headers: Vec::new(),
            sign_with: None,
            auth: None,
            ordering: Order::Any,
            mode: Mode::Async,
            sync_timeout: Duration::from_secs(10),
            sync_fallback: Fallback::Queue,
            message_size: None,
            allow_from: Vec::new(),
            check: None,
        }
    }

    /// The words for a template in clear, by name.
    pub fn words(&self) -> Vec<(String, String)> {
        self.vars.iter().map(|(name, var)| (name.clone(), var.text().to_owned())).collect()
    }

    /// Whether one of them is a secret: it comes from where those are, or is called one.
    pub fn has_secret_words(&self) -> bool {
        self.vars
            .iter()
            .any(|(name, var)| matches!(var, Var::Elsewhere(_)) || is_secret(&name.to_ascii_lowercase()))
    }
}

/// `check_*` of a route: a receiver that is asked about recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The operator's own URL.
    pub url: String,
    /// How the question is written.
    pub format: CheckFormat,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What holds when there is none.
    pub fallback: CheckFallback,
    /// How long an answer counts.
    pub cache: Duration,
}

impl Check {
    /// A check as it is when nothing but the URL is said.
    pub fn new(url: String) -> Check {
        Check {
            url,
            format: CheckFormat::Json,
            timeout: Duration::from_secs(5),
            fallback: CheckFallback::Defer,
            cache: Duration::from_secs(300),
        }
    }
}

/// How attachments come in the body of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachments {
    /// With their contents.
    Inline,
    /// Larger ones as addresses, under which this gateway gives them out.
    Url,
    /// Not at all.
    Omit,
}

/// When a client hears what became of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When it is kept.
    Async,
    /// When the first attempt has ended.
    Sync,
}

/// HTTP methods that mail can be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Post,
    Put,
    Patch,
    Get,
    Delete,
}
