//! Signatures within notifications of Amazon SNS, version 1 (SHA-1) and 2 (SHA-256).
//!
//! What is signed are the names and values of some fields, as they are read, not as
//! they are written. `Message` may be large: it is read piece by piece. Receivers
//! take the certificate from `SigningCertURL`; whether they trust it is up to them.
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

use super::pkcs1::{Hash, RsaKey};
use bytes::Bytes;
use http::HeaderMap;
use memchr::memchr;
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const TYPE: &str = "x-amz-sns-message-type";

/// A key and what a notification says of it.
pub(super) struct Sns {
    /// What signs.
    pub key: RsaKey,
    /// Which version it makes.
    pub hash: Hash,
    /// Where receivers find the certificate.
    pub certificate_url: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    r#type: String,
    message_id: String,
    topic_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(borrow)]
    message: &'a RawValue,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    #[serde(rename = "UnsubscribeURL")]
    unsubscribe_url: String,
}

impl Sns {
    /// The notification with its signature, or why there is none.
    pub(super) fn amend(&self, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, String> {
        let other = || "this post is none; give its route payload = \"ses-sns\"".to_owned();
        if !headers.contains_key(TYPE) {
            return Err(other());
        }
        let mut notification: Notification<'_> = serde_json::from_slice(body).map_err(|_| other())?;
        let mut text = self.hash.context();
        signed(&notification, &mut text).ok_or_else(other)?;
        notification.signature_version = match self.hash {
            Hash::Sha1 => "1".to_owned(),
            Hash::Sha256 => "2".to_owned(),
        };
        notification.signature = self.key.sign(self.hash, text).ok_or("the key cannot sign it")?;
        notification.signing_cert_url.clone_from(&self.certificate_url);
        let mut amended = Vec::with_capacity(body.len() + self.certificate_url.len() + 1024);
        serde_json::to_writer(&mut amended, &notification).map_err(|_| other())?;
        Ok(amended.into())
    }
}

/// Hands out what is signed: name and value of each field on a line of its own.
fn signed(notification: &Notification<'_>, text: &mut digest::Context) -> Option<()> {
    text.update(b"Message\n");
    unescape(notification.message.get(), |piece| text.update(piece))?;
    let fields = [
        ("MessageId", Some(&notification.message_id)),
        ("Subject", notification.subject.as_ref()),
        ("Timestamp", Some(&notification.timestamp)),
        ("TopicArn", Some(&notification.topic_arn)),
        ("Type", Some(&notification.r#type)),
    ];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        text.update(format!("\n{name}\n{value}").as_bytes());
    }
    text.update(b"\n");
    Some(())
}

/// Hands out a JSON string as it is read; `None` when it is none, or holds halves of
/// characters, which are never written so.
fn unescape(json: &str, mut write: impl FnMut(&[u8])) -> Option<()> {
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        let (plain, escaped) = rest.split_at_checked(at)?;
        write(plain.as_bytes());
        let mut chars = escaped.chars().skip(1);
        let (char, length) = match chars.next()? {
            'n' => ('\n', 2),
            'r' => ('\r', 2),
            't' => ('\t', 2),
            'b' => ('\u{8}', 2),
            'f' => ('\u{c}', 2),
            'u' => (char::from_u32(u32::from_str_radix(escaped.get(2..6)?, 16).ok()?)?, 6),
            other => (other, 2),
        };
        write(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escaped.get(length..)?;
    }
    write(rest.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn strings_are_read_as_they_were_written() {
        for text in
            ["", "plain", "a\"\\/\n\r\t\u{8}\u{c}\0\u{1f}<>&\u{2028}ü😀", "\\", "\\\\u0041", "\"", "ü"]
        {
            let json = serde_json::to_string(text).unwrap();
            let page_safe = json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028");
            for json in [json, page_safe] {
                let mut read = Vec::new();
                unescape(&json, |piece| read.extend_from_slice(piece)).unwrap();
                assert_eq!(String::from_utf8(read).unwrap(), text, "{json}");
            }
        }
        for json in ["", "\"", "1", "\"\\ud83d\\ude00\"", "\"\\u00\"", "\"\\u12\u{fc}4\""] {
            assert_eq!(unescape(json, |_| ()), None, "{json}");
        }
    }
}
