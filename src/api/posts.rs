//! Calls about posts: look, list, retry, hold, release, reroute, delete.
//!
//! Orders go through the dispatcher, which lets attempts under way end first.

use super::ask::{Action, Actions, Asked, Given, Nothing, Reroute};
use super::caller::Caller;
use super::desk::{Desk, endpoint, order_to};
use super::filter::{Page, cursor};
use super::problem::{Problem, json};
use super::shapes::{AttemptShape, OrderedShape, PostShape};
use crate::deliver::control::Ordered;
use crate::post::Post;
use crate::spool::{Content, Order};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::json;
use std::sync::Arc;

type Answer = Result<Response, Problem>;

/// `GET /posts`: a page may be short, also empty, where what is asked for is rare; only
/// one without `next` is the last.
pub(super) async fn list(State(desk): State<Desk>, caller: Caller, Asked(page): Asked<Page>) -> Answer {
    let (filter, most, before) = page.taken_apart()?;
    let found = desk.spool.search(filter.query(caller.tenant)?, before, most).await?;
    let posts: Vec<_> = found.posts.iter().map(PostShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "posts": posts, "next": found.next.map(cursor) })))
}

/// `GET /posts/{id}`
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    Ok(json(StatusCode::OK, &PostShape::of(&desk.find(&text, &caller).await?)))
}

/// `GET /posts/{id}/attempts`
pub(super) async fn attempts(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let post = desk.find(&text, &caller).await?.post;
    let attempts = desk.spool.attempts(post.id).await?;
    let attempts: Vec<_> = attempts.iter().map(AttemptShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "attempts": attempts })))
}

/// `GET /posts/{id}/body`
pub(super) async fn body(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let (post, content) = content(&desk, &text, &caller).await?;
    Ok(download(content.body, &format!("{}.bin", post.id)))
}

/// `GET /posts/{id}/message`
pub(super) async fn message(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let (post, content) = content(&desk, &text, &caller).await?;
    // No mail is without a recipient.
    if post.recipient.is_empty() {
        let detail = "the post was handed in over HTTP; there is no mail that it was made of";
        return Err(Problem::not_found(detail));
    }
    Ok(download(content.message, &format!("{}.eml", post.id)))
}

async fn content(desk: &Desk, text: &str, caller: &Caller) -> Result<(Arc<Post>, Content), Problem> {
    let post = desk.find(text, caller).await?.post;
    let content = desk.spool.content(post.id).await?;
    Ok((post, content))
}

/// Octets of strangers, which no browser is to show.
fn download(octets: Bytes, name: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let kind = "application/octet-stream".to_owned();
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], octets).into_response()
}

/// `POST /posts/{id}/retry`
pub(super) async fn retry(
    state: State<Desk>,
    caller: Caller,
    path: Path<String>,
    given: Given<Nothing>,
) -> Answer {
    one(state, caller, path, given, Order::Retry).await
}

/// `POST /posts/{id}/hold`
pub(super) async fn hold(
    state: State<Desk>,
    caller: Caller,
    path: Path<String>,
    given: Given<Nothing>,
) -> Answer {
    one(state, caller, path, given, Order::Hold).await
}

/// `POST /posts/{id}/release`
pub(super) async fn release(
    state: State<Desk>,
    caller: Caller,
    path: Path<String>,
    given: Given<Nothing>,
) -> Answer {
    one(state, caller, path, given, Order::Release).await
}

/// `DELETE /posts/{id}`
pub(super) async fn delete(
    state: State<Desk>,
    caller: Caller,
    path: Path<String>,
    given: Given<Nothing>,
) -> Answer {
    one(state, caller, path, given, Order::Delete).await
}

async fn one(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    _: Given<Nothing>,
    order: Order,
) -> Answer {
    let listed = desk.find(&text, &caller).await?;
    desk.order_one(&listed, order, Vec::new()).await
}

/// `POST /posts/{id}/reroute`
pub(super) async fn reroute(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Given(Reroute { url }): Given<Reroute>,
) -> Answer {
    let endpoint = endpoint(&url)?;
    let listed = desk.find(&text, &caller).await?;
    let tenant = &listed.post.destination.tenant;
    desk.permit_reroute(&caller, tenant, &endpoint)?;
    let order = order_to(&endpoint, tenant);
    let left = match &order {
        Order::Reroute { destination, .. } => listed.post.left_behind(destination),
        _ => Vec::new(),
    };
    desk.order_one(&listed, order, left).await
}

/// `POST /posts/actions`
pub(super) async fn act(State(desk): State<Desk>, caller: Caller, Given(asked): Given<Actions>) -> Answer {
    let Actions { action, filter, url, all, dry_run } = asked;
    match (filter.says_something(), all) {
        (true, true) => {
            let detail = "it means some posts and \"all\": true means all of them; leave one of both out";
            return Err(Problem::bad_field("filter", detail));
        }
        (false, false) => {
            let detail = "it names no post; say which by state, destination, tag, sender, recipient, route, since, until or q, or \"all\": true for all";
            return Err(Problem::bad_field("filter", detail));
        }
        _ => {}
    }
    let url = url.as_deref().map(endpoint).transpose()?;
    if url.is_some() != (action == Action::Reroute) {
        return Err(Problem::bad_field("url", "a reroute has one, and nothing else"));
    }
    if let (Some(url), Some(tenant)) = (&url, &caller.tenant) {
        desk.permit_reroute(&caller, tenant, url)?;
    }
    let query = filter.query(caller.tenant)?;
    let counted = |count| Ordered { count, ..Ordered::default() };
    let ordered = match url {
        _ if dry_run => counted(desk.count(query, action).await?),
        Some(url) => counted(desk.reroute_all(query, &url).await?),
        None => desk.control.order(query, order(action)?).await?,
    };
    Ok(json(StatusCode::OK, &OrderedShape::of(&ordered)))
}

/// What an action does; a reroute has an order of its own for each tenant.
fn order(action: Action) -> Result<Order, Problem> {
    match action {
        Action::Retry => Ok(Order::Retry),
        Action::Hold => Ok(Order::Hold),
        Action::Release => Ok(Order::Release),
        Action::Delete => Ok(Order::Delete),
        Action::Reroute => Err(Problem::bad_field("url", "where to?")),
    }
}
