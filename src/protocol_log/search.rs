//! The dialogues of one post, out of the daily files: the SMTP session that brought it
//! and its HTTP exchanges.
//!
//! Files are large on a busy gateway, so there are limits to the octets that are read
//! and to the time for it; the newest files come first in the choice. All of this blocks.

use super::dialogues::{Filter, Line, Question};
use crate::clock;
use crate::post::{MessageId, PostId, Timestamp};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much is read for one answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of files.
    pub read: u64,
    /// Octets of lines that are kept.
    pub kept: usize,
    /// Time for all of it.
    pub time: Duration,
}

/// The dialogues of a post, as lines of the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dialogues {
    /// The session that brought it.
    pub smtp: Vec<String>,
    /// Its attempts.
    pub http: Vec<String>,
    /// There may be more: a limit was reached.
    pub is_cut: bool,
}

/// A session may begin so long before the acceptance of a message.
pub(super) const SESSION: Duration = Duration::from_secs(24 * 3600);

/// Finds the dialogues of a post in the log's directory.
pub fn of_post(directory: &Path, id: PostId, limits: Limits) -> io::Result<Dialogues> {
    let until = Instant::now() + limits.time;
    let accepted_at = Timestamp(id.message.0 >> MessageId::COUNTER_BITS);
    let first = clock::rfc3339(accepted_at.before(SESSION));
    let last = clock::rfc3339(accepted_at.after(SESSION));
    let (files, mut is_cut) = chosen(directory, &first, limits.read)?;
    let mut filter = Filter::new(Question::Post(id));
    for path in files.iter().filter(|path| day(path) <= last.get(..10).unwrap_or_default()) {
        is_cut |= !each_line(path, until, |line| {
            Line::parse(line).iter().for_each(|line| filter.look(line));
        })?;
    }
    let mut found = Dialogues::default();
    let mut room = limits.kept;
    for path in &files {
        is_cut |= !each_line(path, until, |line| {
            filter.take(line, &mut |line| {
                let Some(left) = room.checked_sub(line.len()) else { return is_cut = true };
                room = left;
                let is_smtp = Line::parse(line).is_some_and(|line| line.is_smtp());
                if is_smtp { &mut found.smtp } else { &mut found.http }.push(line.to_owned());
            });
        })?;
    }
    Ok(Dialogues { is_cut, ..found })
}

/// The newest files from a day on that may be read, the oldest first; whether others
/// were left out.
fn chosen(directory: &Path, first: &str, mut octets: u64) -> io::Result<(Vec<PathBuf>, bool)> {
    let mut files = files(directory)?;
    files.retain(|path| day(path) >= first.get(..10).unwrap_or_default());
    let mut chosen = Vec::new();
    for path in files.iter().rev() {
        let length = fs::metadata(path)?.len();
        let Some(left) = octets.checked_sub(length) else { break };
        octets = left;
        chosen.push(path.clone());
    }
    chosen.reverse();
    let is_cut = chosen.len() < files.len();
    Ok((chosen, is_cut))
}

/// The files of the log, the oldest first: their names sort by day.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if super::pages::is_day(day(&path)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The day of a file, as its name has it; nothing when it is none of the log's.
pub(super) fn day(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("protocol-").and_then(|name| name.strip_suffix(".log")).unwrap_or_default()
}

/// Hands over each whole line of a file; whether there was time for all.
fn each_line(path: &Path, until: Instant, mut take: impl FnMut(&str)) -> io::Result<bool> {
    // It may grow as fast as it is read.
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::with_capacity(64 * 1024, file.take(length));
    let mut line = Vec::new();
    let mut lines = 0_u32;
    while file.read_until(b'\n', &mut line)? > 0 {
        if let Some(whole) = line.strip_suffix(b"\n") {
            take(&String::from_utf8_lossy(whole));
        }
        line.clear();
        lines = lines.wrapping_add(1);
        if lines.is_multiple_of(1000) && Instant::now() > until {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let id: PostId = "0000000000000007".parse().unwrap();
        let lines = |day: u32| {
            let stamp = format!("1970-01-0{day}T00:00:00.000Z");
            format!(
                "{stamp} S0001 * connected from 127.0.0.1:1\n{stamp} S0001 > 250 2.0.0 Message received and queued as {id}.\n\
                 {stamp} H0001 * {id} attempt {day}: connected to a.example\n{stamp} H0002 * {id}0 attempt 1: x\n"
            )
        };
        for day in 1..=3 {
            fs::write(directory.path().join(format!("protocol-1970-01-0{day}.log")), lines(day)).unwrap();
        }
        fs::write(directory.path().join("other.log"), lines(1)).unwrap();
        let all = Limits { read: 1 << 20, kept: 1 << 20, time: Duration::from_secs(60) };
        let one_file = lines(1).len() as u64;
        for (limits, smtp, http, is_cut) in [
            (all, 6, 3, false),
            (Limits { read: 2 * one_file, ..all }, 4, 2, true),
            (Limits { kept: 100, ..all }, 1, 0, true),
        ] {
            let found = of_post(directory.path(), id, limits).unwrap();
            assert_eq!(
                (found.smtp.len(), found.http.len(), found.is_cut),
                (smtp, http, is_cut),
                "{limits:?}"
            );
        }
    }
}
