//! The mail that a post was made of: read for its page, its HTML for a frame, and its
//! attachments for download.
//!
//! Of HTML there is what an allow-list lets through, in a frame without an origin, with a
//! policy that runs and loads nothing: each of them would do alone.

use super::layout::Answer;
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use crate::compose::{self, Letter};
use axum::extract::Path;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What browsers may look up before anybody asks for it.
const DNS_PREFETCH: HeaderName = HeaderName::from_static("x-dns-prefetch-control");

/// What the frame may do: nothing. Styles stand at elements, and pictures in addresses.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

/// Reads the mail of a post.
pub(super) async fn letter(visit: &Visit, id: &str) -> Result<Letter, Trouble> {
    let place = place(visit).await?;
    let message = message(visit, id).await?;
    apart(place, move || Letter::read(&message)).await
}

/// `GET /posts/{id}/mail.html`: for a frame that may do nothing.
pub(super) async fn html(visit: Visit, Path(id): Path<String>) -> Answer {
    let place = place(&visit).await?;
    let message = message(&visit, &id).await?;
    let body = apart(place, move || Letter::read(&message).html.map(|html| compose::safe_html(&html)));
    let none = || Trouble::new(StatusCode::NOT_FOUND, "the mail has no HTML");
    let body = body.await?.ok_or_else(none)?;
    let head = "<!doctype html><html><head><meta charset=\"utf-8\"><title>Mail</title></head><body>";
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (DNS_PREFETCH, HeaderValue::from_static("off")),
    ];
    Ok((fields, format!("{head}{body}</body></html>")).into_response())
}

/// `GET /posts/{id}/attachments/{number}`: octets of strangers, which no browser is to show.
pub(super) async fn attachment(visit: Visit, Path((id, number)): Path<(String, usize)>) -> Answer {
    let place = place(&visit).await?;
    let message = message(&visit, &id).await?;
    let file = apart(place, move || compose::attachment(&message, number)).await?;
    let none = || Trouble::new(StatusCode::NOT_FOUND, "the mail has no such attachment");
    let file = file.ok_or_else(none)?;
    let name = words::piece(&file.name);
    let fields = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"attachment-{number}\"; filename*=UTF-8''{name}"),
        ),
    ];
    Ok((fields, file.octets).into_response())
}

async fn message(visit: &Visit, id: &str) -> Result<Bytes, Trouble> {
    visit.fetch(&format!("/api/v1/posts/{}/message", words::piece(id))).await
}

/// A place among those that read mail.
async fn place(visit: &Visit) -> Result<OwnedSemaphorePermit, Trouble> {
    let closed = |_| Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "no mail is read any more");
    Arc::clone(&visit.panel.readers).acquire_owned().await.map_err(closed)
}

/// Reads off the runtime's threads: mail may be large. What was begun keeps its place to its
/// end, also when nobody waits for it any more.
async fn apart<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let died = |_| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the mail could not be read");
    let reading = move || {
        let read = read();
        drop(place);
        read
    };
    tokio::task::spawn_blocking(reading).await.map_err(died)
}
