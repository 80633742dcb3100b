//! Bounces in plain text: qmail's (QSBMF), and those of Exim, old Sendmail, old
//! Exchange and others, which name each address on a line and say below what is
//! wrong with it.
//!
//! Only the texts that these programs begin with are known, and only from an empty
//! reverse-path or a mail server's address: people may write about a bounce, too.

use super::super::mail::{HeaderField, first};
use super::super::mime::Part;
use super::super::{decode, value};
use super::returned::{self, Returned};
use super::{Data, Event, Kind, content, words};

/// How such texts begin, in lower case.
const BEGINS: &[&str] = &[
    "this is the qmail-send program at",
    "i'm afraid i wasn't able to deliver your message",
    "this message was created automatically by mail delivery software",
    "this message was created automatically by the mail system",
    "----- the following addresses had",
    "your message did not reach some or all of the intended recipients",
    "delivery has failed to these recipients",
    "delivery to the following recipient",
    "this is the mail system at host",
    "this is the postfix program at host",
    "could not be delivered to one or more of its recipients",
    "this is a delivery failure notification message",
];
/// What they say of mail that may still arrive.
const DELAYED: &[&str] = &[
    "transient non-fatal errors",
    "has not been delivered yet",
    "has not yet been delivered",
    "will continue to try",
    "will be retried",
    "this is a warning message only",
    "delivery has been delayed",
];
/// Above what is given back of the message.
const COPIES: &[&str] = &[
    "--- below this line is a copy of the message",
    "------ this is a copy of ",
    "----- original message follows",
    "----- unsent message follows",
    "----- message header follows",
    "----- original message -----",
    "----- message header -----",
];
/// Above the dialogue with the other server.
const TRANSCRIPT: &str = "Transcript of session follows";
/// Octets of a text that are read.
const MOST: usize = 64 * 1024;
/// Octets within which it must say what it is.
const BEGIN: usize = 4096;
/// Lines below an address that are about it.
const LINES: usize = 20;
/// Octets of what they say.
const LONGEST: usize = 1000;

/// The events of such a text; none when it is none.
pub fn read(sender: &str, fields: &[HeaderField<'_>], parts: &[Part<'_>]) -> Vec<Event> {
    if !is_from_server(sender, fields) {
        return Vec::new();
    }
    let Some(part) = parts.iter().find(|part| part.essence() == "text/plain") else { return Vec::new() };
    let octets = decode::text(part, content(part));
    let octets = octets.get(..octets.len().min(MOST)).unwrap_or_default();
    let text = String::from_utf8_lossy(octets);
    let lower = text.to_ascii_lowercase();
    let begin = lower.get(..lower.floor_char_boundary(BEGIN)).unwrap_or(&lower);
    if !BEGINS.iter().any(|words| begin.contains(words)) {
        return Vec::new();
    }
    // ASCII case changes no lengths: places in one are places in the other.
    let copy_at = COPIES.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len());
    let (said, copy) = text.split_at_checked(copy_at).unwrap_or((&text, ""));
    let returned = if copy.is_empty() { returned::read(parts) } else { below(copy) };
    let lower = lower.get(..copy_at).unwrap_or(&lower);
    let kind = if DELAYED.iter().any(|words| lower.contains(words)) { Kind::Delayed } else { Kind::Bounced };
    events(kind, said, &returned)
}

/// Whether a mail server sent it.
pub fn is_from_server(sender: &str, fields: &[HeaderField<'_>]) -> bool {
    let from = first(fields, "From").map(value::text).unwrap_or_default().to_ascii_lowercase();
    let is_server = |address: &str| ["mailer-daemon", "postmaster"].iter().any(|name| address.contains(name));
    sender.is_empty() || is_server(&from) || is_server(&sender.to_ascii_lowercase())
}

/// The message whose header begins below a line, or below the next empty one.
fn below(copy: &str) -> Returned {
    let lines = copy.split_once('\n').map_or("", |(_, rest)| rest);
    returned::of_message(lines.trim_start().as_bytes())
}

fn events(kind: Kind, text: &str, returned: &Returned) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let transcript = text.split_once(TRANSCRIPT).map_or("", |(_, transcript)| transcript);
    let mut rest = text;
    while let Some((line, below)) = rest.split_once('\n') {
        rest = below;
        let Some(recipient) = recipient(line) else { continue };
        let is_known = |event: &Event| event.data.recipient.as_deref() == Some(recipient);
        if events.len() > super::MOST || events.iter().any(is_known) {
            continue;
        }
        let diagnosis = diagnosis(line, below);
        let diagnosis = diagnosis.or_else(|| in_transcript(transcript, recipient));
        let status =
            diagnosis.as_deref().and_then(|text| words::enhanced(text).or_else(|| words::basic(text)));
        let data = Data {
            recipient: Some(recipient.to_owned()),
            bounce_type: (kind == Kind::Bounced).then(|| words::bounce_type(status.as_deref())),
            reason: words::reason(status.as_deref(), diagnosis.as_deref()),
            status,
            diagnostic_code: diagnosis,
            ..Data::of(returned)
        };
        events.push(Event { kind, data });
    }
    events
}

/// The address that a line is about: it stands there alone, or before a colon, a
/// bracket or a date.
fn recipient(line: &str) -> Option<&str> {
    let line = line.trim();
    let (address, after) = match line.strip_prefix('<') {
        Some(line) => line.split_once('>')?,
        None => line.split_once([' ', '\t']).unwrap_or((line, "")),
    };
    let address = address.trim_end_matches(':');
    let after = after.trim();
    let is_alone = after.is_empty() || after.starts_with([':', '(']) || after.starts_with("on ");
    let (local, domain) = address.rsplit_once('@')?;
    let is_domain = domain.contains('.') || domain == "localhost";
    let is_address = !local.is_empty()
        && is_domain
        && address.len() <= 320
        && !address.contains(|char: char| char.is_whitespace() || matches!(char, '<' | '>' | ',' | '"'));
    (is_alone && is_address).then_some(address)
}

/// What stands on an address's line and below it, up to an empty line or the next
/// address, in one line.
fn diagnosis(line: &str, below: &str) -> Option<String> {
    let own = line.split_once(": ").map_or("", |(_, said)| said.trim());
    let lines = below.lines().take(LINES).map(str::trim);
    let about = lines.take_while(|line| !line.is_empty() && recipient(line).is_none());
    let words: Vec<_> = std::iter::once(own).chain(about).filter(|line| !line.is_empty()).collect();
    let mut text = words.join(" ");
    text.truncate(text.floor_char_boundary(LONGEST));
    (!text.is_empty()).then_some(text)
}

/// The line of a transcript that names the address and a code, as Sendmail has it.
fn in_transcript(transcript: &str, recipient: &str) -> Option<String> {
    let lines = transcript.lines().map(|line| line.trim().trim_start_matches("<<< "));
    let mut about = lines.filter(|line| line.len() <= LONGEST && line.contains(recipient));
    about.find(|line| words::basic(line).is_some()).map(str::to_owned)
}
