//! `POST /messages`: mail over HTTP, taken as over SMTP.
//!
//! As it is (`message/rfc822`), or in the shape of Transmissions (PowerMTA, SparkPost).
//! Recipients are judged one by one as after RCPT, and all are taken or none is: the
//! answer says of each that is refused what SMTP would have said.

use super::ask::has_type;
use super::caller::Caller;
use super::desk::Desk;
use super::entrance::{Entrance, to_its_end};
use super::fields::{self, Elements, Fields, Reader};
use super::inject::{LARGE, idempotency_key, must_be_json};
use super::problem::{Problem, json};
use super::upload;
use crate::envelope::{Client, Envelope, Fate, Recipient, Refusal, Taken};
use crate::protocol_log::Transcript;
use crate::smtp::command::{self, Command};
use crate::smtp::session::{CheckState, Opening, Policy as _, Question};
use crate::spool::spill::MailData;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use url::form_urlencoded;

/// Recipients in a request that are read at all.
const MOST: usize = 10_000;
/// Posts that a message may make, if not more recipients are allowed.
const MOST_POSTS: usize = 1000;
/// Most octets of an address.
const LONGEST: usize = 4000;
/// Room for mail written as a text, with escapes.
const WRITTEN: usize = 2;

/// What stands beside the mail.
#[derive(Debug, Default)]
struct Said {
    /// Reverse-path, and the field where it stood.
    from: (&'static str, String),
    recipients: Vec<Addressee>,
    campaign: Option<String>,
}

/// One of those that it is for.
#[derive(Debug, Default)]
struct Addressee {
    /// Where in the request it stood.
    field: String,
    address: String,
    /// The sender's own id.
    message_id: Option<String>,
}

/// `POST /messages`
pub(super) async fn messages(
    State(desk): State<Desk>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let entrance = desk.entrance()?;
    let longest = desk.options.request_timeout;
    let (parts, body) = request.into_parts();
    to_its_end(desk.metrics, async move {
        let key = idempotency_key(&parts.headers)?;
        let transcript = entrance.log.transcript('A');
        let client = caller.client(transcript.name());
        if let Err(problem) = entrance.open(&client, key.as_deref()).await {
            upload::refuse(&parts.headers, body).await;
            return Err(problem);
        }
        let said = spoken(&parts.uri, &parts.headers)?;
        let most = entrance.limits.message;
        let most = if said.is_some() { most } else { most.saturating_mul(WRITTEN) };
        let data = upload::receive((&parts.headers, body), (most, longest), &entrance.spills).await?;
        let (said, data) = match said {
            Some(said) => (said, data),
            None => written(&entrance, data).await?,
        };
        take(&entrance, client, (said, key), data, transcript).await
    })
    .await
}

/// What the query says of mail that comes as it is; nothing of a document.
fn spoken(uri: &Uri, headers: &HeaderMap) -> Result<Option<Said>, Problem> {
    let query = uri.query().unwrap_or_default();
    if !has_type(headers, "message/rfc822") {
        must_be_json(headers)?;
        return match form_urlencoded::parse(query.as_bytes()).next() {
            None => Ok(None),
            Some((name, _)) => Err(Problem::bad_field(name, "a document says all; there are no parameters")),
        };
    }
    let (mut from, mut recipients) = (None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "from" if from.is_none() => from = Some(value.into_owned()),
            "from" => return Err(Problem::bad_field("from", "it is there twice")),
            "to" if recipients.len() < MOST => recipients.push(Addressee {
                field: format!("to[{}]", recipients.len()),
                address: value.into_owned(),
                message_id: None,
            }),
            "to" => return Err(Problem::bad_field("to", "too many recipients")),
            name => return Err(Problem::bad_field(name, "there is no such parameter")),
        }
    }
    let missing = || Problem::bad_field("from", "who sends it? from= is the null sender");
    Ok(Some(Said { from: ("from", from.ok_or_else(missing)?), recipients, campaign: None }))
}

/// Reads a document; a large one off the runtime's threads.
async fn written(entrance: &Entrance, data: MailData) -> Result<(Said, MailData), Problem> {
    let limit = entrance.limits.message;
    match data {
        MailData::Memory(body) if body.len() < LARGE => {
            let (said, mail) = read(&body, limit)?;
            Ok((said, MailData::Memory(mail.into())))
        }
        data => {
            // As long as it is read: what is made of it takes a turn of its own, and until
            // then it is where large mail is.
            let _turn = entrance.intake.turn(data.octets().saturating_mul(2)).await;
            let unread = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the body could not be read back");
            let spills = Arc::clone(&entrance.spills);
            let read = move || {
                let (said, mail) = read(&data.read().map_err(|_| unread())?, limit)?;
                Ok((said, upload::set_aside(mail.into(), &spills)?))
            };
            tokio::task::spawn_blocking(read).await.map_err(|_| unread())?
        }
    }
}

fn read(body: &[u8], limit: usize) -> Result<(Said, String), Problem> {
    let text = fields::text(body)?;
    let document: Fields<'_> = serde_json::from_str(text).map_err(|error| fields::not_understood(&error))?;
    let mut reader = Reader::default();
    let (mut said, mut from, mut mail) = (Said::default(), None, None);
    let mut paths = Vec::new();
    for (name, value) in document.0 {
        match &*name {
            "return_path" => from = reader.text("return_path", value),
            "campaign_id" => said.campaign = reader.text("campaign_id", value),
            "recipients" => (said.recipients, paths) = recipients(value, &mut reader),
            "content" => mail = content(value, limit, &mut reader),
            "options" => options(value, &mut reader),
            unknown => reader.unknown(unknown),
        }
    }
    // One return path of each recipient comes before that of the message.
    let mut paths = paths.into_iter().map(|path| path.or_else(|| from.clone()));
    let first = paths.next().unwrap_or_else(|| from.clone());
    if paths.any(|path| path != first) {
        reader.wrong("recipients", "one message has one return path; send one for each");
    }
    match first {
        Some(path) => said.from = ("return_path", path),
        None => reader.wrong("return_path", "who sends it? an empty text is the null sender"),
    }
    if mail.is_none() {
        reader.wrong("content.email_rfc822", "the mail is missing");
    }
    if said.campaign.as_ref().is_some_and(|campaign| campaign.len() > 255) {
        reader.wrong("campaign_id", "more than 255 octets");
    }
    reader.finish()?;
    Ok((said, mail.unwrap_or_default()))
}

/// Recipients, each with a return path of its own, if it has one.
fn recipients(value: &RawValue, reader: &mut Reader) -> (Vec<Addressee>, Vec<Option<String>>) {
    let Some(elements) = reader.read::<Elements<'_, MOST>>("recipients", value, "a list") else {
        return Default::default();
    };
    let (mut recipients, mut paths) = (Vec::new(), Vec::new());
    for (at, element) in elements.0.into_iter().enumerate() {
        reader.place = format!("recipients[{at}]");
        let field = format!("recipients[{at}].address");
        let (mut recipient, mut path) = (Addressee { field, ..Addressee::default() }, None);
        for (name, value) in reader.object("", element).0 {
            match &*name {
                "address" => recipient.address = address(value, reader),
                "return_path" => path = reader.text("return_path", value),
                "substitution_data" => recipient.message_id = own_id(value, reader),
                unknown => reader.unknown(unknown),
            }
        }
        recipients.push(recipient);
        paths.push(path);
    }
    reader.place.clear();
    (recipients, paths)
}

/// An address as a text, or as an object with `email`.
fn address(value: &RawValue, reader: &mut Reader) -> String {
    if !value.get().starts_with('{') {
        return reader.text("address", value).unwrap_or_default();
    }
    let mut address = None;
    for (name, value) in reader.object("address", value).0 {
        match &*name {
            "email" => address = reader.text("address.email", value),
            unknown => reader.unknown(&format!("address.{unknown}")),
        }
    }
    address.unwrap_or_default()
}

/// The only word that is to be replaced in finished mail: the sender's own id.
fn own_id(value: &RawValue, reader: &mut Reader) -> Option<String> {
    let mut id = None;
    for (name, value) in reader.object("substitution_data", value).0 {
        match &*name {
            "*custommessageid" => id = reader.text("substitution_data.*custommessageid", value),
            unknown => reader.unknown(&format!("substitution_data.{unknown}")),
        }
    }
    if id.as_ref().is_some_and(|id| id.len() > 255) {
        reader.wrong("substitution_data.*custommessageid", "more than 255 octets");
    }
    id
}

fn content(value: &RawValue, limit: usize, reader: &mut Reader) -> Option<String> {
    let mut mail = None;
    for (name, value) in reader.object("content", value).0 {
        match &*name {
            "email_rfc822" => mail = reader.text("content.email_rfc822", value),
            unknown => reader.unknown(&format!("content.{unknown}")),
        }
    }
    if mail.as_ref().is_some_and(|mail| mail.len() > limit) {
        reader.wrong("content.email_rfc822", format!("larger than {limit} octets"));
    }
    mail
}

/// Addresses in UTF-8 are always taken.
fn options(value: &RawValue, reader: &mut Reader) {
    for (name, value) in reader.object("options", value).0 {
        match &*name {
            "smtputf8" => drop(reader.read::<bool>("options.smtputf8", value, "true or false")),
            unknown => reader.unknown(&format!("options.{unknown}")),
        }
    }
}

async fn take(
    entrance: &Entrance,
    client: Client,
    (said, key): (Said, Option<String>),
    data: MailData,
    mut transcript: Transcript,
) -> Result<Response, Problem> {
    let (field, from) = &said.from;
    let from = reverse_path(field, from)?;
    let count = said.recipients.len();
    if count == 0 || count > entrance.limits.recipients {
        let detail = format!("expected 1 to {} recipients", entrance.limits.recipients);
        return Err(Problem::bad_field("recipients", detail));
    }
    let recipients = judge(entrance, &client, (&from, data.octets() as u64), said.recipients).await?;
    let mut envelope = Envelope::new(client.clone(), from, recipients);
    (envelope.idempotency_key, envelope.mailing_id) = (key, said.campaign);
    let taken = entrance.intake.admit(envelope, data).await;
    let taken = taken.and_then(|taken| match taken.refusal() {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(taken),
    });
    let taken = taken.map_err(|refusal| entrance.refused(&client, count, &refusal))?;
    let (posts, message) = (taken.posts, taken.message);
    let how = if taken.is_repeated { "repeated over HTTP, was" } else { "handed in over HTTP," };
    let tenant = &client.tenant;
    transcript.note(format_args!("mail of {tenant} that makes {posts} posts {how} queued as {message}."));
    Ok(answer(&taken, count))
}

/// Recipients as they are after RCPT, or what is said of those who are refused.
async fn judge(
    entrance: &Entrance,
    client: &Client,
    (from, size): (&str, u64),
    addressees: Vec<Addressee>,
) -> Result<Vec<Recipient>, Problem> {
    let opening = Opening { reverse_path: from, size: Some(size) };
    let (mut recipients, mut refused) = (Vec::new(), Vec::new());
    for Addressee { field, address, message_id } in addressees {
        match recipient(entrance, client, opening, &address).await {
            Ok(recipient) => recipients.push(Recipient { message_id, ..recipient }),
            Err(refusal) => refused.push((field, refusal)),
        }
    }
    if !refused.is_empty() {
        return Err(Problem::refused_recipients(refused));
    }
    let posts: usize = recipients.iter().map(|recipient| recipient.posts).sum();
    let most = MOST_POSTS.max(entrance.limits.recipients);
    if posts > most {
        return Err(Problem::bad_field("recipients", format!("they make {posts} posts, more than {most}")));
    }
    Ok(recipients)
}

async fn recipient(
    entrance: &Entrance,
    client: &Client,
    opening: Opening<'_>,
    address: &str,
) -> Result<Recipient, Refusal> {
    let path = forward_path(address)?;
    let judged = entrance.intake.recipient(client, opening, path)?;
    let recipient = Recipient { posts: judged.posts, ..Recipient::new(path, judged.target) };
    if judged.check == CheckState::Due {
        let (client, reverse_path) = (client.clone(), opening.reverse_path.to_owned());
        let question = Question { client, reverse_path, size: opening.size, recipient: recipient.clone() };
        entrance.intake.check(&question).await?;
    }
    Ok(recipient)
}

/// A forward-path as RCPT would have it; brackets may be there.
fn forward_path(address: &str) -> Result<&str, Refusal> {
    let bare = bare(address);
    let line = format!("RCPT TO:<{bare}>");
    match command::parse(line.as_bytes()) {
        Ok(Command::Rcpt(rcpt)) if rcpt.path == bare && bare.len() <= LONGEST => Ok(bare),
        _ => Err(Refusal::new(501, (1, 3), "that is no address of a recipient")),
    }
}

fn reverse_path(field: &str, address: &str) -> Result<String, Problem> {
    let bare = bare(address);
    let line = format!("MAIL FROM:<{bare}>");
    match command::parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) if mail.path == bare && bare.len() <= LONGEST => Ok(bare.to_owned()),
        _ => Err(Problem::bad_field(field, "that is no address of a sender")),
    }
}

fn bare(address: &str) -> &str {
    let address = address.trim_matches(' ');
    address.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(address)
}

/// What is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcceptedMail")]
pub(super) struct AcceptedShape {
    id: String,
    posts: Vec<String>,
    /// As Transmissions answer.
    results: ResultsShape,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    /// Status of the receiver, where it was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<u16>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Results")]
struct ResultsShape {
    total_accepted_recipients: usize,
    total_rejected_recipients: usize,
}

fn answer(taken: &Taken, recipients: usize) -> Response {
    let status = if taken.is_repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = AcceptedShape {
        id: taken.message.to_string(),
        posts: taken.ids().map(|id| id.to_string()).collect(),
        results: ResultsShape { total_accepted_recipients: recipients, total_rejected_recipients: 0 },
        repeated: taken.is_repeated,
        delivered: match taken.fates.first() {
            Some(Fate::Delivered(status)) => Some(*status),
            _ => None,
        },
    };
    json(status, &answer)
}
