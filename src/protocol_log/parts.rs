//! Lines of the log as the dialogues that they are parts of.
//!
//! An SMTP session is one dialogue, an HTTP connection as many as it has attempts. Nothing
//! here reads files. A stretch of a file is taken apart, so that a dialogue may lack its
//! beginning, or its end.

use super::dialogues::{Line, Question};
use crate::post::PostId;
use std::collections::HashMap;

/// What is looked for; all of what is said must be so, and nothing said means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The name in the lines.
    pub session: Option<String>,
    /// A post or a message: what brought it, and its attempts.
    pub post: Option<PostId>,
    /// Host and port of attempts.
    pub destination: Option<(String, u16)>,
    /// Whoever is at the other end: an address, with or without its port.
    pub peer: Option<String>,
}

/// A dialogue as far as it is in a stretch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub name: &'a str,
    /// Whether its first line is here.
    pub has_begin: bool,
    /// Where each line begins in the file, and the line.
    pub lines: Vec<(u64, &'a str)>,
}

impl Part<'_> {
    /// Where its first line begins.
    pub fn begins_at(&self) -> u64 {
        self.lines.first().map_or(0, |(at, _)| *at)
    }

    /// Whether a line before this octet is about a post.
    pub fn names(&self, post: PostId, before: u64) -> bool {
        let own = self.lines.iter().take_while(|(at, _)| *at < before);
        own.filter_map(|(_, text)| Line::parse(text)).any(|line| is_about(&line, post))
    }
}

/// The parts of a stretch that begins at an octet of its file, in the order in which they
/// begin. What is no line of the log, or not whole, is passed over.
pub(super) fn parts(stretch: &[u8], begins_at: u64) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    let mut at = begins_at;
    for whole in stretch.split_inclusive(|octet| *octet == b'\n') {
        let place = at;
        at += whole.len() as u64;
        let text = whole.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        let Some((text, line)) = text.and_then(|text| Some((text, Line::parse(text)?))) else { continue };
        let begins = begins(&line);
        let known = open.get(line.name).copied().filter(|_| !begins);
        match known.and_then(|index| parts.get_mut(index)) {
            Some(part) => part.lines.push((place, text)),
            None => {
                open.insert(line.name, parts.len());
                parts.push(Part { name: line.name, has_begin: begins, lines: vec![(place, text)] });
            }
        }
    }
    parts
}

/// The time of a line; nothing when it is none of the log's.
pub(super) fn stamp(line: &[u8]) -> Option<&str> {
    let stamp = line.get(..line.iter().position(|octet| *octet == b' ')?)?;
    std::str::from_utf8(stamp).ok().filter(|stamp| stamp.ends_with('Z'))
}

/// The time of the first line of a stretch that has one.
pub(super) fn first_stamp(stretch: &[u8]) -> Option<&str> {
    stretch.split(|octet| *octet == b'\n').find_map(stamp)
}

/// Whether a dialogue begins with this line.
fn begins(line: &Line<'_>) -> bool {
    match line.name.bytes().next() {
        Some(b'S') => line.mark == '*' && line.text.starts_with("connected from "),
        Some(b'H') => line.attempt().is_some(),
        // One line says all.
        _ => true,
    }
}

impl Wanted {
    /// Whether this is a part of what is looked for.
    pub(super) fn has(&self, part: &Part<'_>) -> bool {
        let lines = || part.lines.iter().filter_map(|(_, text)| Line::parse(text));
        self.session.as_deref().is_none_or(|name| name == part.name)
            && self.post.is_none_or(|id| lines().any(|line| is_about(&line, id)))
            && self.destination.as_ref().is_none_or(|(host, port)| {
                let question = Question::Destination { host: host.clone(), port: *port };
                lines().any(|line| line.attempt().is_some_and(|(id, what)| question.wants_attempt(id, what)))
            })
            && self.peer.as_deref().is_none_or(|peer| lines().next().is_some_and(|line| is_with(&line, peer)))
    }
}

fn is_about(line: &Line<'_>, wanted: PostId) -> bool {
    let attempted = line.attempt().is_some_and(|(id, _)| Question::Post(wanted).wants_attempt(id, ""));
    attempted || line.acknowledged().is_some_and(|id| id.message == wanted.message)
}

/// Whether the first line of a dialogue names this peer: `192.0.2.1`, `192.0.2.1:25`,
/// `[2001:db8::1]:25`, or the path of a socket.
fn is_with(first: &Line<'_>, peer: &str) -> bool {
    let bare = |text: &str| text.replace(['[', ']'], "");
    let peer = bare(peer);
    first.text.split([' ', ',']).map(bare).any(|word| {
        let rest = word.strip_prefix(&peer);
        let is_port = |rest: &str| rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        rest.is_some_and(|rest| rest.is_empty() || is_port(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::super::traces::Traces;
    use super::*;

    const LOG: &str = "\
2026-01-31T12:00:00.000Z S0007 < QUIT
2026-01-31T12:00:00.000Z S0001 * connected from 192.0.2.7:1
2026-01-31T12:00:00.001Z S0002 * connected from [2001:db8::7]:3
2026-01-31T12:00:00.002Z S0001 > 250 2.0.0 Message received and queued as 52a0000000000002.
2026-01-31T12:00:00.003Z H0001 * 52a0000000000001 attempt 1: connected to a.example [192.0.2.70]:443, TLSv1.3
2026-01-31T12:00:00.003Z H0001 > POST /1 HTTP/1.1
no line
2026-01-31T12:00:00.004Z H0001 * 52a0000000000002 attempt 1: reusing connection to a.example [192.0.2.70]:443, TLSv1.3
2026-01-31T12:00:00.005Z A0001 * 1 posts of shop to http://b.example/ handed in over HTTP, queued as 52a0000000000003.
2026-01-31T12:00:00.006Z S0001 * connected from /run/x.sock, user 0
2026-01-31T12:00:00.007Z S00";

    /// Where the wanted parts begin, as numbers of lines, and how many lines each has.
    fn found(wanted: &Wanted) -> Vec<(usize, usize)> {
        let parts = parts(LOG.as_bytes(), 1000);
        let number = |at: u64| LOG[..at as usize - 1000].matches('\n').count();
        let wanted = parts.iter().filter(|part| wanted.has(part));
        wanted.map(|part| (number(part.begins_at()), part.lines.len())).collect()
    }

    #[test]
    fn a_stretch_is_taken_apart() {
        let all = [(0, 1), (1, 2), (2, 1), (4, 2), (7, 1), (8, 1), (9, 1)];
        assert_eq!(found(&Wanted::default()), all);
        let parts = parts(LOG.as_bytes(), 0);
        let begun: Vec<_> = parts.iter().map(|part| part.has_begin).collect();
        assert_eq!(begun, [false, true, true, true, true, true, true]);
    }

    #[test]
    fn what_is_said_must_be_so() {
        let none = Wanted::default;
        let peer = |text: &str| Wanted { peer: Some(text.to_owned()), ..none() };
        let post = |text: &str| Wanted { post: Some(text.parse().unwrap()), ..none() };
        let to = |port| Wanted { destination: Some(("a.example".to_owned(), port)), ..none() };
        for (wanted, expected) in [
            (Wanted { session: Some("S0001".to_owned()), ..none() }, &[(1, 2), (9, 1)][..]),
            (post("52a0000000000002"), &[(1, 2), (7, 1)]),
            (post("52a0000000000003"), &[(8, 1)]),
            (to(443), &[(4, 2), (7, 1)]),
            (to(80), &[]),
            (peer("192.0.2.7"), &[(1, 2)]),
            (peer("192.0.2.7:1"), &[(1, 2)]),
            (peer("192.0.2.7:2"), &[]),
            (peer("192.0.2.70"), &[(4, 2), (7, 1)]),
            (peer("2001:db8::7"), &[(2, 1)]),
            (peer("[2001:db8::7]:3"), &[(2, 1)]),
            (peer("192.0.2.70:443"), &[(4, 2), (7, 1)]),
            (peer("/run/x.sock"), &[(9, 1)]),
            (peer("192.0.2"), &[]),
            (Wanted { peer: Some("192.0.2.70".to_owned()), ..post("52a0000000000002") }, &[(7, 1)]),
        ] {
            assert_eq!(found(&wanted), expected, "{wanted:?}");
            let is_leapt_over = Traces::of(&wanted).last(LOG.as_bytes()).is_none();
            assert!(!is_leapt_over || expected.is_empty(), "{wanted:?}");
        }
    }
}
