//! A request for a page, and what the page asks of the API for it.
//!
//! The API is asked in this process, over no socket, and judges the request as it judges
//! any: by the key of the session, by where the request comes from, and by what the
//! browser says of the site behind it.

use super::Panel;
use super::layout::Frame;
use super::looks::Age;
use super::sessions::Key;
use super::trouble::Trouble;
use super::whose::{Choice, Shown};
use crate::browser::{self, SEC_FETCH_SITE};
use crate::intake::Role;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::Scheme;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// What the API is told of the request for a page.
const CARRIED: [HeaderName; 4] =
    [header::HOST, header::ORIGIN, SEC_FETCH_SITE, HeaderName::from_static("cdn-loop")];

/// What is known of the connection of a request, from before it had a path.
#[derive(Clone, Default)]
pub(super) struct Outside(pub Extensions);

/// Keeps what is known of the connection for requests that the API is asked for it.
pub(super) async fn remember(mut request: Request, next: Next) -> Response {
    // Whoever asks the API itself has no need of it.
    if !request.uri().path().starts_with("/api/") {
        let outside = Outside(request.extensions().clone());
        request.extensions_mut().insert(outside);
    }
    next.run(request).await
}

/// Who looks, as the API knows them.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// What they may do.
    pub role: Role,
    /// Whose posts there are for them; nothing: all.
    pub tenant: Option<String>,
    /// What their key is called; nothing where there are no keys.
    pub key: Option<String>,
    /// Whether they are told what is of all tenants together.
    pub sees_all: bool,
}

impl Who {
    /// Whether they may hand something in.
    pub(super) fn may_send(&self) -> bool {
        self.role >= Role::Inject
    }
}

#[derive(Deserialize)]
struct CallerShape {
    role: String,
    tenant: Option<String>,
    key: Option<String>,
    all_tenants: bool,
}

/// A request for a page.
#[derive(Clone)]
pub(super) struct Visit {
    /// What all pages need.
    pub panel: Panel,
    /// What its cookie says, or will say.
    pub session: String,
    /// Whose key stands behind it, if anybody has signed in.
    pub key: Option<Key>,
    /// Who looks; nobody known, on the page to sign in alone.
    pub who: Option<Who>,
    /// Among which tenants they choose.
    pub choice: Choice,
    outside: Extensions,
    carried: HeaderMap,
}

impl Visit {
    /// Of a request whose cookie has this id; who looks is not known yet.
    pub(super) fn of(request: &Request, panel: Panel, session: String, key: Option<Key>) -> Visit {
        let mut carried = HeaderMap::new();
        for name in CARRIED {
            for value in request.headers().get_all(&name) {
                carried.append(name.clone(), value.clone());
            }
        }
        let outside = request.extensions().get::<Outside>().cloned().unwrap_or_default().0;
        Visit { panel, session, key, who: None, choice: Choice::default(), outside, carried }
    }

    /// The same with the key that somebody wants to sign in with.
    pub(super) fn with_key(&self, key: Key) -> Visit {
        let mut visit = Visit { key: Some(key), who: None, ..self.clone() };
        // What the one before chose is nothing to them.
        visit.carried.remove("x-tenant-id");
        visit
    }

    /// The same for one tenant alone, as far as who looks may see it.
    pub(super) fn for_tenant(&self, tenant: &str) -> Result<Visit, Trouble> {
        let unfit = |_| Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, "that is no tenant; nothing was done");
        let mut visit = self.clone();
        visit.carried.insert("x-tenant-id", HeaderValue::from_bytes(tenant.as_bytes()).map_err(unfit)?);
        Ok(visit)
    }

    /// The same for what has this version alone, as an `ETag` named it.
    pub(super) fn for_version(&self, version: &str) -> Visit {
        let mut visit = self.clone();
        if let Ok(version) = HeaderValue::from_str(version) {
            visit.carried.insert(header::IF_MATCH, version);
        }
        visit
    }

    /// The same for a stream that goes on behind this event.
    pub(super) fn after(&self, last: Option<&HeaderValue>) -> Visit {
        let mut visit = self.clone();
        if let Some(last) = last {
            visit.carried.insert("last-event-id", last.clone());
        }
        visit
    }

    /// Whether the browser speaks TLS, with us or with a proxy: as the origin of its forms says,
    /// or because it tells of sites at all, which browsers do on such connections and on this
    /// machine alone (Fetch Metadata section 2.3).
    pub(super) fn scheme(&self) -> Scheme {
        let origin = self.carried.get(header::ORIGIN);
        let host = self.carried.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        let is_elsewhere = host.is_some_and(|host| !browser::is_loopback(&host));
        if origin.is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
            || is_elsewhere && self.carried.contains_key(SEC_FETCH_SITE)
        {
            return Scheme::HTTPS;
        }
        self.outside.get().cloned().unwrap_or(Scheme::HTTP)
    }

    /// Whether who looks may steer.
    pub(super) fn may_steer(&self) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= Role::Operator)
    }

    /// Whose posts its page shows.
    pub(super) fn shown(&self) -> Shown {
        Shown(self.who.as_ref().and_then(|who| who.tenant.clone()))
    }

    /// What stands around a page of this title.
    pub(super) fn frame(&self, title: impl Into<String>) -> Frame {
        let shown = self.shown();
        Frame {
            title: title.into(),
            who: self.who.clone(),
            choice: self.choice.clone(),
            token: self.panel.sessions.token(&self.session, &shown),
            shown,
            assets: Arc::clone(&self.panel.assets),
        }
    }

    /// Asks the API who the key is.
    pub(super) async fn identify(&self) -> Result<Who, Trouble> {
        let CallerShape { role, tenant, key, all_tenants } = self.get("/api/v1/caller").await?;
        let role = role.parse().map_err(|_| Trouble::not_understood())?;
        Ok(Who { role, tenant, key, sees_all: all_tenants })
    }

    /// What the API answers at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        read(&whole(self.ask(Method::GET, path, None).await?).await?)
    }

    /// The same, maybe of a moment ago.
    pub(super) async fn look<T: DeserializeOwned>(&self, path: &str, age: Age) -> Result<T, Trouble> {
        let key = self.key.as_ref().map_or("", |key| key.as_str());
        let role = self.who.as_ref().map_or("", |who| who.role.as_str());
        let tenant = self.who.as_ref().and_then(|who| who.tenant.as_deref()).unwrap_or_default();
        read(&self.panel.looks.at((&[key, role, tenant], path), age, self.fetch(path)).await?)
    }

    /// What the API answers at a path, and the version of that.
    pub(super) async fn versioned<T: DeserializeOwned>(&self, path: &str) -> Result<(T, String), Trouble> {
        let response = self.ask(Method::GET, path, None).await?;
        let version = response.headers().get(header::ETAG).and_then(|version| version.to_str().ok());
        let version = version.unwrap_or_default().to_owned();
        Ok((read(&whole(response).await?)?, version))
    }

    /// Has the API do something that it says nothing of.
    pub(super) async fn carry_out(&self, method: Method, path: &str) -> Result<(), Trouble> {
        whole(self.ask(method, path, None).await?).await.map(drop)
    }

    /// The octets that the API answers at a path.
    pub(super) async fn fetch(&self, path: &str) -> Result<Bytes, Trouble> {
        whole(self.ask(Method::GET, path, None).await?).await
    }

    /// The answer of the API at a path as it comes.
    pub(super) async fn pass(&self, path: &str) -> Result<Response, Trouble> {
        let response = self.ask(Method::GET, path, None).await?;
        if response.status().is_success() { Ok(response) } else { Err(trouble(response).await) }
    }

    /// Has the API do something.
    pub(super) async fn order<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Trouble> {
        read(&whole(self.ask(method, path, body).await?).await?)
    }

    /// What the API answers to a configuration, which is to take the place of this version of
    /// it where one is named.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        config: String,
        version: Option<&str>,
    ) -> Result<Response, Trouble> {
        let mut request = self.request(method, path, Body::from(config))?;
        let kind = HeaderValue::from_static("application/toml");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(version) = version {
            let unfit = |_| Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, "that is no version of the file");
            let tag = HeaderValue::try_from(format!("\"{version}\"")).map_err(unfit)?;
            request.headers_mut().insert(header::IF_MATCH, tag);
        }
        Ok(ask(self.panel.api.clone(), request).await)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Trouble> {
        let text = body.map(ToString::to_string);
        let mut request = self.request(method, path, text.map_or_else(Body::empty, Body::from))?;
        if body.is_some() {
            let kind = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Ok(ask(self.panel.api.clone(), request).await)
    }

    /// A request to the API with what it is to be judged by.
    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request, Trouble> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .map_err(|_| Trouble::new(StatusCode::BAD_REQUEST, "that can be no address of the API"))?;
        *request.extensions_mut() = self.outside.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.carried);
        if let Some(key) = &self.key {
            let mut value = HeaderValue::from_maybe_shared(Bytes::from(format!("Bearer {}", key.as_str())))
                .map_err(|_| Trouble::new(StatusCode::UNAUTHORIZED, "that is no key"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// What a router answers in this process.
pub(super) async fn ask(router: Router, request: Request) -> Response {
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visit, Trouble> {
        let unasked = || Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody asked who looks");
        parts.extensions.get().cloned().ok_or_else(unasked)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|_| Trouble::not_understood())
}

/// The body of a good answer.
async fn whole(response: Response) -> Result<Bytes, Trouble> {
    if !response.status().is_success() {
        return Err(trouble(response).await);
    }
    // It is in memory: the API limits what that takes.
    let unread = |_| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the API's answer broke off");
    to_bytes(response.into_body(), usize::MAX).await.map_err(unread)
}

async fn trouble(response: Response) -> Trouble {
    let status = response.status();
    Trouble::told(status, &to_bytes(response.into_body(), 64 * 1024).await.unwrap_or_default())
}
