//! The protocol log: every SMTP and HTTP dialogue as lines people can read.
//!
//! ```text
//! 2026-01-31T12:00:00.124Z S3f2a < EHLO app.example
//! 2026-01-31T12:00:00.124Z S3f2a > 250-gateway.example Hello [127.0.0.1]
//! 2026-01-31T12:00:00.150Z H91c0 * 52a0000000000002 attempt 1: connected to …
//! ```
//!
//! `<` is what came in, `>` what went out, `*` what the gateway says of it. A
//! session collects its lines in a [`Transcript`] and hands them over in one
//! piece; a thread of its own writes them. Handing over never waits: when the
//! writer is behind or its disk is full, lines are dropped and counted, and the
//! count is written when there is room again. Secrets are the caller's to leave
//! out, as [`Masked`](crate::masked::Masked) shows them; control characters are escaped here, so no line can forge another.

pub mod dialogues;
mod files;
mod horizon;
pub mod news;
mod pace;
pub mod pages;
pub mod parts;
pub mod search;
mod traces;

use crate::clock;
use crate::post::Timestamp;
use files::{Files, write_gathered};
use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How much of the dialogues is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// Only dialogues in which something went wrong, whole.
    Errors,
    /// Everything.
    Full,
}

/// Where and what to log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the daily files; made with mode 0700 when missing.
    pub directory: PathBuf,
    /// How much.
    pub level: Level,
    /// Files older than this many days are removed when a new day begins.
    pub keep_days: u32,
}

/// Chunks that may wait for the writer before lines are dropped.
const WAITING_CHUNKS: usize = 4096;
/// Octets made room for when a dialogue goes on: a message's worth of lines.
const ROOM: usize = 1024;
/// A transcript is handed over when it has grown to this many octets.
const CHUNK: usize = 8 * 1024;
/// At level `errors`, how much of a dialogue is kept until one is known.
const HELD: usize = 64 * 1024;

/// The chunk that ends the writer; transcripts never hand over an empty one.
const END: &str = "";

/// A handle to the log; clones write to the same files.
#[derive(Clone, Debug)]
pub struct ProtocolLog {
    level: Level,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    sender: Option<SyncSender<String>>,
    dropped: AtomicU64,
    next_name: AtomicU32,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl ProtocolLog {
    /// A log that keeps nothing.
    pub fn off() -> ProtocolLog {
        ProtocolLog { level: Level::Off, shared: Arc::default() }
    }

    /// A log whose lines, complete with their line ends, go to the receiver.
    pub fn channel() -> (ProtocolLog, Receiver<String>) {
        let (sender, receiver) = sync_channel(WAITING_CHUNKS);
        (ProtocolLog::with_sender(Level::Full, sender), receiver)
    }

    /// A log in daily files, `protocol-YYYY-MM-DD.log`, written by a thread that
    /// ends when the last handle is gone. Fails when the directory cannot be made
    /// or today's file cannot be opened.
    pub fn open(options: Options) -> io::Result<ProtocolLog> {
        if options.level == Level::Off {
            return Ok(ProtocolLog::off());
        }
        let level = options.level;
        let mut files = Files::open(options)?;
        let (sender, receiver) = sync_channel(WAITING_CHUNKS);
        let log = ProtocolLog::with_sender(level, sender);
        let counted = Arc::downgrade(&log.shared);
        let write = move || {
            let write = |lines: &str| {
                let shared = counted.upgrade();
                let lost = shared.as_ref().map_or(0, |shared| shared.dropped.swap(0, Ordering::Relaxed));
                if files.write(lines, lost).is_err()
                    && let Some(shared) = shared
                {
                    shared.dropped.fetch_add(lost + count(lines), Ordering::Relaxed);
                }
            };
            write_gathered(&receiver, write);
        };
        let writer = std::thread::Builder::new().name("protocol-log".to_owned()).spawn(write)?;
        *log.shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(log)
    }

    fn with_sender(level: Level, sender: SyncSender<String>) -> ProtocolLog {
        let shared = Shared {
            sender: Some(sender),
            next_name: AtomicU32::new(fastrand::u32(..0x8000)),
            ..Shared::default()
        };
        ProtocolLog { level, shared: Arc::new(shared) }
    }

    /// Begins a dialogue named `prefix` and some hexadecimal digits: `S` for
    /// SMTP sessions, `H` for HTTP connections.
    pub fn transcript(&self, prefix: char) -> Transcript {
        let number = self.shared.next_name.fetch_add(1, Ordering::Relaxed);
        Transcript {
            name: format!("{prefix}{number:04x}"),
            lines: String::new(),
            trouble: false,
            log: self.clone(),
        }
    }

    /// How many lines could not be written and have not been confessed yet.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far is written and ends the
    /// writer; what other handles bring later is dropped.
    pub fn close(self) {
        let writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(sender), Some(writer)) = (&self.shared.sender, writer) {
            // Fails only when the writer has ended already.
            let _ = sender.send(END.to_owned());
            writer.thread().unpark();
            // A writer that panicked has nothing left to wait for.
            let _ = writer.join();
        }
    }

    fn hand_over(&self, lines: String) {
        let Some(sender) = &self.shared.sender else { return };
        if let Err(lost) = sender.try_send(lines) {
            let (std::sync::mpsc::TrySendError::Full(lines)
            | std::sync::mpsc::TrySendError::Disconnected(lines)) = lost;
            self.shared.dropped.fetch_add(count(&lines), Ordering::Relaxed);
        }
    }
}

fn count(lines: &str) -> u64 {
    lines.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// The lines of one dialogue on their way to the log; handed over by `flush`,
/// when they grow long, and when dropped.
#[derive(Debug)]
pub struct Transcript {
    name: String,
    lines: String,
    trouble: bool,
    log: ProtocolLog,
}

impl Transcript {
    /// The name that stands in each of its lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether lines are kept at all: lets a caller skip making them.
    pub fn is_on(&self) -> bool {
        self.log.level != Level::Off
    }

    /// Notes what the gateway has to say (`*`).
    pub fn note(&mut self, text: impl Display) {
        self.line("*", text);
    }

    /// Notes a line that came in (`<`).
    pub fn received(&mut self, text: impl Display) {
        self.line("<", text);
    }

    /// Notes a line that went out (`>`).
    pub fn sent(&mut self, text: impl Display) {
        self.line(">", text);
    }

    /// Marks the dialogue as one in which something went wrong.
    pub fn trouble(&mut self) {
        self.trouble = true;
    }

    /// Hands the lines over. At level `errors` they stay here until there is
    /// trouble.
    pub fn flush(&mut self) {
        if self.log.level == Level::Errors && !self.trouble {
            if self.lines.len() > HELD {
                self.lines.clear();
            }
        } else if !self.lines.is_empty() {
            self.log.hand_over(std::mem::take(&mut self.lines));
        }
    }

    fn line(&mut self, mark: &str, text: impl Display) {
        if !self.is_on() {
            return;
        }
        if self.lines.is_empty() {
            self.lines.reserve(ROOM);
        }
        push_stamp(&mut self.lines, clock::wall());
        for piece in [" ", &self.name, " ", mark, " "] {
            self.lines.push_str(piece);
        }
        // Writing to a string cannot fail.
        let _ = write!(Escaped(&mut self.lines), "{text}");
        self.lines.push('\n');
        if self.lines.len() >= CHUNK {
            self.flush();
        }
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Appends a time; the part down to the second is formatted once a second.
fn push_stamp(out: &mut String, at: Timestamp) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.0 / 1000 {
            *second = at.0 / 1000;
            *text = clock::rfc3339(at);
            text.truncate("2026-01-31T12:00:00".len());
        }
        out.push_str(text);
        out.push('.');
        for power in [100, 10, 1] {
            out.push(char::from(b'0' + (at.0 / power % 10) as u8));
        }
        out.push('Z');
    });
}

/// Writes text with everything escaped that could move a cursor, end a line or
/// turn the direction of writing.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\') {
            self.0.push_str(text);
            return Ok(());
        }
        for char in text.chars() {
            match char {
                '\\' => self.0.push_str("\\\\"),
                '\u{2028}'
                | '\u{2029}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => {
                    write!(self.0, "{}", char.escape_unicode())?;
                }
                char if char.is_control() => write!(self.0, "{}", char.escape_default())?,
                char => self.0.push(char),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn options(directory: &Path, level: Level) -> Options {
        Options { directory: directory.to_owned(), level, keep_days: 2 }
    }

    fn written(directory: &Path) -> String {
        let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    #[test]
    fn lines_have_time_name_and_mark_and_cannot_be_forged() {
        let (log, lines) = ProtocolLog::channel();
        let mut transcript = log.transcript('S');
        transcript.received("EHLO a\r\n2026 S0000 > 250 forged\u{1b}[2J\u{202e}");
        transcript.flush();
        let line = lines.recv().unwrap();
        let (stamp, rest) = line.split_once(' ').unwrap();
        assert_eq!(stamp.len(), "2026-01-31T12:00:00.123Z".len());
        let name = transcript.name();
        assert_eq!(rest, format!("{name} < EHLO a\\r\\n2026 S0000 > 250 forged\\u{{1b}}[2J\\u{{202e}}\n"));
    }

    #[test]
    fn level_errors_keeps_only_dialogues_with_trouble_and_those_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = ProtocolLog::open(options(directory.path(), Level::Errors)).unwrap();
        let mut good = log.transcript('S');
        good.received("good");
        drop(good);
        let mut bad = log.transcript('S');
        bad.received("before");
        bad.flush();
        bad.trouble();
        bad.sent("550 no");
        drop(bad);
        log.close();
        let text = written(directory.path());
        assert!(!text.contains("good") && text.contains("before") && text.contains("550 no"), "{text}");
    }

    #[test]
    fn what_a_full_queue_loses_is_counted_and_never_waited_for() {
        let (log, lines) = ProtocolLog::channel();
        let mut transcript = log.transcript('S');
        for _ in 0..WAITING_CHUNKS + 3 {
            transcript.note("x");
            transcript.flush();
        }
        assert_eq!(log.dropped(), 3);
        assert_eq!(lines.try_iter().count(), WAITING_CHUNKS);
    }

    #[test]
    fn old_days_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        for day in ["2020-01-01", "2020-01-02", "2020-01-03"] {
            fs::write(directory.path().join(format!("protocol-{day}.log")), "x").unwrap();
        }
        fs::write(directory.path().join("other.log"), "kept").unwrap();
        ProtocolLog::open(options(directory.path(), Level::Full)).unwrap().close();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[0], "other.log");
        assert_eq!(names[1], "protocol-2020-01-03.log");
    }
}
