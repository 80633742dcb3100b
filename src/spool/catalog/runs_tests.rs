//! Rows against a model, with merges that take their time.

use super::*;
use crate::spool::catalog::run::Stored;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

const LAYOUT: Layout = Layout { key: 3, row: 7, ends: |row| [u64::from(row[3]), u64::from(row[4])] };

/// What is done to both.
struct Pair {
    runs: Runs,
    model: BTreeMap<[u8; 3], [u8; 4]>,
    dice: fastrand::Rng,
    directory: tempfile::TempDir,
    made: Option<Run>,
}

impl Pair {
    fn new(seed: u64, room: usize) -> Pair {
        let (runs, dice) = (Runs::new(LAYOUT, room), fastrand::Rng::with_seed(seed));
        let directory = tempfile::tempdir().unwrap();
        Pair { runs, model: BTreeMap::new(), dice, directory, made: None }
    }

    fn key(&mut self) -> [u8; 3] {
        [self.dice.u8(..3), self.dice.u8(..8), self.dice.u8(..250)]
    }

    fn step(&mut self) {
        let key = self.key();
        match self.dice.u8(..20) {
            0..=9 => self.insert(key),
            10..=12 => self.remove(&key),
            13 => {
                // Like a lane that is drained.
                let lane = [key[0]];
                for row in self.runs.first((&lane, &[lane[0] + 1]), 20).unwrap() {
                    self.remove(row[..3].try_into().unwrap());
                }
            }
            14 if self.made.is_none() => {
                let merge = self.runs.merge(self.directory.path());
                self.made = merge.map(|merge| merge.carry_out().unwrap().unwrap());
            }
            15 => self.finish(),
            _ => self.compare(key),
        }
    }

    fn insert(&mut self, key: [u8; 3]) {
        if !self.model.contains_key(&key) {
            let value = [self.dice.u8(..), self.dice.u8(..), 7, self.dice.u8(..)];
            self.model.insert(key, value);
            self.runs.insert([&key[..], &value].concat().into()).unwrap();
        }
    }

    fn remove(&mut self, key: &[u8; 3]) {
        self.model.remove(key);
        self.runs.remove(key).unwrap();
    }

    fn finish(&mut self) {
        if let Some(mut run) = self.made.take() {
            end_all(&mut run, &self.runs.gone()).unwrap();
            self.runs.merged(run);
        }
    }

    fn compare(&mut self, from: [u8; 3]) {
        let (to, max) = (self.key(), self.dice.usize(..30));
        let whole = |(key, value): (&[u8; 3], &[u8; 4])| -> Row { [&key[..], value].concat().into() };
        let upward = self.model.range(from..).take_while(|(key, _)| **key < to).map(whole);
        let all: Vec<Row> = upward.collect();
        let first: Vec<Row> = all.iter().take(max).cloned().collect();
        assert_eq!(self.runs.first((&from, &to), max).unwrap(), first);
        let downward: Vec<Row> = self.model.range(..to).rev().take(max).map(whole).collect();
        assert_eq!(self.runs.last(&to, max).unwrap(), downward);
        let found = self.runs.row(&from).unwrap();
        assert_eq!(found, self.model.get(&from).map(|value| whole((&from, value))));
        let (which, until) = (self.dice.usize(..2), self.dice.u64(..256));
        let mut ending = self.runs.ending((&from, &to), (which, until), usize::MAX).unwrap();
        ending.sort();
        let comes = |row: &Row| u64::from(row[3 + which]) <= until;
        assert_eq!(ending, all.into_iter().filter(comes).collect::<Vec<_>>());
    }
}

#[test]
fn rows_are_as_in_one_tree_whatever_is_merged_when() {
    for (seed, room) in [0, 1, 7, 100, 1000].into_iter().cycle().take(40).enumerate() {
        let mut pair = Pair::new(seed as u64, room);
        (0..3000).for_each(|_| pair.step());
    }
}

#[test]
fn runs_stay_few_and_what_is_over_leaves_nothing_behind() {
    let mut pair = Pair::new(1, 10);
    let mut most = 0;
    for number in 0..20_000_u32 {
        let [_, key @ ..] = number.to_be_bytes();
        pair.runs.insert([&key[..], &[0; 4]].concat().into()).unwrap();
        while let Some(merge) = pair.runs.merge(pair.directory.path()) {
            pair.made = Some(merge.carry_out().unwrap().unwrap());
            pair.finish();
        }
        most = most.max(pair.runs.runs.len());
    }
    assert!(most <= 12, "{most} runs");
    for number in 0..20_000_u32 {
        pair.runs.remove(&number.to_be_bytes()[1..]).unwrap();
    }
    assert!(pair.runs.merge(pair.directory.path()).is_none() && pair.runs.runs.is_empty());
    assert_eq!(std::fs::read_dir(pair.directory.path()).unwrap().count(), 0);
}

#[test]
fn a_block_that_is_not_what_was_written_is_a_failure() {
    let mut pair = Pair::new(1, 10);
    (0..44).for_each(|number| pair.insert([0, 0, number]));
    let run = pair.runs.merge(pair.directory.path()).unwrap().carry_out().unwrap().unwrap();
    let Stored::File(file, _) = &*run.stored else { panic!("in memory") };
    file.write_all_at(&[0x5a], 40).unwrap();
    pair.runs.merged(run);
    assert!(pair.runs.row(&[0, 0, 3]).is_err() && pair.runs.first((&[0], &[1]), 1).is_err());
}
