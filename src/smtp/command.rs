//! One command line, parsed (RFC 5321 section 4.1).
//!
//! Verbs and keywords in any case, blanks after the colon or at the end of the
//! line, a path without angle brackets and any name (or none) after HELO are
//! taken, because programs send them. Control characters and broken UTF-8 are
//! not, because they end up in logs and headers. A forward-path reaches to the
//! last `>` of the line: a URL in it may hold `>` and blanks. Paths are handed
//! on as they are written, but for a source route, which is dropped (RFC 5321
//! appendix C). Parameters that say nothing to this gateway, AUTH= of MAIL among
//! them (RFC 4954 section 5), are checked and forgotten. What a command means in
//! its place is the session's matter.

mod wishes;

pub(super) use wishes::from_xtext;

use super::reply::Reply;
use crate::post::{OnFailure, Returns};
use std::fmt;

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// HELO and the client's name for itself.
    Helo(&'a str),
    /// EHLO and the client's name for itself.
    Ehlo(&'a str),
    /// LHLO, the EHLO of LMTP (RFC 2033), and the client's name for itself.
    Lhlo(&'a str),
    /// MAIL: begins a transaction.
    Mail(Mail<'a>),
    /// RCPT: names a recipient.
    Rcpt(Rcpt<'a>),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP, with anything behind it.
    Noop,
    /// VRFY, with anything behind it.
    Vrfy,
    /// HELP, with anything behind it.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth(Auth<'a>),
    /// A command of the standard that is not offered: EXPN, TURN, ETRN and such.
    NotOffered,
    /// BDAT, which is not offered, and would be followed by mail data.
    Bdat,
    /// The first line of an HTTP request.
    Http,
    /// A header of the PROXY protocol, version 1, where none belongs.
    Proxy,
}

/// The argument of MAIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mail<'a> {
    /// Reverse-path without brackets; empty is the null sender.
    pub path: &'a str,
    /// Size of the message as declared (RFC 1870), the greatest value when it is
    /// beyond measure.
    pub size: Option<u64>,
    /// Whether addresses beyond ASCII may follow (RFC 6531).
    pub encoding: Encoding,
    /// What a report gives back of the message (RFC 3461 section 4.3).
    pub returns: Returns,
    /// The sender's name for the envelope, in xtext (RFC 3461 section 4.4).
    pub envelope_id: Option<&'a str>,
}

/// The argument of RCPT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// Forward-path without brackets.
    pub path: &'a str,
    /// Whether a failure is reported (RFC 3461 section 4.1).
    pub on_failure: OnFailure,
    /// Type and address, in xtext, as the sender knows the recipient (RFC 3461
    /// section 4.2).
    pub original: Option<&'a str>,
}

/// The argument of AUTH.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Name of the mechanism as written.
    pub mechanism: &'a str,
    /// What stands behind it, in base64, or `=` when it is empty.
    pub initial: Option<&'a str>,
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AUTH ***")
    }
}

/// Which characters the addresses of a transaction may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// ASCII only.
    #[default]
    Ascii,
    /// UTF-8, asked for by SMTPUTF8.
    Utf8,
}

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No command of any standard.
    Unknown,
    /// Control characters, or octets that are not UTF-8.
    Characters,
    /// An argument where there is none, or none where one belongs.
    Argument(&'static str),
    /// Not a reverse-path.
    ReversePath,
    /// Not a forward-path.
    ForwardPath,
    /// An address beyond ASCII without SMTPUTF8.
    NeedsUtf8,
    /// A parameter with a value it cannot have.
    Value,
    /// The same parameter twice.
    Twice,
    /// A parameter nobody offered.
    Parameter,
}

impl Wrong {
    /// What the client is told.
    pub fn reply(self) -> Reply<&'static str> {
        match self {
            Wrong::Unknown => Reply::new(500, (5, 1), "command not recognized"),
            Wrong::Characters => Reply::new(501, (5, 2), "control characters or broken UTF-8 in the command"),
            Wrong::Argument(syntax) => Reply::new(501, (5, 4), syntax),
            Wrong::ReversePath => Reply::new(501, (1, 7), "syntax: MAIL FROM:<address>"),
            Wrong::ForwardPath => Reply::new(501, (1, 3), "syntax: RCPT TO:<address>"),
            Wrong::NeedsUtf8 => Reply::new(553, (6, 7), "an address beyond ASCII needs SMTPUTF8"),
            Wrong::Value => Reply::new(501, (5, 4), "a parameter has a value it cannot have"),
            Wrong::Twice => Reply::new(501, (5, 4), "a parameter is given twice"),
            Wrong::Parameter => Reply::new(555, (5, 4), "a parameter is not known here"),
        }
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Helo,
    Ehlo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    StartTls,
    Auth,
    NotOffered,
    Bdat,
    Http,
    Proxy,
}

/// The most frequent first.
const VERBS: &[(&str, Verb)] = &[
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("EHLO", Verb::Ehlo),
    ("QUIT", Verb::Quit),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("AUTH", Verb::Auth),
    ("STARTTLS", Verb::StartTls),
    ("LHLO", Verb::Lhlo),
    ("HELO", Verb::Helo),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("EXPN", Verb::NotOffered),
    ("TURN", Verb::NotOffered),
    ("ETRN", Verb::NotOffered),
    ("ATRN", Verb::NotOffered),
    ("SEND", Verb::NotOffered),
    ("SOML", Verb::NotOffered),
    ("SAML", Verb::NotOffered),
    ("BDAT", Verb::Bdat),
    ("GET", Verb::Http),
    ("POST", Verb::Http),
    ("PUT", Verb::Http),
    ("HEAD", Verb::Http),
    ("DELETE", Verb::Http),
    ("OPTIONS", Verb::Http),
    ("CONNECT", Verb::Http),
    ("PATCH", Verb::Http),
    ("TRACE", Verb::Http),
    ("PRI", Verb::Http),
    ("PROXY", Verb::Proxy),
];

/// Reads a line, given without its line end.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Wrong> {
    let line = std::str::from_utf8(line).map_err(|_| Wrong::Characters)?;
    if line.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) && line.chars().any(is_control) {
        return Err(Wrong::Characters);
    }
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    let argument = argument.trim_matches(' ');
    let known = VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(verb));
    // There are more methods than those; a request line has three words, and always ends alike.
    let is_http = || argument.split_once(' ').is_some_and(|(_, version)| version.starts_with("HTTP/"));
    let verb = match known {
        Some((_, verb)) => verb,
        None if is_http() => &Verb::Http,
        None => return Err(Wrong::Unknown),
    };
    let lone = |command, syntax| if argument.is_empty() { Ok(command) } else { Err(Wrong::Argument(syntax)) };
    match verb {
        Verb::Helo => Ok(Command::Helo(argument)),
        Verb::Ehlo => Ok(Command::Ehlo(argument)),
        Verb::Lhlo => Ok(Command::Lhlo(argument)),
        Verb::Mail => parse_mail(argument).map(Command::Mail),
        Verb::Rcpt => parse_rcpt(argument).map(Command::Rcpt),
        Verb::Data => lone(Command::Data, "syntax: DATA"),
        Verb::Rset => lone(Command::Rset, "syntax: RSET"),
        Verb::Quit => lone(Command::Quit, "syntax: QUIT"),
        Verb::Noop => Ok(Command::Noop),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Help => Ok(Command::Help),
        Verb::StartTls => lone(Command::StartTls, "syntax: STARTTLS"),
        Verb::Auth => parse_auth(argument).map(Command::Auth),
        Verb::NotOffered => Ok(Command::NotOffered),
        Verb::Bdat => Ok(Command::Bdat),
        Verb::Http => Ok(Command::Http),
        Verb::Proxy => Ok(Command::Proxy),
    }
}

/// Controls, and what moves or turns text where a log is read.
pub(super) fn is_control(char: char) -> bool {
    let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || char.is_control()
}

fn parse_auth(argument: &str) -> Result<Auth<'_>, Wrong> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Auth { mechanism, initial }),
        _ => Err(Wrong::Argument("syntax: AUTH mechanism [initial-response]")),
    }
}

fn parse_mail(argument: &str) -> Result<Mail<'_>, Wrong> {
    let argument = after_keyword(argument, "FROM").ok_or(Wrong::ReversePath)?;
    // Not the last `>`: that may belong to AUTH=<> (RFC 4954 section 5).
    let end = |text: &str| {
        let closing = |(at, _): &(usize, &str)| text.get(at + 1..).is_some_and(is_end_of_path);
        text.match_indices('>').find(closing).map(|(at, _)| at)
    };
    let (path, parameters) = split_path(argument, end).ok_or(Wrong::ReversePath)?;
    let mut mail = Mail { path, ..Mail::default() };
    let mut seen = Seen::default();
    for (keyword, value) in parameters.split(' ').filter(|word| !word.is_empty()).map(key_and_value) {
        match seen.first(keyword, &["SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"])? {
            0 => mail.size = Some(declared_size(value).ok_or(Wrong::Value)?),
            1 => one_of(value, &["7BIT", "8BITMIME"])?,
            2 if value.is_none() => mail.encoding = Encoding::Utf8,
            3 => drop(text(value)?),
            4 => mail.returns = wishes::returns(value)?,
            5 => mail.envelope_id = Some(text(value)?),
            _ => return Err(Wrong::Value),
        }
    }
    if !path.is_ascii() && mail.encoding == Encoding::Ascii {
        return Err(Wrong::NeedsUtf8);
    }
    Ok(mail)
}

fn parse_rcpt(argument: &str) -> Result<Rcpt<'_>, Wrong> {
    let argument = after_keyword(argument, "TO").ok_or(Wrong::ForwardPath)?;
    let (path, parameters) = split_path(argument, |text| text.rfind('>')).ok_or(Wrong::ForwardPath)?;
    let mut rcpt = Rcpt { path, ..Rcpt::default() };
    let mut seen = Seen::default();
    for (keyword, value) in parameters.split(' ').filter(|word| !word.is_empty()).map(key_and_value) {
        match seen.first(keyword, &["NOTIFY", "ORCPT"])? {
            0 => rcpt.on_failure = wishes::on_failure(value)?,
            _ => rcpt.original = Some(text(value)?),
        }
    }
    Ok(rcpt)
}

/// What follows `FROM:` or `TO:`, with or without blanks around the colon.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    let rest = rest.trim_start_matches(' ').strip_prefix(':')?;
    found.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// The path without brackets and source route, and the parameters behind it;
/// `end` finds the closing bracket.
fn split_path(argument: &str, end: impl Fn(&str) -> Option<usize>) -> Option<(&str, &str)> {
    let (path, rest) = match argument.strip_prefix('<') {
        Some(bracketed) => {
            let (path, rest) = bracketed.split_at_checked(end(bracketed)?)?;
            (path, rest.strip_prefix('>')?)
        }
        None => {
            let (path, rest) = argument.split_at_checked(argument.find(' ').unwrap_or(argument.len()))?;
            if path.is_empty() || path.contains(['<', '>']) {
                return None;
            }
            (path, rest)
        }
    };
    is_end_of_path(rest).then(|| (without_route(path), rest))
}

fn is_end_of_path(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

/// `@a,@b:c@d` is `c@d`.
fn without_route(path: &str) -> &str {
    let is_route = |route: &str| {
        route.split(',').all(|hop| {
            let domain = hop.strip_prefix('@').unwrap_or_default();
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
            !domain.is_empty() && domain.bytes().all(is_name)
        })
    };
    match path.split_once(':') {
        Some((route, path)) if is_route(route) => path,
        _ => path,
    }
}

fn key_and_value(parameter: &str) -> (&str, Option<&str>) {
    match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    }
}

/// Which parameters a command has had.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    /// The place of `keyword` in `known`, when it comes for the first time.
    fn first(&mut self, keyword: &str, known: &[&str]) -> Result<usize, Wrong> {
        let place = known.iter().position(|name| name.eq_ignore_ascii_case(keyword));
        let place = place.ok_or(Wrong::Parameter)?;
        let before = self.0;
        self.0 |= 1 << place;
        if self.0 == before { Err(Wrong::Twice) } else { Ok(place) }
    }
}

/// Digits only; a number that fits nowhere is as good as the greatest.
fn declared_size(value: Option<&str>) -> Option<u64> {
    let digits =
        value.filter(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn one_of(value: Option<&str>, allowed: &[&str]) -> Result<(), Wrong> {
    let value = value.ok_or(Wrong::Value)?;
    if allowed.iter().any(|word| word.eq_ignore_ascii_case(value)) { Ok(()) } else { Err(Wrong::Value) }
}

/// Some text; what it says is not looked at here.
fn text(value: Option<&str>) -> Result<&str, Wrong> {
    value.filter(|value| !value.is_empty()).ok_or(Wrong::Value)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
