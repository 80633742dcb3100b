//! `POST /posts`: posts that are handed in over HTTP, one or a list of them.
//!
//! The answer is there when all are on disk. A list is kept whole or not at all, and
//! what is wrong with any of it is told by place and field. A repeat with the same
//! idempotency key is answered with the ids of the first, and `"repeated": true`.

use super::ask::has_type;
use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::desk::Desk;
use super::entrance::{Entrance, to_its_end};
use super::fields::{self, Elements, Fields, Reader};
use super::problem::{Problem, Wrong, json, shortened};
use super::upload;
use crate::compose::{Direct, DirectBody, Fault};
use crate::envelope::{Client, Taken};
use crate::intake::{Denied, Turn};
use crate::protocol_log::Transcript;
use crate::spool::spill::MailData;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

/// Most posts of a list.
const MOST: usize = 1000;
/// Most texts of a list within a post; fewer are good for anything.
const MOST_TEXTS: usize = 100;
/// Most headers of a post that are read; fewer are good for anything.
const MOST_HEADERS: usize = 200;
/// Octets of a body that takes turns, and is read off the runtime's threads.
pub(super) const LARGE: usize = 64 * 1024;
/// Room for a body written in base64 or with escapes.
const WRITTEN: usize = 2;

/// What was handed in.
enum Batch {
    One(Box<Direct>),
    List(Vec<Direct>),
}

/// `POST /posts`
pub(super) async fn posts(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
    request: Request,
) -> Result<Response, Problem> {
    let entrance = desk.entrance()?;
    let longest = desk.options.request_timeout;
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    to_its_end(desk.metrics, async move {
        must_be_json(&headers)?;
        let key = idempotency_key(&headers)?;
        let transcript = entrance.log.transcript('A');
        let client = caller.client(transcript.name());
        if let Err(problem) = entrance.open(&client, key.as_deref()).await {
            upload::refuse(&headers, body).await;
            return Err(problem);
        }
        let most = entrance.limits.message.saturating_mul(WRITTEN);
        let data = upload::receive((&headers, body), (most, longest), &entrance.spills).await?;
        take(entrance, client, key, data, transcript).await
    })
    .await
}

/// Refuses what is no JSON.
pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    if has_type(headers, "application/json") {
        return Ok(());
    }
    let detail = "the body must be JSON, with Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// What makes a repeat of the whole request a no-op.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut all = headers.get_all(NAME).iter();
    let Some(key) = all.next() else { return Ok(None) };
    let bad = |detail| Err(Problem::bad_field(NAME, detail));
    match key.to_str() {
        _ if all.next().is_some() => bad("it is there twice"),
        Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => Ok(Some(key.to_owned())),
        _ => bad("expected 1 to 255 octets of printable ASCII"),
    }
}

async fn take(
    entrance: Entrance,
    client: Client,
    key: Option<String>,
    data: MailData,
    mut transcript: Transcript,
) -> Result<Response, Problem> {
    let limit = entrance.limits.message;
    // Kept until the commit: what was read, and what is made of it.
    let mut turn = Turn::none();
    let batch = match data {
        MailData::Memory(body) if body.len() < LARGE => read(&body, limit)?,
        data => {
            turn = entrance.intake.turn(data.octets().saturating_mul(3)).await;
            read_large(data, limit).await?
        }
    };
    let is_list = matches!(batch, Batch::List(_));
    let (asked, key) = keyed(batch, key)?;
    let urls: Vec<_> = asked.iter().take(1).map(|asked| asked.url.clone()).collect();
    let count = asked.len();
    match entrance.intake.post(&client, asked, key, turn).await {
        Ok(taken) => {
            note(&mut transcript, &client, &taken, &urls);
            Ok(answer(&taken, is_list))
        }
        Err(Denied::Refusal(refusal)) => Err(entrance.refused(&client, count, &refusal)),
        Err(Denied::Faults(faults)) => {
            let wrong = |Fault { at, field, reason }| {
                let field = if is_list { format!("[{at}].{field}") } else { field };
                Wrong::of(field, reason)
            };
            Err(Problem::bad_fields(faults.into_iter().map(wrong).collect()))
        }
    }
}

/// One line, in the words by which a session is found that brought a post.
fn note(transcript: &mut Transcript, client: &Client, taken: &Taken, urls: &[String]) {
    let Taken { message, posts, is_repeated, .. } = taken;
    let how = if *is_repeated { "repeated over HTTP, was" } else { "handed in over HTTP," };
    let first = urls.first().map(|url| crate::masked::Masked(url).to_string()).unwrap_or_default();
    let tenant = &client.tenant;
    transcript.note(format_args!("{posts} posts of {tenant} to {first} {how} queued as {message}."));
}

/// What is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcceptedPosts")]
pub(super) struct AcceptedShape {
    /// Of one post.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
}

fn answer(taken: &Taken, is_list: bool) -> Response {
    let status = if taken.is_repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let ids = is_list.then(|| taken.ids().map(|id| id.to_string()).collect());
    let id = ids.is_none().then(|| taken.message.to_string());
    json(status, &AcceptedShape { id, ids, repeated: taken.is_repeated })
}

/// The posts, and what makes a repeat of all of them a no-op: the key of the request, or
/// that of the only post, which goes to its receiver as well.
fn keyed(batch: Batch, key: Option<String>) -> Result<(Vec<Direct>, Option<String>), Problem> {
    match batch {
        Batch::One(mut only) => {
            if only.idempotency_key.is_some() && key.is_some() && only.idempotency_key != key {
                let detail = "the header Idempotency-Key names another one";
                return Err(Problem::bad_field("idempotency_key", detail));
            }
            only.idempotency_key = only.idempotency_key.or(key);
            let key = only.idempotency_key.clone();
            Ok((vec![*only], key))
        }
        Batch::List(list) => {
            let keyed = list.iter().enumerate().filter(|(_, direct)| direct.idempotency_key.is_some());
            let detail = "a list is kept whole or not at all, and so are repeats of it: set the header \
                          Idempotency-Key of the request";
            let wrong = |at| Wrong::of(format!("[{at}].idempotency_key"), detail);
            let wrongs: Vec<_> = keyed.map(|(at, _)| wrong(at)).collect();
            if wrongs.is_empty() { Ok((list, key)) } else { Err(Problem::bad_fields(wrongs)) }
        }
    }
}

/// Reads a large body off the runtime's threads.
async fn read_large(data: MailData, limit: usize) -> Result<Batch, Problem> {
    let unread = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the body could not be read back");
    let read = move || read(&data.read().map_err(|_| unread())?, limit);
    tokio::task::spawn_blocking(read).await.map_err(|_| unread())?
}

fn read(body: &[u8], limit: usize) -> Result<Batch, Problem> {
    let text = fields::text(body)?;
    let mut reader = Reader::default();
    let batch = if text.trim_ascii_start().starts_with('[') {
        let elements: Elements<'_, MOST> =
            serde_json::from_str(text).map_err(|error| fields::not_understood(&error))?;
        let mut list = Vec::with_capacity(elements.0.len());
        for (at, element) in elements.0.into_iter().enumerate() {
            reader.place = format!("[{at}]");
            let fields = reader.object("", element);
            list.push(direct(fields, limit, &mut reader));
        }
        if list.is_empty() {
            return Err(Problem::bad_field("[0]", "the list is empty"));
        }
        Batch::List(list)
    } else {
        let fields: Fields<'_> =
            serde_json::from_str(text).map_err(|error| fields::not_understood(&error))?;
        Batch::One(Box::new(direct(fields, limit, &mut reader)))
    };
    reader.finish().map(|()| batch)
}

/// One post as it is written.
fn direct(fields: Fields<'_>, limit: usize, reader: &mut Reader) -> Direct {
    let mut direct = Direct::default();
    let mut url = None;
    for (name, value) in fields.0 {
        match &*name {
            "url" => url = reader.text("url", value),
            "method" => direct.method = reader.text("method", value),
            "headers" => direct.headers = headers(value, reader),
            "content_type" => direct.content_type = reader.text("content_type", value),
            "body" | "body_base64" | "json" => body(&name, value, limit, &mut direct, reader),
            "not_before" => direct.not_before = reader.text("not_before", value),
            "expires" => direct.expires = reader.text("expires", value),
            "priority" => direct.priority = reader.read("priority", value, "0 (first) to 9 (last)"),
            "ordering_key" => direct.ordering_key = reader.text("ordering_key", value),
            "idempotency_key" => direct.idempotency_key = reader.text("idempotency_key", value),
            "tags" => direct.tags = reader.texts::<MOST_TEXTS>("tags", value),
            "sign_with" => direct.sign_with = reader.text("sign_with", value),
            "auth" => direct.auth = reader.text("auth", value),
            unknown => reader.unknown(unknown),
        }
    }
    match url {
        Some(url) => direct.url = url,
        None => reader.wrong("url", "where to?"),
    }
    direct
}

/// Request headers: a text each, or a list of texts for one that is there again.
fn headers(value: &RawValue, reader: &mut Reader) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in reader.object("headers", value).0 {
        let field = format!("headers.{}", shortened(name.to_string()));
        let texts = match value.get().starts_with('[') {
            true => reader.texts::<MOST_TEXTS>(&field, value),
            false => reader.read(&field, value, "a text, or a list of texts").into_iter().collect(),
        };
        headers.extend(texts.into_iter().map(|text| (name.to_string(), text)));
        if headers.len() > MOST_HEADERS {
            reader.wrong("headers", format!("more than {MOST_HEADERS} of them"));
            return Vec::new();
        }
    }
    headers
}

fn body(name: &str, value: &RawValue, limit: usize, direct: &mut Direct, reader: &mut Reader) {
    let read = match name {
        // As it is written: numbers keep their digits.
        "json" => Some((Bytes::copy_from_slice(value.get().as_bytes()), "application/json")),
        "body" => reader.text(name, value).map(|text| (Bytes::from(text), "text/plain; charset=utf-8")),
        _ => reader.text(name, value).and_then(|text| {
            let decoded = BASE64.decode(text.as_bytes());
            let decoded = decoded.map_err(|error| reader.wrong(name, format!("not base64: {error}")));
            decoded.ok().map(|octets| (Bytes::from(octets), "application/octet-stream"))
        }),
    };
    let Some((octets, usual_type)) = read else { return };
    if octets.len() > limit {
        reader.wrong(name, format!("larger than {limit} octets"));
    }
    if direct.body.replace(DirectBody { octets, usual_type }).is_some() {
        reader.wrong(name, "one of body, body_base64 and json is enough");
    }
}
