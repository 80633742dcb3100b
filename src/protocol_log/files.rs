//! The daily files of the protocol log, as its writer thread sees them.
//!
//! The day of a chunk is the day its first line names, so the file follows the
//! lines and not the moment of writing. Files are made with mode 0600.

use super::{END, Options};
use crate::clock;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Octets of a line that name its day.
const DAY: usize = "2026-01-31".len();
/// How long the writer gathers chunks before it writes them.
const GATHER: Duration = Duration::from_millis(20);
/// Octets it gathers at most.
const GATHERED: usize = 256 * 1024;

/// Writes what comes until [`END`], all that came within [`GATHER`] at once: a
/// wake-up and a write for every few lines cost more than the lines.
pub(super) fn write_gathered(receiver: &Receiver<String>, mut write: impl FnMut(&str)) {
    let mut gathered = String::new();
    let mut is_over = false;
    while !is_over && let Ok(first) = receiver.recv() {
        is_over = first == END;
        gathered.push_str(&first);
        if !is_over {
            std::thread::park_timeout(GATHER);
        }
        for chunk in receiver.try_iter() {
            if chunk == END {
                is_over = true;
                continue;
            }
            // The file is that of the day of the first line.
            let is_same_day = gathered.get(..DAY) == chunk.get(..DAY);
            if !gathered.is_empty() && (gathered.len() > GATHERED || !is_same_day) {
                write(&gathered);
                gathered.clear();
            }
            gathered.push_str(&chunk);
        }
        if !gathered.is_empty() {
            write(&gathered);
        }
        gathered.clear();
        gathered.shrink_to(GATHERED);
    }
}

/// The writer's side: one file a day.
pub(super) struct Files {
    options: Options,
    current: Option<(String, File)>,
}

impl Files {
    /// Makes the directory and opens today's file.
    pub(super) fn open(options: Options) -> io::Result<Files> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.directory)?;
        let mut files = Files { options, current: None };
        files.file_of(&clock::rfc3339(clock::wall()))?;
        Ok(files)
    }

    /// Appends a chunk to its day's file, after a line that confesses `lost` lines.
    pub(super) fn write(&mut self, chunk: &str, lost: u64) -> io::Result<()> {
        let confession = match lost {
            0 => String::new(),
            lost => {
                format!("{} - * {lost} lines were lost here\n", chunk.split(' ').next().unwrap_or_default())
            }
        };
        let file = self.file_of(chunk)?;
        file.write_all(confession.as_bytes())?;
        file.write_all(chunk.as_bytes())
    }

    /// The file for lines that begin with this time.
    fn file_of(&mut self, line: &str) -> io::Result<&mut File> {
        let day = line.get(..DAY).unwrap_or("unknown");
        if self.current.as_ref().is_none_or(|(current, _)| current != day) {
            let path = self.options.directory.join(format!("protocol-{day}.log"));
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            remove_old(&self.options.directory, self.options.keep_days);
            self.current = Some((day.to_owned(), file));
        }
        match &mut self.current {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Keeps the newest `keep` files; names sort by day. A file that cannot be
/// removed stays: the log must not fail for it.
fn remove_old(directory: &Path, keep: u32) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("protocol-") && name.ends_with(".log")
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_ours).collect();
    files.sort();
    let surplus = files.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX).max(1));
    for file in files.iter().take(surplus) {
        let _ = fs::remove_file(file);
    }
}
