//! What a recipient asks for, before the message is looked at: a plan for each post.
//!
//! A plan joins what RCPT decided with the route's configuration; with the
//! message's controls it becomes the line and header of a request. Fixed headers
//! of a route are the operator's and no message changes them.

use super::control::{self, Controls};
use super::endpoint::Endpoint;
use super::render::Rendered;
use super::{Attachments, HeaderControl, Mode, Options, Order, Payload, Reports, Route, address};
use crate::envelope::{Envelope, Recipient, Refusal, Target};
use crate::post::{Field, Notice, OnFailure, Timestamp, Trust};

/// What one post is to be.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Place of its recipient in the envelope.
    pub at: usize,
    /// Place of its route among those that take the recipient together.
    nth: usize,
    /// Its forward-path, without the credentials a URL may hold.
    pub recipient: String,
    /// What stood for the `*` of its route.
    pub detail: Option<&'a str>,
    /// The format, unless a control names another.
    pub payload: Payload,
    /// What it is about.
    pub matter: Matter,
    /// Whether controls count.
    pub control: HeaderControl,
    /// Who named the URL.
    pub trust: Trust,
    method: &'a str,
    /// `None`: `X-Postgate-Url` names it.
    endpoint: Option<Endpoint>,
    /// Nothing when the recipient holds or takes its URL from the message.
    route: Option<&'a Route>,
    on_failure: OnFailure,
    /// `ORCPT`, unless it holds credentials.
    original: Option<&'a str>,
}

/// What a post is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// The message.
    Mail,
    /// The events that it reports, else the message.
    EventsElseMail,
    /// The events that it reports; without any there is no post.
    Events,
}

impl Matter {
    /// The matters of the posts that a route makes of one message.
    fn of(reports: Reports) -> &'static [Matter] {
        match reports {
            Reports::AsMail => &[Matter::Mail],
            Reports::AsEvents => &[Matter::EventsElseMail],
            Reports::AsBoth => &[Matter::Mail, Matter::Events],
        }
    }
}

/// A request without its body: where to and how.
pub struct Aim {
    /// Where to.
    pub endpoint: Endpoint,
    /// HTTP method in capitals.
    pub method: String,
}

/// The plans of all recipients, in their order; a recipient has one for each of the
/// routes that take it, at least one.
pub fn plans<'a>(options: &'a Options, envelope: &'a Envelope) -> Result<Vec<Plan<'a>>, Refusal> {
    let mut plans = Vec::with_capacity(envelope.recipients.len());
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        let original = original(options, recipient);
        let first = plans.len();
        match &recipient.target {
            Target::Direct { method, url } => match url.parse() {
                Ok(endpoint) => {
                    plans.push(Plan { at, original, ..named(options, recipient, method, Some(endpoint)) });
                }
                Err(reason) => return Err(Refusal::new(553, (1, 3), format!("{reason}"))),
            },
            Target::Header { method } => {
                plans.push(Plan { at, original, ..named(options, recipient, method, None) });
            }
            // No post: see `publish`.
            Target::Event { .. } => continue,
            Target::Route { route: name, detail } => {
                for (nth, route) in address::routes(options, name).into_iter().enumerate() {
                    let routed = |matter: &Matter| {
                        let matter = *matter;
                        Plan { at, nth, original, matter, ..routed(recipient, detail.as_deref(), route) }
                    };
                    plans.extend(Matter::of(route.reports).iter().map(routed));
                }
            }
        }
        if plans.len() == first {
            return Err(Refusal::new(451, (3, 0), "the route was removed just now; try again"));
        }
    }
    Ok(plans)
}

/// `ORCPT`, unless it may hold credentials.
fn original<'a>(options: &Options, recipient: &'a Recipient) -> Option<&'a str> {
    let original = recipient.original.as_deref()?;
    let (_, address) = original.split_once(';')?;
    let is_open = !address.contains("://") && !address::hides_credentials(options, address);
    is_open.then_some(original)
}

/// A recipient or a message names the URL.
fn named<'a>(
    options: &Options,
    recipient: &'a Recipient,
    method: &'a str,
    endpoint: Option<Endpoint>,
) -> Plan<'a> {
    Plan {
        at: 0,
        nth: 0,
        recipient: shown(recipient, method, endpoint.as_ref()),
        detail: None,
        payload: Payload::Auto,
        matter: Matter::Mail,
        control: options.header_control,
        trust: Trust::Wire,
        method,
        endpoint,
        route: None,
        on_failure: recipient.on_failure,
        original: None,
    }
}

/// The operator names it.
fn routed<'a>(recipient: &'a Recipient, detail: Option<&'a str>, route: &'a Route) -> Plan<'a> {
    Plan {
        at: 0,
        nth: 0,
        recipient: recipient.forward_path.clone(),
        detail,
        payload: route.payload.clone(),
        matter: Matter::Mail,
        control: route.header_control,
        trust: Trust::Operator,
        method: &route.method,
        endpoint: Some(route.url.clone()),
        route: Some(route),
        on_failure: recipient.on_failure,
        original: None,
    }
}

/// The forward-path as others may see it: of a URL with credentials only the rest.
fn shown(recipient: &Recipient, method: &str, endpoint: Option<&Endpoint>) -> String {
    match endpoint.filter(|endpoint| endpoint.authorization.is_some()) {
        Some(endpoint) => format!("{}@{endpoint}", method.to_ascii_lowercase()),
        None => recipient.forward_path.clone(),
    }
}

/// Refuses a URL control that no recipient waits for: ignoring it in silence
/// would post elsewhere than its sender believes.
pub fn check_url_is_used(plans: &[Plan], controls: &Controls) -> Result<(), Refusal> {
    if controls.url.is_some() && plans.iter().all(|plan| plan.endpoint.is_some()) {
        return Err(control::refusal("X-Postgate-Url", "no recipient of this message takes its URL from it"));
    }
    Ok(())
}

impl Plan<'_> {
    /// Where the post goes. Refuses a missing or bad `X-Postgate-Url`.
    pub fn aim(&self, controls: &Controls) -> Result<Aim, Refusal> {
        let method = controls.method.unwrap_or(self.method).to_owned();
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let refusal = |reason: &str| control::refusal("X-Postgate-Url", reason);
                let url = controls.url.as_deref().ok_or_else(|| {
                    refusal("missing; a recipient of this form takes its URL from this header")
                })?;
                url.parse().map_err(|reason: super::BadUrl| refusal(&reason.to_string()))?
            }
        };
        Ok(Aim { endpoint, method })
    }

    /// The `Content-Type` that somebody fixed: the route, else the message.
    pub fn wanted_type<'c>(&'c self, controls: &'c Controls) -> Option<&'c str> {
        let of_route = self.fixed("Content-Type").and_then(|field| std::str::from_utf8(&field.value).ok());
        of_route.or(controls.content_type.as_deref())
    }

    /// The header of the request, in the order to be sent. Refuses a control
    /// that sets what is set already.
    pub fn headers(
        &self,
        controls: &Controls,
        aim: &Aim,
        rendered: &Rendered,
    ) -> Result<Vec<Field>, Refusal> {
        let authorization = aim.endpoint.authorization.as_ref();
        let names = controls.headers.iter().map(|field| field.name.as_str());
        for name in names.chain(controls.content_type.as_ref().map(|_| "Content-Type")) {
            let control = || format!("X-XsHttp-{name}");
            if self.fixed(name).is_some() {
                return Err(control::refusal(&control(), "the route sets this request header"));
            }
            if authorization.is_some() && name.eq_ignore_ascii_case("Authorization") {
                return Err(control::refusal(&control(), "the URL holds credentials already"));
            }
        }
        let mut headers = vec![field("Content-Type", &rendered.content_type)];
        if let Some(authorization) = authorization.filter(|_| self.fixed("Authorization").is_none()) {
            headers.push(field("Authorization", authorization));
        }
        headers.extend(self.fixed_headers().iter().filter(|field| !is(field, "Content-Type")).cloned());
        headers.extend(controls.headers.iter().cloned());
        let is_said =
            |name: &str| self.fixed(name).is_some() || controls.headers.iter().any(|it| is(it, name));
        let marks = rendered.marks.iter().filter(|(name, _)| !is_said(name));
        headers.extend(marks.map(|(name, value)| field(name, value)));
        Ok(headers)
    }

    fn fixed(&self, name: &str) -> Option<&Field> {
        self.fixed_headers().iter().find(|field| is(field, name))
    }

    /// Request headers that the route fixes.
    pub fn fixed_headers(&self) -> &[Field] {
        self.route.map_or(&[], |route| &route.headers)
    }

    /// The words of its route for a template.
    pub fn vars(&self) -> &[(String, String)] {
        self.route.map_or(&[], |route| &route.vars)
    }

    /// Whether a body may hold a secret of the configuration: a template may print it.
    pub fn has_secret_vars(&self) -> bool {
        self.route.is_some_and(|route| route.has_secret_vars)
    }

    /// How attachments come.
    pub fn attachments(&self) -> Attachments {
        self.route.map(|route| route.attachments).unwrap_or_default()
    }

    /// Whether the client waits for the first attempt at a post of a message that
    /// was received then; not for one that is to wait itself.
    pub fn mode(&self, controls: &Controls, received_at: Timestamp) -> Mode {
        let usual = self.route.map_or(Mode::Async, |route| route.mode);
        match (controls.mode, usual) {
            _ if controls.not_before_at.is_some_and(|at| at > received_at) => Mode::Async,
            (None, _) | (Some(Mode::Sync(_)), Mode::Sync(_)) => usual,
            (Some(asked), _) => asked,
        }
    }

    /// What keeps the post in order with others. That of a route begins with a
    /// blank, which no key of a message does; routes that take a recipient together
    /// do not wait for each other.
    pub fn ordering_key(&self, asked: Option<String>) -> Option<String> {
        match self.route.filter(|route| route.order == Order::Fifo) {
            Some(route) if self.nth == 0 => Some(format!(" {}", route.recipient.name())),
            Some(route) => Some(format!(" {} {}", route.recipient.name(), self.nth + 1)),
            None => asked,
        }
    }

    /// Names of the signing key and of the auth profile. Refuses a control that
    /// asks for another one than the route's.
    pub fn credentials(&self, controls: &Controls) -> Result<(Option<String>, Option<String>), Refusal> {
        let choose = |name: &str, fixed: Option<&String>, asked: Option<&String>| match (fixed, asked) {
            (Some(fixed), Some(asked)) if fixed != asked => {
                Err(control::refusal(name, "the route names another one"))
            }
            (fixed, asked) => Ok(fixed.or(asked).cloned()),
        };
        let sign_with = self.route.and_then(|route| route.sign_with.as_ref());
        let auth = self.route.and_then(|route| route.auth.as_ref());
        Ok((
            choose("X-Postgate-Sign-With", sign_with, controls.sign_with.as_ref())?,
            choose("X-Postgate-Auth", auth, controls.auth.as_ref())?,
        ))
    }

    /// What the sender wants to hear of a failure.
    pub fn notice(&self, envelope: &Envelope) -> Notice {
        Notice {
            on_failure: self.on_failure,
            returns: envelope.returns,
            envelope_id: envelope.envelope_id.clone(),
            original_recipient: self.original.map(str::to_owned),
        }
    }
}

fn is(field: &Field, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.to_owned(), value: value.as_bytes().to_vec() }
}
