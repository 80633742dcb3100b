//! Which events anybody wants: what nobody wants is not made.
//!
//! Many ask, at every post and attempt; hardly anybody ever answers otherwise than
//! before. Who wants events says so for as long as it does.

use super::EventPattern;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// See the module; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    next: AtomicU64,
    patterns: RwLock<Vec<(u64, Vec<EventPattern>)>>,
}

/// Somebody wants events as long as this is kept.
#[derive(Debug)]
pub struct Wish {
    of: Wanted,
    id: u64,
}

impl Wanted {
    /// Whether anybody wants events of this name.
    pub fn wants(&self, name: &str) -> bool {
        let wishes = self.0.patterns.read().unwrap_or_else(PoisonError::into_inner);
        wishes.iter().flat_map(|(_, patterns)| patterns).any(|pattern| pattern.fits(name))
    }

    /// Somebody wants these.
    pub fn wish(&self, patterns: Vec<EventPattern>) -> Wish {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.patterns.write().unwrap_or_else(PoisonError::into_inner).push((id, patterns));
        Wish { of: self.clone(), id }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let mut wishes = self.of.0.patterns.write().unwrap_or_else(PoisonError::into_inner);
        wishes.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wants_is_wanted_until_it_goes() {
        let wanted = Wanted::default();
        let wish = |text: &str| wanted.wish(vec![text.parse().unwrap()]);
        assert!(!wanted.wants("post.failed"));
        let (posts, failed) = (wish("post.*"), wish("post.failed"));
        assert!(wanted.wants("post.failed") && wanted.wants("post.delivered"));
        drop(posts);
        assert!(wanted.wants("post.failed") && !wanted.wants("post.delivered"));
        drop(failed);
        assert!(!wanted.clone().wants("post.failed"));
    }
}
