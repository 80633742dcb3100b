//! `/events`: what happened, a page at a time, and as it happens.
//!
//! The list needs no script. With one, the newest come as they happen (`tail`): the script
//! shows some hundred of them, whatever their number.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::pretty;
use super::trouble::Trouble;
use super::visit::Visit;
use super::webhooks::shapes::{Kind, Kinds, Tenants};
use crate::intake::Role;
use crate::post::PostId;
use askama::Template;
use axum::extract::RawQuery;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::Serializer;

/// Events of a page.
const PAGE: usize = 20;

/// Octets of all events together, as a page may take 150 kB with all that it loads; those
/// above are written whole.
const ROOM: usize = 35_000;

/// Parameters of a search, as the API names them.
const PARAMETERS: [&str; 6] = ["type", "tag", "destination", "recipient", "since", "until"];

/// Those that a stream has as well.
const LASTING: [&str; 4] = ["type", "tag", "destination", "recipient"];

/// Which events are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    said: Vec<(&'static str, String)>,
    /// Of whose; empty: of all that who looks may see.
    pub tenant: String,
}

impl Search {
    /// What an address says; what it leaves empty means nothing.
    pub(super) fn of(fields: &Fields) -> Search {
        let said = PARAMETERS.into_iter().filter_map(|name| Some((name, fields.text(name)?.to_owned())));
        Search { said: said.collect(), tenant: fields.text("tenant").unwrap_or_default().to_owned() }
    }

    /// The value of a parameter; empty where it says nothing.
    fn value(&self, name: &str) -> &str {
        self.said.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    /// Whether it means all.
    fn is_empty(&self) -> bool {
        self.said.is_empty() && self.tenant.is_empty()
    }

    /// Whether it says something beyond what is always shown of the form.
    fn is_long(&self) -> bool {
        self.said.iter().any(|(name, _)| *name != "type" && *name != "destination") || !self.tenant.is_empty()
    }

    /// As a query of the API, with further parameters.
    fn asked(&self, further: &[(&str, &str)]) -> String {
        let said = self.said.iter().map(|(name, value)| (*name, value.as_str()));
        Serializer::new(String::new()).extend_pairs(said.chain(further.iter().copied())).finish()
    }

    /// As a query of the stream.
    pub(super) fn lasting(&self) -> String {
        let said = self.said.iter().filter(|(name, _)| LASTING.contains(name));
        Serializer::new(String::new()).extend_pairs(said).finish()
    }

    /// A page that shows what it means.
    fn path(&self, cursor: Option<&str>) -> String {
        let tenant = Some(self.tenant.as_str()).filter(|tenant| !tenant.is_empty());
        let further: Vec<_> = tenant.map(|tenant| ("tenant", tenant)).into_iter().collect();
        let further: Vec<_> = further.into_iter().chain(cursor.map(|cursor| ("cursor", cursor))).collect();
        match self.asked(&further).as_str() {
            "" => "/events".to_owned(),
            query => format!("/events?{query}"),
        }
    }

    /// Where it is told as it happens; nothing where only what was is meant.
    fn stream(&self) -> Option<String> {
        let path = self.path(None).replacen("/events", "/events/stream", 1);
        (self.value("since").is_empty() && self.value("until").is_empty()).then_some(path)
    }

    /// Who looks, at the events of this tenant alone where one is named.
    pub(super) fn visit(&self, visit: &Visit) -> Result<Visit, Trouble> {
        match self.tenant.as_str() {
            "" => Ok(visit.clone()),
            tenant => visit.for_tenant(tenant),
        }
    }
}

/// `GET /events` of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Events {
    events: Vec<Value>,
    next: Option<String>,
}

/// An event as it stands in the list.
struct Told {
    id: String,
    kind: String,
    at: String,
    tenant: String,
    /// What it is about, in a few words.
    about: String,
    /// All of it.
    text: String,
    is_cut: bool,
    /// The page of its post, if it is about one.
    post: Option<String>,
}

impl Told {
    /// As much of it as there is room for, of which it takes its part.
    fn of(event: &Value, room: &mut usize) -> Told {
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let data = event.get("data").unwrap_or(&Value::Null);
        let json = event.to_string();
        let whole = pretty::shown(json.as_bytes(), "application/json");
        let shown = pretty::beginning(&whole.text, *room).to_owned();
        *room -= pretty::octets(&shown).min(*room);
        let post = Some(text(data, "postId")).filter(|id| id.parse::<PostId>().is_ok());
        Told {
            id: text(event, "id"),
            kind: text(event, "type"),
            at: text(event, "timestamp"),
            tenant: text(event, "tenant"),
            about: about(data),
            is_cut: whole.is_cut || shown.len() < whole.text.len(),
            text: shown,
            post: post.map(|id| format!("/posts/{id}")),
        }
    }
}

/// What an event is about: the first of these that its data has, and what came of it. The
/// script of the page says the same.
fn about(data: &Value) -> String {
    let text = |name: &&str| match data.get(*name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let first = |names: &[&str]| names.iter().map(text).find(|text| !text.is_empty());
    let what = first(&["url", "recipient", "destination", "webhookId"]);
    let came = first(&["status", "error", "reason"]);
    what.into_iter().chain(came).collect::<Vec<_>>().join(" · ")
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "events.html")]
struct EventsPage {
    frame: Frame,
    search: Search,
    kinds: Vec<Kind>,
    /// Among whom who looks may choose; none where there is no choice.
    tenants: Vec<String>,
    events: Vec<Told>,
    has_tenants: bool,
    /// Where the next page is, if there is one.
    next: Option<String>,
    /// Whether this is not the first.
    is_later: bool,
    /// Where what happens now is told.
    stream: Option<String>,
}

/// `GET /events`
pub(super) async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields);
    let (limit, cursor) = (PAGE.to_string(), fields.text("cursor"));
    let mut asked = vec![("limit", limit.as_str())];
    asked.extend(cursor.map(|cursor| ("cursor", cursor)));
    let path = format!("/api/v1/events?{}", search.asked(&asked));
    let Events { events, next } = search.visit(&visit)?.get(&path).await?;
    let mut room = ROOM;
    let events: Vec<_> = events.iter().map(|event| Told::of(event, &mut room)).collect();
    let Kinds { types: kinds } = visit.get("/api/v1/events/types").await?;
    let tenants = tenants(&visit).await?;
    layout::page(&EventsPage {
        frame: visit.frame("Events"),
        has_tenants: !tenants.is_empty(),
        next: next.map(|cursor| search.path(Some(&cursor))),
        is_later: cursor.is_some(),
        stream: search.stream().filter(|_| cursor.is_none()),
        kinds,
        tenants,
        events,
        search,
    })
}

/// Tenants among whom who looks may choose; none where there is one alone.
pub(super) async fn tenants(visit: &Visit) -> Result<Vec<String>, Trouble> {
    let is_for_all = visit.who.as_ref().is_some_and(|who| who.role == Role::Admin && who.tenant.is_none());
    if !is_for_all {
        return Ok(Vec::new());
    }
    let Tenants { tenants } = visit.get("/api/v1/tenants").await?;
    let names: Vec<_> = tenants.into_iter().map(|tenant| tenant.name).collect();
    Ok(if names.len() > 1 { names } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_is_the_same_in_a_page_in_the_api_and_in_a_stream() {
        let search = Search::of(&Fields::of_query(Some("type=post.*&tag=&tenant=a%26b&other=1")));
        assert_eq!(search.path(None), "/events?type=post.*&tenant=a%26b");
        assert_eq!(search.path(Some("c")), "/events?type=post.*&tenant=a%26b&cursor=c");
        assert_eq!(search.asked(&[("limit", "50")]), "type=post.*&limit=50");
        assert_eq!(search.stream().as_deref(), Some("/events/stream?type=post.*&tenant=a%26b"));
        assert_eq!(search.lasting(), "type=post.*");
        let past = Search::of(&Fields::of_query(Some("since=2026-01-31T12:00:00Z")));
        assert_eq!((past.stream(), past.lasting().as_str()), (None, ""));
        assert!(past.is_long() && !past.is_empty() && !Search::default().is_long());
    }

    #[test]
    fn an_event_says_what_it_is_about_and_what_came_of_it() {
        for (data, expected) in [
            (json!({ "url": "https://r/x", "recipient": "a@b", "status": 500 }), "https://r/x · 500"),
            (json!({ "recipient": "a@b", "reason": "gone" }), "a@b · gone"),
            (json!({ "url": { "a": 1 } }), ""),
            (Value::Null, ""),
        ] {
            assert_eq!(about(&data), expected);
        }
        let mut room = 1000;
        let event =
            json!({ "id": "evt_1", "type": "a.b", "data": { "postId": "../x", "a": "ä".repeat(1000) } });
        let told = Told::of(&event, &mut room);
        assert!(told.is_cut && (800..=1000).contains(&told.text.len()) && told.post.is_none());
        assert!(room < 10, "{room}");
        let told = Told::of(&json!({ "data": { "postId": "52a0000000000002" } }), &mut 1000);
        assert_eq!((told.post.as_deref(), told.is_cut), (Some("/posts/52a0000000000002"), false));
    }
}
