//! Redirects: which are followed, and what goes along (RFC 9110 section 15.4).
//!
//! Only 307 and 308: method and body stay. A `Location` is a URL that came over
//! the wire, so it is parsed as strictly as any other and never inherits the
//! operator's trust; within the same origin nothing changes. Credentials go to
//! no other origin. Never from https to http.

use crate::compose::{Endpoint, MAX_URL};
use crate::masked::Masked;
use crate::post::{Destination, Scheme, Trust, is_credential};
use http::header::{HOST, HeaderMap, HeaderValue, LOCATION};
use http::{HeaderName, StatusCode, Uri};
use std::fmt;
use url::Url;

/// Octets of a `Location` that are shown.
const SHOWN: usize = 160;

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// The origin.
    pub destination: Destination,
    /// Who named it.
    pub trust: Trust,
    /// The request target, as written.
    pub path: String,
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not one of those that are, or none is.
    Never,
    /// More were followed already than may be.
    TooMany,
    /// It leads to where the request was before.
    Loop,
    /// From https to http.
    Downgrade,
    /// Its URL holds credentials.
    Userinfo,
    /// Its URL is none that is posted to; why.
    BadUrl(String),
    /// The request body holds a secret, which goes to no other origin.
    Secret,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Never => "not followed",
            Stop::TooMany => "too many redirects",
            Stop::Loop => "a loop",
            Stop::Downgrade => "not followed from https to http",
            Stop::Userinfo => "not followed: the URL holds credentials",
            Stop::BadUrl(why) => return write!(f, "not followed: {why}"),
            Stop::Secret => "not followed: the body holds a secret that is for the first origin",
        })
    }
}

/// Marks a request whose body holds a secret of its destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretBody;

/// The way of a request over redirects so far.
pub(super) struct Trail {
    visited: Vec<Hop>,
    most: u32,
}

impl Trail {
    /// A request that begins there and follows up to `most` redirects.
    pub(super) fn new(start: Hop, most: u32) -> Trail {
        Trail { visited: vec![start], most }
    }

    /// Where a response leads: nowhere when it is no redirect or not followed,
    /// with the words for that.
    pub(super) fn next(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<Option<Hop>, String> {
        if !status.is_redirection() {
            return Ok(None);
        }
        let Some(location) = headers.get(LOCATION) else { return Ok(None) };
        match self.judge(status, location) {
            Ok(hop) => {
                self.visited.push(hop.clone());
                Ok(Some(hop))
            }
            Err(stop) => Err(format!("{} ({stop})", shown(location))),
        }
    }

    fn judge(&self, status: StatusCode, location: &HeaderValue) -> Result<Hop, Stop> {
        let is_followed = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let Some(here) = self.visited.last().filter(|_| is_followed && self.most > 0) else {
            return Err(Stop::Never);
        };
        let hop = resolve(here, location)?;
        if here.destination.scheme == Scheme::Https && hop.destination.scheme != Scheme::Https {
            return Err(Stop::Downgrade);
        }
        if self.visited.contains(&hop) {
            return Err(Stop::Loop);
        }
        if self.visited.len() > self.most as usize {
            return Err(Stop::TooMany);
        }
        Ok(hop)
    }
}

/// The URL of a `Location`, seen from where it was said.
fn resolve(here: &Hop, location: &HeaderValue) -> Result<Hop, Stop> {
    let text = location.to_str().map_err(|_| Stop::BadUrl("the URL is not ASCII".to_owned()))?;
    let bad = |error: &dyn fmt::Display| Stop::BadUrl(error.to_string());
    let text = text.split('#').next().unwrap_or_default();
    // What the parser would drop or bend, see `Endpoint`.
    if text.len() > MAX_URL || text.bytes().any(|octet| octet < 0x21 || octet == 0x7f || octet == b'\\') {
        return Err(Stop::BadUrl("the URL is too long, or holds a blank or a backslash".to_owned()));
    }
    let endpoint: Endpoint = match text.parse() {
        Ok(endpoint) => endpoint,
        Err(error) if text.contains("://") => return Err(bad(&error)),
        Err(_) => {
            let base =
                Url::parse(&format!("{}{}", here.destination, here.path)).map_err(|error| bad(&error))?;
            let joined = base.join(text).map_err(|error| bad(&error))?;
            joined.as_str().parse().map_err(|error| bad(&error))?
        }
    };
    if endpoint.authorization.is_some() {
        return Err(Stop::Userinfo);
    }
    let webhook = here.destination.webhook.clone();
    let destination = Destination { webhook, ..endpoint.destination(&here.destination.tenant) };
    let trust = if destination == here.destination { here.trust } else { Trust::Wire };
    Ok(Hop { destination, trust, path: endpoint.path })
}

/// A `Location` for people: bounded, without secrets and control characters.
fn shown(location: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(location.as_bytes());
    let masked = Masked(&text).to_string();
    let mut shown: String = masked.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
    if shown.len() < masked.len() {
        shown.push('…');
    }
    shown
}

/// Turns the header of a request into one for a hop to another origin. What
/// proves who we are is marked as sensitive; what a post or an operator set shows
/// by its name.
pub(super) fn readdress(headers: &mut HeaderMap, hop: &Hop) -> Result<Uri, Stop> {
    let host = HeaderValue::try_from(hop.destination.authority());
    headers.insert(HOST, host.map_err(|_| Stop::BadUrl("the host is not valid in HTTP".to_owned()))?);
    let secret = |(name, value): (&HeaderName, &HeaderValue)| {
        (value.is_sensitive() || is_credential(name.as_str())).then(|| name.clone())
    };
    let secrets: Vec<_> = headers.iter().filter_map(secret).collect();
    for name in secrets {
        headers.remove(name);
    }
    target(hop)
}

/// The request target of a hop.
pub(super) fn target(hop: &Hop) -> Result<Uri, Stop> {
    let uri = hop.path.parse::<Uri>().ok().filter(|uri| uri.authority().is_none());
    uri.ok_or_else(|| Stop::BadUrl("the path is not valid in HTTP".to_owned()))
}
