//! Carries questions to receivers: the door's about recipients, and those that a webhook
//! is verified and tested with.
//!
//! A question goes the way of a post to the same origin: its TLS, its proxy, its
//! time to connect, and the egress rules of whoever named it. It is sent once, on a
//! connection of its own.

use super::Options;
use super::ask::{Wanted, ask, ask_as};
use super::credentials::{Credentials, Ways};
use super::egress::Connector;
use super::request;
use crate::intake::{Inquire, Inquiry, Response};
use crate::post::{Destination, Field, Trust};
use crate::tenant::Tenant;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use http::{Request, StatusCode};
use http_body_util::Full;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Whoever asks on the terms in force.
pub struct Inquirer {
    options: watch::Receiver<Arc<Options>>,
    /// Made anew when the options are others; it knows names and TLS sessions.
    connector: Mutex<Option<(Arc<Options>, Arc<Connector>)>>,
    /// Tokens of auth profiles.
    credentials: Credentials,
}

/// A request to a receiver that somebody named.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Where to.
    pub destination: Destination,
    /// Who named it.
    pub trust: Trust,
    /// In capitals.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// All headers but those of framing and identity.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Bytes,
    /// The auth profile that proves who sends it.
    pub auth: Option<String>,
    /// Time for all of it.
    pub limit: Duration,
}

/// What was sent, and what came back.
#[derive(Clone, Debug)]
pub struct Sent {
    /// All headers of the request.
    pub headers: HeaderMap,
    /// The response, or why there was none.
    pub response: Result<http::Response<Bytes>, String>,
    /// How long it took.
    pub duration: Duration,
}

impl Inquirer {
    /// One that follows the options of delivery.
    pub fn new(options: watch::Receiver<Arc<Options>>) -> Inquirer {
        Inquirer { options, connector: Mutex::default(), credentials: Credentials::default() }
    }

    fn current(&self) -> (Arc<Options>, Arc<Connector>) {
        let options = Arc::clone(&self.options.borrow());
        let mut current = self.connector.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((known, connector)) if Arc::ptr_eq(known, &options) => (options, Arc::clone(connector)),
            _ => {
                let metrics = Arc::clone(&options.metrics);
                let connector = Arc::new(Connector::new(options.egress.clone(), metrics));
                *current = Some((Arc::clone(&options), Arc::clone(&connector)));
                (options, connector)
            }
        }
    }

    /// Sends a request once; whatever comes of it is told. No redirect is followed.
    pub async fn exchange(&self, sending: Sending) -> Sent {
        let (options, connector) = self.current();
        let ways = Ways { connector: &connector, book: &options.book };
        let mut headers = sending.headers.clone();
        let begun = Instant::now();
        let response = match self.dress(&mut headers, &sending, &options, ways).await {
            Err(why) => Err(why),
            Ok(()) => {
                let mut request = Request::new(Full::new(sending.body));
                request.headers_mut().clone_from(&headers);
                let method = sending.method.parse().map(|method| *request.method_mut() = method);
                let uri = sending.path.parse().map(|uri| *request.uri_mut() = uri);
                match (method, uri) {
                    (Ok(()), Ok(())) => {
                        let to = (&sending.destination, sending.trust);
                        ask_as(to, (request, Wanted::Beginning), sending.limit, ways).await
                    }
                    _ => Err("the URL cannot stand in a request".to_owned()),
                }
            }
        };
        Sent { headers, response, duration: begun.elapsed() }
    }

    /// Adds the headers that are ours to set.
    async fn dress(
        &self,
        headers: &mut HeaderMap,
        sending: &Sending,
        options: &Options,
        ways: Ways<'_>,
    ) -> Result<(), String> {
        let host = HeaderValue::try_from(sending.destination.authority());
        headers.insert(HOST, host.map_err(|error| error.to_string())?);
        if !sending.body.is_empty() || sending.method == "POST" {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(sending.body.len()));
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(request::PRODUCT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(HeaderName::from_static("cdn-loop"), request::cdn_loop(&options.instance));
        let terms = ways.book.terms(&sending.destination);
        for Field { name, value } in terms.headers.iter() {
            let (name, value) = (HeaderName::try_from(name), HeaderValue::from_bytes(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.insert(name, value);
            }
        }
        let profile = match &sending.auth {
            Some(name) => {
                Some(options.profiles.get(name).ok_or_else(|| format!("no auth profile {name:?}"))?)
            }
            None => terms.auth.as_ref(),
        };
        let Some(profile) = profile else { return Ok(()) };
        if !profile.is_for(&sending.destination) {
            let name = &profile.name;
            return Err(format!("auth profile {name:?} is not for {} (origins)", sending.destination));
        }
        let (name, value) =
            self.credentials.header(profile, ways).await.map_err(|trouble| trouble.to_string())?;
        headers.insert(name, value);
        Ok(())
    }

    /// The texts of a name's TXT records.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let (_, connector) = self.current();
        connector.texts(name).await.map_err(|trouble| trouble.to_string())
    }

    async fn send(&self, inquiry: Inquiry) -> Result<Response, String> {
        let Inquiry { url, timeout, content_type, body } = inquiry;
        let destination = url.destination(&Tenant::default());
        let mut request = Request::post(&url.path)
            .header(HOST, destination.authority())
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, body.len())
            // One answer is all that is wanted, and the connection ends by itself.
            .header(CONNECTION, "close");
        if let Some(authorization) = &url.authorization {
            let value = HeaderValue::try_from(authorization);
            request = request.header(AUTHORIZATION, value.map_err(|error| error.to_string())?);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let (options, connector) = self.current();
        let ways = Ways { connector: &connector, book: &options.book };
        let answer = ask(&destination, request, timeout, ways).await?;
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Response {
            status: StatusCode::as_u16(&answer.status()),
            content_type: content_type.map(str::to_owned),
            body: answer.into_body(),
        })
    }
}

impl Inquire for Inquirer {
    fn inquire(
        &self,
        inquiry: Inquiry,
    ) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
        Box::pin(self.send(inquiry))
    }
}

impl fmt::Debug for Inquirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inquirer")
    }
}
