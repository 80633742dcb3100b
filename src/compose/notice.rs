//! The report to a sender that a post was given up (RFC 3464, RFC 6522).
//!
//! A rule: what happened comes in, the octets of a message come out, always the
//! same. It is 7-bit mail that every server takes, unless the sender's own address
//! is beyond ASCII (RFC 6533); lines end in CRLF and none is longer than RFC 5321
//! allows, so nothing of the returned message can be taken for a command of the
//! relay. What steers posts may hold secrets and is not given back. Whether a
//! report is due at all is said by [`is_reportable`]: never for a report, or
//! anything else that was sent by a program for a message (RFC 3834 section 2).

use super::mail::{self, HeaderField};
use super::{Limits, control, value};
use crate::post::{OnFailure, Post, Returns, Scheme, Timestamp};
use data_encoding::BASE64;
use std::fmt::Write as _;

/// Octets of a message that is given back whole; of a longer one the header is.
const MOST_RETURNED: usize = 256 * 1024;
/// Octets of a header section that is given back.
const MOST_HEADER: usize = 64 * 1024;
/// Longest line of mail without its end (RFC 5321 section 4.5.3.1.6).
const LINE: usize = 998;
/// Lines of the response that the report shows.
const SHOWN_LINES: usize = 10;
/// Octets of a base64 line (RFC 2045 section 6.8), before it is encoded.
const BASE64_LINE: usize = 57;

/// What is reported.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The post that was given up.
    pub post: &'a Post,
    /// Where it went, without secrets, when its sender knows that anyway: URLs of
    /// routes are the operator's business.
    pub url: Option<&'a str>,
    /// Its recipient, without secrets.
    pub recipient: &'a str,
    /// How many attempts were made.
    pub attempts: u32,
    /// Status of the last response, when there was one.
    pub status: Option<u16>,
    /// Status line or error.
    pub reason: &'a str,
    /// The beginning of the last response's text.
    pub excerpt: &'a str,
    /// When the last attempt began.
    pub last_at: Timestamp,
    /// The message as it was received.
    pub message: &'a [u8],
}

/// Who reports, and when.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// The gateway's name.
    pub hostname: &'a str,
    /// Address in `From`.
    pub from: &'a str,
    /// Makes the report's `Message-ID` and boundaries; unique.
    pub id: &'a str,
    /// When it is written.
    pub at: Timestamp,
}

/// Whether the sender of a post that failed is to hear of it, as far as its
/// envelope tells: there is one, it wants to know, and the post is no report.
pub fn is_wanted(post: &Post) -> bool {
    !post.sender.is_empty()
        && post.notice.on_failure == OnFailure::Report
        && post.destination.scheme != Scheme::Smtp
}

/// Whether a message may be answered by a report.
pub fn is_reportable(message: &[u8]) -> bool {
    let section = mail::read(message, &Limits::default());
    let word = |name| {
        let value = mail::first(&section.fields, name).map(value::text).unwrap_or_default();
        value.split([';', ' ', '(']).next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    matches!(word("Auto-Submitted").as_str(), "" | "no") && word("Content-Type") != "multipart/report"
}

/// Subject and detail of the enhanced status (RFC 3463) of a final failure.
pub fn failure_status(status: Option<u16>, reason: &str) -> (u16, u16) {
    if reason.starts_with("expired") || reason.starts_with("given up") {
        return (4, 7);
    }
    match status {
        Some(404 | 410) => (1, 1),
        Some(401 | 403 | 407 | 451) => (7, 1),
        Some(413 | 414 | 431) => (3, 4),
        Some(400 | 406 | 409 | 415 | 422) => (6, 0),
        Some(_) => (3, 0),
        None => (4, 0),
    }
}

/// The report, complete with its header.
pub fn compose(reporter: Reporter<'_>, failure: &Failure<'_>) -> Vec<u8> {
    let form = if failure.post.sender.is_ascii() { Form::Ascii } else { Form::Utf8 };
    let status = match form {
        Form::Ascii => "message/delivery-status",
        Form::Utf8 => "message/global-delivery-status",
    };
    let (returned, message) = match returned(failure) {
        Returned::Whole(message) => ("message/rfc822", message),
        Returned::Header(fields) if form == Form::Utf8 && !fields.is_ascii() => {
            ("message/global-headers", fields)
        }
        Returned::Header(fields) => ("text/rfc822-headers", fields),
    };
    let parts = [
        ("text/plain; charset=utf-8", encoded(words(reporter, failure).as_bytes(), form)),
        (status, encoded(status_fields(reporter, failure, form).as_bytes(), form)),
        (returned, encoded(&message, form)),
    ];
    // Somebody may have guessed it.
    let mut boundary = format!("=_{}", reporter.id);
    while parts.iter().any(|(_, part)| part.contains(&boundary)) {
        boundary.push('_');
    }
    let mut out = header(reporter, failure, &boundary);
    for (content_type, part) in parts {
        let _ = write!(out, "--{boundary}\r\nContent-Type: {content_type}\r\n{part}");
    }
    let _ = write!(out, "--{boundary}--\r\n");
    out.into_bytes()
}

/// Which octets a report may hold besides ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ascii,
    Utf8,
}

fn header(reporter: Reporter<'_>, failure: &Failure<'_>, boundary: &str) -> String {
    let Reporter { hostname, from, id, at } = reporter;
    let (from, to) = (line(from), line(&failure.post.sender));
    let mut out = format!(
        "Date: {}\r\nFrom: Mail Delivery System <{from}>\r\nTo: <{to}>\r\n\
         Subject: Undelivered: the receiver of your message did not take it\r\n\
         Message-ID: <{id}@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
        date(at)
    );
    let section = mail::read(failure.message, &Limits::default());
    let original = mail::first(&section.fields, "Message-ID").map(value::text).unwrap_or_default();
    let is_id = original.starts_with('<') && original.ends_with('>') && original.len() < 250;
    if is_id && original.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        let _ = write!(out, "In-Reply-To: {original}\r\nReferences: {original}\r\n");
    }
    let _ = write!(
        out,
        "Content-Type: multipart/report; report-type={};\r\n boundary=\"{boundary}\"\r\n\r\n",
        if failure.post.sender.is_ascii() { "delivery-status" } else { "global-delivery-status" }
    );
    out
}

/// What people read.
fn words(reporter: Reporter<'_>, failure: &Failure<'_>) -> String {
    let Failure { recipient, url, attempts, reason, excerpt, post, .. } = failure;
    let times = if *attempts == 1 { "one attempt".to_owned() } else { format!("{attempts} attempts") };
    let mut text = format!(
        "This is the mail gateway at {}.\r\n\r\nYour message to\r\n\r\n    {}\r\n\r\n",
        reporter.hostname,
        line(recipient)
    );
    if let Some(url) = url {
        let _ = write!(text, "was to be posted to\r\n\r\n    {}\r\n\r\nand ", line(url));
    }
    let _ = write!(text, "was given up after {times}. The last answer was:\r\n\r\n    {}\r\n", line(reason));
    let shown = excerpt.lines().map(line).filter(|line| !line.is_empty()).take(SHOWN_LINES);
    for shown in shown {
        let _ = write!(text, "    | {shown}\r\n");
    }
    let _ = write!(
        text,
        "\r\nNothing more happens by itself. Correct what the answer complains about and send the\r\n\
         message again, or ask the operator of the gateway, who can still send it for some\r\n\
         days; its id there is {}.\r\n",
        post.id
    );
    text
}

/// What programs read (RFC 3464 section 2).
fn status_fields(reporter: Reporter<'_>, failure: &Failure<'_>, form: Form) -> String {
    let notice = &failure.post.notice;
    let mut text = format!("Reporting-MTA: dns; {}\r\n", reporter.hostname);
    if let Some(envelope_id) = &notice.envelope_id {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", ascii(&line(envelope_id)));
    }
    let _ = write!(text, "Arrival-Date: {}\r\n\r\n", date(failure.post.accepted_at));
    if let Some((kind, address)) = notice.original_recipient.as_ref().and_then(|it| it.split_once(';')) {
        let _ = write!(text, "Original-Recipient: {}; {}\r\n", ascii(&line(kind)), ascii(&line(address)));
    }
    let recipient = line(failure.recipient);
    let kind = if recipient.is_ascii() { "rfc822" } else { "utf-8" };
    let shown = if form == Form::Utf8 { recipient } else { ascii(&recipient) };
    let (subject, detail) = failure_status(failure.status, failure.reason);
    let diagnosis = if failure.status.is_some() { "http" } else { "x-postgate" };
    let _ = write!(
        text,
        "Final-Recipient: {kind}; {shown}\r\nAction: failed\r\nStatus: 5.{subject}.{detail}\r\n\
         Diagnostic-Code: {diagnosis}; {}\r\nLast-Attempt-Date: {}\r\n",
        ascii(&line(failure.reason)),
        date(failure.last_at)
    );
    text
}

enum Returned {
    Whole(Vec<u8>),
    Header(Vec<u8>),
}

/// What is given back of the message: without its controls, in clean lines.
fn returned(failure: &Failure<'_>) -> Returned {
    let section = mail::read(failure.message, &Limits::default());
    let mut fields = Vec::new();
    for HeaderField { name, value } in &section.fields {
        if control::is_control(name) {
            continue;
        }
        if fields.len() + name.len() + value.len() > MOST_HEADER {
            break;
        }
        fields.extend_from_slice(name.as_bytes());
        fields.push(b':');
        fields.extend_from_slice(value);
        fields.extend_from_slice(b"\r\n");
    }
    let fields = clean(&fields);
    let body = failure.message.get(section.body_at..).unwrap_or_default();
    let is_asked = failure.post.notice.returns == Returns::Full && section.is_whole;
    if !is_asked || failure.message.len() > MOST_RETURNED {
        return Returned::Header(fields);
    }
    let whole = [&fields[..], b"\r\n", &clean(body)].concat();
    // `message/rfc822` cannot be encoded (RFC 2046 section 5.2.1).
    if is_plain(&whole) { Returned::Whole(whole) } else { Returned::Header(fields) }
}

/// Lines that end in CRLF, and nothing else that could be taken for an end.
fn clean(octets: &[u8]) -> Vec<u8> {
    let mut cleaned = Vec::with_capacity(octets.len());
    for line in mail::lines(octets) {
        let text = mail::without_end(line).iter().map(|octet| match octet {
            b'\r' | 0 => b' ',
            octet => *octet,
        });
        cleaned.extend(text);
        cleaned.extend_from_slice(b"\r\n");
    }
    cleaned
}

/// Whether text can go as it is: ASCII in lines that are short enough.
fn is_plain(octets: &[u8]) -> bool {
    octets.is_ascii() && mail::lines(octets).all(|line| mail::without_end(line).len() <= LINE)
}

/// The rest of a part's header, and its content.
fn encoded(content: &[u8], form: Form) -> String {
    let text = std::str::from_utf8(content).ok();
    let short = mail::lines(content).all(|line| mail::without_end(line).len() <= LINE);
    match text {
        Some(text) if is_plain(content) => format!("\r\n{text}\r\n"),
        Some(text) if form == Form::Utf8 && short => {
            format!("Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n")
        }
        _ => {
            let mut encoded = "Content-Transfer-Encoding: base64\r\n\r\n".to_owned();
            for piece in content.chunks(BASE64_LINE) {
                encoded.push_str(&BASE64.encode(piece));
                encoded.push_str("\r\n");
            }
            encoded
        }
    }
}

/// Text from elsewhere as a piece of a line.
fn line(text: &str) -> String {
    text.chars()
        .take(500)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Text in ASCII (`utf-8-addr-xtext`, RFC 6533 section 3).
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            ' '..='~' => out.push(char),
            char => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(char));
            }
        }
    }
    out
}

/// RFC 5322 section 3.3, in UTC.
fn date(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
