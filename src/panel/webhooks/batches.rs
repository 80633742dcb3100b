//! `/webhooks/{id}/batches/{batch}`: what was sent, what was answered, and which events
//! were in it.

use super::super::layout::{self, Answer, Frame};
use super::super::pretty::{self, Shown};
use super::super::visit::Visit;
use super::super::words;
use super::find;
use super::shapes::{Webhook, Whole};
use askama::Template;
use axum::extract::Path;
use data_encoding::BASE64;
use serde_json::Value;

/// Most events that are listed; all of them are in the body.
const LISTED: usize = 100;

/// Octets of a body on its page, which may take 150 kB with all that it loads.
const ROOM: usize = 40_000;

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_batch.html")]
struct BatchPage {
    frame: Frame,
    webhook: Webhook,
    whole: Whole,
    /// Nothing where it is not known any more.
    body: Option<Shown>,
    events: Vec<Told>,
}

/// An event of a batch, as far as its format tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    kind: String,
    id: String,
    /// When, if it says so.
    at: String,
    /// What it is about.
    about: String,
}

/// `GET /webhooks/{id}/batches/{batch}`
pub(super) async fn show(visit: Visit, Path((id, batch)): Path<(String, String)>) -> Answer {
    let (webhook, _) = find(&visit, &id).await?;
    let path = format!("{}/batches/{}", webhook.call(), words::piece(&batch));
    let mut whole: Whole = visit.get(&path).await?;
    // The last one says how it stands.
    whole.attempt_list.reverse();
    let is_kind = |name: &str| name.eq_ignore_ascii_case("content-type");
    let kind = whole.post.headers.iter().find(|field| is_kind(&field.name));
    let kind = kind.and_then(|field| field.value.clone()).unwrap_or_default();
    let octets = match (&whole.body, &whole.body_base64) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(text)) => BASE64.decode(text.as_bytes()).ok(),
        (None, None) => None,
    };
    let frame = visit.frame(format!("Webhook, batch {}", whole.batch.batch_id));
    let body = octets.as_deref().map(|octets| shown(octets, &kind));
    let events = octets.as_deref().map(told).unwrap_or_default();
    layout::page(&BatchPage { frame, body, events, webhook, whole })
}

/// A body, as much of it as has room.
fn shown(octets: &[u8], kind: &str) -> Shown {
    let Shown { how, text, is_cut } = pretty::shown(octets, kind);
    let start = pretty::beginning(&text, ROOM);
    Shown { how, is_cut: is_cut || start.len() < text.len(), text: start.to_owned() }
}

/// Events of a body: one, a list of them, or one a line; none of what is written otherwise.
fn told(body: &[u8]) -> Vec<Told> {
    let each = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let values = each.map_while(Result::ok).take(LISTED).flat_map(|value| match value {
        Value::Array(list) => list,
        one => vec![one],
    });
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let read = |value: Value| {
        let (kind, id) = (text(&value, "type"), text(&value, "id"));
        // CloudEvents have another name for it.
        let at = ["timestamp", "time"].map(|name| text(&value, name));
        let at = at.into_iter().find(|at| !at.is_empty()).unwrap_or_default();
        let data = value.get("data").unwrap_or(&Value::Null);
        let about = ["recipient", "destination", "webhookId"].map(|name| text(data, name));
        let about = about.into_iter().find(|about| !about.is_empty()).unwrap_or_default();
        (!kind.is_empty()).then_some(Told { kind, id, at, about })
    };
    values.filter_map(read).take(LISTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_of_one_of_a_list_and_of_lines() {
        let one =
            r#"{"id":"evt_1","type":"a.b","timestamp":"2026-01-31T12:00:00Z","data":{"recipient":"r@x"}}"#;
        let expected = Told {
            kind: "a.b".to_owned(),
            id: "evt_1".to_owned(),
            at: "2026-01-31T12:00:00Z".to_owned(),
            about: "r@x".to_owned(),
        };
        for (body, count) in [
            (one.to_owned(), 1),
            (format!("[{one},{one}]"), 2),
            (format!("{one}\n{one}\n{one}\n"), 3),
            ("type,timeLogged\r\nd,1\r\n".to_owned(), 0),
            (format!("[{}]", vec![one; 500].join(",")), LISTED),
            ("[{\"msys\":{}}]".to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(told(body.as_bytes()), vec![expected.clone(); count], "{body}");
        }
    }
}
