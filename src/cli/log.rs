//! `postgate log`: reads the protocol log's daily files, also while they grow.
//!
//! The files are read as they are, beside the running gateway and without it.
//! Following means looking again a few times a second; when a new day's file
//! appears, the old one is read to its end first.

use super::{ConfigFile, Failure, NO_INPUT, USAGE, say};
use crate::post::PostId;
use crate::protocol_log::dialogues::{Filter, Line, Question};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Show the protocol log: SMTP and HTTP dialogues
///
/// Without a choice, everything that is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate log --follow
  postgate log --session S3f2a
  postgate log --post 52a0000000000002     its attempts and the session that brought it
  postgate log --destination https://shop.example")]
pub(super) struct Arguments {
    /// Go on with what is added
    #[arg(long)]
    follow: bool,
    /// One dialogue, by the name in its lines
    #[arg(long, value_name = "NAME", group = "choice")]
    session: Option<String>,
    /// The dialogues of one post, or of all posts of a message
    #[arg(long, value_name = "ID", group = "choice", value_parser = post)]
    post: Option<PostId>,
    /// The dialogues with one destination
    #[arg(long, value_name = "URL", group = "choice")]
    destination: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

fn post(text: &str) -> Result<PostId, String> {
    text.parse().map_err(|_| "an id is 16 hexadecimal digits, or those and -1, -2 …".to_owned())
}

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let directory = arguments.file.load()?.server.data_dir.join("log");
    let mut filter = Filter::new(question(&arguments)?);
    let files = daily_files(&directory).map_err(|error| {
        let remedy = "no gateway has run here with this configuration; name its own with --config";
        Failure::new(NO_INPUT, format_args!("{}: {error}; {remedy}", directory.display()))
    })?;
    if filter.needs_look() {
        for path in &files {
            let look = |line: &str| Line::parse(line).iter().for_each(|line| filter.look(line));
            Tail::open(path)?.read(look)?;
        }
    }
    if filter.needs_look() && !arguments.follow {
        return in_order(&files, &mut filter);
    }
    let mut last = None;
    for path in files {
        let mut tail = Tail::open(&path)?;
        pass(&mut tail, &mut filter)?;
        last = Some((path, tail));
    }
    if arguments.follow { follow(&directory, last, &mut filter) } else { Ok(()) }
}

/// Prints the session that brought a post before its attempts: the log holds
/// the lines of different dialogues in the order in which they were handed over.
fn in_order(files: &[PathBuf], filter: &mut Filter) -> Result<(), Failure> {
    let (mut smtp, mut http) = (Vec::new(), Vec::new());
    for path in files {
        Tail::open(path)?.read(|line| {
            filter.take(line, &mut |line| {
                let is_smtp = Line::parse(line).is_some_and(|line| line.is_smtp());
                if is_smtp { &mut smtp } else { &mut http }.push(line.to_owned());
            });
        })?;
    }
    for line in smtp.iter().chain(&http) {
        say(line)?;
    }
    Ok(())
}

fn question(arguments: &Arguments) -> Result<Question, Failure> {
    if let Some(name) = &arguments.session {
        return Ok(Question::Session(name.clone()));
    }
    if let Some(id) = arguments.post {
        return Ok(Question::Post(id));
    }
    let Some(text) = &arguments.destination else { return Ok(Question::Everything) };
    let wrong = || Failure::new(USAGE, format_args!("{text}: not a URL such as https://shop.example"));
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?.to_owned();
    Ok(Question::Destination { host, port: url.port_or_known_default().ok_or_else(wrong)? })
}

/// The log's files, oldest first: their names sort by day.
fn daily_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("protocol-") && name.ends_with(".log")) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Prints the wanted ones of the lines that were added.
fn pass(tail: &mut Tail, filter: &mut Filter) -> Result<(), Failure> {
    let mut said = Ok(());
    tail.read(|line| {
        filter.take(line, &mut |line| {
            if said.is_ok() {
                said = say(line);
            }
        });
    })?;
    Ok(said?)
}

/// Goes on until the reader has had enough.
fn follow(directory: &Path, last: Option<(PathBuf, Tail)>, filter: &mut Filter) -> Result<(), Failure> {
    let mut current = last;
    loop {
        // Which files there are is asked first: a line written to the old file
        // before the new one appeared is then read with the old.
        let files = daily_files(directory)?;
        if let Some((_, tail)) = &mut current {
            pass(tail, filter)?;
        }
        let is_newer = |path: &&PathBuf| current.as_ref().is_none_or(|(current, _)| *path > current);
        match files.iter().find(is_newer) {
            Some(next) => current = Some((next.clone(), Tail::open(next)?)),
            None => std::thread::sleep(LOOK),
        }
    }
}

/// A file that is read as far as it is complete lines, again and again.
struct Tail {
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Tail> {
        Ok(Tail { file: BufReader::with_capacity(64 * 1024, File::open(path)?), begun: Vec::new() })
    }

    /// Hands the lines that are there and were not read yet to `take`.
    fn read(&mut self, mut take: impl FnMut(&str)) -> io::Result<()> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 {
            if let Some(line) = self.begun.strip_suffix(b"\n") {
                take(&String::from_utf8_lossy(line));
                self.begun.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_is_handed_over_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("protocol-2026-01-31.log");
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        let mut lines = Vec::new();
        for piece in ["one\ntw", "o", "\n", "three\n"] {
            file.write_all(piece.as_bytes()).unwrap();
            tail.read(|line| lines.push(line.to_owned())).unwrap();
        }
        assert_eq!(lines, ["one", "two", "three"]);
    }
}
