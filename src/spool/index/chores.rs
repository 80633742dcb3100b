//! What the catalog has to do, for who does it without the index.

use super::super::catalog::{Chore, Spent};
use super::Index;
use std::io;

impl Index {
    /// Whether who adds much in a row should have the catalog's chores done first.
    pub fn is_behind(&self) -> bool {
        self.catalog.is_behind()
    }

    /// Something that the catalog has to do, without the index.
    pub fn chore(&mut self) -> Option<Chore> {
        self.catalog.chore()
    }

    /// What is to be dropped without the index.
    pub fn spent(&mut self) -> Option<Spent> {
        self.catalog.spent()
    }

    /// Takes in what it did, unless there is more to do with these rows first.
    pub fn finish(&mut self, done: io::Result<Chore>) -> Option<(Chore, Vec<Box<[u8]>>)> {
        let finished = self.catalog.finish(done);
        self.intact(finished).flatten()
    }
}
