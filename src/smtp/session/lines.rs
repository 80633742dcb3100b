//! From octets to lines, and what the log is told of them.
//!
//! A line ends in CRLF; a line feed alone ends the session, because two programs
//! that disagree about where a line ends disagree about what was said. Lines are
//! told as they came, but for what AUTH carries: its lines, and lines that come
//! behind it and are no command, because some clients send their name and
//! password blindly, whatever they were answered.

use super::{Demand, Policy, Session, State};
use crate::masked::hides;
use crate::smtp::command::{Command, Wrong, from_xtext, parse};
use crate::smtp::reply::Reply;
use crate::smtp::words::BareNewline;
use std::borrow::Cow;

/// What stands in the log for what it must not show.
const HIDDEN: &[u8] = b"***";

/// Mechanisms that clients ask for. Other words behind AUTH are not shown: they
/// may be a name or a password in the wrong place.
const MECHANISMS: &[&str] = &[
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "EXTERNAL",
    "DIGEST-MD5",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "NTLM",
    "GSSAPI",
    "XOAUTH2",
    "OAUTHBEARER",
];

impl Session {
    /// Gives away the command lines that were read since the last call, as the
    /// protocol log shows them, and whether there were any.
    pub fn tell(&mut self, mut line: impl FnMut(&str)) -> bool {
        let mut lines = self.heard.split(|byte| *byte == b'\n');
        lines.next_back();
        lines.for_each(|text| line(&self.discreet(&String::from_utf8_lossy(text))));
        let has_heard = !self.heard.is_empty();
        self.heard.clear();
        // A large group of commands leaves no large buffer behind.
        self.heard.shrink_to(256);
        has_heard
    }

    /// Commands or replies of this group without the recipients that hold secrets
    /// and without what AUTH asks.
    pub fn discreet<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let shown = without_prompt(text).map_or(Cow::Borrowed(text), Cow::Owned);
        // All are found before any is hidden: one may hold a piece of another.
        let found = self.secrets.iter().flat_map(|secret| shown.match_indices(secret.as_str()));
        let mut places: Vec<_> = found.map(|(start, secret)| (start, start + secret.len())).collect();
        if places.is_empty() {
            return shown;
        }
        places.sort_unstable();
        let (mut discreet, mut end) = (String::new(), 0);
        for (start, behind) in places {
            if let Some(between) = shown.get(end..start) {
                discreet.push_str(between);
                discreet.push_str("***");
            }
            end = end.max(behind);
        }
        discreet.push_str(shown.get(end..).unwrap_or_default());
        Cow::Owned(discreet)
    }

    /// Takes one line, and says how many octets it had; none when it is not complete.
    pub(super) fn take_line(
        &mut self,
        input: &[u8],
        policy: &dyn Policy,
        out: &mut Vec<u8>,
    ) -> (usize, Demand) {
        // The first octet of a TLS record that carries a handshake.
        if input.first() == Some(&0x16) {
            self.hear(b"(TLS handshake)");
            self.end(Reply::new(554, (5, 1), "TLS is not spoken here"), out);
            return (input.len(), Demand::Read);
        }
        let most = self.longest_line(input);
        let Some(feed) = memchr::memchr(b'\n', input.get(..most).unwrap_or(input)) else {
            if input.len() < most {
                return (0, Demand::Read);
            }
            self.hear(b"(a line that is too long)");
            self.end(Reply::new(500, (5, 2), "line too long"), out);
            return (input.len(), Demand::Read);
        };
        let line = input.get(..feed).unwrap_or_default();
        let demand = match line.strip_suffix(b"\r") {
            Some(line) => self.execute(line, policy, out),
            None if self.terms.bare_newline == BareNewline::Lf => self.execute(line, policy, out),
            None => {
                self.hear_line(line, policy);
                self.end(Reply::new(500, (5, 2), "bare LF in a command; lines end in CRLF"), out);
                Demand::Read
            }
        };
        (feed + 1, demand)
    }

    /// Octets that the line at the beginning of `input` may have.
    fn longest_line(&self, input: &[u8]) -> usize {
        let limits = &self.terms.limits;
        let is_auth = input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        match self.state {
            State::Authenticating(_) => limits.auth_line,
            _ if is_auth => limits.auth_line,
            _ => limits.command_line,
        }
    }

    fn execute(&mut self, line: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        self.hear_line(line, policy);
        if let State::Authenticating(exchange) = &mut self.state {
            let step = exchange.answer(line);
            return self.go_on(step, out);
        }
        let data_refused = std::mem::take(&mut self.data_refused);
        match parse(line) {
            Ok(command) => self.perform(command, policy, out),
            Err(wrong) => {
                self.reply(wrong.reply(), out);
                // Mail data that was sent without waiting for the 354.
                if data_refused && matches!(wrong, Wrong::Unknown | Wrong::Characters) {
                    self.close();
                }
                Demand::Read
            }
        }
    }

    /// Notes a line as the log may show it.
    fn hear_line(&mut self, line: &[u8], policy: &dyn Policy) {
        let shown = auth_shown(line);
        let is_answer = matches!(self.state, State::Authenticating(_));
        let is_blind = || matches!(parse(line), Err(Wrong::Unknown | Wrong::Characters));
        // Giving up, by `*`, is no secret.
        if line != b"*" && (is_answer || self.is_wary && shown.is_none() && is_blind()) {
            return self.hear(HIDDEN);
        }
        self.is_wary = is_answer || shown.is_some();
        self.note_secrets(line, policy);
        if let Some(shown) = &shown {
            // Its last word may be a part of one.
            self.note_secrets(shown, policy);
        }
        self.hear(shown.as_deref().unwrap_or(line));
    }

    /// Remembers the words of a line that hold credentials nobody sees at a glance:
    /// also where they are out of place, or the line is not understood.
    fn note_secrets(&mut self, line: &[u8], policy: &dyn Policy) {
        let line = String::from_utf8_lossy(line);
        for word in line.split([' ', '\t', '<', '>']).filter(|word| !word.is_empty()) {
            let behind = |mark| word.split_once(mark).map_or("", |(_, rest)| rest);
            // A path without brackets or behind a source route.
            let paths = [word, behind(':')].into_iter().filter(|path| policy.is_secret(path));
            // The value of ORCPT. Coded, its URL is not seen by whoever masks the line.
            let is_secret = |decoded: &str| policy.is_secret(decoded) || hides(decoded);
            let original = Some(behind(';')).filter(|original| is_secret(&from_xtext(original)));
            let found = paths.chain(original).filter(|text| !text.is_empty());
            self.secrets.extend(found.map(str::to_owned));
        }
    }

    pub(super) fn hear(&mut self, line: &[u8]) {
        self.heard.extend_from_slice(line);
        self.heard.push(b'\n');
    }
}

/// The text without what a 334 asks, when there is one: it is the last of a group.
/// A challenge is no secret by itself, but half of one.
fn without_prompt(text: &str) -> Option<String> {
    let start = if text.starts_with("334 ") { 0 } else { text.rfind("\n334 ")? + 1 };
    let (before, prompt) = text.split_at_checked(start + "334 ".len())?;
    let asked = prompt.trim_end();
    let end = prompt.strip_prefix(asked)?;
    (!asked.is_empty()).then(|| format!("{before}***{end}"))
}

/// What may be seen of a line that is AUTH, or was meant to be. Behind a byte order
/// mark, a stray octet or a bare CR it is no command, and its credentials are no less
/// secret.
fn auth_shown(line: &[u8]) -> Option<Vec<u8>> {
    let is_auth = |octets: &[u8]| octets.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
    let found = memchr::memchr2_iter(b'A', b'a', line).find(|at| line.get(*at..).is_some_and(is_auth));
    let Some(at) = found else {
        // Letters of two octets, or with something between them.
        let has_controls = line.iter().any(u8::is_ascii_control);
        let seen = line.iter().copied().filter(|byte| has_controls && !byte.is_ascii_control());
        return seen.collect::<Vec<_>>().windows(4).any(is_auth).then(|| HIDDEN.to_vec());
    };
    let (before, command) = line.split_at_checked(at)?;
    let is_stray = || matches!(parse(line), Err(Wrong::Unknown | Wrong::Characters) | Ok(Command::Http));
    let before = before.trim_ascii_start();
    if !before.is_empty() && !is_stray() {
        return None;
    }
    let (verb, rest) = command.split_at_checked(4)?;
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    let is_mechanism = |word: &&[u8]| {
        let is_this = |name: &&str| name.as_bytes().eq_ignore_ascii_case(word);
        rest.starts_with(b" ") && MECHANISMS.iter().any(is_this)
    };
    let mut shown = [before, verb].concat();
    if let Some(mechanism) = words.next_if(is_mechanism) {
        shown.push(b' ');
        shown.extend_from_slice(mechanism);
    }
    if words.next().is_some() {
        shown.push(b' ');
        shown.extend_from_slice(HIDDEN);
    }
    Some(shown)
}
