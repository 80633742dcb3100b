//! What an embedded spool takes of its disk, for those who watch it.

use super::SpoolError;
use super::shared::Shared;
use std::sync::atomic::Ordering;

/// Disk that a spool uses, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets of its files.
    pub octets: u64,
    /// Octets in them that living posts need.
    pub living: u64,
    /// Files in which a post lives.
    pub files_in_use: u64,
    /// Files of the log.
    pub files: u64,
    /// Octets of the file system that can still be written.
    pub free: u64,
    /// Octets of the file system.
    pub total: u64,
    /// Everything that an earlier process left has been read.
    pub is_read: bool,
    /// Damaged places and missing posts that were met since it was opened.
    pub damages: u64,
}

/// How things are now. Blocks.
pub(super) fn of(shared: &Shared) -> Result<Usage, SpoolError> {
    let segments = shared.segments();
    let octets = segments.iter().map(|segment| segment.file.length().unwrap_or(0)).sum();
    let room = shared.disk.room().map_err(|error| SpoolError::Failed(error.to_string()))?;
    let index = shared.index();
    let is_used = |number: u64| index.tallies.of(number).posts > 0;
    let files_in_use = segments.iter().filter(|segment| is_used(segment.header.number)).count() as u64;
    let living = index.tallies.octets(shared.clock.now());
    drop(index);
    let files = segments.len() as u64;
    let is_read = *shared.recovered.borrow();
    let damages = shared.damages.load(Ordering::Relaxed);
    Ok(Usage { octets, living, files_in_use, files, free: room.free, total: room.total, is_read, damages })
}
