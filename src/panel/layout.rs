//! What stands around every page, and how a page becomes an answer.

use super::assets::Assets;
use super::trouble::Trouble;
use super::visit::{Visit, Who};
use super::whose::{Choice, Shown};
use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

/// A page, or why there is none.
pub(super) type Answer = Result<Response, Trouble>;

/// What stands around a page.
pub(super) struct Frame {
    /// What the page is called.
    pub title: String,
    /// Who looks.
    pub who: Option<Who>,
    /// Among which tenants they choose.
    pub choice: Choice,
    /// Whose posts there are on it.
    pub shown: Shown,
    /// What forms have with them.
    pub token: String,
    /// Where style and scripts are.
    pub assets: Arc<Assets>,
}

impl Frame {
    /// Whether who looks may hand something in.
    pub(super) fn may_send(&self) -> bool {
        self.who.as_ref().is_some_and(Who::may_send)
    }
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "trouble.html")]
struct TroublePage<'a> {
    frame: Frame,
    trouble: &'a Trouble,
}

/// A page as it is answered.
pub(super) fn page(template: &impl Template) -> Answer {
    let unwritten = |_| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written");
    let text = template.render().map_err(unwritten)?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

/// A page that says what is wrong.
pub(super) fn trouble(visit: &Visit, trouble: &Trouble) -> Response {
    let mut response = match page(&TroublePage { frame: visit.frame(trouble.title()), trouble }) {
        Ok(response) => response,
        Err(trouble) => (trouble.status, trouble.detail).into_response(),
    };
    *response.status_mut() = trouble.status;
    response
}

/// Has the browser ask for another page.
pub(super) fn see(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let there = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, there);
    response
}
