//! What was asked for under an idempotency key, so that a repeat is told from another
//! request that has the key by mistake.
//!
//! It is made of what was asked, not of what was composed of it: a time that is said as
//! "in an hour" is another one when it is said again. The key itself does not count.

use super::direct::{Direct, DirectBody};
use crate::envelope::{Envelope, Recipient};
use crate::post::Fingerprint;
use sha2::{Digest as _, Sha256};

/// That of posts as they are asked for.
pub fn of_posts(asked: &[Direct]) -> Fingerprint {
    let mut print = Print::default();
    asked.iter().for_each(|asked| print.post(asked));
    print.finish()
}

/// That of a message and what is said beside it.
pub fn of_message(envelope: &Envelope, raw: &[u8]) -> Fingerprint {
    let mut print = Print::default();
    print.text(&envelope.reverse_path);
    print.count(envelope.recipients.len());
    for Recipient { forward_path, message_id, .. } in &envelope.recipients {
        print.text(forward_path);
        print.option(message_id.as_deref());
    }
    print.option(envelope.mailing_id.as_deref());
    print.octets(raw);
    print.finish()
}

/// Values one after another, each with its length: none can pass for a part of another.
#[derive(Default)]
struct Print(Sha256);

impl Print {
    fn post(&mut self, asked: &Direct) {
        let Direct { url, method, headers, content_type, body, not_before, expires, priority, .. } = asked;
        let Direct { ordering_key, idempotency_key: _, tags, sign_with, auth, .. } = asked;
        self.text(url);
        self.count(headers.len());
        for (name, value) in headers {
            self.text(name);
            self.text(value);
        }
        self.count(tags.len());
        tags.iter().for_each(|tag| self.text(tag));
        for text in [method, content_type, not_before, expires, ordering_key, sign_with, auth] {
            self.option(text.as_deref());
        }
        self.option(priority.map(|priority| priority.to_string()).as_deref());
        self.option(body.as_ref().map(|body| body.usual_type));
        if let Some(DirectBody { octets, .. }) = body {
            self.octets(octets);
        }
    }

    fn option(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        self.count(octets.len());
        self.0.update(octets);
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn finish(self) -> Fingerprint {
        let digest = self.0.finalize();
        let mut half = [0; Fingerprint::LENGTH];
        half.iter_mut().zip(digest).for_each(|(place, octet)| *place = octet);
        Fingerprint(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_asks_for_something_else_has_another() {
        let text = |text: &str| Some(text.to_owned());
        let body = |octets: &'static str| {
            Some(DirectBody { octets: Bytes::from_static(octets.as_bytes()), usual_type: "text/plain" })
        };
        let plain = Direct { url: "http://h/".to_owned(), body: body("x"), ..Direct::default() };
        let named = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let others = [
            Direct { url: "http://h/a".to_owned(), ..plain.clone() },
            Direct { method: text("PUT"), ..plain.clone() },
            Direct { content_type: text("PUT"), ..plain.clone() },
            Direct { headers: named("a", "bc"), ..plain.clone() },
            Direct { headers: named("ab", "c"), ..plain.clone() },
            Direct { body: body("xx"), ..plain.clone() },
            Direct { body: body(""), ..plain.clone() },
            Direct { body: None, ..plain.clone() },
            Direct { not_before: text("1h"), ..plain.clone() },
            Direct { expires: text("1h"), ..plain.clone() },
            Direct { priority: Some(0), ..plain.clone() },
            Direct { ordering_key: text("k"), ..plain.clone() },
            Direct { ordering_key: text(""), ..plain.clone() },
            Direct { tags: vec!["k".to_owned()], ..plain.clone() },
            Direct { sign_with: text("k"), ..plain.clone() },
            Direct { auth: text("k"), ..plain.clone() },
        ];
        let mut all: Vec<_> = others.iter().map(|other| of_posts(std::slice::from_ref(other))).collect();
        all.extend([
            of_posts(std::slice::from_ref(&plain)),
            of_posts(&[plain.clone(), plain.clone()]),
            of_posts(&[]),
        ]);
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        let keyed = Direct { idempotency_key: text("k"), ..plain.clone() };
        assert_eq!(of_posts(&[keyed]), of_posts(&[plain]));
    }
}
