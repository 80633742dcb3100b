//! How many posts of a lane are claimed before a worker is free for them.
//!
//! A worker that has ended a post takes the next one from there by itself: nobody is
//! asked, and nobody is woken. A lane has such a stock only while its destination
//! answers fast and no rate limits it. Then a stock lasts some milliseconds, which
//! is how long something more urgent, an order of an operator or another lane's turn
//! may have to wait for it.

use std::time::Duration;

/// The longest answer of a fast destination.
const FAST: Duration = Duration::from_millis(5);
/// Posts in stock for each attempt that may be under way.
const EACH: usize = 2;
/// Posts in stock.
const MOST: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    left: usize,
    is_fast: bool,
}

impl Stock {
    /// Posts in it.
    pub fn left(&self) -> usize {
        self.left
    }

    /// How many more it wants, for so many attempts at a time: all at once when half
    /// of it is gone.
    pub fn lack(&self, window: usize) -> usize {
        let full = if self.is_fast { (EACH * window).min(MOST) } else { 0 };
        if self.left <= full / 2 { full - self.left } else { 0 }
    }

    /// Notes that an answer took so long; nothing when that is unknown.
    pub fn learn(&mut self, took: Option<Duration>) {
        self.is_fast = took.is_some_and(|took| took <= FAST);
    }

    /// Notes posts that come.
    pub fn put(&mut self, posts: usize) {
        self.left += posts;
    }

    /// Notes posts that leave.
    pub fn take(&mut self, posts: usize) {
        self.left = self.left.saturating_sub(posts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fast_destinations_have_a_stock_and_it_is_filled_when_half_is_gone() {
        let millis = |count| Some(Duration::from_millis(count));
        for (took, left, window, lack) in [
            (None, 0, 20, 0),
            (millis(6), 0, 20, 0),
            (millis(5), 0, 20, 40),
            (millis(5), 20, 20, 20),
            (millis(5), 21, 20, 0),
            (millis(0), 0, 1, 2),
            (millis(0), 0, 1000, 64),
            (millis(6), 9, 20, 0),
        ] {
            let mut stock = Stock::default();
            stock.learn(took);
            stock.put(left);
            assert_eq!(stock.lack(window), lack, "{took:?} {left} {window}");
        }
    }
}
