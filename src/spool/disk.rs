//! The file operations of the log, as narrow as it needs them.
//!
//! They stand behind a trait because what a disk does when it fails is most of
//! what a spool is for: the tests put a disk in its place that loses its cache,
//! tears writes, fills up or fails at the n-th call. Every method may block.

use rustix::fs::{FallocateFlags, OFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of segment files.
pub trait Disk: Send + Sync {
    /// Names of the files there.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a file of `length` octets, all zero and all written, so that later
    /// syncs change no metadata. Durable with its name when this returns.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a file with room for `length` octets without writing them.
    fn reserve(&self, name: &str, length: u64) -> io::Result<()>;
    /// Gives a file another name; durable after the next [`Disk::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after the next [`Disk::sync_names`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// What is free of the file system.
    fn room(&self) -> io::Result<Room>;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Its length in octets.
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset`; an error when the file ends before.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all parts, one behind the other, from `offset`.
    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length` octets.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// What is left of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Octets an unprivileged process can still write.
    pub free: u64,
    /// Octets in all.
    pub total: u64,
    /// Files that can still be made.
    pub free_files: u64,
    /// Files in all; 0 on a file system that does not count them.
    pub total_files: u64,
}

/// How much of a disk mail must leave free, so that what was taken can be
/// delivered and noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// So many octets …
    pub octets: u64,
    /// … or this part of the disk, in percent, whichever is more; of the files too.
    pub percent: u64,
}

impl Room {
    /// Whether less is left than is to be kept free.
    pub fn is_within(&self, reserve: &Reserve) -> bool {
        let part = |total: u64| total / 100 * reserve.percent;
        self.free < part(self.total).max(reserve.octets) || self.free_files < part(self.total_files)
    }
}

/// What is left of the file system that holds `path`.
pub fn room_at(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Room {
        free: stat.f_bavail * stat.f_frsize,
        total: stat.f_blocks * stat.f_frsize,
        free_files: stat.f_favail,
        total_files: stat.f_files,
    })
}

/// Most parts of one `pwritev` (IOV_MAX on Linux).
const PARTS: usize = 1024;
/// Zeros written in one call.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A real directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    is_writable: bool,
}

impl Directory {
    /// The directory at `path`, made with mode 0700 when missing. Refuses one
    /// that others may look into or that is a symbolic link.
    pub fn at(path: &Path) -> io::Result<Directory> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let entry = path.symlink_metadata()?;
        if !entry.is_dir() {
            return Err(io::Error::other(format!("{} is not a directory", path.display())));
        }
        if entry.mode() & 0o077 != 0 {
            let mode = entry.mode() & 0o777;
            let text = format!("{} is open to others (mode {mode:03o}); chmod 700 it", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Directory { path: path.to_owned(), is_writable: true })
    }

    /// The directory at `path`, whoever may look into it, for reading alone.
    pub fn to_look_at(path: &Path) -> Directory {
        Directory { path: path.to_owned(), is_writable: false }
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        options.read(true).write(self.is_writable).mode(0o600).custom_flags(no_follow);
        options
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.options().open(self.path.join(name))?))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        let file = self.options().create(true).truncate(true).open(&path)?;
        let write = || -> io::Result<()> {
            let mut written = 0;
            while written < length {
                let step = usize::try_from(length - written).unwrap_or(usize::MAX).min(ZEROS.len());
                file.write_all_at(ZEROS.get(..step).unwrap_or_default(), written)?;
                written += step as u64;
            }
            file.sync_all()?;
            self.sync_names()
        };
        // A file that could not be made whole must not take the room it has.
        write().inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        Ok(Arc::new(file))
    }

    fn reserve(&self, name: &str, length: u64) -> io::Result<()> {
        let path = self.path.join(name);
        let file = self.options().create(true).truncate(false).open(&path)?;
        let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length);
        allocated.map_err(io::Error::from).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        self.sync_names()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn room(&self) -> io::Result<Room> {
        room_at(&self.path)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        while !parts.is_empty() {
            let some = parts.get(..parts.len().min(PARTS)).unwrap_or_default();
            let written = match rustix::io::pwritev(self, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
