//! A connection on which HTTP is spoken, whatever its version, and what comes
//! back over it.
//!
//! Of a response's body the first 64 KiB are read; of a longer one the status
//! counts. Only what somebody looks at is kept. Responses are never
//! decompressed; cookies, `Alt-Svc` and HSTS mean nothing here.

use super::http1::Http1;
use super::http2::Trunk;
use super::retry::Trouble;
use crate::metrics::Here;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Octets of a response body that are read.
pub(super) const RESPONSE: usize = 64 * 1024;
/// Octets a response head may have.
pub(super) const RESPONSE_HEAD: usize = 64 * 1024;
/// Octets of a refusal that are kept.
const EXCERPT: usize = 1024;

/// A worker's share of a connection: one of its own, or streams of a common one.
pub(super) enum Link {
    One(Http1),
    Two(Arc<Trunk>),
}

/// What is known of a connection but for what goes over it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where the other end is, in words: `[192.0.2.7]:443`.
    pub peer: String,
    /// TLS version, when there is TLS.
    pub tls: Option<&'static str>,
    /// How long it took to get there, TLS aside: about a round trip.
    pub distance: Duration,
    /// It is counted as long as this is kept.
    pub _here: Arc<Here>,
}

/// How long a response is waited for, and how much of it is kept.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Limit from the written request to the response head.
    pub response: Duration,
    /// Limit of everything.
    pub deadline: Instant,
    /// What that is as a duration, for people.
    pub total: Duration,
    /// Who looks at the text.
    pub readers: Readers,
}

/// Who looks at the text of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// People, when it is a refusal.
    People,
    /// Patterns too, whatever it is.
    Patterns,
}

/// A response, as far as it was read.
pub(super) struct Response {
    pub status: StatusCode,
    /// What was spoken.
    pub version: Version,
    pub headers: HeaderMap,
    /// Octets of its body that were read.
    pub length: usize,
    /// The beginning of its body, as much as its readers want.
    pub body: Vec<u8>,
    /// Why its redirect was not followed.
    pub remark: Option<String>,
}

/// Why there is no response.
pub(super) struct Failure {
    pub trouble: Trouble,
    /// Whether the receiver did nothing with the request: it said so, or it was
    /// closing the connection before it could have had the request.
    pub is_untaken: bool,
    /// Whether it insists on HTTP/1.1.
    pub wants_http1: bool,
}

impl Failure {
    /// One after which nothing is known of the request.
    pub(super) fn unknown(trouble: Trouble) -> Failure {
        Failure { trouble, is_untaken: false, wants_http1: false }
    }
}

impl Link {
    /// Where it leads.
    pub(super) fn place(&self) -> &Place {
        match self {
            Link::One(link) => &link.place,
            Link::Two(trunk) => &trunk.place,
        }
    }

    /// What is spoken.
    pub(super) fn version(&self) -> Version {
        match self {
            Link::One(_) => Version::HTTP_11,
            Link::Two(_) => Version::HTTP_2,
        }
    }

    /// Begins with another request, if the connection may have more than it had;
    /// `most` is 0 for any number.
    pub(super) fn begin(&mut self, most: u32) -> bool {
        match self {
            Link::One(link) => link.begin(most),
            Link::Two(trunk) => trunk.begin(most),
        }
    }

    /// Whether another request could begin.
    pub(super) fn is_reusable(&self, most: u32) -> bool {
        match self {
            Link::One(link) => link.is_reusable(most),
            Link::Two(trunk) => trunk.is_open(most),
        }
    }

    /// Requests begun so far, by all who share it.
    pub(super) fn posts(&self) -> u32 {
        match self {
            Link::One(link) => link.posts,
            Link::Two(trunk) => trunk.posts(),
        }
    }

    /// Sends a request and reads the response.
    pub(super) async fn send(
        &mut self,
        request: &Request<Bytes>,
        patience: Patience,
    ) -> Result<Response, Failure> {
        match self {
            Link::One(link) => link.send(request, patience).await,
            Link::Two(trunk) => trunk.send(request, patience).await,
        }
    }

    /// Waits until nothing can be sent any more.
    pub(super) async fn closed(&mut self) {
        match self {
            Link::One(link) => link.closed().await,
            Link::Two(trunk) => trunk.closed().await,
        }
    }
}

impl Response {
    /// A response of which the body is still to come.
    pub(super) fn begin(status: StatusCode, version: Version, headers: HeaderMap) -> Response {
        Response { status, version, headers, length: 0, body: Vec::new(), remark: None }
    }

    /// Takes a piece of the body; says whether more is read.
    pub(super) fn take(&mut self, piece: &[u8], readers: Readers) -> bool {
        let most = match readers {
            Readers::Patterns => RESPONSE,
            Readers::People if !self.status.is_success() => EXCERPT,
            Readers::People => 0,
        };
        let kept = piece.len().min(most.saturating_sub(self.body.len()));
        self.body.extend_from_slice(piece.get(..kept).unwrap_or_default());
        self.length += piece.len();
        self.length <= RESPONSE
    }

    /// The text of a response that is no success, when it is meant for people.
    pub(super) fn plain_text(&self) -> Option<String> {
        let content_type = self.headers.get(CONTENT_TYPE)?.as_bytes();
        let is_plain = content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"text/plain"));
        (is_plain && !self.status.is_success()).then(|| self.text())
    }

    /// As much of its text as its readers want; what is not UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How long is waited for the response head: until `limit` after the request was
/// written, or the end of everything while it is not.
pub(super) fn timed_out(patience: Patience, is_written: bool) -> Trouble {
    if !is_written {
        Trouble::TimedOut("sending the request", patience.total)
    } else if Instant::now() < patience.deadline {
        Trouble::TimedOut("waiting for the response head", patience.response)
    } else {
        Trouble::TimedOut("waiting for the response head", patience.total.min(patience.response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &[u8], readers: Readers) -> Response {
        let status = StatusCode::from_u16(status).unwrap();
        let mut response = Response::begin(status, Version::HTTP_2, HeaderMap::new());
        response.take(body, readers);
        response
    }

    #[test]
    fn only_what_somebody_reads_is_kept() {
        let body = vec![b'x'; 3 * EXCERPT];
        for (status, readers, kept) in [
            (200, Readers::People, 0),
            (404, Readers::People, EXCERPT),
            (200, Readers::Patterns, 3 * EXCERPT),
            (404, Readers::Patterns, 3 * EXCERPT),
        ] {
            let response = response(status, &body, readers);
            assert_eq!((response.body.len(), response.length), (kept, body.len()), "{status} {readers:?}");
        }
        let mut long = response(404, &vec![b'x'; RESPONSE], Readers::Patterns);
        assert!(!long.take(b"x", Readers::Patterns));
        assert_eq!(long.body.len(), RESPONSE);
    }
}
