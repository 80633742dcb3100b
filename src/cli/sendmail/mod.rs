//! `postgate sendmail`: a drop-in for `/usr/sbin/sendmail`.
//!
//! It reads a message, hands it to the gateway over SMTP and answers with a code
//! of `sysexits.h`. It has no queue: when the gateway is away the caller learns it
//! (75) and tries again. Without `-v` it prints nothing on success, since cron mails
//! whatever it reads.
//!
//! All recipients or none: when one is refused nothing is sent, and each refused
//! one is named, so that a caller that tries again makes no second post.
//!
//! Nothing is added to a message, not even the `From`, `Date` and `Message-ID` of
//! other sendmails: the gateway requires none of them, and a post must be what
//! was piped. What is changed: line ends become CRLF, `-t` cuts `Bcc`, and the
//! `From ` line of a mailbox goes.

mod addresses;
mod header;
mod message;
mod options;
mod place;

use super::{DATA, Failure, NO_PERMISSION, NO_USER, TRY_AGAIN, UNAVAILABLE, USAGE, help, say, send};
use crate::smtp::client::{Dialogue, Extensions, SendError, Side, wire};
use addresses::{addresses, qualified};
use message::Message;
use options::{Mode, Options};
use place::Place;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::thread;

/// Send the message on standard input, as /usr/sbin/sendmail does
///
/// Link /usr/sbin/sendmail to this program and cron, PHP's mail(), git and mutt
/// post through the gateway. Prints nothing when all went well.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Options:
  -t              recipients are in To, Cc and Bcc, besides the arguments; Bcc is not sent
  -i, -oi         a line of a single dot is text and not the end of the message
  -f ADDR, -r ADDR, --from ADDR
                  sender; '' or '<>' is the null sender [default: you@hostname]
  -bm             read a message (default); -bs: speak SMTP on standard input and output
  -v              show the dialogue
  --server A      the gateway, HOST:PORT or unix:/path [default: $POSTGATE_SERVER, the first
                  listener of the configuration that needs neither TLS nor login, 127.0.0.1:2525]
  --config FILE   configuration file [default: as elsewhere; need not be readable]
  --help, --version
What else callers write (-F, -B, -N, -R, -V, -o…, -O…, -n, -m, -U, -G, -L, -X, -h, -C, -d) is taken
and ignored; -q and -bi have nothing to do.

Exit codes (sysexits.h):
  64  wrong arguments, no recipients      65  the message is refused for good
  67  a recipient is refused for good     69  the gateway refuses to talk
  75  try again: the gateway is away, or refuses for now
  77  not allowed

Examples:
  printf 'Subject: hello\\n\\nworld\\n' | postgate sendmail -i orders@hooks.example
  ln -s \"$(command -v postgate)\" /usr/sbin/sendmail"
)]
pub(super) struct Arguments {
    /// Options and recipients
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|RECIPIENT")]
    arguments: Vec<OsString>,
}

/// The arguments, when this program was called as `sendmail`, `mailq` or
/// `newaliases`, or with the command `sendmail`. No other parser may see them first:
/// it would take `--` for its own.
pub(super) fn called(mut words: impl Iterator<Item = OsString>) -> Option<Arguments> {
    let program = words.next()?;
    let implied = match Path::new(&program).file_name()?.to_str()? {
        "sendmail" => None,
        "mailq" => Some("-bp".into()),
        "newaliases" => Some("-bi".into()),
        _ if words.next()? == "sendmail" => None,
        _ => return None,
    };
    Some(Arguments { arguments: implied.into_iter().chain(words).collect() })
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    deliver_or_converse(arguments.arguments)
        .map_err(|failure| Failure { text: format!("sendmail: {}", failure.text), ..failure })
}

fn deliver_or_converse(arguments: Vec<OsString>) -> Result<(), Failure> {
    // What is not UTF-8 is found when it is part of an address, and matters nowhere else.
    let words = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let options = options::parse(words).map_err(|complaint| Failure::new(USAGE, complaint))?;
    if options.mode != Mode::Deliver && (options.reads_header || !options.recipients.is_empty()) {
        return Err(Failure::new(USAGE, "recipients, and an option that sends no message"));
    }
    match options.mode {
        Mode::Deliver => deliver(&options),
        Mode::Converse => converse(&place::find(&options)?.server),
        Mode::Nothing => Ok(()),
        Mode::Queue => Err(Failure::new(UNAVAILABLE, "the gateway's queue is not shown here")),
        Mode::Daemon => Err(Failure::new(USAGE, "the server is started with: postgate serve")),
        Mode::Help => help("sendmail"),
        Mode::Version => Ok(say(concat!("postgate ", env!("CARGO_PKG_VERSION")))?),
    }
}

fn deliver(options: &Options) -> Result<(), Failure> {
    if options.recipients.is_empty() && !options.reads_header {
        return Err(Failure::new(USAGE, "recipient names must be specified"));
    }
    let place = place::find(options)?;
    let largest = || largest(&place.server);
    let mut message = Message::read(io::stdin().lock(), options.lone_dot, largest)?;
    message.head.drain(..header::mailbox_line(&message.head));
    let mut recipients: Vec<_> = options.recipients.iter().flat_map(|text| addresses(text)).collect();
    if options.reads_header {
        recipients.extend(take_recipients(&mut message)?);
    }
    let envelope = envelope(options, &place, recipients)?;
    let mut shown = Ok(());
    let mut show = |side: Side, line: &str| {
        if options.is_verbose && shown.is_ok() {
            shown = say(send::shown(side, line));
        }
    };
    hand_over(&place.server, &envelope, message, &mut show)
}

/// The recipients in the header, whose `Bcc` is cut.
fn take_recipients(message: &mut Message) -> Result<Vec<String>, Failure> {
    let header = header::read(&message.head);
    if message.has_rest() && header.length == message.head.len() {
        return Err(Failure::new(DATA, "the header section is too large"));
    }
    message.head = header.kept;
    Ok(header.recipients)
}

/// Who sends to whom.
struct Envelope {
    sender: String,
    recipients: Vec<String>,
}

fn envelope(options: &Options, place: &Place, recipients: Vec<String>) -> Result<Envelope, Failure> {
    let sender = match &options.sender {
        Some(text) => addresses(text).into_iter().next().unwrap_or_default(),
        None => place::user(),
    };
    let sender = qualified(sender, &place.hostname);
    let mut seen = HashSet::new();
    let recipients = recipients.into_iter().filter(|address| !address.is_empty());
    let recipients = recipients.map(|address| qualified(address, &place.hostname));
    let recipients: Vec<_> = recipients.filter(|address| seen.insert(address.clone())).collect();
    if recipients.is_empty() {
        return Err(Failure::new(USAGE, "no recipient addresses found"));
    }
    let is_broken =
        |text: &&String| text.contains(|char: char| char.is_control() || char == char::REPLACEMENT_CHARACTER);
    if let Some(broken) = recipients.iter().chain([&sender]).find(is_broken) {
        let text = format_args!("{broken:?} holds control characters or is not UTF-8").to_string();
        return Err(Failure::new(DATA, text));
    }
    if sender.contains(['<', '>']) {
        return Err(Failure::new(DATA, format_args!("{sender:?} is no sender")));
    }
    Ok(Envelope { sender, recipients })
}

/// Most octets of a message that the gateway takes; 0 = any number.
fn largest(server: &str) -> Result<u64, Failure> {
    let mut unseen = |_: Side, _: &str| {};
    let mut dialogue = Dialogue::open(server, &mut unseen).map_err(|error| refused_to_talk(server, error))?;
    let offered = dialogue.hello().map_err(|error| refused_to_talk(server, error))?;
    dialogue.farewell();
    Ok(offered.largest)
}

fn hand_over(
    server: &str,
    envelope: &Envelope,
    message: Message,
    show: &mut dyn FnMut(Side, &str),
) -> Result<(), Failure> {
    let mut dialogue = Dialogue::open(server, show).map_err(|error| refused_to_talk(server, error))?;
    let offered = dialogue.hello().map_err(|error| refused_to_talk(server, error))?;
    let result = transaction(&mut dialogue, offered, envelope, message);
    dialogue.farewell();
    result
}

fn transaction(
    dialogue: &mut Dialogue,
    offered: Extensions,
    envelope: &Envelope,
    message: Message,
) -> Result<(), Failure> {
    if offered.largest != 0 && message.length() > offered.largest {
        return Err(message::too_large(offered.largest));
    }
    let parameters = parameters(offered, envelope, &message);
    dialogue.sender(&envelope.sender, &parameters).map_err(|error| refused(DATA, error))?;
    let mut refusals = Vec::new();
    for recipient in &envelope.recipients {
        match dialogue.recipient(recipient) {
            Ok(()) => {}
            // 421 is the end of the connection (RFC 5321 section 3.8), not of a recipient.
            Err(SendError::Refused(reply)) if !reply.starts_with("421") => refusals.push((recipient, reply)),
            Err(error) => return Err(refused(NO_USER, error)),
        }
    }
    if !refusals.is_empty() {
        return Err(refused_recipients(&refusals));
    }
    dialogue.data(&mut message.open()).map_err(|error| refused(DATA, error)).map(drop)
}

/// The parameters of MAIL, as far as they are offered and say something.
fn parameters(offered: Extensions, envelope: &Envelope, message: &Message) -> String {
    let mut parameters = String::new();
    if offered.size {
        parameters.push_str(&format!(" SIZE={}", message.length()));
    }
    if offered.eight_bit && message.is_eight_bit {
        parameters.push_str(" BODY=8BITMIME");
    }
    let is_ascii = envelope.recipients.iter().chain([&envelope.sender]).all(|address| address.is_ascii());
    if offered.utf8 && !is_ascii {
        parameters.push_str(" SMTPUTF8");
    }
    parameters
}

/// No dialogue came about.
fn refused_to_talk(server: &str, error: SendError) -> Failure {
    match error {
        SendError::Unavailable(reason) => {
            let remedy = "is the gateway running? --server and $POSTGATE_SERVER name another one";
            Failure::new(TRY_AGAIN, format_args!("{server}: {reason}; {remedy}"))
        }
        SendError::Refused(reply) => {
            Failure::new(code(&reply, UNAVAILABLE), format_args!("{server}: {reply}"))
        }
    }
}

/// What a refusal means; `for_good` is the exit code when it is one for good.
fn refused(for_good: u8, error: SendError) -> Failure {
    match error {
        SendError::Unavailable(reason) => Failure::new(TRY_AGAIN, reason),
        SendError::Refused(reply) => Failure::new(code(&reply, for_good), format_args!("refused: {reply}")),
    }
}

/// Names every recipient that was refused. The code is that of the first refusal
/// for good: with one of those trying again is in vain.
fn refused_recipients(refusals: &[(&String, String)]) -> Failure {
    let codes = refusals.iter().map(|(_, reply)| code(reply, NO_USER));
    let code = codes.clone().find(|code| *code != TRY_AGAIN).unwrap_or(TRY_AGAIN);
    let lines: Vec<_> = refusals.iter().map(|(recipient, reply)| format!("<{recipient}>: {reply}")).collect();
    Failure::new(code, format_args!("nothing is sent; refused are\n{}", lines.join("\n")))
}

/// The exit code for a negative reply: 4yz is for now, a 5.7.z is a matter of
/// permission (RFC 3463), the rest is for good.
fn code(reply: &str, for_good: u8) -> u8 {
    if reply.starts_with('4') {
        TRY_AGAIN
    } else if reply.get(4..).is_some_and(|text| text.starts_with("5.7.")) {
        NO_PERMISSION
    } else {
        for_good
    }
}

/// Carries SMTP between standard input and output and the gateway, until that ends.
fn converse(server: &str) -> Result<(), Failure> {
    let away = |error: io::Error| Failure::new(TRY_AGAIN, format_args!("{server}: {error}"));
    let mut replies = wire::connect(server).map_err(away)?;
    let mut commands = replies.try_clone().map_err(away)?;
    // Ends with the process: the gateway's end of the dialogue is the end.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut commands);
        let _ = commands.finish();
    });
    io::copy(&mut replies, &mut io::stdout().lock())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_its_name_or_its_command() {
        for (words, arguments) in [
            ("/usr/sbin/sendmail -t -- a", Some("-t -- a")),
            ("sendmail", Some("")),
            ("mailq", Some("-bp")),
            ("/usr/bin/newaliases -v", Some("-bi -v")),
            ("./postgate sendmail -- -a", Some("-- -a")),
            ("postgate send sendmail", None),
            ("postgate", None),
            ("", None),
        ] {
            let words = words.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
            let found = called(words).map(|found| found.arguments.join(" ".as_ref()));
            assert_eq!(found.as_deref(), arguments.map(AsRef::as_ref), "{arguments:?}");
        }
    }

    #[test]
    fn replies_become_exit_codes() {
        for (reply, exit) in [
            ("452 4.3.1 full", TRY_AGAIN),
            ("421 4.3.2 later", TRY_AGAIN),
            ("550 5.1.1 nobody", NO_USER),
            ("550 5.7.1 not you", NO_PERMISSION),
            ("554 no", NO_USER),
        ] {
            assert_eq!(code(reply, NO_USER), exit, "{reply}");
        }
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let both = [(&a, "452 4.5.3 later".to_owned()), (&b, "550 5.1.1 nobody".to_owned())];
        assert_eq!(refused_recipients(&both).code, NO_USER);
        assert_eq!(refused_recipients(&both[..1]).code, TRY_AGAIN);
    }
}
