//! Mail data on its way in: in memory, or in a temporary file once it is large.
//!
//! The file has no name (`O_TMPFILE`), so nothing is left of it when the process
//! is killed. Where the file system cannot do that, it has one for a moment; what
//! is found at the next start is removed. It is never synced: nobody relies on it
//! before the message is committed to the log. Nothing is written once the disk is
//! down to its reserve. All of this blocks and belongs off the runtime's threads.

use super::disk::{self, Directory, Reserve};
use bytes::Bytes;
use memmap2::MmapMut;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The data of one message, received and unstuffed.
#[derive(Debug)]
pub enum MailData {
    /// All of it in memory.
    Memory(Bytes),
    /// All of it in a temporary file.
    File(Spill),
}

impl MailData {
    /// How many octets it has.
    pub fn octets(&self) -> usize {
        match self {
            MailData::Memory(data) => data.len(),
            MailData::File(spill) => spill.octets,
        }
    }

    /// All of it in memory. Blocks while it reads a file.
    pub fn read(self) -> io::Result<Bytes> {
        match self {
            MailData::Memory(data) => Ok(data),
            MailData::File(spill) => spill.read(),
        }
    }
}

impl From<Bytes> for MailData {
    fn from(data: Bytes) -> MailData {
        MailData::Memory(data)
    }
}

/// Where temporary files are made.
#[derive(Debug)]
pub struct SpillDirectory {
    path: PathBuf,
    reserve: Reserve,
}

impl SpillDirectory {
    /// The directory at `path`, made with mode 0700 when missing; what an earlier
    /// process left there is removed. No file grows into the `reserve` of its disk.
    pub fn at(path: &Path, reserve: Reserve) -> io::Result<SpillDirectory> {
        Directory::at(path)?;
        for entry in std::fs::read_dir(path)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(SpillDirectory { path: path.to_owned(), reserve })
    }

    /// Makes an empty file.
    pub fn begin(self: &Arc<SpillDirectory>) -> io::Result<Spill> {
        self.look_at_the_room()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let nameless = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or(0);
        let file = match options.custom_flags(nameless).open(&self.path) {
            Err(error) if is_unknown(&error) => self.make_named(options.custom_flags(0)),
            file => file,
        };
        Ok(Spill { file: file?, octets: 0, directory: Arc::clone(self) })
    }

    /// For file systems that know no files without a name.
    fn make_named(&self, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.path.join(format!("{:016x}", fastrand::u64(..)));
        let file = options.create_new(true).open(&path)?;
        std::fs::remove_file(path)?;
        Ok(file)
    }

    fn look_at_the_room(&self) -> io::Result<()> {
        match disk::room_at(&self.path)?.is_within(&self.reserve) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// What file systems and old kernels answer that have no `O_TMPFILE`.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::IsADirectory)
        || error.kind() == io::ErrorKind::InvalidInput
}

/// A temporary file with the beginning of a message, or all of it; gone when dropped.
#[derive(Debug)]
pub struct Spill {
    file: File,
    octets: usize,
    directory: Arc<SpillDirectory>,
}

impl Spill {
    /// Writes behind what is there. `StorageFull` when the disk is down to its
    /// reserve; the file is of no use after any error.
    pub fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.directory.look_at_the_room()?;
        self.file.write_all(octets)?;
        self.octets += octets.len();
        Ok(())
    }

    fn read(self) -> io::Result<Bytes> {
        filled(self.octets, |buffer| self.file.read_exact_at(buffer, 0))
    }
}

/// Octets from which on a buffer is given back to the system when it is over.
const LARGE: usize = 1 << 20;

/// A buffer of exactly so many octets, filled by `read`. No allocator keeps a
/// large one when it is over: after a burst of large mail they kept hundreds of
/// megabytes.
pub(super) fn filled(octets: usize, read: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Bytes> {
    if octets < LARGE {
        let mut buffer = vec![0; octets];
        read(&mut buffer)?;
        return Ok(Bytes::from(buffer));
    }
    let mut buffer = MmapMut::map_anon(octets)?;
    read(&mut buffer)?;
    Ok(Bytes::from_owner(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Reserve = Reserve { octets: 0, percent: 0 };

    fn files_in(path: &Path) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn what_is_written_is_read_back_and_no_name_is_left() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tmp");
        let directory = Arc::new(SpillDirectory::at(&path, NOTHING).unwrap());
        let mut options = OpenOptions::new();
        let named = directory.make_named(options.read(true).write(true)).unwrap();
        for file in [None, Some(named)] {
            let mut spill = directory.begin().unwrap();
            spill.file = file.unwrap_or(spill.file);
            assert_eq!(files_in(&path), 0);
            spill.append(b"a").unwrap();
            for octets in [100_000, LARGE - 100_002, 1] {
                spill.append(&vec![b'b'; octets]).unwrap();
                let copy =
                    Spill { file: spill.file.try_clone().unwrap(), directory: directory.clone(), ..spill };
                let (octets, data) = (copy.octets, MailData::File(copy));
                assert_eq!(data.octets(), octets);
                let data = data.read().unwrap();
                assert!(data.len() == octets && data.starts_with(b"ab") && data.ends_with(b"bb"));
            }
        }
    }

    #[test]
    fn leftovers_are_removed_and_the_reserve_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tmp");
        Directory::at(&path).unwrap();
        std::fs::write(path.join("left"), "over").unwrap();
        let kept_free = Reserve { octets: u64::MAX, percent: 0 };
        let directory = Arc::new(SpillDirectory::at(&path, kept_free).unwrap());
        assert_eq!(files_in(&path), 0);
        assert_eq!(directory.begin().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut spill = Arc::new(SpillDirectory::at(&path, NOTHING).unwrap()).begin().unwrap();
        spill.directory = directory;
        assert_eq!(spill.append(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
