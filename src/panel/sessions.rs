//! Who has signed in: which key stands behind which cookie, and the tokens of forms.
//!
//! A cookie holds a random id and nothing else; the key stays here, in memory, and is
//! wiped with its session. Ids are kept as digests, so that looking one up tells nothing
//! of another. Each key has a bounded number of sessions, so that nobody's push out
//! another's. Whether a key is still good is asked of the API at every page.
//!
//! A token is a mark that only this process can make of an id and of what the page of the
//! form shows: whoever makes a browser send a form does not know it.

use super::whose::Shown;
use crate::intake::KeyDigest;
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// A session ends when nothing was asked in it for so long.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends at this age, whatever is asked in it.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most sessions of a key; the one that was idle longest makes room.
const MOST: usize = 20;

/// A key as somebody signed in with it.
pub(super) type Key = Arc<Zeroizing<String>>;

/// All sessions.
pub(super) struct Sessions {
    marks: hmac::Key,
    open: Mutex<HashMap<[u8; 32], Session>>,
}

struct Session {
    key: Key,
    digest: KeyDigest,
    begun_at: Instant,
    seen_at: Instant,
    /// Whoever listens hears when it is gone.
    here: watch::Sender<()>,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen_at) >= IDLE
            || now.saturating_duration_since(self.begun_at) >= LONGEST
    }

    /// How long it is there at least, if nobody ends it.
    fn left(&self, now: Instant) -> Duration {
        let end = (self.seen_at + IDLE).min(self.begun_at + LONGEST);
        end.saturating_duration_since(now)
    }
}

impl Sessions {
    /// None yet.
    pub(super) fn new() -> Result<Sessions, getrandom::Error> {
        let secret = Zeroizing::new(random()?);
        Ok(Sessions { marks: hmac::Key::new(hmac::HMAC_SHA256, &*secret), open: Mutex::default() })
    }

    /// An id that nobody has had, as it stands in a cookie.
    pub(super) fn draw() -> Result<String, getrandom::Error> {
        random().map(|octets| BASE64URL_NOPAD.encode(&octets))
    }

    /// Whether a text can be such an id.
    pub(super) fn is_id(text: &str) -> bool {
        BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|octets| octets.len() == 32)
    }

    /// Begins a session with a key that is known to be good; answers its id.
    pub(super) fn open(&self, key: &str, now: Instant) -> Result<String, getrandom::Error> {
        let id = Sessions::draw()?;
        let digest = KeyDigest::of(key.as_bytes());
        let mut open = self.lock();
        open.retain(|_, session| !session.is_over(now));
        let own = open.iter().filter(|(_, session)| session.digest == digest);
        let oldest = own.clone().min_by_key(|(_, session)| session.seen_at).map(|(place, _)| *place);
        if let Some(oldest) = oldest.filter(|_| own.count() >= MOST) {
            open.remove(&oldest);
        }
        let key = Arc::new(Zeroizing::new(key.to_owned()));
        let here = watch::channel(()).0;
        open.insert(place(&id), Session { key, digest, begun_at: now, seen_at: now, here });
        Ok(id)
    }

    /// The key of a session that is not over, and that somebody uses now.
    pub(super) fn used(&self, id: &str, now: Instant) -> Option<Key> {
        let key = self.key(id, now)?;
        if let Some(session) = self.lock().get_mut(&place(id)) {
            session.seen_at = now;
        }
        Some(key)
    }

    /// The same where a page refreshes itself, which is no sign that anybody is there.
    pub(super) fn key(&self, id: &str, now: Instant) -> Option<Key> {
        let mut open = self.lock();
        if open.get(&place(id))?.is_over(now) {
            open.remove(&place(id));
        }
        open.get(&place(id)).map(|session| Arc::clone(&session.key))
    }

    /// Waits until a session is over, however that comes; waiting is no sign that anybody
    /// is there.
    pub(super) async fn ended(&self, id: &str) {
        loop {
            let now = Instant::now();
            let Some((left, mut here)) = self.key(id, now).and_then(|_| {
                let open = self.lock();
                open.get(&place(id)).map(|session| (session.left(now), session.here.subscribe()))
            }) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = here.changed() => {}
            }
        }
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.lock().remove(&place(id));
    }

    /// What forms of a session have with them, on a page that shows this.
    pub(super) fn token(&self, id: &str, shown: &Shown) -> String {
        let shown = shown.written();
        let mark = hmac::sign(&self.marks, format!("{id}.{shown}").as_bytes());
        format!("{}.{shown}", BASE64URL_NOPAD.encode(mark.as_ref()))
    }

    /// What the page of a form showed, if it is of this session; takes the same time for every
    /// wrong mark.
    pub(super) fn shown(&self, id: &str, token: &str) -> Option<Shown> {
        let (mark, shown) = token.split_once('.')?;
        let mark = BASE64URL_NOPAD.decode(mark.as_bytes()).ok()?;
        hmac::verify(&self.marks, format!("{id}.{shown}").as_bytes(), &mark).ok()?;
        Shown::read(shown)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_or_old_or_closed() {
        let (sessions, start) = (Sessions::new().unwrap(), Instant::now());
        let is_open = |id: &str, now| sessions.used(id, now).is_some();
        let id = sessions.open("key", start).unwrap();
        assert!(Sessions::is_id(&id) && !Sessions::is_id("x") && !Sessions::is_id(""));
        assert_eq!(sessions.key(&id, start).unwrap().as_str(), "key");
        assert!(!is_open(&Sessions::draw().unwrap(), start), "nobody signed in with it");
        assert!(is_open(&id, start + IDLE - Duration::from_secs(1)));
        assert!(is_open(&id, start + IDLE + Duration::from_secs(1)), "it was used in between");
        assert!(!is_open(&id, start + IDLE * 3));
        let id = sessions.open("key", start).unwrap();
        assert!(sessions.key(&id, start + IDLE - Duration::from_secs(1)).is_some());
        assert!(!is_open(&id, start + IDLE), "only a page refreshed itself");
        let id = sessions.open("key", start).unwrap();
        let hours = (0..7 * 24).map(|hour| start + Duration::from_secs(3600) * hour);
        assert!(hours.clone().all(|now| is_open(&id, now)));
        assert!(!is_open(&id, start + LONGEST));
        let id = sessions.open("key", start).unwrap();
        sessions.close(&id);
        assert!(!is_open(&id, start));
    }

    #[tokio::test]
    async fn who_waits_for_the_end_of_a_session_hears_of_it_and_keeps_none_open() {
        let (sessions, now) = (Arc::new(Sessions::new().unwrap()), Instant::now());
        let waits = |id: String| {
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move { sessions.ended(&id).await })
        };
        let (closed, other) = (sessions.open("key", now).unwrap(), sessions.open("key", now).unwrap());
        let (first, second) = (waits(closed.clone()), waits(other.clone()));
        tokio::task::yield_now().await;
        sessions.close(&closed);
        first.await.unwrap();
        assert!(!second.is_finished());
        sessions.close(&other);
        second.await.unwrap();
        // One that is over when it is waited for, and one that nobody has opened.
        let idle = sessions.open("key", now - IDLE).unwrap();
        waits(idle).await.unwrap();
        waits(Sessions::draw().unwrap()).await.unwrap();
        let nearly = sessions.open("key", now + Duration::from_millis(50) - IDLE).unwrap();
        waits(nearly).await.unwrap();
    }

    #[test]
    fn many_sessions_of_a_key_push_out_its_own_oldest_alone() {
        let (sessions, start) = (Sessions::new().unwrap(), Instant::now());
        let other = sessions.open("other", start).unwrap();
        let at = |number: usize| start + Duration::from_secs(number as u64);
        let ids: Vec<_> = (0..MOST + 2).map(|number| sessions.open("key", at(number)).unwrap()).collect();
        let is_open = |id: &String| sessions.key(id, at(MOST + 2)).is_some();
        assert!(is_open(&other));
        assert_eq!(ids.iter().map(is_open).collect::<Vec<_>>(), [vec![false; 2], vec![true; MOST]].concat());
    }

    #[test]
    fn a_token_is_of_one_session_of_this_process_and_of_what_a_page_shows() {
        let (sessions, others) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        let (one, other) = (Sessions::draw().unwrap(), Sessions::draw().unwrap());
        let all = Shown::default();
        let tokens = ["shop", "ä; b.c"].map(|tenant| Shown(Some(tenant.to_owned())));
        for shown in tokens.iter().chain([&all]) {
            assert_eq!(sessions.shown(&one, &sessions.token(&one, shown)).as_ref(), Some(shown));
        }
        let own = sessions.token(&one, &all);
        let (other, foreign) = (sessions.token(&other, &all), others.token(&one, &all));
        let forged = sessions.token(&one, &tokens[0]).replace("shop", "club");
        for wrong in
            ["", "x", ".", own.trim_end_matches('.'), &format!("{own}shop"), &other, &foreign, &forged]
        {
            assert_eq!(sessions.shown(&one, wrong), None, "{wrong}");
        }
    }
}
