//! `/events/stream`: events as they happen, as the API streams them, for as long as the
//! session is there.
//!
//! A page that stays open is no sign that anybody looks: a stream keeps no session. It ends
//! with it, however that ends, and with all that ends one of the API: a key that is taken
//! away, a stop, or a client that leaves.

use super::events::Search;
use super::guard::{Fields, refreshes_itself};
use super::layout::Answer;
use super::trouble::Trouble;
use super::visit::Visit;
use axum::body::Body;
use axum::extract::RawQuery;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// `GET /events/stream`
pub(super) async fn stream(visit: Visit, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    // Only a script of ours can say so: no site can take up all places for streams by
    // naming this address.
    if !refreshes_itself(&headers) {
        let detail = "this is for the page of events; look at /events, or have a program ask the API";
        return Err(Trouble::new(StatusCode::BAD_REQUEST, detail));
    }
    let search = Search::of(&Fields::of_query(query.as_deref()));
    let asked = search.visit(&visit)?.after(headers.get("last-event-id"));
    let response = asked.pass(&format!("/api/v1/events/stream?{}", search.lasting())).await?;
    // Who is in without a key has no session that could end.
    if visit.key.is_none() {
        return Ok(response);
    }
    let (sessions, id) = (Arc::clone(&visit.panel.sessions), visit.session);
    let over = Box::pin(async move { sessions.ended(&id).await });
    Ok(response.map(|body| Body::new(Leash { body, over })))
}

/// A body that ends with a session.
struct Leash {
    body: Body,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Leash {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}
