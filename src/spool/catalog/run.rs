//! A run: rows of one length, sorted, that never change; only which of them live does.
//!
//! Rows stand in blocks of 4 KiB, each with its checksum, in memory at first and then in a
//! file without a name. The first key of every block is in memory, and the least of what
//! may end a row's time in it, so that a look reads no block in vain.

use super::live::Live;
use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Octets of a block in a file.
pub(super) const BLOCK: usize = 4096;
/// Those of its checksum, at its end.
pub(super) const CHECKSUM: usize = 4;
/// Blocks of a file that are kept as they were read.
const RECENT: usize = 64;

/// When the time of a row is over, in two ways.
pub(super) type Ends = [u64; 2];
/// It never is.
pub(super) const NEVER: Ends = [u64::MAX; 2];

/// What all rows of a run are like.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Octets of the key, which begins a row.
    pub key: usize,
    /// Octets of a row.
    pub row: usize,
    /// When the time of a row is over.
    pub ends: fn(&[u8]) -> Ends,
}

impl Layout {
    /// Rows of a block.
    pub fn rows(&self) -> usize {
        (BLOCK - CHECKSUM) / self.row
    }

    pub fn key<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        row.get(..self.key).unwrap_or_default()
    }
}

/// Rows back to back, and what fills the block.
pub(super) type Block = Arc<Vec<u8>>;

/// Where the rows of a run are.
pub(super) enum Stored {
    Memory(Vec<Block>),
    File(File, Mutex<Vec<Option<(usize, Block)>>>),
}

impl Stored {
    pub fn in_file(file: File) -> Stored {
        Stored::File(file, Mutex::new(vec![None; RECENT]))
    }

    fn block(&self, number: usize) -> io::Result<Block> {
        let (file, recent) = match self {
            Stored::Memory(blocks) => return blocks.get(number).cloned().ok_or_else(missing),
            Stored::File(file, recent) => (file, recent),
        };
        let lock = || recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some((kept, block))) = lock().get(number % RECENT)
            && *kept == number
        {
            return Ok(Arc::clone(block));
        }
        let mut octets = vec![0; BLOCK];
        file.read_exact_at(&mut octets, (number * BLOCK) as u64)?;
        let checksum = octets.split_off(BLOCK - CHECKSUM);
        if crc32c::crc32c(&octets).to_le_bytes() != *checksum {
            return Err(io::Error::other("damaged rows"));
        }
        let block = Arc::new(octets);
        if let Some(place) = lock().get_mut(number % RECENT) {
            *place = Some((number, Arc::clone(&block)));
        }
        Ok(block)
    }
}

fn missing() -> io::Error {
    io::Error::other("a block is missing")
}

/// See the module.
#[derive(Clone)]
pub(super) struct Run {
    pub layout: Layout,
    pub stored: Arc<Stored>,
    pub live: Live,
    /// Rows, living or not.
    pub count: usize,
    /// The first key of each block, back to back.
    pub firsts: Arc<Vec<u8>>,
    /// The last key.
    pub last: Arc<[u8]>,
    /// The least ends in each block, at most.
    pub ends: Vec<Ends>,
}

impl Run {
    pub fn is_in_memory(&self) -> bool {
        matches!(*self.stored, Stored::Memory(_))
    }

    fn first(&self, block: usize) -> Option<&[u8]> {
        self.firsts.get(block * self.layout.key..(block + 1) * self.layout.key)
    }

    /// The last block that begins at or before this key, or the first one.
    fn block_with(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.first(middle).is_some_and(|first| first <= key) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low.saturating_sub(1)
    }

    fn lives_in(&self, block: usize) -> bool {
        let start = block * self.layout.rows();
        self.live.first_from(start).is_some_and(|at| at < start + self.layout.rows())
    }

    /// Where the living row with this key is.
    pub fn find(&self, key: &[u8]) -> io::Result<Option<usize>> {
        let number = self.block_with(key);
        if key > &*self.last || self.first(0).is_none_or(|first| key < first) || !self.lives_in(number) {
            return Ok(None);
        }
        let (block, start) = (self.stored.block(number)?, number * self.layout.rows());
        let (mut low, mut high) = (start, (start + self.layout.rows()).min(self.count));
        while low < high {
            let middle = (low + high) / 2;
            let row = row_of(&block, self.layout, middle - start);
            match self.layout.key(row).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(middle).filter(|at| self.live.holds(*at))),
            }
        }
        Ok(None)
    }

    /// A row that was found.
    pub fn row(&self, at: usize) -> io::Result<Box<[u8]>> {
        let block = self.stored.block(at / self.layout.rows())?;
        Ok(row_of(&block, self.layout, at % self.layout.rows()).into())
    }

    /// Up to `max` living rows from one key to before another, of which this end comes by
    /// `until`, in the order in which they stand.
    pub fn ending(
        &mut self,
        (from, to): (&[u8], &[u8]),
        (which, until): (usize, u64),
        max: usize,
    ) -> io::Result<Vec<Box<[u8]>>> {
        let mut found = Vec::new();
        let mut number = self.block_with(from);
        while found.len() < max && self.first(number).is_some_and(|first| first < to) {
            let comes = |ends: &Ends| ends.get(which).is_some_and(|end| *end <= until);
            if self.ends.get(number).is_some_and(comes) {
                let rows = self.living(number)?;
                let all = rows.iter().map(|row| (self.layout.ends)(row));
                let least = all.fold(NEVER, |[a, b], [c, d]| [a.min(c), b.min(d)]);
                let is_meant = |row: &[u8]| self.layout.key(row) >= from && self.layout.key(row) < to;
                let meant = rows.iter().filter(|row| is_meant(row) && comes(&(self.layout.ends)(row)));
                found.extend(meant.take(max - found.len()).cloned());
                // What has ended in it since it was written does not call again.
                self.ends.get_mut(number).into_iter().for_each(|ends| *ends = least);
            }
            number += 1;
        }
        Ok(found)
    }

    /// The living rows of a block.
    fn living(&self, number: usize) -> io::Result<Vec<Box<[u8]>>> {
        if !self.lives_in(number) {
            return Ok(Vec::new());
        }
        let (block, start) = (self.stored.block(number)?, number * self.layout.rows());
        let living = (0..self.layout.rows()).filter(|at| self.live.holds(start + at));
        Ok(living.map(|at| row_of(&block, self.layout, at).into()).collect())
    }
}

fn row_of(block: &Block, layout: Layout, at: usize) -> &[u8] {
    block.get(at * layout.row..(at + 1) * layout.row).unwrap_or_default()
}

/// Which way rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// A place among the living rows of a run.
pub(super) struct Cursor<'a> {
    run: &'a Run,
    at: usize,
    /// The block of the row there; none behind the last row.
    block: Option<(usize, Block)>,
}

impl<'a> Cursor<'a> {
    /// At the first row from this key on.
    pub fn from(run: &'a Run, key: &[u8]) -> io::Result<Cursor<'a>> {
        let mut cursor = Cursor { run, at: 0, block: None };
        cursor.go_to(run.live.first_from(run.block_with(key) * run.layout.rows()))?;
        while cursor.key().is_some_and(|own| own < key) {
            cursor.go(Way::Up)?;
        }
        Ok(cursor)
    }

    /// At the last row before this key.
    pub fn before(run: &'a Run, key: &[u8]) -> io::Result<Cursor<'a>> {
        let mut cursor = Cursor { run, at: 0, block: None };
        cursor.go_to(run.live.last_before((run.block_with(key) + 1) * run.layout.rows()))?;
        while cursor.key().is_some_and(|own| own >= key) {
            cursor.go(Way::Down)?;
        }
        Ok(cursor)
    }

    fn row(&self) -> Option<&[u8]> {
        let (number, block) = self.block.as_ref()?;
        Some(row_of(block, self.run.layout, self.at - number * self.run.layout.rows()))
    }

    fn key(&self) -> Option<&[u8]> {
        self.row().map(|row| self.run.layout.key(row))
    }

    fn go(&mut self, way: Way) -> io::Result<()> {
        self.go_to(match way {
            Way::Up => self.run.live.first_from(self.at + 1),
            Way::Down => self.run.live.last_before(self.at),
        })
    }

    fn go_to(&mut self, at: Option<usize>) -> io::Result<()> {
        let Some(at) = at else {
            self.block = None;
            return Ok(());
        };
        self.at = at;
        let number = at / self.run.layout.rows();
        if self.block.as_ref().is_none_or(|(own, _)| *own != number) {
            self.block = Some((number, self.run.stored.block(number)?));
        }
        Ok(())
    }
}

/// Hands over the rows of several runs in one order, until told to stop.
pub(super) fn visit(
    mut cursors: Vec<Cursor<'_>>,
    way: Way,
    mut take: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    loop {
        let keys = cursors.iter().enumerate().filter_map(|(number, cursor)| Some((cursor.key()?, number)));
        let next = if way == Way::Up { keys.min() } else { keys.max() };
        let next = next.map(|(_, number)| number);
        let Some(cursor) = next.and_then(|number| cursors.get_mut(number)) else { return Ok(()) };
        if take(cursor.row().unwrap_or_default())?.is_break() {
            return Ok(());
        }
        cursor.go(way)?;
    }
}
