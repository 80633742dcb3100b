//! Orders to posts, single and in bulk: retry, hold, release, reroute, delete.
//!
//! What concerns many posts, or cannot be undone, is asked once more, with the count that
//! the API gives. The API says what came of it, and whether whoever asks may.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::posts::Search;
use super::shapes::{Ordered, Post};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::extract::Path;
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// What may be done, and what it does.
const ACTIONS: [(&str, &str, &str); 5] = [
    ("retry", "Retry now", "They are tried at once, whatever time they were to wait."),
    ("hold", "Hold", "Nothing of them is sent until they are released."),
    ("release", "Release", "Those that are held are sent again."),
    (
        "reroute",
        "Reroute",
        "They are sent to another URL, with its query and without headers that may hold a secret.",
    ),
    ("delete", "Delete", "They are gone for good, with their mail. That cannot be undone."),
];

/// An action that somebody chose.
#[derive(Clone, Copy)]
struct Action {
    verb: &'static str,
    name: &'static str,
    means: &'static str,
}

impl Action {
    fn of(verb: &str) -> Result<Action, Trouble> {
        let found = ACTIONS.into_iter().find(|(known, _, _)| *known == verb);
        let unknown =
            || Trouble::new(StatusCode::NOT_FOUND, "posts are retried, held, released, rerouted or deleted");
        found.map(|(verb, name, means)| Action { verb, name, means }).ok_or_else(unknown)
    }
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "confirm.html")]
struct ConfirmPage<'a> {
    frame: Frame,
    action: Action,
    /// `1,200 posts`.
    posts: String,
    is_none: bool,
    /// Whether there is no filter.
    is_all: bool,
    search: &'a Search,
    url: &'a str,
    /// Where the form goes.
    there: &'a str,
    /// Where one came from.
    back: String,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "done.html")]
struct DonePage {
    frame: Frame,
    action: Action,
    posts: String,
    ordered: Ordered,
    back: String,
}

/// `POST /posts/actions`: what is to be done to all posts of a search; with `sure`, it is.
pub(super) async fn many(visit: Visit, fields: Fields) -> Answer {
    let action = Action::of(fields.text("action").unwrap_or_default())?;
    let search = Search::of(&fields);
    let url = destination(action, &fields)?;
    let is_sure = fields.text("sure") == Some("yes");
    let mut order = json!({ "action": action.verb, "filter": search.filter(), "dry_run": !is_sure });
    if let Some(order) = order.as_object_mut() {
        if search.is_empty() {
            order.insert("all".to_owned(), Value::Bool(true));
        }
        if let Some(url) = url {
            order.insert("url".to_owned(), Value::from(url));
        }
    }
    let ordered: Ordered = visit.order(Method::POST, "/api/v1/posts/actions", Some(&order)).await?;
    let posts = words::counted(ordered.count, "post");
    let back = search.path();
    if is_sure {
        return layout::page(&DonePage { frame: visit.frame("Done"), action, posts, ordered, back });
    }
    layout::page(&ConfirmPage {
        frame: visit.frame("Are you sure?"),
        action,
        posts,
        is_none: ordered.count == 0,
        is_all: search.is_empty(),
        search: &search,
        url: url.unwrap_or_default(),
        there: "/posts/actions",
        back,
    })
}

/// `POST /posts/{id}/{verb}`
pub(super) async fn one(visit: Visit, Path((id, verb)): Path<(String, String)>, fields: Fields) -> Answer {
    let action = Action::of(&verb)?;
    let url = destination(action, &fields)?;
    // What is no id is none of a path either.
    let Post { id, .. } = visit.get(&format!("/api/v1/posts/{}", words::piece(&id))).await?;
    let (path, back) = (format!("/api/v1/posts/{id}"), format!("/posts/{id}"));
    if action.verb == "delete" && fields.text("sure") != Some("yes") {
        return layout::page(&ConfirmPage {
            frame: visit.frame("Are you sure?"),
            action,
            posts: format!("post {id}"),
            is_none: false,
            is_all: false,
            search: &Search::default(),
            url: "",
            there: &format!("{back}/delete"),
            back,
        });
    }
    let ordered: Ordered = match (action.verb, url) {
        ("delete", _) => visit.order(Method::DELETE, &path, None).await?,
        (verb, None) => visit.order(Method::POST, &format!("{path}/{verb}"), None).await?,
        (verb, Some(url)) => {
            visit.order(Method::POST, &format!("{path}/{verb}"), Some(&json!({ "url": url }))).await?
        }
    };
    let back = if action.verb == "delete" { "/posts".to_owned() } else { back };
    let posts = format!("post {id}");
    layout::page(&DonePage { frame: visit.frame("Done"), action, posts, ordered, back })
}

/// Where posts are rerouted to.
fn destination(action: Action, fields: &Fields) -> Result<Option<&str>, Trouble> {
    match (action.verb, fields.text("url")) {
        ("reroute", None) => {
            let detail = "say where to: a URL such as https://shop.example/hook; nothing was done";
            Err(Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        ("reroute", url) => Ok(url),
        _ => Ok(None),
    }
}
