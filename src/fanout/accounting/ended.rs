//! What becomes of files of records that have ended: they are compressed, and after a
//! while removed. All of it blocks, and takes a while; others are written meanwhile.
//!
//! A compressed file has its name when it is complete, and the plain one is removed then.

use super::accounts::{Packing, Terms};
use super::naming::{Kin, PACKED, UNFINISHED};
use crate::post::Timestamp;
use flate2::{Compression, GzBuilder};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Octets that are compressed at a time.
const PIECE: usize = 64 * 1024;
/// CRC-32 and length, which end a file of gzip (RFC 1952 section 2.3.1).
const TRAILER: u64 = 8;

/// Files that have ended, as they were found.
pub(super) struct Ended {
    terms: Arc<Terms>,
    files: Vec<(PathBuf, Kin)>,
}

impl Ended {
    /// All but the one that is written.
    pub(super) fn find(terms: &Arc<Terms>, live: &Path) -> io::Result<Ended> {
        let mut files = Vec::new();
        for entry in fs::read_dir(terms.naming.directory())? {
            let path = terms.naming.directory().join(entry?.file_name());
            let kin = path.file_name().and_then(|name| terms.naming.kin(name.to_str()?));
            if let Some(kin) = kin.filter(|_| path.file_name() != live.file_name()) {
                files.push((path, kin));
            }
        }
        Ok(Ended { terms: Arc::clone(terms), files })
    }

    /// Removes those whose time is over by both clocks, that of the wall and one that never
    /// jumps, and compresses the others; soon returns when `is_over` turns true. One that cannot be dealt with does not keep it from others;
    /// the first error is told.
    pub(super) fn settle(self, clocks: [SystemTime; 2], is_over: &AtomicBool) -> io::Result<()> {
        let now = self.now(clocks);
        let mut first = Ok(());
        for (path, kin) in &self.files {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            first = first.and(self.settle_one((path, *kin), now, is_over));
        }
        first
    }

    /// The time that files are as old by. One clock may have jumped ahead, and the other may
    /// have begun behind, or slept; it is no earlier than the newest file.
    fn now(&self, [wall, steady]: [SystemTime; 2]) -> SystemTime {
        let modified = |(path, _): &(PathBuf, Kin)| fs::symlink_metadata(path).ok()?.modified().ok();
        let newest = self.files.iter().filter_map(modified).max();
        wall.min(newest.map_or(steady, |newest| newest.max(steady)))
    }

    fn settle_one(&self, (path, kin): (&Path, Kin), now: SystemTime, is_over: &AtomicBool) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_file() {
            return Ok(());
        }
        let age = now.duration_since(metadata.modified()?).unwrap_or_default();
        match kin {
            Kin::Unfinished => fs::remove_file(path),
            _ if age > self.terms.keep => fs::remove_file(path),
            Kin::Plain if self.terms.packing == Packing::Gzip => {
                self.pack(path, metadata.modified()?, is_over)
            }
            Kin::Plain | Kin::Packed => Ok(()),
        }
    }

    fn pack(&self, path: &Path, modified: SystemTime, is_over: &AtomicBool) -> io::Result<()> {
        let (packed, beside) = (with(path, PACKED), with(path, UNFINISHED));
        let done = compress(path, &beside, modified, is_over);
        if !matches!(done, Ok(true)) {
            // The first error says what is wrong.
            let _ = fs::remove_file(&beside);
            return done.map(drop);
        }
        if !packed.exists() {
            fs::rename(&beside, &packed)?;
        } else if trailer(&packed)? == trailer(&beside)? {
            // It was compressed before, and not removed.
            fs::remove_file(&beside)?;
        } else {
            fs::rename(&beside, with(&self.another(modified)?, PACKED))?;
        }
        File::open(self.terms.naming.directory())?.sync_all()?;
        fs::remove_file(path)
    }

    /// A name that no file has.
    fn another(&self, modified: SystemTime) -> io::Result<PathBuf> {
        let naming = &self.terms.naming;
        let mut names = Vec::new();
        for entry in fs::read_dir(naming.directory())? {
            names.extend(entry?.file_name().into_string());
        }
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Ok(naming.ended(at, naming.next_number(names.iter().map(String::as_str))))
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

/// Compresses a file into another, durably; not to its end when it was told to stop.
fn compress(from: &Path, to: &Path, modified: SystemTime, is_over: &AtomicBool) -> io::Result<bool> {
    let mut plain = File::open(from)?;
    let packed = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut encoder = GzBuilder::new().write(packed, Compression::default());
    let mut piece = vec![0; PIECE];
    loop {
        let length = plain.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        if is_over.load(Ordering::Relaxed) {
            return Ok(false);
        }
        encoder.write_all(read)?;
    }
    let packed = encoder.finish()?;
    // It is as old as what is in it.
    packed.set_modified(modified)?;
    packed.sync_all()?;
    Ok(true)
}

fn trailer(path: &Path) -> io::Result<[u8; TRAILER as usize]> {
    let file = File::open(path)?;
    let mut trailer = [0; TRAILER as usize];
    file.read_exact_at(&mut trailer, file.metadata()?.len().saturating_sub(TRAILER))?;
    Ok(trailer)
}
