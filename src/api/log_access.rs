//! Who reads the protocol log, and what callers of one tenant are told of places in it.
//!
//! A look may read much for one post: few are at a time, of each tenant one, and each that
//! was begun counts to its end, whether or not its client still waits.
//!
//! A place is a day and an octet of the log of all tenants: whoever asked for it twice would
//! know how much all of them have said meanwhile. A tenant gets it sealed, each time anew,
//! and for what it asked about alone. The key is drawn when the gateway starts.

use crate::protocol_log::pages::Place;
use crate::seal::SealKey;
use crate::tenant::Tenant;
use data_encoding::BASE64URL_NOPAD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most looks at a time.
const MOST: usize = 2;

/// Octets of a place that is sealed, so that its length tells nothing.
const LENGTH: usize = 32;

/// See the module.
pub(super) struct LogAccess {
    turns: Arc<Semaphore>,
    of_tenants: Mutex<HashMap<Tenant, Weak<Semaphore>>>,
    key: Option<SealKey>,
}

/// A turn, and that of the tenant.
type Turns = (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

impl Default for LogAccess {
    fn default() -> LogAccess {
        let mut octets = [0; SealKey::LENGTH];
        let key = getrandom::fill(&mut octets).ok().map(|()| SealKey::new(&octets));
        LogAccess { turns: Arc::new(Semaphore::new(MOST)), of_tenants: Mutex::default(), key }
    }
}

impl LogAccess {
    /// Reads on a thread for what blocks, when it is its turn; nothing comes of a panic.
    /// Who has gone before has nothing read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        of: Option<&Tenant>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turns = self.turns(of).await?;
        let reading = move || {
            let _turns = turns;
            read()
        };
        tokio::task::spawn_blocking(reading).await.ok()
    }

    /// The tenant's own turn first: whoever waits for that is in nobody's way.
    async fn turns(&self, of: Option<&Tenant>) -> Option<Turns> {
        let own = match of {
            Some(tenant) => Some(self.own(tenant).acquire_owned().await.ok()?),
            None => None,
        };
        Some((own, Arc::clone(&self.turns).acquire_owned().await.ok()?))
    }

    fn own(&self, tenant: &Tenant) -> Arc<Semaphore> {
        let mut all = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(tenant).and_then(Weak::upgrade) {
            return own;
        }
        all.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(1));
        all.insert(tenant.clone(), Arc::downgrade(&own));
        own
    }

    /// A place for who asked about this; nothing where the machine has no randomness.
    pub(super) fn seal(&self, about: &str, place: &Place) -> Option<String> {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).ok()?;
        let text = format!("{:<LENGTH$}", place.to_string());
        let sealed = self.key.as_ref()?.seal(about, nonce, text.as_bytes())?;
        Some(BASE64URL_NOPAD.encode(&sealed))
    }

    /// The place, if it was sealed for this.
    pub(super) fn open(&self, about: &str, sealed: &str) -> Option<Place> {
        let sealed = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        let text = self.key.as_ref()?.open(about, &sealed)?;
        std::str::from_utf8(&text).ok()?.trim_end().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    /// Whether it waits for something after one look.
    fn waits<T>(future: impl Future<Output = T>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn a_tenant_reads_once_at_a_time_and_is_in_nobodys_way() {
        let access = LogAccess::default();
        let [shop, other, third] = ["shop", "other", "third"].map(Tenant::new);
        let first = access.turns(Some(&shop)).await.unwrap();
        assert!(waits(access.turns(Some(&shop))), "a second of one tenant");
        let second = access.turns(Some(&other)).await.unwrap();
        assert!(waits(access.turns(None)), "a third of all");
        drop(second);
        let all = access.turns(None).await.unwrap();
        assert!(waits(access.turns(Some(&third))));
        drop((first, all));
        assert_eq!(access.read(Some(&shop), || 7).await, Some(7));
        assert_eq!(access.read::<()>(Some(&shop), || panic!("a damaged log")).await, None);
        assert_eq!(access.read(Some(&shop), || 7).await, Some(7), "what died gave its turn back");
        assert!(access.of_tenants.lock().unwrap().len() <= 3);
    }

    #[test]
    fn a_sealed_place_opens_for_what_was_asked_alone_and_tells_nothing() {
        let access = LogAccess::default();
        let place = |octet: u64| -> Place { format!("2026-01-31.{octet}").parse().unwrap() };
        let sealed = access.seal("shop 1", &place(7)).unwrap();
        assert_eq!(access.open("shop 1", &sealed), Some(place(7)));
        assert_ne!(access.seal("shop 1", &place(7)).unwrap(), sealed, "whether anything was added");
        assert_eq!(access.seal("shop 1", &place(u64::MAX)).unwrap().len(), sealed.len());
        for (about, text) in [("shop 2", sealed.as_str()), ("shop 1", "2026-01-31.7"), ("shop 1", "")] {
            assert_eq!(access.open(about, text), None, "{about} {text}");
        }
        assert_eq!(LogAccess::default().open("shop 1", &sealed), None);
    }
}
