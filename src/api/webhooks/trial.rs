//! Calls that ask a webhook's receiver at once: verify, test, check all, and what
//! SparkPost calls validate.
//!
//! What is sent here goes directly, once, and under the egress rules: never through the
//! spool. It is what `fanout::verify` says, and so is what its answer means.

use super::super::ask::{Given, Nothing};
use super::super::caller::Caller;
use super::super::desk::Desk;
use super::super::problem::{Problem, json};
use super::shape::WebhookShape;
use super::{Answer, Webhooks, drawn};
use crate::clock;
use crate::deliver::inquiry::{Sending, Sent};
use crate::event::EventName;
use crate::fanout::sample;
use crate::fanout::shelf::{Placed, ShelfError};
use crate::fanout::verify::{self, Draw, Way};
use crate::fanout::webhook::{Webhook, Wrong};
use crate::masked::Masked;
use crate::post::{Trust, is_secret};
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Time for one exchange: less than a request of the API may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Octets of a body that are shown.
const EXCERPT: usize = 4096;
/// Webhooks that are checked at a time.
const AT_A_TIME: usize = 32;
/// Time for the check of all.
const CHECK: Duration = Duration::from_secs(25);

/// The body of `…/verify`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Verification {
    #[schemars(extend("enum" = ["file", "dns", "challenge", "options", "post", "skip"]))]
    way: String,
}

/// `POST /webhooks/{id}/verify`: in one way, or `skip`.
pub(in crate::api) async fn verify(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Given(Verification { way }): Given<Verification>,
) -> Answer {
    let webhooks = desk.webhooks()?;
    let meant = (id.as_str(), caller.tenant.as_ref());
    let placed = webhooks.shelf.one(meant.0, meant.1).await?;
    if placed.version.is_none() {
        return Err(ShelfError::Fixed.into());
    }
    let way =
        match way.as_str() {
            "skip" => None,
            other => Some(serde_json::from_value::<Way>(Value::from(other)).map_err(|_| {
                Problem::bad_field("way", "write file, dns, challenge, options, post, or skip")
            })?),
        };
    if let Some(way) = way {
        let judged = webhooks.verify(way, &placed.webhook).await?;
        judged.map_err(|why| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("not verified by {}: {why}", way.name()))
        })?;
    }
    let (now, name) = (clock::wall(), way.map_or("skip", Way::name));
    let url = &placed.webhook.settings.url;
    let change = |webhook: &mut Webhook| -> Result<(), Problem> {
        // Somebody may have changed it while its receiver was asked.
        if webhook.settings.url != *url {
            return Err(ShelfError::Changed.into());
        }
        webhook.verified = Some((now, name.to_owned()));
        Ok(())
    };
    let after = webhooks.shelf.change(meant, None, change).await?;
    Ok(json(StatusCode::OK, &WebhookShape::of(&after)))
}

/// The body of `…/test`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Test {
    #[serde(rename = "eventType")]
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"))]
    event_type: Option<String>,
}

/// `POST /webhooks/{id}/test`: sends a sample event, and answers with the exchange. A
/// webhook whose receiver takes it is verified (`post`).
pub(in crate::api) async fn test(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Given(Test { event_type }): Given<Test>,
) -> Answer {
    let webhooks = desk.webhooks()?;
    let placed = webhooks.shelf.one(&id, caller.tenant.as_ref()).await?;
    let name = match event_type {
        None => None,
        Some(text) => {
            let name = sample::full_name(&text).parse::<EventName>();
            Some(name.map_err(|bad| Problem::bad_field("eventType", bad.to_string()))?)
        }
    };
    let told = webhooks.test(&placed, name).await?;
    Ok(json(StatusCode::OK, &told.shape()))
}

/// `POST /webhooks/check`: tests all that there are for the caller.
pub(in crate::api) async fn check(
    State(desk): State<Desk>,
    caller: Caller,
    Given(Nothing {}): Given<Nothing>,
) -> Answer {
    let webhooks = desk.webhooks()?;
    let all = webhooks.shelf.all(caller.tenant.as_ref()).await?;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tests = JoinSet::new();
    for (index, placed) in all.into_iter().enumerate() {
        let (webhooks, places) = (webhooks.clone(), Arc::clone(&places));
        tests.spawn(async move {
            let tested = tokio::time::timeout(CHECK, async {
                let _place = places.acquire().await;
                webhooks.test(&placed, None).await
            });
            let outcome = match tested.await {
                Ok(Ok(told)) => told.outcome(),
                Ok(Err(why)) => json!({ "delivered": false, "error": why.text }),
                Err(_) => json!({ "delivered": false, "error": "there was no time left to test it" }),
            };
            (index, placed.webhook.id.clone(), outcome)
        });
    }
    let mut outcomes: Vec<_> = tests.join_all().await;
    outcomes.sort_by_key(|(index, ..)| *index);
    let with_id = |(_, id, mut outcome): (usize, String, Value)| {
        if let Value::Object(fields) = &mut outcome {
            fields.insert("id".to_owned(), Value::from(id));
        }
        outcome
    };
    let shapes: Vec<_> = outcomes.into_iter().map(with_id).collect();
    Ok(json(StatusCode::OK, &json!({ "webhooks": shapes })))
}

/// The body of `…/validate`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Validation {
    message: Option<Value>,
}

/// `POST /webhooks/{id}/validate`: SparkPost's, in its shape. It sends one event, an
/// empty one when nothing else is asked.
pub(in crate::api) async fn validate(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Given(Validation { message }): Given<Validation>,
) -> Answer {
    let webhooks = desk.webhooks()?;
    let placed = webhooks.shelf.one(&id, caller.tenant.as_ref()).await?;
    let message = message.unwrap_or_else(|| json!({ "msys": {} }));
    let asked = verify::validate(&placed.webhook, &message, draw()?)?;
    let sent = webhooks.send(&placed, asked).await?.sent;
    let response =
        sent.response.map_err(|why| Problem::bad_request(format!("the test POST failed: {why}")))?;
    if !response.status().is_success() {
        let detail = format!("the test POST was answered with {}", response.status());
        return Err(Problem::bad_request(detail));
    }
    let response = json!({
        "status": response.status().as_u16(),
        "headers": shown(response.headers(), |name| !is_secret(name)),
        "body": excerpt(response.body()),
    });
    let msg = "Test POST to endpoint succeeded";
    Ok(json(StatusCode::OK, &json!({ "results": { "msg": msg, "response": response } })))
}

fn draw() -> Result<Draw, Problem> {
    Ok(Draw { at: clock::wall(), nonce: drawn()? })
}

/// A request to a receiver, and what came of it.
struct Told {
    asked: verify::Asked,
    url: String,
    sent: Sent,
}

impl Webhooks {
    /// Whether a webhook's receiver shows in this way that it wants events.
    async fn verify(&self, way: Way, webhook: &Webhook) -> Result<Result<(), String>, Problem> {
        if way == Way::Dns {
            let name = verify::record_name(webhook)?;
            let texts = self.inquirer.texts(&name).await;
            return Ok(texts.and_then(|texts| verify::judge_record(webhook, &name, &texts)));
        }
        let mut why = "nothing was asked".to_owned();
        let placed = Placed { webhook: webhook.clone(), version: Some(0) };
        for asked in verify::ask(way, webhook, draw()?, &self.hostname)? {
            let Told { asked, sent, .. } = self.send(&placed, asked).await?;
            let judged = sent.response.and_then(|response| {
                let (status, headers) = (response.status().as_u16(), response.headers());
                verify::judge(way, webhook, &asked, verify::Answer { status, headers, body: response.body() })
            });
            match judged {
                Ok(()) => return Ok(Ok(())),
                Err(reason) => why = reason,
            }
        }
        Ok(Err(why))
    }

    /// Sends a sample event and notes how that went.
    async fn test(&self, placed: &Placed, name: Option<EventName>) -> Result<Told, Wrong> {
        let webhook = &placed.webhook;
        let name = match name {
            Some(name) => Some(name),
            None => verify::wanted(webhook)?,
        };
        let none =
            || Wrong { field: "events", text: "it wants no event that there are samples of".to_owned() };
        let name = name.ok_or_else(none)?;
        let draw = draw().map_err(|_| Wrong { field: "id", text: "no randomness".to_owned() })?;
        let told = self.send(placed, verify::test(webhook, &name, draw, &self.hostname)?).await?;
        let (is_taken, now) = (told.is_taken(), clock::wall());
        self.shelf.note(webhook, |fare| match is_taken {
            true => fare.test_success_at = Some(now),
            false => fare.test_failure_at = Some(now),
        });
        let verify = |kept: &mut Webhook| -> Result<(), ShelfError> {
            if kept.verified.is_none() && kept.settings.url == webhook.settings.url {
                kept.verified = Some((now, Way::Post.name().to_owned()));
            }
            Ok(())
        };
        // What a test says does not depend on whether it can be noted.
        if is_taken
            && webhook.verified.is_none()
            && placed.version.is_some()
            && let Err(error) = self.shelf.change((&webhook.id, None), None, verify).await
        {
            tracing::warn!("webhook {}: the outcome of a test is not noted: {error}", webhook.id);
        }
        Ok(told)
    }

    async fn send(&self, placed: &Placed, asked: verify::Asked) -> Result<Told, Wrong> {
        let webhook = &placed.webhook;
        let (destination, _) = webhook.destination()?;
        // What stands in the configuration is the operator's own.
        let trust = if placed.version.is_some() { Trust::Wire } else { Trust::Operator };
        let url = Masked(&format!("{destination}{}", asked.path)).to_string();
        let sending = Sending {
            destination,
            trust,
            method: asked.method,
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            body: asked.body.clone(),
            auth: webhook.settings.auth.clone(),
            limit: LIMIT,
        };
        let sent = self.inquirer.exchange(sending).await;
        Ok(Told { asked, url, sent })
    }
}

impl Told {
    fn is_taken(&self) -> bool {
        self.sent.response.as_ref().is_ok_and(|response| response.status().is_success())
    }

    /// Whether it was taken, and what was answered or not, in short.
    fn outcome(&self) -> Value {
        let response = self.sent.response.as_ref();
        json!({
            "delivered": self.is_taken(),
            "status": response.map(|response| response.status().as_u16()).ok(),
            "error": response.err(),
            "duration": (self.sent.duration.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    }

    /// The whole exchange, without secrets.
    fn shape(&self) -> Value {
        let mut shape = self.outcome();
        let request = json!({
            "method": self.asked.method,
            "url": self.url,
            "headers": shown(&self.sent.headers, is_ours),
            "body": excerpt(&self.asked.body),
        });
        let response = self.sent.response.as_ref().ok();
        if let Value::Object(fields) = &mut shape {
            fields.insert("request".to_owned(), request);
            fields.insert(
                "headers".to_owned(),
                response.map(|it| shown(it.headers(), |name| !is_secret(name))).unwrap_or_default(),
            );
            fields
                .insert("body".to_owned(), response.map(|it| excerpt(it.body()).into()).unwrap_or_default());
        }
        shape
    }
}

/// Header fields with the values of those that are shown.
fn shown(headers: &HeaderMap, is_shown: impl Fn(&str) -> bool) -> Value {
    let mut fields = Map::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let value = if is_shown(name.as_str()) { Value::from(&*text) } else { Value::from("***") };
        fields.insert(name.as_str().to_owned(), value);
    }
    Value::Object(fields)
}

/// Whether a header of a request is made here. All others are those of the webhook, its
/// destination or its auth profile, any of which may be a secret, whatever its name.
fn is_ours(name: &str) -> bool {
    let is_made = ["webhook-", "content-", "ce-", "postgate-", "x-messagesystems-", "accept"]
        .iter()
        .any(|beginning| name.starts_with(beginning));
    let is_signature = name.ends_with("-signature") || name.ends_with("-signature-2");
    is_made
        || is_signature
        || ["host", "user-agent", "connection", "idempotency-key", "cdn-loop"].contains(&name)
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..body.len().min(EXCERPT)).unwrap_or_default()).into_owned()
}
