//! smtp2http: <https://github.com/alash3al/smtp2http>.
//!
//! What is empty is left out, but for the dates, which are Go's `time.String()` and
//! its zero when there is none. `from` and `to` are those of the envelope, ids are
//! without brackets. A part with an id that is not said to be an attachment is an
//! embedded file. SPF is not checked: `none`.

use super::super::json::{self, Attachment, Mailbox};
use super::super::mail::first;
use super::super::value;
use super::document::{self, Long, Octets};
use super::{Formed, Mail};
use mail_parser::DateTime;
use serde::Serialize;

#[derive(Serialize)]
struct Inbound<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<&'a str>,
    spf: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    date: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    resent_date: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resent_id: String,
    body: Body<'a>,
    addresses: Addresses<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    embedded_files: Vec<Embedded<'a>>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Long<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<Long<'a>>,
}

#[derive(Serialize)]
struct Addresses<'a> {
    from: Address<'a>,
    to: Address<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_reply_to: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resent_from: Option<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resent_to: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resent_cc: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resent_bcc: Vec<Address<'a>>,
}

#[derive(Serialize)]
struct Address<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    address: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    content_type: &'a str,
    data: Octets<'a>,
}

#[derive(Serialize)]
struct Embedded<'a> {
    cid: &'a str,
    content_type: &'a str,
    data: Octets<'a>,
}

/// The message as smtp2http posts it.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let resent: [Vec<Mailbox>; 4] = ["Resent-From", "Resent-To", "Resent-Cc", "Resent-Bcc"]
        .map(|name| json::mailboxes(mail.fields, name));
    let (embedded, attached) = mail.files().partition::<Vec<_>, _>(|one| is_embedded(one));
    let resent_id = first(mail.fields, "Resent-Message-ID").map(value::text).unwrap_or_default();
    let inbound = Inbound {
        references: content.references.iter().map(|id| bare(id)).collect(),
        spf: "none",
        id: content.message_id.as_deref().map(bare).unwrap_or_default(),
        date: date(mail, "Date"),
        subject: content.subject.as_deref().unwrap_or_default(),
        resent_date: date(mail, "Resent-Date"),
        resent_id: bare(&resent_id).to_owned(),
        body: Body { text: Some(mail.text()).filter(|text| !text.0.is_empty()), html: mail.html() },
        addresses: addresses(mail, &resent),
        attachments: attached.into_iter().map(File::of).collect(),
        embedded_files: embedded.into_iter().map(Embedded::of).collect(),
    };
    document::json(&inbound, mail, limit)
}

fn addresses<'a>(mail: &'a Mail<'_>, resent: &'a [Vec<Mailbox>; 4]) -> Addresses<'a> {
    let (content, envelope) = (mail.content, &mail.envelope);
    let [from, to, cc, bcc] = resent;
    Addresses {
        from: Address { name: "", address: envelope.from },
        to: Address { name: "", address: envelope.to },
        reply_to: Address::all(&content.reply_to),
        cc: Address::all(&content.cc),
        bcc: Address::all(&content.bcc),
        in_reply_to: content.in_reply_to.iter().map(|id| bare(id)).collect(),
        resent_from: Address::all(from).into_iter().next(),
        resent_to: Address::all(to),
        resent_cc: Address::all(cc),
        resent_bcc: Address::all(bcc),
    }
}

fn is_embedded(attachment: &Attachment<'_>) -> bool {
    attachment.content_id.is_some() && attachment.disposition.as_deref() != Some("attachment")
}

/// An id without its brackets.
fn bare(id: &str) -> &str {
    id.trim_matches(['<', '>', ' '])
}

/// The date of a field as Go shows it in the zone that it names.
fn date(mail: &Mail<'_>, name: &str) -> String {
    let date = first(mail.fields, name).and_then(json::datetime);
    date.map_or_else(|| "0001-01-01 00:00:00 +0000 UTC".to_owned(), |date| go_time(&date))
}

/// Go's `time.String()` of a time whose zone is known by its offset alone, where the
/// clocks show UTC.
fn go_time(date: &DateTime) -> String {
    let DateTime { year, month, day, hour, minute, second, tz_before_gmt, tz_hour, tz_minute } = date;
    let sign = if *tz_before_gmt { '-' } else { '+' };
    let local = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    match (tz_hour, tz_minute) {
        (0, 0) => format!("{local} +0000 UTC"),
        _ => format!("{local} {sign}{tz_hour:02}{tz_minute:02} {sign}{tz_hour:02}{tz_minute:02}"),
    }
}

impl<'a> Address<'a> {
    fn all(mailboxes: &'a [Mailbox]) -> Vec<Address<'a>> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let one = |one: &'a Mailbox| Address { name: text(&one.name), address: text(&one.address) };
        mailboxes.iter().map(one).collect()
    }
}

impl<'a> File<'a> {
    fn of(attachment: &'a Attachment<'_>) -> File<'a> {
        File {
            filename: attachment.filename.as_deref().unwrap_or_default(),
            content_type: &attachment.content_type,
            data: Octets(&attachment.content),
        }
    }
}

impl<'a> Embedded<'a> {
    fn of(attachment: &'a Attachment<'_>) -> Embedded<'a> {
        Embedded {
            cid: attachment.content_id.as_deref().unwrap_or_default(),
            content_type: &attachment.content_type,
            data: Octets(&attachment.content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_go_shows_them() {
        // What Go 1.19 says to the same.
        for (date, expected) in [
            (" Sat, 31 Jan 2026 12:59:58 +0100", "2026-01-31 12:59:58 +0100 +0100"),
            (" Sat, 31 Jan 2026 11:59:58 +0000", "2026-01-31 11:59:58 +0000 UTC"),
            (" Sat, 31 Jan 2026 11:59:58 -0000", "2026-01-31 11:59:58 +0000 UTC"),
            (" Sat, 31 Jan 2026 01:59:58 -0930", "2026-01-31 01:59:58 -0930 -0930"),
        ] {
            assert_eq!(json::datetime(date.as_bytes()).map(|date| go_time(&date)).as_deref(), Some(expected));
        }
    }
}
