//! What the live parts of pages show: asked of the API once, for all tabs of a key.
//!
//! A look is as good for [`KEPT`], and for ten times as long as it took, but no more than
//! [`LONGEST`], so that no number of tabs has the gateway spend much of its time on them.
//! Who opens a page has a new look; what somebody does here ends all that are kept. A look
//! is of what a key was good for: who may do and see something else has another.

use super::trouble::Trouble;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a look is as good as a new one.
const KEPT: Duration = Duration::from_secs(1);

/// How long one is at most.
const LONGEST: Duration = Duration::from_secs(5);

/// Most that are kept; the one that was asked for longest ago makes room.
const MOST: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<Name, Slot>>);

/// A digest of who asks, and of what.
type Name = [u8; 32];

struct Slot {
    place: Place,
    asked_at: Instant,
}

/// Where one is, or is being waited for.
type Place = Arc<tokio::sync::Mutex<Option<Look>>>;

struct Look {
    body: Bytes,
    until: Instant,
}

/// How new a look has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Somebody asks.
    New,
    /// A page refreshes itself.
    Recent,
}

impl Looks {
    /// What is answered to somebody at a path: what was answered lately, or what `ask` does.
    /// Who asks is a key and what it is good for; they have no end of line in them.
    pub(super) async fn at(
        &self,
        (who, path): (&[&str], &str),
        age: Age,
        ask: impl Future<Output = Result<Bytes, Trouble>>,
    ) -> Result<Bytes, Trouble> {
        let name = name(who, path);
        let place = self.place(name);
        let mut look = place.lock().await;
        if let Some(look) = look.as_ref().filter(|look| age == Age::Recent && Instant::now() < look.until) {
            return Ok(look.body.clone());
        }
        let begun = Instant::now();
        let asked = ask.await;
        let took = begun.elapsed();
        match &asked {
            Ok(body) => {
                let kept = (took * 10).clamp(KEPT, LONGEST);
                *look = Some(Look { body: body.clone(), until: begun + took + kept });
            }
            Err(_) => self.forget(name, &place),
        }
        asked
    }

    /// Ends all: something was done.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn place(&self, name: Name) -> Place {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked_at = Instant::now();
        if slots.len() >= MOST && !slots.contains_key(&name) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.asked_at).map(|(name, _)| *name);
            oldest.map(|oldest| slots.remove(&oldest));
        }
        let slot = slots.entry(name).or_insert_with(|| Slot { place: Place::default(), asked_at });
        slot.asked_at = asked_at;
        Arc::clone(&slot.place)
    }

    /// Has nothing kept where nothing was answered.
    fn forget(&self, name: Name, place: &Place) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.get(&name).is_some_and(|slot| Arc::ptr_eq(&slot.place, place)) {
            slots.remove(&name);
        }
    }
}

fn name(who: &[&str], path: &str) -> Name {
    let lines = who.iter().fold(Sha256::new(), |lines, part| lines.chain_update(part).chain_update("\n"));
    lines.chain_update(path).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn tabs_of_a_key_share_a_look_until_it_is_old_or_something_is_done() {
        let (looks, asked) = (Looks::default(), AtomicUsize::new(0));
        let look = |(key, path): (&'static str, &'static str), age| {
            let ask = async {
                // Others come while it is under way.
                tokio::task::yield_now().await;
                Ok(Bytes::from(asked.fetch_add(1, Ordering::Relaxed).to_string()))
            };
            let looks = &looks;
            async move { looks.at((&[key, "read", ""], path), age, ask).await }
        };
        let (one, other) = tokio::join!(look(("a", "/"), Age::Recent), look(("a", "/"), Age::Recent));
        assert_eq!((one.unwrap(), other.unwrap()), ("0".into(), "0".into()));
        for (name, age, expected) in [
            (("a", "/"), Age::Recent, "0"),
            (("b", "/"), Age::Recent, "1"),
            (("a", "/x"), Age::Recent, "2"),
            (("a", "/"), Age::New, "3"),
            (("a", "/"), Age::Recent, "3"),
        ] {
            assert_eq!(look(name, age).await.unwrap(), expected, "{name:?}");
        }
        looks.end();
        assert_eq!(look(("a", "/"), Age::Recent).await.unwrap(), "4");
        let who: &[&str] = &["c", "read", ""];
        let failed = looks.at((who, "/"), Age::Recent, async { Err(Trouble::not_understood()) }).await;
        assert!(failed.is_err());
        assert_eq!(looks.0.lock().unwrap().len(), 1, "what failed has no place");
        assert_eq!(look(("c", "/"), Age::Recent).await.unwrap(), "5", "what failed is not kept");
    }

    #[tokio::test]
    async fn what_a_key_was_good_for_before_is_not_shown() {
        let looks = Looks::default();
        let look = async |who: &[&str], answer: &'static str| {
            looks.at((who, "/"), Age::Recent, async { Ok(Bytes::from(answer)) }).await.unwrap()
        };
        assert_eq!(look(&["a", "read", ""], "all").await, "all");
        assert_eq!(look(&["a", "read", "club"], "club").await, "club");
        assert_eq!(look(&["a", "admin", "club"], "more").await, "more");
        assert_eq!(look(&["a", "read", "club"], "late").await, "club");
    }

    #[tokio::test]
    async fn many_addresses_push_out_the_oldest_alone() {
        let looks = Looks::default();
        let look = async |path: &str, answer: &'static str| {
            looks.at((&["a"], path), Age::Recent, async { Ok(Bytes::from(answer)) }).await.unwrap()
        };
        look("/old", "old").await;
        look("/seen", "seen").await;
        for number in 0..MOST - 2 {
            look(&number.to_string(), "").await;
        }
        look("/seen", "new").await;
        look("/one more", "").await;
        assert_eq!(looks.0.lock().unwrap().len(), MOST);
        assert_eq!(look("/seen", "new").await, "seen");
        assert_eq!(look("/old", "new").await, "new");
    }
}
