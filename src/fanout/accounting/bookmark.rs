//! How far a file of records is written, durably: a small file of its own.
//!
//! It names the file too, and how much of that was durable then: what stands behind that
//! is written again after a crash, and taken away before. So nothing is lost, and nothing
//! stands there twice. A new one is written beside the old one and takes its place.

use crate::journal::Position;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells a file from any other of its directory, under whatever name. The number of
/// its device would not: that may be another one behind each start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    inode: u64,
    /// When it was made; numbers of files that are gone are given again.
    born_at: Option<SystemTime>,
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Identity {
        Identity { inode: file.ino(), born_at: file.created().ok() }
    }

    /// Whether no other file can have it.
    pub(super) fn is_certain(&self) -> bool {
        self.born_at.is_some()
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    /// The path of the configuration, with the date in its name as it stands there.
    pub path: PathBuf,
    /// The last event that is written.
    pub position: Position,
    /// The file that was written last, and how many octets of it were durable.
    pub file: Option<(Identity, u64)>,
}

impl Bookmark {
    /// All that are there. One that cannot be read stands for nothing: what it knew is
    /// written again.
    pub(super) fn all(directory: &Path) -> io::Result<Vec<Bookmark>> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            all.extend(read(&path));
        }
        Ok(all)
    }

    /// That of this path, if it can be read.
    pub(super) fn of(directory: &Path, path: &Path) -> Option<Bookmark> {
        read(&place(directory, path))
    }

    /// Whether there is one of this path, good or not.
    pub(super) fn is_there(directory: &Path, path: &Path) -> bool {
        place(directory, path).exists()
    }

    /// Keeps it; on return it survives a power cut.
    pub(super) fn keep(&self, directory: &Path) -> io::Result<()> {
        make_directory(directory)?;
        let place = place(directory, &self.path);
        let beside = place.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(&beside, &place)?;
        File::open(directory)?.sync_all()
    }

    /// Forgets it.
    pub(super) fn remove(&self, directory: &Path) -> io::Result<()> {
        fs::remove_file(place(directory, &self.path))
    }
}

fn read(place: &Path) -> Option<Bookmark> {
    let read = fs::read(place).and_then(|text| Ok(serde_json::from_slice(&text)?));
    let warn = |error: &io::Error| tracing::error!(path = %place.display(), %error, "this bookmark of accounting is damaged; records are written again");
    read.inspect_err(warn).ok()
}

/// Makes a directory that is not there, durably.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), make_directory)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

/// Where that of a path is.
fn place(directory: &Path, path: &Path) -> PathBuf {
    let name = HEXLOWER.encode(digest(&SHA256, path.as_os_str().as_encoded_bytes()).as_ref());
    directory.join(format!("{}.json", name.get(..16).unwrap_or(&name)))
}
