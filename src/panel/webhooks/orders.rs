//! Orders about a webhook: enable, disable, verify, test, a new secret, events once more,
//! delete.
//!
//! What loses something, or makes much, is asked once more. Why the API refuses is shown
//! where the order was given, with what was written.

use super::super::guard::Fields;
use super::super::layout::{self, Answer, Frame};
use super::super::trouble::Trouble;
use super::super::visit::Visit;
use super::super::words;
use super::find;
use super::one::{self, Refused};
use super::shapes::{Counted, Tested, Webhook};
use askama::Template;
use axum::extract::Path;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

/// What the page says after an order, by the word in its address.
pub(super) fn done(word: &str) -> Option<&'static str> {
    let all = [
        ("save", "It is as you wrote."),
        ("enable", "It gets events again."),
        ("disable", "It gets no more events."),
        ("verify", "Its receiver wants events: it gets them from now on."),
        ("replay", "The events are sent again; how far that is stands below."),
        ("delete", "The webhook is gone."),
    ];
    all.into_iter().find(|(known, _)| *known == word).map(|(_, text)| text)
}

/// What a secret was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A webhook.
    Webhook,
    /// A webhook that had another.
    Secret,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_made.html")]
struct MadePage {
    frame: Frame,
    webhook: Webhook,
    is_new: bool,
}

/// The page with a secret that is shown once, or without one that its owner chose.
pub(super) fn made(visit: &Visit, webhook: Webhook, what: Made) -> Answer {
    let frame = visit.frame(format!("Webhook {}", webhook.id));
    layout::page(&MadePage { frame, webhook, is_new: what == Made::Webhook })
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_sure.html")]
struct SurePage<'a> {
    frame: Frame,
    webhook: &'a Webhook,
    verb: &'a str,
    title: String,
    means: &'a str,
    /// What the button says; empty where there is nothing to be done.
    button: String,
    /// What was written, to be sent again.
    said: Vec<(&'static str, &'a str)>,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_test.html")]
struct TestPage {
    frame: Frame,
    webhook: Webhook,
    tested: Tested,
}

/// `POST /webhooks/{id}/{verb}`
pub(super) async fn give(visit: Visit, Path((id, verb)): Path<(String, String)>, fields: Fields) -> Answer {
    let (webhook, _) = find(&visit, &id).await?;
    match verb.as_str() {
        "enable" => turn(&visit, &webhook, "enable").await,
        "disable" if is_sure(&fields) => turn(&visit, &webhook, "disable").await,
        "disable" => ask(
            &visit,
            (&webhook, "disable", "Disable"),
            "It gets no more events. What happens until it is enabled again is not sent to it then.",
        ),
        "delete" if is_sure(&fields) => {
            visit.carry_out(Method::DELETE, &webhook.call()).await?;
            Ok(layout::see("/webhooks?done=delete"))
        }
        "delete" => ask(
            &visit,
            (&webhook, "delete", "Delete"),
            "It is gone for good, with its secret and with what waits for it. That cannot be undone.",
        ),
        "rotate-secret" if is_sure(&fields) => {
            let path = format!("{}/rotate-secret", webhook.call());
            let webhook = visit.order(Method::POST, &path, Some(&json!({}))).await?;
            made(&visit, webhook, Made::Secret)
        }
        "rotate-secret" => ask(
            &visit,
            (&webhook, "rotate-secret", "Make a new secret"),
            "Requests are signed with the new one and with the old one for a day more, so that its receiver has time \
             to learn the new one. One that was replaced before that counts no more.",
        ),
        "verify" => verify(visit, webhook, fields).await,
        "test" => test(visit, webhook, fields).await,
        "replay" => replay(visit, webhook, fields).await,
        _ => {
            let detail =
                "webhooks are enabled, disabled, verified, tested, replayed, deleted, or get a new secret";
            Err(Trouble::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

fn is_sure(fields: &Fields) -> bool {
    fields.text("sure") == Some("yes")
}

/// Asks once more.
fn ask(visit: &Visit, (webhook, verb, button): (&Webhook, &str, &str), means: &str) -> Answer {
    layout::page(&SurePage {
        frame: visit.frame("Webhook, are you sure?"),
        webhook,
        verb,
        title: format!("{button}?"),
        means,
        button: button.to_owned(),
        said: Vec::new(),
    })
}

async fn turn(visit: &Visit, webhook: &Webhook, verb: &str) -> Answer {
    let patch = json!({ "enabled": verb == "enable" });
    let _: Webhook = visit.order(Method::PATCH, &webhook.call(), Some(&patch)).await?;
    Ok(layout::see(&format!("{}?done={verb}", webhook.path())))
}

async fn verify(visit: Visit, webhook: Webhook, said: Fields) -> Answer {
    let way = said.text("way").unwrap_or_default();
    let path = format!("{}/verify", webhook.call());
    match visit.order::<Webhook>(Method::POST, &path, Some(&json!({ "way": way }))).await {
        Ok(_) => Ok(layout::see(&format!("{}?done=verify", webhook.path()))),
        Err(trouble) => refused(&visit, webhook, trouble, ("verify", said)).await,
    }
}

async fn test(visit: Visit, webhook: Webhook, said: Fields) -> Answer {
    let kind = said.text("event").map(|kind| json!({ "eventType": kind })).unwrap_or_else(|| json!({}));
    let path = format!("{}/test", webhook.call());
    match visit.order(Method::POST, &path, Some(&kind)).await {
        Ok(tested) => {
            // A test that is taken verifies it.
            let (webhook, _) = find(&visit, &webhook.id).await?;
            layout::page(&TestPage { frame: visit.frame("Webhook, tested"), webhook, tested })
        }
        Err(trouble) => refused(&visit, webhook, trouble, ("test", said)).await,
    }
}

/// Fields that say which events are sent again.
const WHICH: [&str; 3] = ["since", "until", "events"];

async fn replay(visit: Visit, webhook: Webhook, said: Fields) -> Answer {
    let mut asking = Map::new();
    for name in ["since", "until"] {
        asking.extend(said.text(name).map(|at| (name.to_owned(), at.into())));
    }
    let names =
        said.text("events").unwrap_or_default().split(|char: char| char == ',' || char.is_whitespace());
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    if !names.is_empty() {
        asking.insert("filter".to_owned(), json!({ "events": names }));
    }
    if asking.is_empty() {
        asking.insert("all".to_owned(), true.into());
    }
    let is_sure = is_sure(&said);
    asking.insert("dry_run".to_owned(), (!is_sure).into());
    let path = format!("{}/replay", webhook.call());
    match visit.order::<Counted>(Method::POST, &path, Some(&Value::Object(asking))).await {
        Ok(_) if is_sure => Ok(layout::see(&format!("{}?done=replay", webhook.path()))),
        Ok(counted) => {
            let events = words::counted(counted.count, "event");
            let events = if counted.exact { events } else { format!("at least {events}") };
            let is_none = counted.count == 0 && counted.exact;
            let means = if is_none {
                "The journal has no event of then that this webhook wants."
            } else {
                "They are sent once more, in batches of their own, beside what happens now. Its receiver may know \
                 them by their ids."
            };
            layout::page(&SurePage {
                frame: visit.frame("Webhook, are you sure?"),
                webhook: &webhook,
                verb: "replay",
                title: format!("Send again: {events}"),
                means,
                button: if is_none { String::new() } else { format!("Send {events} again") },
                said: WHICH.iter().filter_map(|name| Some((*name, said.text(name)?))).collect(),
            })
        }
        Err(trouble) => refused(&visit, webhook, trouble, ("replay", said)).await,
    }
}

/// The webhook's page with why an order came to nothing, unless there is more wrong.
async fn refused(
    visit: &Visit,
    webhook: Webhook,
    trouble: Trouble,
    (verb, said): (&'static str, Fields),
) -> Answer {
    let status = trouble.status;
    if ![StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST, StatusCode::CONFLICT].contains(&status) {
        return Err(trouble);
    }
    one::again(visit, webhook, status, Refused { verb, detail: trouble.detail, said }).await
}
