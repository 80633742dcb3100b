//! Drafts of the configuration, the longest of all forms: who may send one, and how many
//! there are.
//!
//! A form, what it says and the page with that take several times its size. So few are
//! there at a time, from before the first is read until the last octet of its answer has
//! left, however slowly that is read. They are for admins, and for the sessions in which
//! an admin was shown the file lately: such a session may have ended, and what was typed
//! in it took somebody an hour.

use super::guard::Fields;
use super::trouble::Trouble;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most octets of a configuration, which the API limits to the same.
const LARGEST_CONFIG: usize = 1 << 20;

/// Most octets of a long form: of the largest configuration that the API takes, each octet
/// written as three, and of what stands beside it.
pub(super) const LARGEST: usize = 3 * LARGEST_CONFIG + BESIDE;

/// Most octets of all that stands beside the configuration.
const BESIDE: usize = 4096;

/// Long forms at a time.
const PLACES: usize = 8;

/// Longest wait for a place.
const LONGEST: Duration = Duration::from_secs(10);

/// Most sessions that are remembered; the one that was shown the file first makes room.
const MOST: usize = 256;

/// See the module.
pub(super) struct Drafts {
    places: Arc<Semaphore>,
    /// When sessions were shown the file last, by the digests of their ids.
    shown_at: Mutex<HashMap<[u8; 32], Instant>>,
}

/// One of the few; until this is gone.
pub(super) type Place = OwnedSemaphorePermit;

impl Drafts {
    /// Nobody has seen anything yet.
    pub(super) fn new() -> Drafts {
        Drafts { places: Arc::new(Semaphore::new(PLACES)), shown_at: Mutex::default() }
    }

    /// Remembers that the file is shown in a session, which may type from now on.
    pub(super) fn show(&self, session: &str, now: Instant) {
        let name = Sha256::digest(session).into();
        let mut shown_at = self.shown_at.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = shown_at.iter().min_by_key(|(_, shown_at)| **shown_at).map(|(name, _)| *name);
        if let Some(oldest) = oldest.filter(|_| shown_at.len() >= MOST && !shown_at.contains_key(&name)) {
            shown_at.remove(&oldest);
        }
        shown_at.insert(name, now);
    }

    /// Whether the file was shown in a session, which may have ended.
    pub(super) fn was_shown(&self, session: &str) -> bool {
        let name: [u8; 32] = Sha256::digest(session).into();
        self.shown_at.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name)
    }

    /// A place for a long form.
    pub(super) async fn place(&self) -> Result<Place, Trouble> {
        let full = || {
            let detail = "others are sending long forms; nothing was done; reload this page in a minute, \
                          which sends the form again";
            Trouble::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        };
        let place = tokio::time::timeout(LONGEST, Arc::clone(&self.places).acquire_owned()).await;
        place.map_err(|_| full())?.map_err(|_| full())
    }
}

/// A text on its way to be the file. Its lines end as HTML has them, in LF.
#[derive(Clone)]
pub(super) struct Draft {
    pub text: String,
    /// Of the file that it began as.
    pub version: String,
    /// How the lines of the file end: `crlf` or `lf`.
    pub ends: &'static str,
    /// The digest of what it began as.
    pub origin: String,
}

impl Draft {
    /// Of a file as it stands.
    pub(super) fn of(file: &str, version: String) -> Draft {
        let ends = if ends(file) == "crlf" { "crlf" } else { "lf" };
        let text = file.replace("\r\n", "\n");
        Draft { origin: digest(&text), text, version, ends }
    }

    /// What a form says. Forms end lines in CRLF, whatever the file does.
    pub(super) fn typed(fields: &Fields) -> Draft {
        Draft {
            text: fields.whole("config").replace("\r\n", "\n"),
            version: fields.whole("version").to_owned(),
            ends: if fields.whole("ends") == "crlf" { "crlf" } else { "lf" },
            origin: fields.whole("origin").to_owned(),
        }
    }

    /// As the file would have it.
    pub(super) fn written(&self) -> String {
        if self.ends == "crlf" { self.text.replace('\n', "\r\n") } else { self.text.clone() }
    }

    /// Whether there is something in it that is nowhere else.
    pub(super) fn is_changed(&self) -> bool {
        self.origin != digest(&self.text)
    }
}

/// How all lines of a text end: `crlf` or `lf`; `mixed` where that differs.
pub(super) fn ends(text: &str) -> &'static str {
    match text.matches("\r\n").count() {
        0 => "lf",
        all if all == text.matches('\n').count() => "crlf",
        _ => "mixed",
    }
}

fn digest(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Whether a page can be made of what a form says: each octet of it may become five there.
pub(super) fn fits(fields: &Fields) -> Result<(), Trouble> {
    let too_large = |detail| Err(Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    let config = fields.whole("config");
    // Forms end lines in CRLF, whatever was typed.
    if config.len() - config.matches("\r\n").count() > LARGEST_CONFIG {
        return too_large(format!(
            "the configuration is larger than {LARGEST_CONFIG} octets; nothing was done; go back, where what \
             you typed still stands, and shorten it"
        ));
    }
    if fields.octets() - config.len() > BESIDE {
        return too_large("there is too much beside the configuration; nothing was done".to_owned());
    }
    Ok(())
}

/// An answer that keeps a place until it has been sent.
pub(super) async fn hold(response: Response, place: Option<Place>) -> Response {
    let Some(place) = place else { return response };
    let (parts, body) = response.into_parts();
    // It is in memory already.
    let octets = to_bytes(body, usize::MAX).await.unwrap_or_default();
    // Nothing to send holds nothing.
    let body = match octets.is_empty() {
        true => Body::empty(),
        false => Body::from(Bytes::from_owner(Held { octets, _place: place })),
    };
    Response::from_parts(parts, body)
}

/// Octets and the place that they take.
struct Held {
    octets: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;
    use http_body_util::BodyExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_taken_until_the_answer_has_left_and_nobody_waits_for_ever() {
        let drafts = Drafts::new();
        let mut answers = Vec::new();
        for _ in 0..PLACES {
            let place = drafts.place().await.unwrap();
            answers.push(hold("a page".into_response(), Some(place)).await);
        }
        assert_eq!(drafts.place().await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        let mut body = answers.pop().unwrap().into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(drafts.place().await.is_err(), "it is still being sent");
        assert_eq!(piece, "a page");
        drop(piece);
        let place = drafts.place().await.unwrap();
        hold(StatusCode::NO_CONTENT.into_response(), Some(place)).await;
        drop(drafts.place().await.unwrap());
    }

    #[test]
    fn sessions_that_were_shown_the_file_are_remembered_and_not_all_for_ever() {
        let (drafts, start) = (Drafts::new(), Instant::now());
        let show = |number: usize| {
            drafts.show(&number.to_string(), start + Duration::from_secs(number as u64));
        };
        (0..MOST).for_each(show);
        assert!(drafts.was_shown("0") && !drafts.was_shown("x"));
        show(1);
        drafts.show("0", start + Duration::from_secs(1000));
        show(MOST);
        let remembered = [0, 1, 2, MOST].map(|number| drafts.was_shown(&number.to_string()));
        assert_eq!(remembered, [true, false, true, true]);
    }

    #[test]
    fn lines_end_in_crlf_where_all_of_them_do() {
        for (file, all, written) in [
            ("a\r\nb\r\n", "crlf", "a\r\nb\r\n"),
            ("a\r\nb", "crlf", "a\r\nb"),
            ("a\nb\n", "lf", "a\nb\n"),
            ("a", "lf", "a"),
            ("a\r\nb\n", "mixed", "a\nb\n"),
        ] {
            assert_eq!((ends(file), Draft::of(file, String::new()).written().as_str()), (all, written));
        }
    }

    #[test]
    fn more_than_the_api_takes_becomes_no_page() {
        let fields = |name: &str, value: &str| {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            Fields::of_query(Some(&form.append_pair(name, value).finish()))
        };
        let status = |name: &str, value: &str| fits(&fields(name, value)).map_err(|trouble| trouble.status);
        let large = "<".repeat(LARGEST_CONFIG);
        assert_eq!(status("config", &large), Ok(()));
        assert_eq!(status("config", &large.replacen('<', "\r\n", 1000)), Ok(()));
        assert_eq!(status("config", &(large.clone() + "<")), Err(StatusCode::PAYLOAD_TOO_LARGE));
        for name in ["version", "origin", "against", "x"] {
            assert_eq!(status(name, &large), Err(StatusCode::PAYLOAD_TOO_LARGE), "{name}");
        }
    }
}
