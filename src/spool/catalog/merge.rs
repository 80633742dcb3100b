//! Making runs: of rows that come sorted, into memory or into a file, and one of several.
//! It needs nobody else meanwhile, and takes as long as it takes.

use super::live::Live;
use super::run::{BLOCK, CHECKSUM, Cursor, Ends, Layout, NEVER, Run, Stored, Way, visit};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets that are written at a time.
const PIECE: usize = 256 * 1024;

/// A run that is being made.
pub(super) struct Making {
    layout: Layout,
    blocks: Vec<Arc<Vec<u8>>>,
    file: Option<BufWriter<File>>,
    block: Vec<u8>,
    least: Ends,
    firsts: Vec<u8>,
    ends: Vec<Ends>,
    last: Vec<u8>,
    count: usize,
}

impl Making {
    /// One that stays in memory.
    pub fn in_memory(layout: Layout) -> Making {
        let block = Vec::with_capacity(layout.rows() * layout.row);
        let (blocks, firsts, ends, last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Making { layout, blocks, file: None, block, least: NEVER, firsts, ends, last, count: 0 }
    }

    /// One in a file of this directory that has no name: nothing is left of it.
    fn in_file(layout: Layout, directory: &Path) -> io::Result<Making> {
        let path = directory.join(format!("{:016x}", fastrand::u64(..)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(path)?;
        let file = Some(BufWriter::with_capacity(PIECE, file));
        Ok(Making { file, ..Making::in_memory(layout) })
    }

    /// Takes in a row behind all before it.
    pub fn push(&mut self, row: &[u8]) -> io::Result<()> {
        let key = self.layout.key(row);
        if self.block.is_empty() {
            self.firsts.extend_from_slice(key);
        }
        self.block.extend_from_slice(row);
        let ([one, other], [own, its]) = (self.least, (self.layout.ends)(row));
        self.least = [one.min(own), other.min(its)];
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
        if self.count.is_multiple_of(self.layout.rows()) { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> io::Result<()> {
        self.ends.push(std::mem::replace(&mut self.least, NEVER));
        match &mut self.file {
            None => self.blocks.push(Arc::new(std::mem::take(&mut self.block))),
            Some(file) => {
                self.block.resize(BLOCK - CHECKSUM, 0);
                file.write_all(&self.block)?;
                file.write_all(&crc32c::crc32c(&self.block).to_le_bytes())?;
                self.block.clear();
            }
        }
        Ok(())
    }

    /// All of them.
    pub fn finish(mut self) -> io::Result<Run> {
        if !self.block.is_empty() {
            self.seal()?;
        }
        let stored = match self.file {
            None => Stored::Memory(self.blocks),
            Some(file) => Stored::in_file(file.into_inner().map_err(io::IntoInnerError::into_error)?),
        };
        let (stored, firsts, last) = (Arc::new(stored), Arc::new(self.firsts), self.last.into());
        let (count, live) = (self.count, Live::all(self.count));
        Ok(Run { layout: self.layout, stored, live, count, firsts, last, ends: self.ends })
    }
}

/// Runs that become one, as they were when that was decided.
pub(super) struct Merge {
    pub runs: Vec<Run>,
    pub layout: Layout,
    pub directory: PathBuf,
}

impl Merge {
    /// The one run of all that lived in them; nothing, with the reason, when it cannot be
    /// written now: they are still there. What cannot be read of them is lost.
    pub fn carry_out(&self) -> io::Result<Result<Run, io::Error>> {
        let mut making = match Making::in_file(self.layout, &self.directory) {
            Ok(making) => making,
            Err(error) => return Ok(Err(error)),
        };
        let cursors = self.runs.iter().map(|run| Cursor::from(run, &[])).collect::<io::Result<_>>()?;
        let mut unwritten = None;
        visit(cursors, Way::Up, |row| {
            unwritten = making.push(row).err();
            Ok(if unwritten.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(unwritten.map_or_else(|| making.finish(), Err))
    }
}
