//! The options of `sendmail`, as its callers have written them since 1983.
//!
//! One table says for every letter whether it takes an argument; letters may
//! stand together (`-ti`), an argument may be attached or be the next one.
//! What says nothing to this gateway is taken and forgotten, with its argument,
//! because a caller that is refused an option loses its mail. Options end at
//! the first recipient or at `--`, as in sendmail and Postfix: text that others
//! control, behind it, never becomes an option.

use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// `-bm`: a message from standard input.
    #[default]
    Deliver,
    /// `-bs`: SMTP on standard input and output.
    Converse,
    /// `-bi`, `-q`, `-bh`: work that the gateway does by itself or has no need of.
    Nothing,
    /// `-bp`: show the queue.
    Queue,
    /// `-bd`: be a server.
    Daemon,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// What a line of nothing but a dot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LoneDot {
    /// The end of the message.
    #[default]
    Ends,
    /// Text, with `-i`.
    IsText,
}

/// A command line, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// What is to be done.
    pub mode: Mode,
    /// Recipients as written, each argument one or more.
    pub recipients: Vec<String>,
    /// Whether further recipients are in the header (`-t`).
    pub reads_header: bool,
    /// The reverse-path as written (`-f`, `-r`).
    pub sender: Option<String>,
    /// What a lone dot is.
    pub lone_dot: LoneDot,
    /// Whether the dialogue is shown (`-v`).
    pub is_verbose: bool,
    /// Where the gateway is, as `HOST:PORT` or `unix:/path`.
    pub server: Option<String>,
    /// The gateway's configuration file.
    pub config: Option<PathBuf>,
}

/// Whether an option has an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// The rest of the word, else the next one.
    Argument,
    /// The rest of the word, which may be empty.
    Rest,
}

/// What an option is about.
#[derive(Clone, Copy)]
enum Topic {
    Mode,
    Aliases,
    Queue,
    Sender,
    Header,
    Dot,
    Verbose,
    /// `-ox`: one of sendmail's options by its letter.
    Letter,
    /// `-O name=value`: the same by its name.
    Named,
    Ignored,
}

/// Every letter of sendmail, Postfix and Exim that callers use.
const LETTERS: &[(char, Takes, Topic)] = &[
    ('A', Takes::Argument, Topic::Ignored), // which of sendmail's files
    ('B', Takes::Argument, Topic::Ignored), // 7BIT or 8BITMIME; the message itself is looked at
    ('C', Takes::Argument, Topic::Ignored), // sendmail's configuration
    ('D', Takes::Argument, Topic::Ignored), // where to write debug output
    ('F', Takes::Argument, Topic::Ignored), // full name, for a From that is not added
    ('G', Takes::Nothing, Topic::Ignored),
    ('I', Takes::Nothing, Topic::Aliases),
    ('L', Takes::Argument, Topic::Ignored), // name in the system log
    ('M', Takes::Argument, Topic::Ignored),
    ('N', Takes::Argument, Topic::Ignored), // delivery status: no mail is ever sent back
    ('O', Takes::Argument, Topic::Named),
    ('R', Takes::Argument, Topic::Ignored),
    ('U', Takes::Nothing, Topic::Ignored),
    ('V', Takes::Argument, Topic::Ignored),
    ('X', Takes::Argument, Topic::Ignored), // log of the traffic
    ('b', Takes::Argument, Topic::Mode),
    ('c', Takes::Nothing, Topic::Ignored),
    ('d', Takes::Rest, Topic::Ignored),
    ('e', Takes::Argument, Topic::Ignored), // how errors are reported
    ('f', Takes::Argument, Topic::Sender),
    ('h', Takes::Argument, Topic::Ignored), // hops so far
    ('i', Takes::Nothing, Topic::Dot),
    ('m', Takes::Nothing, Topic::Ignored),
    ('n', Takes::Nothing, Topic::Ignored),
    ('o', Takes::Argument, Topic::Letter),
    ('p', Takes::Argument, Topic::Ignored), // protocol by which the message came
    ('q', Takes::Rest, Topic::Queue),
    ('r', Takes::Argument, Topic::Sender),
    ('s', Takes::Nothing, Topic::Ignored),
    ('t', Takes::Nothing, Topic::Header),
    ('v', Takes::Nothing, Topic::Verbose),
    ('x', Takes::Nothing, Topic::Ignored),
];

/// Reads a command line, given without the program's name. Fails with a sentence
/// about what is wrong.
pub(super) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        } else if let Some(long) = word.strip_prefix("--") {
            options.long(long, &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            options.short(letters, &mut words)?;
        } else {
            options.recipients.push(word);
            break;
        }
    }
    options.recipients.extend(words);
    Ok(options)
}

impl Options {
    /// Ours, and the two that programs know from msmtp.
    fn long(&mut self, text: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let mut value = || attached.clone().or_else(|| words.next()).ok_or(format!("--{name} needs a value"));
        match name {
            "server" => self.server = Some(value()?),
            "config" => self.config = Some(value()?.into()),
            "from" => self.sender = Some(value()?),
            "read-recipients" => self.reads_header = true,
            "help" => self.mode = Mode::Help,
            "version" => self.mode = Mode::Version,
            _ => return Err(format!("unknown option --{name}")),
        }
        Ok(())
    }

    fn short(&mut self, letters: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let known = LETTERS.iter().find(|(known, ..)| *known == letter);
            let (_, takes, topic) = known.ok_or(format!("unknown option -{letter}"))?;
            let attached = if *takes == Takes::Nothing { "" } else { rest.as_str() };
            let value = match takes {
                Takes::Argument if attached.is_empty() => {
                    words.next().ok_or(format!("-{letter} needs an argument"))?
                }
                _ => attached.to_owned(),
            };
            self.apply(*topic, value)?;
            if *takes != Takes::Nothing {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, topic: Topic, value: String) -> Result<(), String> {
        match topic {
            Topic::Mode => self.mode = mode(&value)?,
            Topic::Aliases => self.mode = Mode::Nothing,
            // `-bd -q30m` is a server.
            Topic::Queue if self.mode == Mode::Daemon => {}
            Topic::Queue => self.mode = Mode::Nothing,
            Topic::Sender => self.sender = Some(value),
            Topic::Header => self.reads_header = true,
            Topic::Dot => self.lone_dot = LoneDot::IsText,
            Topic::Verbose => self.is_verbose = true,
            Topic::Letter => {
                if let Some(state) = value.strip_prefix('i') {
                    self.lone_dot = lone_dot(state);
                }
            }
            Topic::Named => match value.split_once('=') {
                Some((name, state)) if name.eq_ignore_ascii_case("IgnoreDots") => {
                    self.lone_dot = lone_dot(state);
                }
                _ => {}
            },
            Topic::Ignored => {}
        }
        Ok(())
    }
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "m" => Ok(Mode::Deliver),
        "s" => Ok(Mode::Converse),
        "i" | "h" | "H" => Ok(Mode::Nothing),
        "p" => Ok(Mode::Queue),
        "d" | "D" | "l" => Ok(Mode::Daemon),
        _ => Err(format!("-b{value} is not supported")),
    }
}

/// Sendmail reads a missing value as true.
fn lone_dot(ignored: &str) -> LoneDot {
    if ignored.starts_with(['f', 'F', 'n', 'N', '0']) { LoneDot::Ends } else { LoneDot::IsText }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
