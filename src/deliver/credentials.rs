//! How the gateway proves to a receiver who it is: auth profiles at work.
//!
//! Tokens for client credentials (RFC 6749 section 4.4) are had when the first
//! post needs one, kept in memory alone and renewed before they end. All who wait
//! for one wait for the same request, and when it fails nobody asks again for a
//! while: a thousand posts do not ask a thousand times. A receiver that does not
//! take a token gets one more try with a new one, also not more often than that.
//!
//! The URL for tokens is the operator's own and is reached on the terms of its
//! origin; what it answers is never logged: nothing but an error code.

use super::ask::{LIMIT, ask};
use super::egress::Connector;
use super::profile::{Place, Profile, Proof};
use super::request;
use super::retry::{Span, Trouble};
use super::terms::Book;
use crate::compose::Endpoint;
use crate::tenant::Tenant;
use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// Time until a token is asked for again after that failed, or after a new one
/// was asked for because a receiver did not take the old one.
const PAUSE: Duration = Duration::from_secs(10);
/// A token is renewed so long before it ends, or earlier.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token is used that does not say when it ends.
const USUAL_LIFE: Duration = Duration::from_secs(3600);

/// How tokens are asked for.
#[derive(Clone, Copy)]
pub(super) struct Ways<'a> {
    /// Opens connections.
    pub connector: &'a Connector,
    /// Says on which terms.
    pub book: &'a Book,
}

/// The tokens of all profiles; see the module.
#[derive(Default)]
pub(super) struct Credentials {
    purses: Mutex<HashMap<String, Arc<Purse>>>,
}

/// The token of one profile. Whoever holds the lock may ask for one.
struct Purse {
    profile: Arc<Profile>,
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    failed: Option<(Instant, String)>,
    replaced_at: Option<Instant>,
}

struct Token {
    bearer: Zeroizing<String>,
    renew_at: Instant,
    ends_at: Instant,
}

impl Credentials {
    /// The header that proves who we are.
    pub(super) async fn header(
        &self,
        profile: &Arc<Profile>,
        ways: Ways<'_>,
    ) -> Result<(HeaderName, HeaderValue), Trouble> {
        match &profile.proof {
            Proof::Basic { user, password } => Ok((AUTHORIZATION, basic(user, password))),
            Proof::Bearer { token } => Ok((AUTHORIZATION, secret(profile, &format!("Bearer {token}"))?)),
            Proof::Header { name, value } => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !request::is_own(name));
                let name = name.ok_or_else(|| unusable(profile, "its header cannot be set"))?;
                Ok((name, secret(profile, value)?))
            }
            Proof::OAuth2 { .. } => {
                let purse = self.purse(profile);
                let mut kept = purse.kept.lock().await;
                Ok((AUTHORIZATION, kept.token(profile, ways).await?))
            }
        }
    }

    /// A header for one more try, when a receiver did not take the one that was
    /// `used`; nothing when there is no other.
    pub(super) async fn other(
        &self,
        profile: &Arc<Profile>,
        ways: Ways<'_>,
        used: &HeaderValue,
    ) -> Result<Option<(HeaderName, HeaderValue)>, Trouble> {
        if !matches!(profile.proof, Proof::OAuth2 { .. }) {
            return Ok(None);
        }
        let purse = self.purse(profile);
        let mut kept = purse.kept.lock().await;
        // Another attempt may have got a new one meanwhile.
        if kept.token.as_ref().is_none_or(|token| token.value() == used) {
            let now = Instant::now();
            if kept.replaced_at.is_some_and(|at| now.duration_since(at) < PAUSE) {
                return Ok(None);
            }
            kept.replaced_at = Some(now);
            kept.token = None;
        }
        Ok(Some((AUTHORIZATION, kept.token(profile, ways).await?)))
    }

    /// Forgets the tokens of all other profiles.
    pub(super) fn keep(&self, profiles: &HashMap<String, Arc<Profile>>) {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        purses.retain(|name, purse| profiles.get(name).is_some_and(|profile| *profile == purse.profile));
    }

    /// The purse of a profile; a new one when the profile changed.
    fn purse(&self, profile: &Arc<Profile>) -> Arc<Purse> {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        match purses.get(&profile.name) {
            Some(purse) if purse.profile == *profile => Arc::clone(purse),
            _ => {
                let purse = Arc::new(Purse { profile: Arc::clone(profile), kept: Default::default() });
                purses.insert(profile.name.clone(), Arc::clone(&purse));
                purse
            }
        }
    }
}

impl Token {
    /// As it stands in a request.
    fn value(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&self.bearer).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }
}

impl Kept {
    /// The token that is there, or a new one.
    async fn token(&mut self, profile: &Profile, ways: Ways<'_>) -> Result<HeaderValue, Trouble> {
        let now = Instant::now();
        if let Some(token) = self.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.value());
        }
        if let Some((_, reason)) = self.failed.as_ref().filter(|(at, _)| now.duration_since(*at) < PAUSE) {
            return self.old(now).ok_or_else(|| Trouble::Credentials(reason.clone()));
        }
        ways.connector.metrics.token_refreshes.inc();
        match fetch(profile, ways).await {
            Ok(token) => {
                let value = token.value();
                *self = Kept { token: Some(token), failed: None, replaced_at: self.replaced_at };
                Ok(value)
            }
            Err(reason) => {
                let reason = format!("no token for {:?}: {reason}", profile.name);
                tracing::warn!("{reason}; asking again in {} at the earliest", Span(PAUSE));
                self.failed = Some((Instant::now(), reason.clone()));
                self.old(now).ok_or(Trouble::Credentials(reason))
            }
        }
    }

    /// The token that should have been renewed, while it is still good.
    fn old(&self, now: Instant) -> Option<HeaderValue> {
        self.token.as_ref().filter(|token| now < token.ends_at).map(Token::value)
    }
}

/// What a server for tokens answers (RFC 6749 sections 5.1 and 5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<Zeroizing<String>>,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
    error: Option<String>,
}

/// A number, or what some servers write for one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn duration(&self) -> Option<Duration> {
        let seconds = match self {
            Seconds::Number(number) => *number,
            Seconds::Text(text) => text.trim().parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

async fn fetch(profile: &Profile, ways: Ways<'_>) -> Result<Token, String> {
    let asked_at = Instant::now();
    let (status, body) = ask_for_token(profile, ways).await?;
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        return Err(refusal(status, answer.error.as_deref()));
    }
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token is of another kind than Bearer".to_owned());
    }
    let token = answer.access_token.ok_or("the answer holds no access_token")?;
    let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
    HeaderValue::from_str(&bearer).map_err(|_| "the token holds characters that no header can".to_owned())?;
    let life = answer.expires_in.and_then(|seconds| seconds.duration()).unwrap_or(USUAL_LIFE).min(MONTH);
    Ok(Token { bearer, renew_at: asked_at + use_for(life), ends_at: asked_at + life })
}

/// How long a token of such a life is used before it is renewed. Short lives keep
/// half of theirs, and none is so short that every post asks for a new one.
fn use_for(life: Duration) -> Duration {
    life.mul_f64(0.9).min(life.saturating_sub(MARGIN)).max(life / 2).max(Duration::from_secs(1))
}

/// No token is used for longer.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// The status, and the error code if it is one: descriptions could quote secrets.
fn refusal(status: StatusCode, error: Option<&str>) -> String {
    let is_code = |error: &&str| {
        error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    match error.filter(is_code) {
        Some(error) => format!("{status} ({error})"),
        None => status.to_string(),
    }
}

async fn ask_for_token(profile: &Profile, ways: Ways<'_>) -> Result<(StatusCode, Bytes), String> {
    let Proof::OAuth2 { token_url, .. } = &profile.proof else { return Err("it has none".to_owned()) };
    let endpoint: Endpoint = token_url.parse().map_err(|error| format!("token_url: {error}"))?;
    let destination = endpoint.destination(&Tenant::default());
    let request = token_request(profile, &endpoint.path, &destination.authority())?;
    let (head, body) = ask(&destination, request, LIMIT, ways).await?.into_parts();
    Ok((head.status, body))
}

fn token_request(profile: &Profile, path: &str, authority: &str) -> Result<Request<Full<Bytes>>, String> {
    let Proof::OAuth2 { client_id, client_secret, scope, audience, place, .. } = &profile.proof else {
        return Err("it has none".to_owned());
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", scope), ("audience", audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    if *place == Place::Body {
        form.append_pair("client_id", client_id).append_pair("client_secret", client_secret);
    }
    let body = Bytes::from(form.finish());
    let request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(CONTENT_LENGTH, body.len())
        .header(ACCEPT, "application/json")
        // One answer is all that is wanted, and the connection ends by itself.
        .header(http::header::CONNECTION, "close");
    let request = match place {
        // RFC 6749 section 2.3.1: encoded like a form first.
        Place::Header => request.header(AUTHORIZATION, basic(&encoded(client_id), &encoded(client_secret))),
        Place::Body => request,
    };
    request.body(Full::new(body)).map_err(|error| error.to_string())
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// RFC 7617, in UTF-8.
fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn secret(profile: &Profile, text: &str) -> Result<HeaderValue, Trouble> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| unusable(profile, "its secret holds characters that no header can"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable(profile: &Profile, why: &str) -> Trouble {
    Trouble::Credentials(format!("auth profile {:?} cannot be used: {why}", profile.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_profiles_that_there_are_have_tokens() {
        let profile = |token: &str| {
            let proof = Proof::Bearer { token: token.to_owned() };
            Arc::new(Profile { name: "crm".to_owned(), proof, origins: Vec::new() })
        };
        let all = |profile: Arc<Profile>| HashMap::from([(profile.name.clone(), profile)]);
        for (kept, is_there) in
            [(all(profile("a")), true), (all(profile("b")), false), (HashMap::new(), false)]
        {
            let credentials = Credentials::default();
            let purse = Arc::downgrade(&credentials.purse(&profile("a")));
            credentials.keep(&kept);
            assert_eq!(purse.upgrade().is_some(), is_there);
        }
    }

    #[test]
    fn tokens_are_renewed_in_good_time() {
        for (life, expected) in [(86_400, 77_760), (3600, 3240), (100, 70), (60, 30), (10, 5), (1, 1), (0, 1)]
        {
            assert_eq!(use_for(Duration::from_secs(life)).as_secs(), expected, "{life}");
        }
    }

    #[test]
    fn lives_are_numbers_or_texts_of_numbers() {
        for (text, expected) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("3600.0", Some(3600)),
            ("-1", None),
            ("1e300", None),
            ("\"soon\"", None),
        ] {
            let seconds: Seconds = serde_json::from_str(text).unwrap();
            assert_eq!(seconds.duration().map(|life| life.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn only_error_codes_are_repeated() {
        let status = StatusCode::BAD_REQUEST;
        assert_eq!(refusal(status, Some("invalid_client")), "400 Bad Request (invalid_client)");
        for error in [None, Some("it was \"secret\""), Some(&*"x".repeat(65))] {
            assert_eq!(refusal(status, error), "400 Bad Request");
        }
    }
}
