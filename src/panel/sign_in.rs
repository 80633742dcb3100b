//! Signing in with a key of the API, and signing out.
//!
//! The API itself says whether a key is good, and counts those that are not against the
//! address that they come from.

use super::guard::{Fields, Opened, SIGN_IN};
use super::layout::{self, Answer, Frame};
use super::trouble::Trouble;
use super::visit::Visit;
use askama::Template;
use axum::extract::RawQuery;
use axum::response::IntoResponse as _;
use http::StatusCode;
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// Where one signs out.
pub(super) const SIGN_OUT: &str = "/sign-out";

/// Most octets of a key.
const LONGEST: usize = 512;

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame,
    next: &'a str,
    wrong: Option<&'a str>,
}

/// `GET /sign-in`
pub(super) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let next = place(&fields);
    if visit.who.is_some() {
        return Ok(layout::see(next));
    }
    layout::page(&SignInPage { frame: visit.frame("Sign in"), next, wrong: None })
}

/// `POST /sign-in`
pub(super) async fn enter(visit: Visit, fields: Fields) -> Answer {
    let next = place(&fields);
    let key = Zeroizing::new(fields.text("key").unwrap_or_default().to_owned());
    if key.is_empty() || key.len() > LONGEST {
        return refused(&visit, next, StatusCode::UNPROCESSABLE_ENTITY, "Write a key of the API.");
    }
    match visit.with_key(Arc::new(key.clone())).identify().await {
        Ok(_) => {
            let undrawn = |_| Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "there is no session now");
            // A new id: the old one may be known to somebody.
            visit.panel.sessions.close(&visit.session);
            let id = visit.panel.sessions.open(&key, Instant::now()).map_err(undrawn)?;
            let mut response = layout::see(next);
            response.extensions_mut().insert(Opened(id));
            Ok(response)
        }
        Err(Trouble { status: StatusCode::UNAUTHORIZED, .. }) => {
            let detail =
                "No key like this is configured here. Keys stand under [[api_key]]; postgate key makes one.";
            refused(&visit, next, StatusCode::FORBIDDEN, detail)
        }
        Err(Trouble { status, detail, .. }) => refused(&visit, next, status, &detail),
    }
}

/// `POST /sign-out`
pub(super) async fn leave(visit: Visit) -> Answer {
    visit.panel.sessions.close(&visit.session);
    Ok(layout::see(SIGN_IN))
}

fn refused(visit: &Visit, next: &str, status: StatusCode, wrong: &str) -> Answer {
    let page = layout::page(&SignInPage { frame: visit.frame("Sign in"), next, wrong: Some(wrong) })?;
    Ok((status, page).into_response())
}

/// Where to go on: a page of our own, whatever an address says.
fn place(fields: &Fields) -> &str {
    let next = fields.text("next").unwrap_or("/");
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|octet| (b'!'..=b'~').contains(&octet) && octet != b'\\');
    if is_own { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_a_page_of_our_own_alone() {
        for (next, expected) in [
            ("/posts?state=failed", "/posts?state=failed"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            let query: String =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            assert_eq!(place(&Fields::of_query(Some(&query))), expected, "{next}");
        }
    }
}
