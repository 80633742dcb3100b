//! What stands before every page: who looks, what must not get through, and the marks
//! of every answer.
//!
//! A cookie that another site's link could not bring with it (SameSite=Strict) is not
//! replaced: whoever follows such a link goes on by a link of our own, and is still
//! signed in. A form counts with the token of its session and of what its page shows, from
//! a page of our own, and with what a browser's form has: names and values, at most [`LARGEST`] octets, or
//! [`drafts::LARGEST`] of a draft of the configuration.

use super::Panel;
use super::config;
use super::cookies::{self, cookies, set_cookie};
use super::drafts::{self, Place};
use super::layout::{self, Answer};
use super::sessions::Sessions;
use super::trouble::Trouble;
use super::visit::{Visit, Who};
use super::whose::{self, Chosen, Shown};
use crate::browser::{self, SEC_FETCH_SITE};
use crate::intake::Role;
use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::form_urlencoded;

/// Most octets of a form.
const LARGEST: usize = 64 * 1024;
/// Most fields of a form.
const MOST: usize = 1000;
/// Longest time until a form is there.
const LONGEST: Duration = Duration::from_secs(10);

/// Marks of every answer: nothing but what is here is loaded, run or framed, nothing is
/// kept, and nobody is told where a reader came from.
const MARKS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Where one signs in.
pub(super) const SIGN_IN: &str = "/sign-in";

/// What a form says, each name with its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Arc<Vec<(String, String)>>);

impl Fields {
    /// The value of a field; nothing where it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of a field as it was typed; empty where it is missing.
    pub(super) fn whole(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// All values of a field that may be there several times, but those that are empty.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(other, _)| other == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Octets of all names and values.
    pub(super) fn octets(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// What stands in the query of an address, read as a form; the first [`MOST`] fields of it.
    pub(super) fn of_query(query: Option<&str>) -> Fields {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Fields(Arc::new(pairs.into_owned().take(MOST).collect()))
    }

    fn read(octets: &[u8]) -> Result<Fields, Trouble> {
        let pairs: Vec<_> = form_urlencoded::parse(octets).into_owned().take(MOST + 1).collect();
        if pairs.len() > MOST {
            let detail = format!("the form has more than {MOST} fields; nothing was done");
            return Err(Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        Ok(Fields(Arc::new(pairs)))
    }
}

impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Fields, Trouble> {
        let none = || Trouble::new(StatusCode::BAD_REQUEST, "a form is missing");
        parts.extensions.get().cloned().ok_or_else(none)
    }
}

/// Lets through to pages what may see them.
pub(super) async fn check(State(panel): State<Panel>, request: Request, next: Next) -> Response {
    let mut response = match Entry::of(panel, &request) {
        Ok(entry) => entry.answer(request, next).await,
        // Who is not on our own page is told in a few words.
        Err(trouble) => (trouble.status, trouble.detail).into_response(),
    };
    for (name, value) in MARKS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A request that may be answered, once it is known who sent it.
struct Entry {
    visit: Visit,
    host: Authority,
    /// Whether the id of its session is new.
    is_new: bool,
    /// Whether a part of a page asks.
    is_live: bool,
}

impl Entry {
    fn of(panel: Panel, request: &Request) -> Result<Entry, Trouble> {
        let headers = request.headers();
        let unnamed = || Trouble::new(StatusCode::BAD_REQUEST, "a request names its host once, in Host");
        let host = browser::host(headers, request.uri()).ok_or_else(unnamed)?;
        if !is_safe(request.method()) && browser::is_from_another_site(headers, &host) {
            let detail = "a browser sent this form on behalf of another site; that is not allowed";
            return Err(Trouble::new(StatusCode::FORBIDDEN, detail));
        }
        let shown = cookies(headers, &cookies::name(&host)).find(|id| Sessions::is_id(id)).map(str::to_owned);
        let (session, is_new) = match shown {
            Some(id) => (id, false),
            None => {
                let undrawn = |_| Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "there is no session now");
                (Sessions::draw().map_err(undrawn)?, true)
            }
        };
        let (now, is_live) = (Instant::now(), refreshes_itself(headers));
        let key = match is_live {
            true => panel.sessions.key(&session, now),
            false => panel.sessions.used(&session, now),
        };
        Ok(Entry { visit: Visit::of(request, panel, session, key), host, is_new, is_live })
    }

    async fn answer(mut self, request: Request, next: Next) -> Response {
        let path = request.uri().clone();
        // What was typed there took somebody an hour.
        let is_kept = !is_safe(request.method()) && path.path() == config::PATH;
        if self.is_new && is_safe(request.method()) && came_by_a_link(request.headers()) {
            return again(&self.visit, path.path_and_query().map_or("/", |path| path.as_str()));
        }
        match self.visit.identify().await {
            Ok(who) => match self.narrow(who, path.path(), request.headers()).await {
                Err(trouble) if is_kept => return self.kept(request, trouble).await,
                Err(trouble) => return self.dressed(trouble.into_response()),
                Ok(()) => {}
            },
            Err(Trouble { status: StatusCode::UNAUTHORIZED, .. }) => {
                self.visit.panel.sessions.close(&self.visit.session);
                self.visit.key = None;
                if is_kept {
                    return self.kept(request, config::signed_out()).await;
                }
                if path.path() != SIGN_IN {
                    return to_sign_in(&path, self.is_live);
                }
            }
            Err(trouble) if is_kept => return self.kept(request, trouble).await,
            // Without a cookie: it may be under a name that is not ours.
            Err(trouble) => return layout::trouble(&self.visit, &trouble),
        }
        let (response, place) = match self.with_form(request).await {
            Ok((request, place)) => (next.run(request).await, place),
            Err(Refusal { trouble, typed: Some(Typed { fields, place }) }) if is_kept => {
                (config::keep(&self.visit, &fields, &trouble), place)
            }
            Err(Refusal { trouble, .. }) => (trouble.into_response(), None),
        };
        match response.extensions().get::<Trouble>() {
            Some(trouble) if trouble.status == StatusCode::UNAUTHORIZED => to_sign_in(&path, self.is_live),
            _ => drafts::hold(self.dressed(response), place).await,
        }
    }

    /// Makes the visit one of the tenant that was chosen, and of none that its page does not show.
    async fn narrow(&mut self, who: Who, path: &str, headers: &HeaderMap) -> Result<(), Trouble> {
        let chosen = whose::chosen(headers, &self.host);
        match whose::narrow(&mut self.visit, who, chosen).await {
            Err(_) if whose::is_of_nobody(path) => Ok(()),
            Err(trouble) => Err(trouble),
            Ok(()) => whose::check_part(&self.visit, headers),
        }
    }

    /// The request with what its form says, if it is one; of this session and of what is shown
    /// alone.
    async fn with_form(&self, request: Request) -> Result<(Request, Option<Place>), Refusal> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.visit.clone());
        if is_safe(&parts.method) {
            return Ok((Request::from_parts(parts, Body::empty()), None));
        }
        let typed = self.typed(&parts, body).await?;
        let token = typed.fields.text("token").unwrap_or_default();
        if let Err(trouble) = whose::check_form(&self.visit, parts.uri.path(), token) {
            return Err(Refusal { trouble, typed: Some(typed) });
        }
        parts.extensions.insert(typed.fields);
        Ok((Request::from_parts(parts, Body::empty()), typed.place))
    }

    /// What a form says, of whatever session.
    async fn typed(&self, parts: &Parts, body: Body) -> Result<Typed, Trouble> {
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.and_then(|kind| kind.split(';').next()) != Some("application/x-www-form-urlencoded") {
            let detail = "a page sends forms as application/x-www-form-urlencoded alone";
            return Err(Trouble::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let too_slow = |_| Trouble::new(StatusCode::REQUEST_TIMEOUT, "the form took too long");
        let is_draft = parts.uri.path() == config::PATH;
        let place = match is_draft && self.may_be_long() {
            true => Some(self.visit.panel.drafts.place().await?),
            false => None,
        };
        let largest = if place.is_some() { drafts::LARGEST } else { LARGEST };
        let octets = tokio::time::timeout(LONGEST, whole(body, largest)).await.map_err(too_slow)?;
        let too_large = || match is_draft && place.is_none() {
            true => too_long_for(self.visit.who.as_ref()),
            false => Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large; nothing was done"),
        };
        let fields = Fields::read(&octets.ok_or_else(too_large)?)?;
        if is_draft {
            drafts::fits(&fields)?;
        }
        Ok(Typed { fields, place })
    }

    /// Whether a draft of who sends it may be as long as any file.
    fn may_be_long(&self) -> bool {
        match &self.visit.who {
            Some(who) => who.role == Role::Admin,
            None => self.visit.panel.drafts.was_shown(&self.visit.session),
        }
    }

    /// The page with what was typed into a form that is refused, whoever sent it.
    async fn kept(&self, request: Request, trouble: Trouble) -> Response {
        let (parts, body) = request.into_parts();
        let (response, place) = match self.typed(&parts, body).await {
            Ok(Typed { fields, place }) => (config::keep(&self.visit, &fields, &trouble), place),
            Err(trouble) => (trouble.into_response(), None),
        };
        drafts::hold(self.dressed(response), place).await
    }

    /// The answer with its cookie, and a page where it only said what is wrong.
    fn dressed(&self, mut response: Response) -> Response {
        if let Some(trouble) = response.extensions().get::<Trouble>() {
            response = layout::trouble(&self.visit, trouble);
        }
        let scheme = self.visit.scheme();
        let opened = response.extensions_mut().remove::<Opened>();
        let id = match &opened {
            Some(Opened(id)) => Some(id),
            None => self.is_new.then_some(&self.visit.session),
        };
        if let Some(value) = id.and_then(|id| set_cookie(&cookies::name(&self.host), id, &scheme)) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        let chosen = response.extensions_mut().remove::<Chosen>();
        // A page says so, which no part of one would.
        let is_told = self.visit.choice.gone.is_some() && !self.is_live;
        let chosen = chosen.or_else(|| is_told.then(|| Chosen(Shown::default())));
        if let Some(value) = chosen.and_then(|chosen| chosen.cookie(&self.host, &scheme)) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }
}

/// What a form says, and its place where it may be long.
struct Typed {
    fields: Fields,
    place: Option<Place>,
}

/// Why a form does nothing, and what it says, if that is known.
struct Refusal {
    trouble: Trouble,
    typed: Option<Typed>,
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Refusal {
        Refusal { trouble, typed: None }
    }
}

/// A session that an answer begins.
#[derive(Clone)]
pub(super) struct Opened(pub String);

/// A body of at most so many octets. A larger one is read on, and nothing of it kept: a
/// browser that sends all of it before it reads would never see the answer.
async fn whole(mut body: Body, largest: usize) -> Option<Bytes> {
    let (mut held, mut octets) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        octets += data.len();
        match octets {
            _ if octets <= largest => held.extend_from_slice(&data),
            _ if octets <= drafts::LARGEST => held = BytesMut::new(),
            _ => return None,
        }
    }
    (octets <= largest).then(|| held.freeze())
}

/// Why a draft is not read, with what its sender can do about it.
fn too_long_for(who: Option<&Who>) -> Trouble {
    let whose = match who {
        Some(_) => "a configuration is for admins: sign in as one",
        None => "the session has ended: sign in",
    };
    let detail = format!(
        "{whose} in another window, then reload this page, which sends the form again; a form of more than \
         {LARGEST} octets is not read before; nothing was done"
    );
    Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// Whether a part of a page asks, not whoever looks at it.
pub(super) fn refreshes_itself(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// Whether a page of another site led here: cookies stay behind then.
fn came_by_a_link(headers: &HeaderMap) -> bool {
    let sites = headers.get_all(SEC_FETCH_SITE);
    sites.iter().any(|site| site == "cross-site" || site == "same-site")
}

fn to_sign_in(from: &http::Uri, is_live: bool) -> Response {
    let path = if is_live { "/" } else { from.path_and_query().map_or("/", |path| path.as_str()) };
    let next = utf8_percent_encode(path, NON_ALPHANUMERIC);
    let there = if path == "/" { SIGN_IN.to_owned() } else { format!("{SIGN_IN}?next={next}") };
    if is_live {
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", there)]).into_response();
    }
    layout::see(&there)
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "again.html")]
struct AgainPage<'a> {
    frame: layout::Frame,
    path: &'a str,
}

fn again(visit: &Visit, path: &str) -> Response {
    // Never a host: a path that begins with two slashes would name one.
    let path = if path.starts_with("//") { "/" } else { path };
    let page: Answer = layout::page(&AgainPage { frame: visit.frame("Postgate"), path });
    page.unwrap_or_else(|trouble| trouble.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_bounded_number_of_fields() {
        let read = |fields: usize| Fields::read("a&".repeat(fields).as_bytes()).map(|fields| fields.0.len());
        assert_eq!(read(MOST), Ok(MOST));
        assert_eq!(read(MOST + 1).unwrap_err().status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(Fields::of_query(Some(&"a&".repeat(2 * MOST))).0.len(), MOST);
    }
}
