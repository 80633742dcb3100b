//! What the live parts of pages show: asked of the API once, for all tabs of a key.
//!
//! A look is as good for [`KEPT`], and for ten times as long as it took, so that no
//! number of tabs has the gateway spend more than a tenth of its time on them. Who opens
//! a page has a new look; what somebody does here ends all that are kept.

use super::trouble::Trouble;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a look is as good as a new one.
const KEPT: Duration = Duration::from_secs(1);

/// Most that are kept.
const MOST: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<[u8; 32], Place>>);

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
    /// What is answered to this key at a path: what was answered lately, or what `ask` does.
    pub(super) async fn at(
        &self,
        (key, path): (&str, &str),
        age: Age,
        ask: impl Future<Output = Result<Bytes, Trouble>>,
    ) -> Result<Bytes, Trouble> {
        let place = self.place((key, path));
        let mut look = place.lock().await;
        if let Some(look) = look.as_ref().filter(|look| age == Age::Recent && Instant::now() < look.until) {
            return Ok(look.body.clone());
        }
        let begun = Instant::now();
        let body = ask.await?;
        let took = begun.elapsed();
        *look = Some(Look { body: body.clone(), until: begun + took + KEPT.max(took * 10) });
        Ok(body)
    }

    /// Ends all: something was done.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn place(&self, (key, path): (&str, &str)) -> Place {
        // A key is at the front, and has no line of its own.
        let name = Sha256::new().chain_update(key).chain_update("\n").chain_update(path).finalize().into();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MOST && !places.contains_key(&name) {
            places.clear();
        }
        Arc::clone(places.entry(name).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn tabs_of_a_key_share_a_look_until_it_is_old_or_something_is_done() {
        let (looks, asked) = (Looks::default(), AtomicUsize::new(0));
        let look = |name: (&'static str, &'static str), age| {
            let ask = async {
                // Others come while it is under way.
                tokio::task::yield_now().await;
                Ok(Bytes::from(asked.fetch_add(1, Ordering::Relaxed).to_string()))
            };
            looks.at(name, age, ask)
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
        let failed = looks.at(("c", "/"), Age::Recent, async { Err(Trouble::not_understood()) }).await;
        assert!(failed.is_err());
        assert_eq!(look(("c", "/"), Age::Recent).await.unwrap(), "5", "what failed is not kept");
    }
}
