//! What a post is sent with: who signs it, who we are to its receiver, and the
//! request that comes of it.
//!
//! What a route names stands before what the destination's terms say. A name that
//! is gone is a fault of the configuration, which is mended: the post waits, and
//! is never sent without.

use super::credentials::Ways;
use super::profile::Profile;
use super::request::{self, Dress};
use super::retry::Trouble;
use super::shop::Shop;
use super::sign::SigningKey;
use super::terms::Terms;
use crate::clock;
use crate::post::{Post, Trace};
use crate::spool::Claim;
use crate::subscribers::Subscriber;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use std::sync::Arc;

/// What an attempt is made with besides its post and the terms of its lane.
pub(super) struct Outfit {
    pub host: HeaderValue,
    /// The span of the attempt, when somebody traces.
    pub trace: Option<Trace>,
    /// The webhook whose batch it is.
    pub subscriber: Option<Arc<Subscriber>>,
}

/// Who we are to a receiver, and the header that proves it.
pub(super) type Proof = (Arc<Profile>, (HeaderName, HeaderValue));

impl Shop {
    /// How tokens are asked for.
    pub(super) fn ways(&self) -> Ways<'_> {
        Ways { connector: &self.connector, book: &self.book }
    }

    /// What signs a post.
    fn key(&self, post: &Post, terms: &Terms) -> Result<Option<Arc<SigningKey>>, Trouble> {
        let named = |name: &String| {
            let key = self.signing_keys.get(name).map(Arc::clone);
            key.ok_or_else(|| Trouble::Credentials(format!("no signing key {name:?}")))
        };
        let key = post.sign_with.as_ref().map(named).transpose()?.or_else(|| terms.sign_with.clone());
        match key {
            Some(key) if !key.is_for(&post.destination) => Err(withheld("signing key", &key.name, post)),
            key => Ok(key),
        }
    }

    fn profile(&self, post: &Post, terms: &Terms) -> Result<Option<Arc<Profile>>, Trouble> {
        let Some(name) = &post.auth else { return Ok(terms.auth.clone()) };
        let profile = self.profiles.get(name).map(Arc::clone);
        profile.map(Some).ok_or_else(|| Trouble::Credentials(format!("no auth profile {name:?}")))
    }

    /// Who we are to the receiver of a post, if it is to know. Whoever may name URLs
    /// may name profiles as well: where one goes is its own to say.
    pub(super) async fn proof(&self, post: &Post, terms: &Terms) -> Result<Option<Proof>, Trouble> {
        let Some(profile) = self.profile(post, terms)? else { return Ok(None) };
        if !profile.is_for(&post.destination) {
            return Err(withheld("auth profile", &profile.name, post));
        }
        let header = self.credentials.header(&profile, self.ways()).await?;
        Ok(Some((profile, header)))
    }

    /// The request of a post, but for what proves who we are. Large bodies are
    /// compressed and signed off the runtime's threads.
    pub(super) async fn shape(
        &self,
        claim: &Claim,
        terms: &Terms,
        Outfit { host, trace, subscriber }: Outfit,
        body: Bytes,
    ) -> Result<Request<Bytes>, Trouble> {
        let dress = Dress {
            host,
            cdn_loop: self.cdn_loop.clone(),
            fixed: Arc::clone(&terms.headers),
            compress: terms.compress,
            key: self.key(&claim.post, terms)?,
            subscriber,
            trace,
            at: clock::wall(),
            nonce: fastrand::u128(..).to_be_bytes(),
        };
        if body.len() < request::LARGE || !dress.is_costly() {
            return request::build(claim, &dress, body);
        }
        let claim = claim.clone();
        let built = tokio::task::spawn_blocking(move || request::build(&claim, &dress, body)).await;
        built.unwrap_or(Err(Trouble::Crashed))
    }
}

fn withheld(what: &str, name: &str, post: &Post) -> Trouble {
    Trouble::Withheld(format!("{what} {name:?} is not for {} (origins)", post.destination))
}
