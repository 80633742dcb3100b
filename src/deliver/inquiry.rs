//! Carries the door's questions about recipients to receivers of the operator's.
//!
//! A question goes the way of a post to the same origin: its TLS, its proxy, its
//! time to connect. It is sent once, on a connection of its own.

use super::Options;
use super::ask::ask;
use super::credentials::Ways;
use super::egress::Connector;
use crate::intake::{Inquire, Inquiry, Response};
use crate::tenant::Tenant;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Whoever asks on the terms in force.
pub struct Inquirer {
    options: watch::Receiver<Arc<Options>>,
    /// Made anew when the options are others; it knows names and TLS sessions.
    connector: Mutex<Option<(Arc<Options>, Arc<Connector>)>>,
}

impl Inquirer {
    /// One that follows the options of delivery.
    pub fn new(options: watch::Receiver<Arc<Options>>) -> Inquirer {
        Inquirer { options, connector: Mutex::default() }
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
