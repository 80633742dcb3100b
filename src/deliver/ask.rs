//! One question on a connection of its own: tokens are asked for and recipients asked
//! about, so rarely that no connection is kept.

use super::credentials::Ways;
use super::terms::{Http2, Terms};
use crate::post::{Destination, Trust};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::time::timeout;

/// Time for all of it, where nobody says another.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Octets of an answer.
const ANSWER: usize = 64 * 1024;

/// Asks the operator's own server, on the terms that there are for its origin, and
/// for so long at most; an answer that is too long is an error.
pub(super) async fn ask(
    destination: &Destination,
    request: Request<Full<Bytes>>,
    limit: Duration,
    ways: Ways<'_>,
) -> Result<Response<Bytes>, String> {
    ask_as((destination, Trust::Operator), (request, Wanted::Whole), limit, ways).await
}

/// How much of an answer's body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: one that is too long or breaks off is an error.
    Whole,
    /// As much as came: the status says it.
    Beginning,
}

/// Asks a server that somebody named, as whoever named it may.
pub(super) async fn ask_as(
    to: (&Destination, Trust),
    request: (Request<Full<Bytes>>, Wanted),
    limit: Duration,
    ways: Ways<'_>,
) -> Result<Response<Bytes>, String> {
    let late = |_| format!("{} did not answer within {limit:?}", to.0);
    timeout(limit, exchange(to, request, limit, ways)).await.map_err(late)?
}

async fn exchange(
    (destination, trust): (&Destination, Trust),
    (request, wanted): (Request<Full<Bytes>>, Wanted),
    limit: Duration,
    ways: Ways<'_>,
) -> Result<Response<Bytes>, String> {
    // It may need a certificate authority or a proxy of its own.
    let terms = Terms { http2: Http2::Off, ..Terms::clone(&ways.book.terms(destination)) };
    let connected = ways.connector.connect((destination, trust), &terms, limit).await;
    let connected = connected.map_err(|trouble| trouble.to_string())?;
    let broken = |error: hyper::Error| format!("{destination} broke off: {error}");
    let (mut sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(connected.stream)).await.map_err(broken)?;
    // Drops the sender at its end, which ends an idle connection.
    let exchange = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = match wanted {
            Wanted::Whole => {
                let body = Limited::new(body, ANSWER).collect().await;
                body.map_err(|error| format!("{destination}: {error}"))?.to_bytes()
            }
            Wanted::Beginning => beginning(body).await,
        };
        Ok(Response::from_parts(head, body))
    };
    let (answer, ()) = tokio::join!(exchange, async {
        // How the connection ends does not matter once there is an answer.
        let _ = connection.await;
    });
    answer
}

/// What comes of a body until there is enough or it breaks off.
async fn beginning(mut body: Incoming) -> Bytes {
    let mut octets = Vec::new();
    while octets.len() < ANSWER
        && let Some(Ok(frame)) = body.frame().await
    {
        octets.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
    }
    octets.truncate(ANSWER);
    Bytes::from(octets)
}
