//! Lines of the protocol log, and which of them belong to what was asked for.
//!
//! A line is `time name mark text`. A session (`S…`) is one SMTP connection and
//! is wanted whole. An HTTP connection (`H…`) carries many posts: of it, the
//! part from one `attempt` line to the next belongs to one post. Nothing here
//! reads files: lines come in, in the order of the log, and wanted ones go out.

use crate::post::PostId;
use std::collections::{HashMap, HashSet};

/// One line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339, UTC, milliseconds.
    pub stamp: &'a str,
    /// Of the dialogue.
    pub name: &'a str,
    /// `<`, `>` or `*`.
    pub mark: char,
    /// The rest.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Takes a line apart; `None` when it is not one of the log's.
    pub fn parse(line: &'a str) -> Option<Line<'a>> {
        let (stamp, rest) = line.split_once(' ')?;
        let (name, rest) = rest.split_once(' ')?;
        let (mark, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut marks = mark.chars();
        let mark = marks.next().filter(|mark| matches!(mark, '<' | '>' | '*'))?;
        (marks.next().is_none() && stamp.ends_with('Z')).then_some(Line { stamp, name, mark, text })
    }

    /// Whether it is of an SMTP session.
    pub fn is_smtp(&self) -> bool {
        self.name.starts_with('S')
    }

    /// Whether it is of a dialogue that may bring posts: by SMTP or over HTTP.
    fn is_session(&self) -> bool {
        self.is_smtp() || self.name.starts_with('A')
    }

    /// The post whose attempt begins with this line, and what is said of it.
    pub(super) fn attempt(&self) -> Option<(PostId, &'a str)> {
        let (id, rest) = self.text.split_once(" attempt ")?;
        let (_, what) = rest.split_once(": ")?;
        let id = id.parse().ok().filter(|_| self.mark == '*' && !self.is_session())?;
        Some((id, what))
    }

    /// The message that is acknowledged with this line.
    pub(super) fn acknowledged(&self) -> Option<PostId> {
        let (_, id) = self.text.rsplit_once(" queued as ")?;
        let is_reply = match self.is_smtp() {
            true => self.mark == '>' && self.text.starts_with("250 "),
            false => self.mark == '*' && self.is_session(),
        };
        id.trim_end_matches('.').parse().ok().filter(|_| is_reply)
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Every line.
    Everything,
    /// One dialogue, SMTP or HTTP, by its name.
    Session(String),
    /// The attempts of one post, or of all posts of a message, and the session
    /// that brought it.
    Post(PostId),
    /// The attempts to one origin.
    Destination {
        /// As in [`crate::post::Destination`].
        host: String,
        /// The scheme's own included.
        port: u16,
    },
}

impl Question {
    /// Whether the attempt is one that is asked for.
    pub(super) fn wants_attempt(&self, id: PostId, what: &str) -> bool {
        match self {
            Question::Post(wanted) => {
                wanted.message == id.message && (wanted.number == 0 || wanted.number == id.number)
            }
            Question::Destination { host, port } => {
                let names_host = what.split([' ', ',']).any(|word| {
                    word == host || word.split("//").nth(1).is_some_and(|rest| origin(rest) == *host)
                });
                let port = format!(":{port}");
                names_host && what.split([' ', ',']).any(|word| word.ends_with(&port) || word.contains("//"))
            }
            Question::Everything | Question::Session(_) => false,
        }
    }
}

/// The host of `host:port`.
fn origin(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Picks the lines of a [`Question`] out of the log.
#[derive(Debug)]
pub struct Filter {
    question: Question,
    /// Sessions that brought the post; known after a look through the log.
    sessions: HashSet<String>,
    /// Lines of such sessions, held until it is sure that they are the ones: a
    /// name can come again after a restart.
    held: HashMap<String, Vec<String>>,
    /// HTTP connections whose present attempt is wanted.
    attempts: HashSet<String>,
    /// Sessions that are known to be the ones.
    open: HashSet<String>,
}

impl Filter {
    /// A filter for `question`.
    pub fn new(question: Question) -> Filter {
        Filter {
            question,
            sessions: HashSet::new(),
            held: HashMap::new(),
            attempts: HashSet::new(),
            open: HashSet::new(),
        }
    }

    /// Whether the log must be looked through once before: only the end of a
    /// session tells which message it brought.
    pub fn needs_look(&self) -> bool {
        matches!(self.question, Question::Post(_))
    }

    /// Takes a line of that look.
    pub fn look(&mut self, line: &Line<'_>) {
        if self.brought(line) {
            self.sessions.insert(line.name.to_owned());
        }
    }

    /// Whether the line acknowledges the message of the post that is asked for.
    fn brought(&self, line: &Line<'_>) -> bool {
        match &self.question {
            Question::Post(id) => line.acknowledged().is_some_and(|found| found.message == id.message),
            _ => false,
        }
    }

    /// Takes a line, hands the wanted ones to `out`.
    pub fn take(&mut self, whole: &str, out: &mut dyn FnMut(&str)) {
        let Some(line) = Line::parse(whole) else {
            return if self.question == Question::Everything {
                out(whole)
            };
        };
        match &self.question {
            Question::Everything => out(whole),
            Question::Session(name) if name == line.name => out(whole),
            Question::Session(_) => {}
            Question::Post(_) if line.is_session() => self.take_session(whole, &line, out),
            Question::Post(_) | Question::Destination { .. } => {
                if let Some((id, what)) = line.attempt() {
                    if self.question.wants_attempt(id, what) {
                        self.attempts.insert(line.name.to_owned());
                    } else {
                        self.attempts.remove(line.name);
                    }
                }
                if self.attempts.contains(line.name) {
                    out(whole);
                }
            }
        }
    }

    /// Takes a line of a session.
    fn take_session(&mut self, whole: &str, line: &Line<'_>, out: &mut dyn FnMut(&str)) {
        if !self.sessions.contains(line.name) {
            return;
        }
        // Over HTTP one line says all.
        if !line.is_smtp() {
            return if self.brought(line) {
                out(whole)
            };
        }
        if line.mark == '*' && line.text.starts_with("connected from ") {
            self.open.remove(line.name);
            self.held.remove(line.name);
        }
        if self.brought(line) {
            self.open.insert(line.name.to_owned());
            self.held.remove(line.name).unwrap_or_default().iter().for_each(|line| out(line));
        }
        if self.open.contains(line.name) {
            out(whole);
        } else {
            self.held.entry(line.name.to_owned()).or_default().push(whole.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-31T12:00:00.000Z S0001 * connected from 127.0.0.1:1
2026-01-31T12:00:00.000Z S0001 > 250 2.0.0 Message received and queued as 52a0000000000001.
2026-01-31T12:00:00.001Z S0001 * connected from 127.0.0.1:2
2026-01-31T12:00:00.001Z S0002 * connected from 127.0.0.1:3
2026-01-31T12:00:00.001Z S0001 < EHLO a
2026-01-31T12:00:00.002Z S0001 > 250 2.0.0 Message received and queued as 52a0000000000002.
2026-01-31T12:00:00.003Z H0001 * 52a0000000000001 attempt 1: connected to a.example [192.0.2.1]:443, TLSv1.3
2026-01-31T12:00:00.003Z H0001 > POST /1 HTTP/1.1
2026-01-31T12:00:00.004Z S0001 < QUIT
2026-01-31T12:00:00.004Z H0001 * 52a0000000000002-1 attempt 1: reusing connection to a.example [192.0.2.1]:443, TLSv1.3
2026-01-31T12:00:00.004Z H0001 > POST /2 HTTP/1.1
2026-01-31T12:00:00.005Z H0002 * 52a0000000000002-2 attempt 1: connected to a.example [192.0.2.1]:8443
2026-01-31T12:00:00.005Z H0002 > POST /3 HTTP/1.1
2026-01-31T12:00:00.006Z H0003 * 52a0000000000003 attempt 2: no connection to https://b.example:8443
2026-01-31T12:00:00.007Z - * 3 lines were lost here
2026-01-31T12:00:01.000Z S0001 * connected from 127.0.0.1:4
2026-01-31T12:00:02.000Z A0001 * 1 posts of shop to http://b.example/ handed in over HTTP, queued as 52a0000000000003.
2026-01-31T12:00:02.000Z A0001 * 2 posts of shop to http://b.example/ handed in over HTTP, queued as 52a0000000000004.";

    /// Numbers of the lines that answer a question.
    fn answer(question: Question) -> Vec<usize> {
        let mut filter = Filter::new(question);
        if filter.needs_look() {
            LOG.lines().filter_map(Line::parse).for_each(|line| filter.look(&line));
        }
        let mut found = Vec::new();
        for line in LOG.lines() {
            filter.take(line, &mut |line| {
                found.push(LOG.lines().position(|whole| whole == line).unwrap());
            });
        }
        found
    }

    fn destination(host: &str, port: u16) -> Question {
        Question::Destination { host: host.to_owned(), port }
    }

    #[test]
    fn questions_are_answered_with_their_lines() {
        let post = |text: &str| Question::Post(text.parse().unwrap());
        for (question, lines) in [
            (Question::Everything, (0..18).collect()),
            (Question::Session("S0002".to_owned()), vec![3]),
            (Question::Session("H0002".to_owned()), vec![11, 12]),
            (post("52a0000000000002"), vec![2, 4, 5, 8, 9, 10, 11, 12]),
            (post("52a0000000000002-2"), vec![2, 4, 5, 8, 11, 12]),
            (post("52a0000000000001"), vec![0, 1, 6, 7]),
            (post("52a0000000000003"), vec![13, 16]),
            (post("52a0000000000004-2"), vec![17]),
            (post("52a0000000000009"), vec![]),
            (destination("a.example", 443), vec![6, 7, 9, 10]),
            (destination("a.example", 8443), vec![11, 12]),
            (destination("b.example", 8443), vec![13]),
        ] {
            assert_eq!(answer(question.clone()), lines, "{question:?}");
        }
    }

    #[test]
    fn what_is_not_a_line_of_the_log_is_not_taken_for_one() {
        for text in ["", "a b", "2026 S0001 < no time", "2026-01-31T12:00:00.000Z S0001 <> x"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
        let line = Line::parse("2026-01-31T12:00:00.000Z S0001 >").unwrap();
        assert_eq!((line.mark, line.text), ('>', ""));
    }
}
