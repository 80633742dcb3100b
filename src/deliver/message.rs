//! HTTP/1.1 messages as octets (RFC 9112): heads of requests and of responses, and
//! where the body of a response ends.
//!
//! No socket and no clock. What a client must be strict about it is: lengths that
//! contradict each other, transfer codings in HTTP/1.0 or `chunked` twice, chunks that
//! end elsewhere than they said, and octets that are no ASCII where framing is told,
//! which others may read differently. `httparse` reads what stands on a line; line
//! folding and spaces before a colon are refused.

use super::connection::RESPONSE_HEAD;
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use httparse::{EMPTY_HEADER, Status};
use std::io::Write as _;

/// Fields of a response.
const FIELDS: usize = 100;
/// Those that say where it ends and whether another may follow.
static FRAMING: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];
/// Room that most heads of requests need.
const USUAL_HEAD: usize = 768;

/// Why something is no HTTP, for people.
pub(super) type Malformed = String;

/// The head of a request. Names go out as `Content-Type`: some receivers compare them
/// as text.
pub(super) fn request_head<T>(request: &Request<T>) -> Bytes {
    let mut head = Vec::with_capacity(USUAL_HEAD);
    // To memory it is written without fail.
    let _ = write!(head, "{} {} HTTP/1.1\r\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let mut begins_word = true;
        head.extend(name.as_str().bytes().map(|octet| {
            let cased = if begins_word { octet.to_ascii_uppercase() } else { octet };
            begins_word = octet == b'-';
            cased
        }));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// The head of a response, and what it says of the rest.
#[derive(Debug)]
pub(super) struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
    /// Whether another response may follow on the connection.
    pub is_kept: bool,
}

/// Takes the head of a response off the beginning of what came in; nothing while its
/// end has not come. `news` octets have come since it was asked last.
pub(super) fn take_head(unread: &mut BytesMut, news: usize) -> Result<Option<Head>, Malformed> {
    // What is no HTTP at all need not have an end.
    let is_first = news == unread.len();
    let from = unread.len().saturating_sub(news + 3);
    let Some(end) = head_end(unread, from) else {
        if is_first {
            look_at(unread)?;
        }
        let is_long = unread.len() >= RESPONSE_HEAD;
        return if is_long { Err("its head is too long".to_owned()) } else { Ok(None) };
    };
    if end > RESPONSE_HEAD {
        return Err("its head is too long".to_owned());
    }
    read_head(&unread.split_to(end).freeze()).map(Some)
}

/// Whether what there is could become the head of a response.
pub(super) fn look_at(octets: &[u8]) -> Result<(), Malformed> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    httparse::Response::new(&mut fields).parse(octets).map(|_| ()).map_err(|error| error.to_string())
}

/// Where a head ends whose end is not before `from`.
fn head_end(octets: &[u8], from: usize) -> Option<usize> {
    let mut line = from;
    loop {
        let rest = octets.get(line..)?;
        let end = line + rest.iter().position(|octet| *octet == b'\n')? + 1;
        match octets.get(end..)? {
            [b'\n', ..] => return Some(end + 1),
            [b'\r', b'\n', ..] => return Some(end + 2),
            _ => line = end,
        }
    }
}

fn read_head(octets: &Bytes) -> Result<Head, Malformed> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(octets).map_err(|error| error.to_string())? {
        Status::Complete(length) if length == octets.len() => {}
        _ => return Err("its head has no beginning".to_owned()),
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("its status is none")?;
    let is_old = parsed.version == Some(0);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_maybe_shared(octets.slice_ref(field.value));
        headers.append(name, value.map_err(|error| error.to_string())?);
    }
    let is_unclear = |name: &&HeaderName| headers.get_all(*name).iter().any(|it| it.to_str().is_err());
    if let Some(name) = FRAMING.iter().find(is_unclear) {
        return Err(format!("its {name} is not ASCII"));
    }
    let says = |word: &str| tokens(&headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(word));
    let is_open = if is_old { says("keep-alive") } else { !says("close") };
    // RFC 9112 section 6.1: it may end in another place for somebody else.
    let has_two_lengths = headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING);
    let body = Body::of(status, &headers, is_old)?;
    let is_kept = is_open && !has_two_lengths && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Head { status, headers, body, is_kept })
}

/// The members of a list (RFC 9110 section 5.6.1) that is ASCII.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The body of a response, as far as it has not come (RFC 9112 section 6.3).
#[derive(Debug)]
pub(super) enum Body {
    /// So many octets.
    Octets(u64),
    /// Chunks, and so many octets that were no content so far.
    Chunks(Chunk, usize),
    /// All until the connection ends.
    UntilEnd,
}

/// What comes next of a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    Size,
    Octets(u64),
    End,
    Trailer,
}

/// What there is of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Octets(Bytes),
    /// Nothing before more comes in.
    Nothing,
    /// Its end.
    End,
}

impl Body {
    fn of(status: StatusCode, headers: &HeaderMap, is_old: bool) -> Result<Body, Malformed> {
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Body::Octets(0));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            if is_old {
                return Err("HTTP/1.0 has no transfer codings".to_owned());
            }
            let is_chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
            if tokens(headers, &TRANSFER_ENCODING).filter(|coding| is_chunked(coding)).count() > 1 {
                return Err("it is chunked twice".to_owned());
            }
            let is_last = tokens(headers, &TRANSFER_ENCODING).last().is_some_and(is_chunked);
            return Ok(if is_last { Body::Chunks(Chunk::Size, 0) } else { Body::UntilEnd });
        }
        if !headers.contains_key(CONTENT_LENGTH) {
            return Ok(Body::UntilEnd);
        }
        let is_number = |text: &&str| text.bytes().all(|octet| octet.is_ascii_digit());
        let read = |text: &str| Some(text).filter(is_number).and_then(|text| text.parse().ok());
        let mut lengths = tokens(headers, &CONTENT_LENGTH).map(read);
        let first: Option<u64> = lengths.next().flatten();
        let length = first.filter(|_| lengths.all(|length| length == first));
        length.map(Body::Octets).ok_or_else(|| "its Content-Length is none".to_owned())
    }

    /// Takes what there is of it.
    pub(super) fn take(&mut self, unread: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            Body::Octets(left) => Ok(take_octets(left, unread).unwrap_or(Piece::End)),
            Body::Chunks(chunk, overhead) => take_chunk(chunk, overhead, unread),
            Body::UntilEnd if unread.is_empty() => Ok(Piece::Nothing),
            Body::UntilEnd => Ok(Piece::Octets(unread.split().freeze())),
        }
    }
}

/// Some of so many octets, if it is not all of them already.
fn take_octets(left: &mut u64, unread: &mut BytesMut) -> Option<Piece> {
    if *left == 0 || unread.is_empty() {
        return (*left > 0).then_some(Piece::Nothing);
    }
    let octets = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= octets as u64;
    Some(Piece::Octets(unread.split_to(octets).freeze()))
}

fn take_chunk(chunk: &mut Chunk, overhead: &mut usize, unread: &mut BytesMut) -> Result<Piece, Malformed> {
    loop {
        let (octets, next) = match chunk {
            Chunk::Octets(left) => match take_octets(left, unread) {
                Some(piece) => return Ok(piece),
                None => (0, Chunk::End),
            },
            // It would be read as no chunk at all.
            Chunk::Size if unread.first().is_some_and(|octet| !octet.is_ascii_hexdigit()) => {
                return Err("a chunk without a size".to_owned());
            }
            Chunk::Size => match httparse::parse_chunk_size(unread) {
                // For others the line ends there.
                Ok(Status::Complete((line, _))) if !ends_once(unread, line) => {
                    return Err("a chunk's first line has an LF within".to_owned());
                }
                Ok(Status::Complete((line, 0))) => (line, Chunk::Trailer),
                Ok(Status::Complete((line, size))) => (line, Chunk::Octets(size)),
                Ok(Status::Partial) => return wait(*overhead + unread.len()),
                Err(_) => return Err("a chunk without a size".to_owned()),
            },
            Chunk::End => match &**unread {
                [b'\r', b'\n', ..] => (2, Chunk::Size),
                [] | [b'\r'] => return Ok(Piece::Nothing),
                _ => return Err("a chunk that is longer than it says".to_owned()),
            },
            Chunk::Trailer => match unread.iter().position(|octet| *octet == b'\n') {
                Some(end) if unread.starts_with(b"\r\n") => {
                    unread.advance(end + 1);
                    return Ok(Piece::End);
                }
                Some(end) if unread.get(..end).is_some_and(|line| line.ends_with(b"\r")) => {
                    (end + 1, Chunk::Trailer)
                }
                Some(_) => return Err("a trailer that ends in LF alone".to_owned()),
                None => return wait(*overhead + unread.len()),
            },
        };
        unread.advance(octets);
        (*chunk, *overhead) = (next, *overhead + octets);
        wait(*overhead)?;
    }
}

/// Whether a line of so many octets has no LF but at its end.
fn ends_once(octets: &[u8], line: usize) -> bool {
    octets.get(..line).is_some_and(|line| line.iter().filter(|octet| **octet == b'\n').count() == 1)
}

/// Waits for more, unless there was too much that is no content.
fn wait(overhead: usize) -> Result<Piece, Malformed> {
    if overhead < RESPONSE_HEAD { Ok(Piece::Nothing) } else { Err("chunks of next to nothing".to_owned()) }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
