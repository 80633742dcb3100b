//! What attachments are called.
//!
//! Names are those of the mail, as they came: nobody here uses them as paths. A
//! few kinds that mail programs send without a name get the one by which people
//! and programs know them; for the rest there is none.

use super::mail::{self, first};
use super::mime::Part;
use super::{Limits, value};

/// Most octets of an attached message that are searched for its subject.
const MOST_HEADER: usize = 16 * 1024;
/// Characters of a subject that become a name.
const LONGEST: usize = 100;

/// The name of a part: the one it has, else what its type is known by.
pub fn filename(part: &Part<'_>, disposition: Option<&str>) -> Option<String> {
    let own = disposition.or_else(|| part.parameter("name")).map(str::to_owned);
    own.or_else(|| match part.essence() {
        "text/calendar" | "application/ics" => Some("invite.ics".to_owned()),
        "application/ms-tnef" | "application/vnd.ms-tnef" => Some("winmail.dat".to_owned()),
        "message/rfc822" | "message/global" => Some(of_message(part.content)),
        _ => None,
    })
}

/// The type of a part; that of an invitation says what is to be done with it (RFC
/// 6047 section 2.4), and TNEF is told by its name when its type does not.
pub fn content_type(part: &Part<'_>) -> String {
    let essence = part.essence();
    let is_token = |text: &&str| text.bytes().all(|octet| octet.is_ascii_alphabetic() || octet == b'-');
    match part.parameter("method").filter(is_token) {
        Some(method) if essence == "text/calendar" => format!("text/calendar; method={method}"),
        _ if essence == "application/vnd.ms-tnef" => "application/ms-tnef".to_owned(),
        _ => essence.to_owned(),
    }
}

/// The subject of an attached message as the name of a file.
fn of_message(message: &[u8]) -> String {
    let begin = message.get(..message.len().min(MOST_HEADER)).unwrap_or_default();
    let section = mail::read(begin, &Limits::default());
    let subject = first(&section.fields, "Subject").map(value::text).unwrap_or_default();
    let turns = |char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad = |char: char| char.is_control() || turns(char) || r#"/\:*?"<>|"#.contains(char);
    let name: String =
        subject.chars().take(LONGEST).map(|char| if is_bad(char) { ' ' } else { char }).collect();
    let words = name.split_whitespace().filter(|word| word.contains(|char| char != '.'));
    let name = words.collect::<Vec<_>>().join(" ");
    let name = name.trim_matches(['.', ' ']);
    if name.is_empty() { "message.eml".to_owned() } else { format!("{name}.eml") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::mime;

    #[test]
    fn what_has_no_name_gets_the_usual_one() {
        for (mail, name, kind) in [
            (
                "Content-Type: text/calendar; method=REQUEST\n\nx",
                Some("invite.ics"),
                "text/calendar; method=REQUEST",
            ),
            ("Content-Type: text/calendar; name=a.ics\n\nx", Some("a.ics"), "text/calendar"),
            ("Content-Type: text/calendar; method=\"a; b\"\n\nx", Some("invite.ics"), "text/calendar"),
            ("Content-Type: application/ms-tnef\n\nx", Some("winmail.dat"), "application/ms-tnef"),
            ("Content-Type: application/vnd.ms-tnef\n\nx", Some("winmail.dat"), "application/ms-tnef"),
            (
                "Content-Type: message/rfc822\n\nSubject: Order 17\n\nx",
                Some("Order 17.eml"),
                "message/rfc822",
            ),
            (
                "Content-Type: message/rfc822\n\nSubject: =?utf-8?Q?../../etc/x=0D=0A=00=E2=80=AE=3A?=\n\nx",
                Some("etc x.eml"),
                "message/rfc822",
            ),
            ("Content-Type: message/rfc822\n\nno header", Some("message.eml"), "message/rfc822"),
            ("Content-Type: application/pdf\n\nx", None, "application/pdf"),
            ("\nx", None, "text/plain"),
        ] {
            let section = mail::read(mail.as_bytes(), &Limits::default());
            let parts = mime::read(mail.as_bytes(), &section, &Limits::default()).unwrap();
            assert_eq!(filename(&parts[0], None).as_deref(), name, "{mail}");
            assert_eq!(content_type(&parts[0]), kind, "{mail}");
            assert_eq!(filename(&parts[0], Some("own")).as_deref(), Some("own"));
        }
    }
}
