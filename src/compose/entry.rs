//! Who may mail to a route, how much, and who else is asked about it.
//!
//! The rules alone: who asks a receiver, and for how long an answer counts, is the
//! door's matter. The question is that of CloudMailin's authorization callback, so
//! what was written to answer that works unchanged.

use super::{Endpoint, Pattern, address};
use crate::envelope::{Client, Refusal};
use crate::network::Network;
use bytes::Bytes;
use serde_json::json;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::form_urlencoded;

/// Characters of a receiver's text in a reply.
const LONGEST_TEXT: usize = 200;

/// What a route asks of a message before it is its recipient's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Octets that a message may have.
    pub message_size: Option<usize>,
    /// Senders and networks; empty is anybody.
    pub allow_from: Vec<Allowed>,
    /// Who is asked about each recipient.
    pub check: Option<Arc<Check>>,
}

/// Somebody whose mail is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The null sender: reports.
    Null,
    /// Reverse-paths.
    Sender(Pattern),
    /// Addresses of clients.
    Network(Network),
}

impl Entry {
    /// Refuses a message of so many octets with `552 5.3.4` when it is larger than
    /// the route takes.
    pub fn check_size(&self, octets: u64) -> Result<(), Refusal> {
        match self.message_size {
            Some(most) if octets > most as u64 => {
                let text = format!("message too large; this recipient takes at most {most} octets");
                Err(Refusal::new(552, (3, 4), text))
            }
            _ => Ok(()),
        }
    }

    /// Refuses with `550 5.7.1` a sender or a client that is not among those
    /// allowed; where none of a kind are named, all of that kind are.
    pub fn permit(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal> {
        let is_sender = |allowed: &&Allowed| !matches!(allowed, Allowed::Network(_));
        let is_network = |allowed: &&Allowed| matches!(allowed, Allowed::Network(_));
        let matches = |allowed: &Allowed| match allowed {
            Allowed::Null => reverse_path.is_empty(),
            Allowed::Sender(pattern) => pattern.takes(reverse_path),
            // Who came over a socket in the file system has no address to be known by.
            Allowed::Network(network) => client.address.is_some_and(|address| network.contains(address)),
        };
        let holds = |kind: &dyn Fn(&&Allowed) -> bool| {
            let mut kind = self.allow_from.iter().filter(kind).peekable();
            kind.peek().is_none() || kind.any(matches)
        };
        let refused = |text| Err(Refusal::new(550, (7, 1), text));
        match () {
            () if !holds(&is_sender) => refused("this recipient does not take mail from this sender"),
            () if !holds(&is_network) => refused("this recipient does not take mail from this client"),
            () => Ok(()),
        }
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowed, String> {
        match text {
            "<>" => Ok(Allowed::Null),
            _ if text.contains('@') => text.parse().map(Allowed::Sender),
            _ => text.parse().map(Allowed::Network).map_err(|_| {
                format!(
                    "{text:?} is neither a sender nor a network; write user@domain, *@domain, \"<>\" or one \
                     like 192.0.2.0/24"
                )
            }),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Null => f.write_str("<>"),
            Allowed::Sender(pattern) => pattern.fmt(f),
            Allowed::Network(network) => network.fmt(f),
        }
    }
}

/// A receiver that is asked about recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The operator's own URL.
    pub url: Endpoint,
    /// How the question is written.
    pub format: CheckFormat,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What holds when there is no answer.
    pub fallback: CheckFallback,
    /// How long an answer counts.
    pub cache: Duration,
}

/// How a question is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckFormat {
    /// `application/json`.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// What holds of a recipient when nobody says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckFallback {
    /// `451`: the client tries again.
    #[default]
    Defer,
    /// It is taken.
    Accept,
}

/// What is known of a message when a recipient is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Forward-path.
    pub to: &'a str,
    /// Reverse-path; empty for the null sender.
    pub from: &'a str,
    /// The `SIZE` that the client declared.
    pub size: Option<u64>,
    /// Who hands it in.
    pub client: &'a Client,
}

/// What was answered, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The recipient is taken.
    Accepted,
    /// It is not, and why, in one printable line.
    Rejected(String),
    /// Nobody knows, and why; for the log, not for clients.
    Trouble(String),
}

impl Check {
    /// The body of a question, and its `Content-Type`.
    pub fn question(&self, facts: Facts<'_>) -> (&'static str, Bytes) {
        let Facts { to, from, size, client } = facts;
        let remote_ip = client.address.map(|address| address.to_canonical().to_string());
        // Nobody has looked at SPF.
        let (result, domain) = ("none", address::domain(from));
        match self.format {
            CheckFormat::Json => {
                let question = json!({
                    "to": to, "from": from, "size": size, "remote_ip": remote_ip, "helo_domain": client.helo,
                    "spf": {"result": result, "domain": domain},
                });
                ("application/json", question.to_string().into())
            }
            CheckFormat::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("to", to).append_pair("from", from);
                form.append_pair("size", &size.map(|size| size.to_string()).unwrap_or_default());
                form.append_pair("remote_ip", &remote_ip.unwrap_or_default());
                form.append_pair("helo_domain", &client.helo);
                form.append_pair("spf[result]", result).append_pair("spf[domain]", domain);
                ("application/x-www-form-urlencoded", form.finish().into())
            }
        }
    }
}

impl Answer {
    /// What a response means. That somebody is asked too often is trouble as well.
    pub fn read(status: u16, content_type: Option<&str>, body: &[u8]) -> Answer {
        match status {
            200..=299 => Answer::Accepted,
            408 | 425 | 429 => Answer::Trouble(format!("it answered {status}")),
            400..=499 => {
                let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
                let is_text = essence.trim().eq_ignore_ascii_case("text/plain");
                Answer::Rejected(sentence(if is_text { body } else { b"" }))
            }
            _ => Answer::Trouble(format!("it answered {status}")),
        }
    }

    /// What the client hears; `550 5.1.1`, or `451 4.4.1` when nobody knows.
    pub fn judge(&self, fallback: CheckFallback) -> Result<(), Refusal> {
        match (self, fallback) {
            (Answer::Accepted, _) | (Answer::Trouble(_), CheckFallback::Accept) => Ok(()),
            (Answer::Rejected(text), _) => Err(Refusal::new(550, (1, 1), text.clone())),
            (Answer::Trouble(_), CheckFallback::Defer) => {
                Err(Refusal::new(451, (4, 1), "the recipient cannot be checked now; try again later"))
            }
        }
    }
}

/// The first line of a text, as far as a reply can hold it.
fn sentence(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let shown = |char: char| if (' '..='~').contains(&char) { char } else { '?' };
    line.unwrap_or("no such recipient here").chars().take(LONGEST_TEXT).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Tenant;

    fn client(address: &str) -> Client {
        Client {
            address: address.parse().ok(),
            helo: "app.example".to_owned(),
            tls: None,
            login: None,
            tenant: Tenant::default(),
            session: "S0001".to_owned(),
        }
    }

    #[test]
    fn a_sender_and_a_network_of_those_named_must_match() {
        for (allow_from, sender, address, is_taken) in [
            (vec![], "", "", true),
            (vec!["*@example.com"], "a@EXAMPLE.com", "", true),
            (vec!["*@example.com"], "a@example.org", "", false),
            (vec!["*@example.com"], "a@sub.example.com", "", false),
            (vec!["*@example.com"], "", "", false),
            (vec!["*@example.com", "<>"], "", "", true),
            (vec!["<>"], "a@example.com", "", false),
            (vec!["*@example.com", "erp@shop.example"], "ERP@shop.example", "", true),
            (vec!["192.0.2.0/24"], "", "192.0.2.200", true),
            (vec!["192.0.2.0/24"], "a@example.com", "::ffff:192.0.2.200", true),
            (vec!["192.0.2.0/24"], "a@example.com", "198.51.100.1", false),
            (vec!["192.0.2.0/24"], "a@example.com", "", false),
            (vec!["192.0.2.0/24", "2001:db8::/32"], "", "2001:db8::1", true),
            (vec!["*@example.com", "192.0.2.0/24"], "a@example.com", "192.0.2.1", true),
            (vec!["*@example.com", "192.0.2.0/24"], "a@example.org", "192.0.2.1", false),
            (vec!["*@example.com", "192.0.2.0/24"], "a@example.com", "198.51.100.1", false),
        ] {
            let allowed = allow_from.iter().map(|text| text.parse().unwrap()).collect();
            let entry = Entry { allow_from: allowed, ..Entry::default() };
            let permitted = entry.permit(&client(address), sender);
            assert_eq!(permitted.is_ok(), is_taken, "{allow_from:?} {sender} {address}: {permitted:?}");
        }
        for text in ["<>", "*@example.com", "erp@shop.example", "192.0.2.0/24"] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), text);
        }
        for text in ["", "example.com", "192.0.2.0/33", "a b@c"] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_refused_from_one_octet_beyond() {
        let entry = Entry { message_size: Some(1000), ..Entry::default() };
        assert_eq!(entry.check_size(1000), Ok(()));
        let refused = entry.check_size(1001).unwrap_err().to_string();
        assert_eq!(refused, "552 5.3.4 message too large; this recipient takes at most 1000 octets");
        assert_eq!(Entry::default().check_size(u64::MAX), Ok(()));
    }

    #[test]
    fn questions_are_json_or_a_form() {
        let check = |format| Check {
            url: "http://127.0.0.1/".parse().unwrap(),
            format,
            timeout: Duration::ZERO,
            fallback: CheckFallback::Defer,
            cache: Duration::ZERO,
        };
        let client = client("::ffff:192.0.2.7");
        let facts = Facts { to: "a+1@h.example", from: "b@c.example", size: Some(17), client: &client };
        let (kind, json) = check(CheckFormat::Json).question(facts);
        assert_eq!(kind, "application/json");
        let expected = "{\"to\":\"a+1@h.example\",\"from\":\"b@c.example\",\"size\":17,\
                        \"remote_ip\":\"192.0.2.7\",\"helo_domain\":\"app.example\",\
                        \"spf\":{\"result\":\"none\",\"domain\":\"c.example\"}}";
        assert_eq!(json, expected);
        let facts = Facts { from: "", size: None, ..facts };
        let (kind, form) = check(CheckFormat::Form).question(facts);
        assert_eq!(kind, "application/x-www-form-urlencoded");
        let expected = "to=a%2B1%40h.example&from=&size=&remote_ip=192.0.2.7&helo_domain=app.example\
                        &spf%5Bresult%5D=none&spf%5Bdomain%5D=";
        assert_eq!(form, expected);
    }

    #[test]
    fn answers_mean_what_their_status_says() {
        let refusal = |status, kind, body: &str, fallback| {
            Answer::read(status, kind, body.as_bytes()).judge(fallback).map_err(|refusal| refusal.to_string())
        };
        let (plain, html) = (Some("text/plain; charset=utf-8"), Some("text/html"));
        let trouble = Err("451 4.4.1 the recipient cannot be checked now; try again later".to_owned());
        let rejected = |text: &str| Err(format!("550 5.1.1 {text}"));
        for (status, kind, body, expected) in [
            (200, plain, "no", Ok(())),
            (204, None, "", Ok(())),
            (404, plain, "", rejected("no such recipient here")),
            (403, plain, "\r\n gone away\r\n250 2.1.5 OK", rejected("gone away")),
            (403, plain, "a\u{1b}[2J\u{fc}", rejected("a?[2J?")),
            (403, html, "<p>no</p>", rejected("no such recipient here")),
            (429, plain, "slower", trouble.clone()),
            (302, plain, "", trouble.clone()),
            (500, plain, "", trouble),
        ] {
            assert_eq!(refusal(status, kind, body, CheckFallback::Defer), expected, "{status} {body}");
            let is_trouble = expected.is_err_and(|text| text.starts_with("451"));
            let accepted = refusal(status, kind, body, CheckFallback::Accept);
            assert_eq!(accepted.is_ok(), is_trouble || status < 300, "{status} {body}");
        }
        let long = Answer::read(404, plain, "x".repeat(5000).as_bytes());
        assert_eq!(long, Answer::Rejected("x".repeat(LONGEST_TEXT)));
    }
}
