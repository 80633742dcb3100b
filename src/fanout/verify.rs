//! How a receiver shows that it wants events, in any one of five ways.
//!
//! A rule: what is asked comes out, the answer goes in. Nothing is sent to a receiver
//! that nobody has asked to be sent there, so until then a webhook gets nothing but what
//! is asked here.
//!
//! - `file`: a text at a path that its owner alone can put there;
//! - `dns`: the same text as a TXT record;
//! - `challenge`: a signed POST whose `challenge` is answered with;
//! - `options`: the handshake of CloudEvents' HTTP webhooks 1.0.2, section 4: consent is
//!   by headers only, never by the status;
//! - `post`: a sample event is taken (2xx).

use super::webhook::{Unsent, Webhook, Wrong};
use super::{Format, Style, Told, bodies, headers, sample};
use crate::event::EventName;
use crate::post::Timestamp;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

/// One of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A file below the web's root or beside the script.
    File,
    /// A TXT record.
    Dns,
    /// A challenge that is echoed.
    Challenge,
    /// Permission asked for with OPTIONS.
    Options,
    /// A sample event that is taken.
    Post,
}

impl Way {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Way::File => "file",
            Way::Dns => "dns",
            Way::Challenge => "challenge",
            Way::Options => "options",
            Way::Post => "post",
        }
    }
}

/// Time and dice of one request.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// When it is made.
    pub at: Timestamp,
    /// Not used before.
    pub nonce: [u8; 16],
}

impl Draw {
    fn dice(&self) -> u128 {
        u128::from_be_bytes(self.nonce)
    }
}

/// A request to a webhook's receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// In capitals.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// All but those of framing and identity.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The beginning of its body.
    pub body: &'a [u8],
}

/// The text that a file or a TXT record has to hold.
pub fn proof(webhook: &Webhook) -> String {
    format!("postgate-verification={}", webhook.token)
}

/// Name of the file.
pub fn file_name(webhook: &Webhook) -> String {
    format!("postgate-{}.txt", webhook.token.get(..16).unwrap_or(&webhook.token))
}

/// Paths of the file: below the root, and beside the script.
pub fn file_paths(webhook: &Webhook) -> Result<Vec<String>, Wrong> {
    let (_, path) = webhook.destination()?;
    let path = path.split('?').next().unwrap_or_default();
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let name = file_name(webhook);
    let mut paths = vec![format!("/{name}"), format!("{directory}/{name}")];
    paths.dedup();
    Ok(paths)
}

/// Name of the TXT record.
pub fn record_name(webhook: &Webhook) -> Result<String, Wrong> {
    let (destination, _) = webhook.destination()?;
    let host = destination.host.trim_end_matches('.');
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    match is_address {
        false => Ok(format!("_postgate.{host}")),
        true => Err(Wrong { field: "way", text: format!("{host} is no name; choose another way") }),
    }
}

/// What is asked in this way; of several requests one that is answered well is enough.
/// A TXT record is asked for elsewhere.
pub fn ask(way: Way, webhook: &Webhook, draw: Draw, hostname: &str) -> Result<Vec<Asked>, Wrong> {
    match way {
        Way::Dns => Ok(Vec::new()),
        Way::File => {
            let paths = file_paths(webhook)?.into_iter();
            Ok(paths.map(|path| plain("GET", path, &[(ACCEPT, "text/plain")])).collect())
        }
        Way::Challenge => {
            let text = HEXLOWER.encode(&draw.nonce);
            let body = json!({ "type": "webhook.challenge", "webhookId": webhook.id, "challenge": text });
            let body = Bytes::from(body.to_string());
            post(webhook, &format!("chl_{text}"), ("application/json", body), draw, &[]).map(|it| vec![it])
        }
        Way::Options => permission(webhook, hostname).map(|asked| vec![asked]),
        Way::Post => {
            let name = wanted(webhook)?;
            name.map(|name| test(webhook, &name, draw, hostname))
                .transpose()
                .map(|it| it.into_iter().collect())
        }
    }
}

/// A kind of event that this webhook gets.
pub fn wanted(webhook: &Webhook) -> Result<Option<EventName>, Wrong> {
    let patterns = webhook.settings.patterns()?;
    let mut known = sample::kinds().filter_map(|(name, _)| name.parse::<EventName>().ok());
    let known = known.find(|name| patterns.iter().any(|pattern| pattern.matches(name)));
    Ok(known.or_else(|| patterns.iter().find_map(|pattern| pattern.as_str().parse().ok())))
}

/// A sample event as this webhook gets events.
pub fn test(webhook: &Webhook, name: &EventName, draw: Draw, hostname: &str) -> Result<Asked, Wrong> {
    let settings = &webhook.settings;
    let told = Told::of(sample::event(name, &webhook.tenant, draw.at, draw.dice()));
    let style = Style { hostname, sharing: settings.sharing() };
    let body = bodies(settings.format, &[&told], style).into_iter().next();
    let (kind, octets) = body.map(|body| (body.content_type, body.octets)).unwrap_or_default();
    let id = told.event().id.as_str();
    post(webhook, id, (kind, octets), draw, &headers(settings.format, id, hostname))
}

/// What SparkPost sends to validate a target: a batch of one empty event.
pub fn validate(webhook: &Webhook, message: &Value, draw: Draw) -> Result<Asked, Wrong> {
    let id = format!("val_{}", HEXLOWER.encode(&draw.nonce));
    let body = Bytes::from(json!([message]).to_string());
    post(webhook, &id, ("application/json", body), draw, &headers(Format::SparkPost, &id, ""))
}

fn post(
    webhook: &Webhook,
    id: &str,
    (kind, body): (&'static str, Bytes),
    draw: Draw,
    more: &[(&'static str, String)],
) -> Result<Asked, Wrong> {
    let (_, path) = webhook.destination()?;
    let mut headers = webhook.settings.own_headers()?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let unsent = Unsent { id, at: draw.at, nonce: draw.nonce, method: "POST", target: &path, body: &body };
    webhook.sign(&mut headers, unsent)?;
    Ok(Asked { method: "POST", path, headers, body })
}

fn plain(method: &'static str, path: String, fields: &[(HeaderName, &'static str)]) -> Asked {
    let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
    Asked { method, path, headers: fields.collect(), body: Bytes::new() }
}

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";
const ALLOWED_RATE: &str = "webhook-allowed-rate";

fn permission(webhook: &Webhook, hostname: &str) -> Result<Asked, Wrong> {
    let (_, path) = webhook.destination()?;
    let mut asked = plain("OPTIONS", path, &[]);
    if let Ok(origin) = HeaderValue::from_str(hostname) {
        asked.headers.insert(REQUEST_ORIGIN, origin);
    }
    if let Some(rate) = per_minute(webhook)? {
        asked.headers.insert(REQUEST_RATE, HeaderValue::from(rate));
    }
    Ok(asked)
}

/// The webhook's rate in requests a minute, at least one.
fn per_minute(webhook: &Webhook) -> Result<Option<u64>, Wrong> {
    let rate = webhook.settings.pace()?;
    let per_minute = |rate: crate::units::Rate| {
        let millis = u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX).max(1);
        (u64::from(rate.count) * 60_000 / millis).max(1)
    };
    Ok(rate.map(per_minute))
}

/// Whether an answer shows it; if not, why.
pub fn judge(way: Way, webhook: &Webhook, asked: &Asked, answer: Answer<'_>) -> Result<(), String> {
    let status = answer.status;
    let is_good = (200..300).contains(&status);
    let refused = || Err(format!("the receiver answered {status}"));
    match way {
        Way::Options => permits(asked, answer.headers),
        Way::Post => {
            if is_good {
                Ok(())
            } else {
                refused()
            }
        }
        _ if !is_good => refused(),
        Way::File | Way::Dns => match answer.body.trim_ascii() == proof(webhook).as_bytes() {
            true => Ok(()),
            false => Err(format!("{} holds something else", asked.path)),
        },
        Way::Challenge => echoes(asked, answer.body),
    }
}

/// As text, or as `challenge` of an object.
fn echoes(asked: &Asked, body: &[u8]) -> Result<(), String> {
    let challenge = |octets: &[u8]| -> Option<String> {
        let value: Value = serde_json::from_slice(octets).ok()?;
        value.get("challenge")?.as_str().map(str::to_owned)
    };
    let expected = challenge(&asked.body).unwrap_or_default();
    let is_echoed = body.trim_ascii() == expected.as_bytes() || challenge(body).as_deref() == Some(&expected);
    if is_echoed && !expected.is_empty() {
        return Ok(());
    }
    Err("the answer is not the challenge; send it back as text, or as {\"challenge\": …}".to_owned())
}

fn permits(asked: &Asked, headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let own = asked.headers.get(REQUEST_ORIGIN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text(ALLOWED_ORIGIN) {
        Some(origin) if origin == "*" || origin.eq_ignore_ascii_case(own) => {}
        Some(_) => return Err("WebHook-Allowed-Origin names somebody else".to_owned()),
        None => return Err("the answer has no WebHook-Allowed-Origin".to_owned()),
    }
    let Some(rate) = asked.headers.get(REQUEST_RATE) else { return Ok(()) };
    let wanted = rate.to_str().ok().and_then(|rate| rate.parse::<u64>().ok()).unwrap_or_default();
    match text(ALLOWED_RATE) {
        Some("*") => Ok(()),
        Some(rate) if rate.parse::<u64>().is_ok_and(|allowed| allowed >= wanted) => Ok(()),
        Some(rate) => Err(format!("WebHook-Allowed-Rate is {rate:?}, the webhook's is {wanted} a minute")),
        None => Err("the answer has no WebHook-Allowed-Rate".to_owned()),
    }
}

/// Whether a TXT record shows it; if not, why.
pub fn judge_record(webhook: &Webhook, name: &str, texts: &[String]) -> Result<(), String> {
    let expected = proof(webhook);
    match texts.iter().any(|text| text.trim() == expected) {
        true => Ok(()),
        false => Err(format!("{name} has no TXT record with the text")),
    }
}
