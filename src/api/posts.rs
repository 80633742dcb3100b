//! Calls about posts: look, list, retry, hold, release, reroute, delete.
//!
//! Orders go through the dispatcher, which lets attempts under way end first.

use super::ask::{Action, Actions, Asked, Given, Nothing, Reroute};
use super::caller::Caller;
use super::desk::{Desk, endpoint, order_to};
use super::filter::{Page, cursor};
use super::problem::{Problem, json};
use super::shapes::{AttemptShape, OrderedShape, PostShape};
use crate::compose;
use crate::deliver::control::Ordered;
use crate::post::PostId;
use crate::spool::{Content, Listed, Order};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Posts that are looked for at a time: each may have headers of 32 KiB.
const FEW: usize = 50;

/// Octets of a page, from which on it ends.
const PAGE: usize = 1 << 20;

/// From then on a page ends with what it has: posts that are not in memory are read from
/// the disk.
const LONGEST: Duration = Duration::from_millis(20);

type Answer = Result<Response, Problem>;

/// `GET /posts`: a page may be short, also empty, where what is asked for is rare; only
/// one without `next` is the last.
pub(super) async fn list(State(desk): State<Desk>, caller: Caller, Asked(page): Asked<Page>) -> Answer {
    let (filter, most, mut before) = page.taken_apart()?;
    let query = filter.query(caller.tenant)?;
    let unwritten = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a post could not be written");
    let (mut posts, mut octets, begun) = (Vec::new(), 0, Instant::now());
    loop {
        let wanted = FEW.min(most - posts.len());
        let mut found = desk.spool.search(query.clone(), before, wanted).await?;
        desk.correct(&mut found.posts).await;
        let is_meant = |listed: &&Listed| query.state.is_none_or(|state| state == listed.state);
        for listed in found.posts.iter().filter(is_meant) {
            let post = to_raw_value(&PostShape::of(listed)).map_err(unwritten)?;
            octets += post.get().len();
            posts.push(post);
        }
        before = found.next;
        let is_full = posts.len() == most || octets > PAGE || begun.elapsed() > LONGEST;
        // Who finds fewer has looked for long.
        if before.is_none() || is_full || found.posts.len() < wanted {
            break;
        }
    }
    Ok(json(StatusCode::OK, &ListShape { posts, next: before.map(cursor) }))
}

/// A page of posts.
#[derive(Serialize)]
struct ListShape {
    posts: Vec<Box<RawValue>>,
    next: Option<String>,
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
    let post = desk.find(&text, &caller).await?.post;
    // What is posted as it came says what its message says.
    let shown = |content: &Content| match content.body == content.message {
        true => compose::without_secrets(&content.body),
        false => content.body.clone(),
    };
    download(&desk, post.id, "bin", shown).await
}

/// `GET /posts/{id}/message`
pub(super) async fn message(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let post = desk.find(&text, &caller).await?.post;
    // No mail is without a recipient.
    if post.recipient.is_empty() {
        let detail = "the post was handed in over HTTP; there is no mail that it was made of";
        return Err(Problem::not_found(detail));
    }
    download(&desk, post.id, "eml", |content| compose::without_secrets(&content.message)).await
}

/// Octets of strangers, which no browser is to show. Both are read to have one, and take
/// room as long as it is sent.
async fn download(desk: &Desk, id: PostId, suffix: &str, which: fn(&Content) -> Bytes) -> Answer {
    let spool = Arc::clone(&desk.spool);
    let unread = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the post could not be read");
    let reading = desk.readers.read(async move { spool.content(id).await }).await.ok_or_else(unread)?;
    let content = reading.result.as_ref().map_err(|error| Problem::from(error.clone()))?;
    let whole = content.body.len() + content.message.len();
    let octets = desk.readers.hold(which(content), whole).await.map_err(|_| unread())?;
    let disposition = format!("attachment; filename=\"{id}.{suffix}\"");
    let kind = "application/octet-stream".to_owned();
    let fields = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)];
    Ok((fields, octets).into_response())
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
            let detail = "it names no post; say which by state, destination, tag, job, xs_message_id, sender, recipient, route, since, until or q, or \"all\": true for all";
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
