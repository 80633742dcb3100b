//! What neither a line of the protocol log nor an answer to people must show.
//!
//! Lines come as they went over the wire, also those that were refused or never
//! understood, so secrets are found by how they look: the userinfo of a URL, the
//! values of parameters and fields whose names speak of one, the tokens in paths of
//! receivers whose URL is all the proof they ask for (Slack, Telegram, Discord, Teams,
//! Mattermost, and whatever follows `/token/`, `/key/` or `/secret/`), and what AUTH
//! carries (RFC 4954), offered or not. Rather too much is hidden than too little. A
//! coded URL is not looked into: the session knows the recipients that hold one.

use crate::post::{Post, Trust, is_secret};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// A line or a request target with `***` for its secrets.
#[derive(Clone, Copy, Debug)]
pub struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shown) = credentials(self.0).or_else(|| field(self.0)) {
            return write!(f, "{shown}***");
        }
        // Most lines hold neither path nor query, and every line of a dialogue comes here.
        if !self.0.bytes().any(|octet| matches!(octet, b'/' | b'?')) && !self.0.contains("bot") {
            return f.write_str(self.0);
        }
        show_words(self.0, f)
    }
}

/// The URL of a post, masked.
pub fn url(post: &Post) -> String {
    let url = post.destination.origin() + &post.path;
    let mut shown = String::with_capacity(url.len());
    // Writing into a text does not fail. No URL looks like what else a line may be.
    let _ = show_words(&url, &mut shown);
    shown
}

/// Whether not all of a text may be seen.
pub fn hides(text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{}", Masked(text)).is_err() || !rest.0.is_empty()
}

/// Whether a text is a URL or a path of which not all may be seen. Others, such as
/// `key:blue`, are what their sender calls something.
pub fn is_secret_link(text: &str) -> bool {
    (text.contains("://") || text.starts_with('/')) && hides(text)
}

/// What of a text has not been written yet; whatever else is written is an error.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// The forward-path of a post, masked. One that holds a URL in a coded form hides its
/// secrets from [`Masked`], so the URL itself is shown instead.
pub fn recipient(post: &Post) -> String {
    let has_secret = || hides(&post.path);
    let is_coded = post.trust == Trust::Wire && !post.recipient.is_empty() && !post.recipient.contains("://");
    match is_coded && has_secret() {
        true => format!("{}@{}", post.method.to_ascii_lowercase(), url(post)),
        false => Masked(&post.recipient).to_string(),
    }
}

/// Shows a line, which may hold several URLs.
fn show_words(line: &str, f: &mut impl Write) -> fmt::Result {
    line.split_inclusive([' ', '\t']).try_for_each(|word| show(word, f))
}

/// Shows one word, with the blank behind it.
fn show(word: &str, f: &mut impl Write) -> fmt::Result {
    let text = without_userinfo(word);
    let Some((path, query)) = text.split_once('?') else { return f.write_str(&without_tokens(&text)) };
    f.write_str(&without_tokens(path))?;
    for (index, parameter) in query.split('&').enumerate() {
        f.write_str(if index == 0 { "?" } else { "&" })?;
        match parameter.split_once('=') {
            Some((name, value)) if is_secret(&name.to_ascii_lowercase()) => {
                write!(f, "{name}=***{}", behind_value(value))?;
            }
            _ => f.write_str(&without_tokens(parameter))?,
        }
    }
    Ok(())
}

/// What may be seen of an AUTH command with an initial response.
fn credentials(line: &str) -> Option<String> {
    let (verb, argument) = line.trim_start().split_once(char::is_whitespace)?;
    let (mechanism, _) = argument.trim_start().split_once(char::is_whitespace)?;
    verb.eq_ignore_ascii_case("AUTH").then(|| format!("{verb} {mechanism} "))
}

/// What may be seen of a header field that came where a command belongs.
fn field(line: &str) -> Option<String> {
    let (name, _) = line.split_once(':')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (is_name && is_secret(&name.to_ascii_lowercase())).then(|| format!("{name}: "))
}

/// The text without what stands before the `@` of an authority (RFC 3986 section 3.2.1).
fn without_userinfo(text: &str) -> Cow<'_, str> {
    if !text.contains('@') || !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut pieces = text.split("://");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        shown.push_str("://");
        let end = piece.find(['/', '?', '#', '>', '"', ' ']).unwrap_or(piece.len());
        let host = piece.split_at_checked(end).and_then(|(authority, _)| authority.rfind('@'));
        match host.and_then(|at| piece.get(at..)) {
            Some(host) => {
                shown.push_str("***");
                shown.push_str(host);
            }
            None => shown.push_str(piece),
        }
    }
    Cow::Owned(shown)
}

/// The text without the tokens in its paths.
fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut shown = None;
    let (mut before, mut start) = ([""; 3], 0);
    for segment in text.split('/') {
        let word = segment.split([' ', '\t', '>', '"', '#']).next().unwrap_or_default();
        if let Some(kept) = kept_of_token(before, word) {
            let shown: &mut String = shown.get_or_insert_with(String::new);
            // Up to here all of it is shown but for what was hidden.
            shown.push_str(text.get(start..offset(text, word) + kept).unwrap_or_default());
            shown.push_str("***");
            start = offset(text, word) + word.len();
        }
        before = [before[1], before[2], word];
    }
    match shown {
        Some(shown) => Cow::Owned(shown + text.get(start..).unwrap_or_default()),
        None => Cow::Borrowed(text),
    }
}

/// Where a piece of a text begins.
fn offset(text: &str, piece: &str) -> usize {
    (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// How many octets may be seen of a segment that is a token, by what stands before it.
fn kept_of_token(before: [&str; 3], segment: &str) -> Option<usize> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let is_token = match before {
        _ if segment.is_empty() => false,
        [.., "token" | "key" | "secret" | "IncomingWebhook"] => true,
        [_, "IncomingWebhook", _] | ["IncomingWebhook", ..] => true,
        ["services" | "triggers", team, _] => team.starts_with('T'),
        [_, "webhooks", id] => is_digits(id),
        [.., "hooks"] => segment.len() == 26 && segment.bytes().all(|octet| octet.is_ascii_alphanumeric()),
        _ => false,
    };
    // Telegram: `bot`, a number, a colon.
    let bot = segment.strip_prefix("bot").and_then(|rest| rest.split_once([':', '%']));
    match bot {
        Some((number, _)) if is_digits(number) => Some("bot".len()),
        _ => is_token.then_some(0),
    }
}

/// What follows the last parameter of a URL in a command: its brackets and more.
fn behind_value(value: &str) -> &str {
    let blank = value.find([' ', '\t']).unwrap_or(value.len());
    let end = value.get(..blank).unwrap_or(value).trim_end_matches('>').len();
    value.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        for (line, shown) in [
            ("/a", "/a"),
            ("/a?b=c", "/a?b=c"),
            ("/a?b=c&api_key=1&X-Token=2&d", "/a?b=c&api_key=***&X-Token=***&d"),
            ("/a?SecretKey=x=y?z", "/a?SecretKey=***"),
            ("/a?to=http://u:p@h/&token=1", "/a?to=http://***@h/&token=***"),
            ("RCPT TO:<post@https://u:p@h/x?a=1>", "RCPT TO:<post@https://***@h/x?a=1>"),
            ("RCPT TO:<post@https://u:p@h", "RCPT TO:<post@https://***@h"),
            ("RCPT TO:<\"post:https://u@h\"@d>", "RCPT TO:<\"post:https://***@h\"@d>"),
            ("RCPT TO:<post@[http://u:p@[::1]/x]>", "RCPT TO:<post@[http://***@[::1]/x]>"),
            (
                "250 2.1.5 recipient <post@https://u:p@h?key=1> OK",
                "250 2.1.5 recipient <post@https://***@h?key=***> OK",
            ),
            (
                "RCPT TO:<post@https://h/x?a=b@c> NOTIFY=NEVER",
                "RCPT TO:<post@https://h/x?a=b@c> NOTIFY=NEVER",
            ),
            (
                "RCPT TO:<post@https://h/x?token=a> ORCPT=rfc822;post@https://h/x?key=b&c=d X=1",
                "RCPT TO:<post@https://h/x?token=***> ORCPT=rfc822;post@https://h/x?key=***&c=d X=1",
            ),
            ("a?b=c\thttp://h/services/T0/B0/XX", "a?b=c\thttp://h/services/T0/B0/***"),
            ("/a?next=/services/T0/B0/XX&b", "/a?next=/services/T0/B0/***&b"),
            ("/services/T00000000/B00000000/XXXX", "/services/T00000000/B00000000/***"),
            (
                "RCPT TO:<post@https://hooks.slack.com/services/T0/B0/XX> NOTIFY=NEVER",
                "RCPT TO:<post@https://hooks.slack.com/services/T0/B0/***> NOTIFY=NEVER",
            ),
            ("/triggers/T0/123/XXXX?a=b", "/triggers/T0/123/***?a=b"),
            ("/services/today/list/x", "/services/today/list/x"),
            ("/bot123456:AAH-x_y/sendMessage?chat_id=1", "/bot***/sendMessage?chat_id=1"),
            ("/bot123456%3AAAH/sendMessage", "/bot***/sendMessage"),
            ("/bots/bottle:1/x", "/bots/bottle:1/x"),
            ("/api/webhooks/123/ab-cd_E", "/api/webhooks/123/***"),
            ("/api/webhooks/123/ab-cd_E/slack?wait=true", "/api/webhooks/123/***/slack?wait=true"),
            ("/api/webhooks/orders/new", "/api/webhooks/orders/new"),
            ("/webhookb2/a@b/IncomingWebhook/c/d/e", "/webhookb2/a@b/IncomingWebhook/***/***/***"),
            ("/hooks/abcdefghijklmnopqrstuvwxyz", "/hooks/***"),
            ("/hooks/orders", "/hooks/orders"),
            ("/trigger/mail/with/key/abc", "/trigger/mail/with/key/***"),
            ("http://u:p@h/key/a/token/b?key=c", "http://***@h/key/***/token/***?key=***"),
            ("AUTH PLAIN AGEAYg==", "AUTH PLAIN ***"),
            (" auth\tlogin  YQ==", "auth login ***"),
            ("AUTH LOGIN", "AUTH LOGIN"),
            ("X-XsHttp-Authorization: Bearer x", "X-XsHttp-Authorization: ***"),
            ("MAIL FROM:<a@b> AUTH=<>", "MAIL FROM:<a@b> AUTH=<>"),
            ("", ""),
        ] {
            assert_eq!(Masked(line).to_string(), shown);
            assert_eq!((hides(line), hides(shown)), (line != shown, false), "{line}");
        }
    }
}
