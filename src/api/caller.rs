//! Who calls: the key that a request shows, what it allows, and whose posts it may see.
//!
//! [`behind`] stands before every call of the table (`calls`); a call that asks for a
//! [`Caller`] gets what was found out there, and none can be reached around it. A key
//! stands in `Authorization` alone (RFC 6750 section 2.1), never in an address, where
//! logs would keep it. Without keys, whoever is on this machine may do everything.
//!
//! The key of a tenant opens nothing of another: what is not its own is not there (404).
//! [`Role::Admin`] is of all tenants, and `X-Tenant-ID` chooses one.

use super::Current;
use super::ask::{Asked, Nothing};
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::envelope::Client;
use crate::intake::{Keys, Role, Unknown};
use crate::tenant::Tenant;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// What it may do.
    pub role: Role,
    /// Whose posts, destinations, webhooks and events there are for it; nothing: all.
    pub tenant: Option<Tenant>,
    /// What its key is called, for the log; nothing where there are no keys.
    pub key: Option<Arc<str>>,
    /// Where it calls from.
    pub address: IpAddr,
}

impl Caller {
    /// As whoever hands something in; its dialogue has this name in the log.
    pub(super) fn client(&self, session: &str) -> Client {
        Client {
            address: Some(self.address),
            helo: String::new(),
            tls: None,
            login: self.key.as_deref().map(str::to_owned),
            tenant: self.tenant.clone().unwrap_or_default(),
            session: session.to_owned(),
        }
    }
}

/// Whose key a call shows, and what it allows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Caller")]
pub(super) struct CallerShape {
    #[schemars(extend("enum" = ["read", "inject", "operator", "admin"]))]
    role: &'static str,
    /// Whose posts, destinations, webhooks and events there are; all, if nothing.
    tenant: Option<String>,
    /// What the key is called; nothing where none are configured.
    key: Option<String>,
    /// Whether it is told what is of all tenants together: the history, the protocol log.
    all_tenants: bool,
}

/// `GET /caller`
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
) -> Response {
    let all_tenants = desk.one_of_several(&caller).is_none();
    let Caller { role, tenant, key, .. } = caller;
    let tenant = tenant.map(|tenant| tenant.to_string());
    let key = key.map(|key| key.to_string());
    json(StatusCode::OK, &CallerShape { role: role.as_str(), tenant, key, all_tenants })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        let unasked = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody asked who calls");
        parts.extensions.get().cloned().ok_or_else(unasked)
    }
}

/// Under what a caller was let in.
#[derive(Clone, Debug)]
pub(super) struct Admission(pub Arc<Current>);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// A call that only callers of a role reach.
pub(super) fn behind(desk: &Desk, role: Role, call: MethodRouter<Desk>) -> MethodRouter<Desk> {
    call.route_layer(from_fn_with_state((desk.clone(), role), admit))
}

async fn admit(State((desk, role)): State<(Desk, Role)>, mut request: Request, next: Next) -> Response {
    let current = desk.current();
    match identify(&request, &current.keys).and_then(|caller| permit(caller, role, request.headers())) {
        Ok(caller) => {
            if role >= Role::Operator {
                let key = caller.key.as_deref().unwrap_or_default();
                tracing::info!(key, "asked for {} {}", request.method(), request.uri().path());
            }
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Admission(current));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whose key a request shows.
fn identify(request: &Request, keys: &Keys) -> Result<Caller, Problem> {
    let Some(Peer(address)) = request.extensions().get() else { return Err(Problem::unauthorized()) };
    if keys.is_empty() {
        // The socket may be older than a configuration without keys.
        let is_local = address.to_canonical().is_loopback();
        let everybody = Caller { role: Role::Admin, tenant: None, key: None, address: *address };
        return if is_local { Ok(everybody) } else { Err(Problem::unauthorized()) };
    }
    match keys.find(*address, shown(request.headers())) {
        Ok(key) => {
            let (tenant, name) = (key.tenant.clone(), Arc::clone(&key.name));
            Ok(Caller { role: key.role, tenant, key: Some(name), address: *address })
        }
        Err(Unknown::Key) => Err(Problem::unauthorized()),
        Err(Unknown::Address(wait)) => {
            Err(Problem::too_many("too many keys that nobody knows came from this address", wait))
        }
    }
}

/// The one key in `Authorization: Bearer`.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, key) = only.as_bytes().split_at_checked("Bearer ".len())?;
    let key = Some(key.trim_ascii()).filter(|key| !key.is_empty());
    key.filter(|_| scheme.eq_ignore_ascii_case(b"Bearer "))
}

/// The caller, as far as its role and `X-Tenant-ID` go.
fn permit(caller: Caller, role: Role, headers: &HeaderMap) -> Result<Caller, Problem> {
    let forbidden = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    if caller.role < role {
        let own = caller.role;
        return forbidden(format!("this call needs a key of the role {role}; this one has the role {own}"));
    }
    match (wanted(headers)?, &caller.tenant) {
        (None, _) => Ok(caller),
        (Some(wanted), None) => Ok(Caller { tenant: Some(wanted), ..caller }),
        (Some(wanted), Some(own)) if wanted == *own => Ok(caller),
        (Some(_), Some(_)) => forbidden("X-Tenant-ID names a tenant that is not the key's own".to_owned()),
    }
}

/// The tenant that `X-Tenant-ID` names.
fn wanted(headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    let wrong = || Problem::bad_request("X-Tenant-ID names no tenant");
    let mut names = headers.get_all("x-tenant-id").iter();
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => match std::str::from_utf8(name.as_bytes()) {
            Ok(name) if !name.is_empty() && !name.contains(char::is_control) => Ok(Some(Tenant::new(name))),
            _ => Err(wrong()),
        },
        (Some(_), Some(_)) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(address: Option<&str>, lines: &[(&str, &str)]) -> Request {
        let mut request = lines
            .iter()
            .fold(Request::builder(), |request, (name, value)| request.header(*name, *value))
            .body(Body::empty())
            .unwrap();
        if let Some(address) = address {
            request.extensions_mut().insert(Peer(address.parse().unwrap()));
        }
        request
    }

    /// The socket may be there for others from before.
    #[test]
    fn without_keys_this_machine_may_do_everything_and_no_other_anything() {
        for (address, is_local) in [
            (Some("127.0.0.1"), true),
            (Some("127.9.9.9"), true),
            (Some("::1"), true),
            (Some("::ffff:127.0.0.1"), true),
            (Some("192.0.2.1"), false),
            (Some("::ffff:192.0.2.1"), false),
            (Some("2001:db8::1"), false),
            (None, false),
        ] {
            let caller = identify(&request(address, &[("authorization", "Bearer x")]), &Keys::default());
            let role = caller.map(|caller| caller.role).ok();
            assert_eq!(role, is_local.then_some(Role::Admin), "{address:?}");
        }
    }

    #[test]
    fn one_key_is_shown_as_a_bearer_does() {
        for (lines, key) in [
            (&[("authorization", "Bearer a")][..], Some("a")),
            (&[("authorization", "bEARER  a ")], Some("a")),
            (&[("authorization", "Bearer a b")], Some("a b")),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "Basic a")], None),
            (&[("authorization", "a")], None),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], None),
            (&[("proxy-authorization", "Bearer a")], None),
            (&[], None),
        ] {
            assert_eq!(shown(request(None, lines).headers()), key.map(str::as_bytes), "{lines:?}");
        }
    }
}
