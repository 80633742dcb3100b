//! The body of a request that may be large, on its way in.
//!
//! A small one stays in memory; what is larger goes to a temporary file, in pieces, so
//! that many slow clients take little memory. What is too large is
//! not kept; it is read on for a moment, or a client that sends all of it before it reads
//! would never see the answer.

use super::guard::too_slow;
use super::problem::Problem;
use crate::spool::spill::{MailData, Spill, SpillDirectory};
use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Octets that stay in memory, or wait to be written behind what is in a temporary file.
const PIECE: usize = 256 * 1024;
/// How long a body that is too large is read on.
const DRAIN: Duration = Duration::from_secs(5);

/// Receives a body of at most so many octets, within so long.
pub(super) async fn receive(
    (headers, body): (&HeaderMap, Body),
    (most, longest): (usize, Duration),
    spills: &Arc<SpillDirectory>,
) -> Result<MailData, Problem> {
    if body.size_hint().lower() > most as u64 {
        refuse(headers, body).await;
        return Err(too_large(most));
    }
    let received = tokio::time::timeout(longest, take(body, most, spills)).await;
    received.unwrap_or_else(|_| Err(too_slow()))
}

/// Reads a body on that is refused unread.
pub(super) async fn refuse(headers: &HeaderMap, mut body: Body) {
    // Who waits to be told to go on has sent nothing.
    if !headers.contains_key(header::EXPECT) {
        drain(&mut body).await;
    }
}

async fn take(mut body: Body, most: usize, spills: &Arc<SpillDirectory>) -> Result<MailData, Problem> {
    let (mut held, mut spill, mut octets) = (BytesMut::new(), None, 0_usize);
    while let Some(data) = next(&mut body).await? {
        octets = octets.saturating_add(data.len());
        if octets > most {
            drain(&mut body).await;
            return Err(too_large(most));
        }
        held.extend_from_slice(&data);
        if held.len() > PIECE {
            spill = Some(write(spills, spill, held.split().freeze()).await?);
        }
    }
    Ok(match spill {
        None => MailData::Memory(held.freeze()),
        Some(spill) => MailData::File(write(spills, Some(spill), held.freeze()).await?),
    })
}

/// The next octets; nothing at the end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame = frame.map_err(|_| Problem::bad_request("the body could not be read to its end"))?;
        // Trailers say nothing here.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Reads on without keeping anything.
async fn drain(body: &mut Body) {
    let drain = async { while let Ok(Some(_)) = next(body).await {} };
    // Whoever goes on sending is cut off.
    let _ = tokio::time::timeout(DRAIN, drain).await;
}

async fn write(spills: &Arc<SpillDirectory>, spill: Option<Spill>, octets: Bytes) -> Result<Spill, Problem> {
    let spills = Arc::clone(spills);
    let write = move || append(&spills, spill, &octets);
    let written = spawn_blocking(write).await.unwrap_or_else(|died| Err(io::Error::other(died)));
    written.map_err(|error| unwritten(&error))
}

/// What was read of a body, where that would be if it had come so. Blocks.
pub(super) fn set_aside(octets: Bytes, spills: &Arc<SpillDirectory>) -> Result<MailData, Problem> {
    match octets.len() {
        ..=PIECE => Ok(MailData::Memory(octets)),
        _ => append(spills, None, &octets).map(MailData::File).map_err(|error| unwritten(&error)),
    }
}

fn append(spills: &Arc<SpillDirectory>, spill: Option<Spill>, octets: &[u8]) -> io::Result<Spill> {
    let mut spill = spill.map_or_else(|| spills.begin(), Ok)?;
    spill.append(octets).map(|()| spill)
}

fn unwritten(error: &io::Error) -> Problem {
    tracing::warn!(%error, "no temporary file for a large request; it is refused for now");
    Problem::no_room()
}

fn too_large(most: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {most} octets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::Reserve;

    #[test]
    fn what_is_set_aside_is_where_it_would_have_come() {
        let place = tempfile::tempdir().unwrap();
        let reserve = Reserve { octets: 0, percent: 0 };
        let spills = Arc::new(SpillDirectory::at(&place.path().join("tmp"), reserve).unwrap());
        for (octets, is_in_memory) in [(0, true), (PIECE, true), (PIECE + 1, false)] {
            let body = Bytes::from(vec![b'x'; octets]);
            let data = set_aside(body.clone(), &spills).ok().unwrap();
            assert_eq!(matches!(data, MailData::Memory(_)), is_in_memory, "{octets}");
            assert_eq!(data.read().unwrap(), body);
        }
    }
}
