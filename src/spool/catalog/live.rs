//! Which rows of a run live: one bit each, and one for every 64 of them that says whether
//! any does, so that millions that are over are passed over in no time.

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// See the module.
#[derive(Clone)]
pub(super) struct Live {
    rows: Vec<u64>,
    /// One bit for every word of `rows` that is not zero.
    words: Vec<u64>,
    count: usize,
}

impl Live {
    /// So many rows, all of which live.
    pub fn all(count: usize) -> Live {
        let rows = ones(count);
        Live { words: ones(rows.len()), rows, count }
    }

    /// Rows that live.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this row lives.
    pub fn holds(&self, at: usize) -> bool {
        self.rows.get(at / WORD).is_some_and(|word| word & (1 << (at % WORD)) != 0)
    }

    /// Ends a row, if it lives.
    pub fn end(&mut self, at: usize) {
        if !self.holds(at) {
            return;
        }
        self.count -= 1;
        let Some(word) = self.rows.get_mut(at / WORD) else { return };
        *word &= !(1 << (at % WORD));
        if *word == 0
            && let Some(words) = self.words.get_mut(at / WORD / WORD)
        {
            *words &= !(1 << (at / WORD % WORD));
        }
    }

    /// The first living row from this one on.
    pub fn first_from(&self, at: usize) -> Option<usize> {
        let number = at / WORD;
        let word = self.rows.get(number)? & (u64::MAX << (at % WORD));
        if word != 0 {
            return Some(number * WORD + word.trailing_zeros() as usize);
        }
        let number = first_bit(&self.words, number + 1)?;
        Some(number * WORD + self.rows.get(number)?.trailing_zeros() as usize)
    }

    /// The last living row before this one.
    pub fn last_before(&self, at: usize) -> Option<usize> {
        let number = at / WORD;
        let word = self.rows.get(number).unwrap_or(&0) & !(u64::MAX << (at % WORD));
        if word != 0 {
            return Some(number * WORD + highest(word));
        }
        let number = last_bit(&self.words, number)?;
        Some(number * WORD + highest(*self.rows.get(number)?))
    }
}

fn ones(count: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; count.div_ceil(WORD)];
    if let (Some(last), left @ 1..) = (words.last_mut(), count % WORD) {
        *last = !(u64::MAX << left);
    }
    words
}

fn highest(word: u64) -> usize {
    WORD - 1 - word.leading_zeros() as usize
}

fn first_bit(words: &[u64], at: usize) -> Option<usize> {
    let number = at / WORD;
    let word = words.get(number)? & (u64::MAX << (at % WORD));
    if word != 0 {
        return Some(number * WORD + word.trailing_zeros() as usize);
    }
    let mut later = words.iter().enumerate().skip(number + 1);
    later.find(|(_, word)| **word != 0).map(|(number, word)| number * WORD + word.trailing_zeros() as usize)
}

fn last_bit(words: &[u64], before: usize) -> Option<usize> {
    let number = before / WORD;
    let word = words.get(number).unwrap_or(&0) & !(u64::MAX << (before % WORD));
    if word != 0 {
        return Some(number * WORD + highest(word));
    }
    let mut earlier = words.iter().enumerate().take(number).rev();
    earlier.find(|(_, word)| **word != 0).map(|(number, word)| number * WORD + highest(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_lives_is_found_from_both_sides() {
        let mut dice = fastrand::Rng::with_seed(1);
        for count in [0, 1, 63, 64, 65, 4096, 20_000] {
            let (mut live, mut model) = (Live::all(count), (0..count).collect::<BTreeSet<_>>());
            for _ in 0..200 {
                let (start, length) = (dice.usize(..count + 70), dice.usize(..=count / 8));
                for at in start..start + length {
                    live.end(at);
                    model.remove(&at);
                }
                let at = dice.usize(..count + 200);
                assert_eq!(live.first_from(at), model.range(at..).next().copied(), "{count} from {at}");
                assert_eq!(live.last_before(at), model.range(..at).next_back().copied(), "{count} to {at}");
                assert_eq!((live.count(), live.holds(at)), (model.len(), model.contains(&at)));
            }
        }
    }
}
