//! One question on a connection of its own: tokens are asked for, and traces are
//! handed over, so rarely that no connection is kept.

use super::credentials::Ways;
use super::terms::{Http2, Terms};
use crate::post::Destination;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::time::timeout;

/// Time for all of it.
const LIMIT: Duration = Duration::from_secs(10);
/// Octets of an answer.
const ANSWER: usize = 64 * 1024;

/// Asks the operator's own server, on the terms that there are for its origin; the
/// answer is its status and text.
pub(super) async fn ask(
    destination: &Destination,
    request: Request<Full<Bytes>>,
    ways: Ways<'_>,
) -> Result<(StatusCode, Bytes), String> {
    let late = |_| format!("{destination} did not answer within {} s", LIMIT.as_secs());
    timeout(LIMIT, exchange(destination, request, ways)).await.map_err(late)?
}

async fn exchange(
    destination: &Destination,
    request: Request<Full<Bytes>>,
    ways: Ways<'_>,
) -> Result<(StatusCode, Bytes), String> {
    // It may need a certificate authority or a proxy of its own.
    let terms = Terms { http2: Http2::Off, ..Terms::clone(&ways.book.terms(destination)) };
    let connected = ways.connector.connect(destination, &terms, LIMIT).await;
    let connected = connected.map_err(|trouble| trouble.to_string())?;
    let broken = |error: hyper::Error| format!("{destination} broke off: {error}");
    let (mut sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(connected.stream)).await.map_err(broken)?;
    // Drops the sender at its end, which ends an idle connection.
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| format!("{destination}: {error}"))
    };
    let (answer, ()) = tokio::join!(exchange, async {
        // How the connection ends does not matter once there is an answer.
        let _ = connection.await;
    });
    answer
}
