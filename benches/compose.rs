//! What composing costs in each format, beside the two things it cannot do without.
//!
//! A mail of 10 KiB with one attachment is measured against `mail-parser` reading
//! it; one of 25 MiB, nearly all an attachment, and one that is a page of HTML,
//! against an attachment through base64 both ways, with the memory that composing
//! adds at its peak, as shares of the message. Times are processor times, the best of
//! several runs: what else the machine does counts little. Formats that this version
//! cannot make show `-`. `benches/formats.py` reads the table; with the word `base64` there is
//! only the time of the copy, in seconds.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use data_encoding::BASE64;
use postgate::compose::{Composition, Options, Payload, Receipt, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Timestamp};
use postgate::tenant::Tenant;
use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::thread;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;

const FORMATS: [&str; 17] = [
    "raw",
    "body",
    "json",
    "multipart",
    "sendgrid",
    "sendgrid-raw",
    "mailgun",
    "mailgun-mime",
    "cloudmailin-multipart",
    "cloudmailin",
    "postmark",
    "postal",
    "postal-raw",
    "ses-sns",
    "smtp2http",
    "action-mailbox",
    "template:slack",
];

fn main() -> Outcome<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [format, what] => {
            println!("{}", added(&Setting::of(format)?, &large(what))?);
            Ok(())
        }
        [_] => {
            println!("{}", copied()?.as_secs_f64());
            Ok(())
        }
        _ => table(),
    }
}

/// The time that an attachment of a mail of 25 MiB takes through base64, both ways.
fn copied() -> Outcome<Duration> {
    let content = vec![0x5a; 18 * 1024 * 1024];
    best(5, || drop(black_box(BASE64.decode(BASE64.encode(black_box(&content)).as_bytes()))))
}

fn table() -> Outcome<()> {
    let small = mail(10 * 1024);
    let parsed = best(5, || (0..400).for_each(|_| drop(black_box(parse(&small)))))? / 400;
    let copied = copied()?;
    println!("mail-parser, 10 KiB: {:.1} µs", parsed.as_secs_f64() * 1e6);
    println!("base64 both ways, 25 MiB: {:.1} ms\n", copied.as_secs_f64() * 1e3);
    println!(
        "| payload | 10 KiB, µs | of mail-parser | 25 MiB, MB/s | of base64 | memory added \
         | page, MB/s | of base64 | memory added |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for format in FORMATS {
        let setting = Setting::of(format)?;
        if !setting.is_made(&small) && !is_whole(format) {
            println!("| {format} | - | | | | | | | |");
            continue;
        }
        let short = best(5, || (0..400).for_each(|_| drop(black_box(setting.compose(&small)))))? / 400;
        let short = short.as_secs_f64();
        print!("| {format} | {:.1} | {:.2} |", short * 1e6, short / parsed.as_secs_f64());
        for what in ["attachment", "page"] {
            let mail = large(what);
            let long = best(5, || drop(black_box(setting.compose(&mail))))?.as_secs_f64();
            let (rate, share) = (mail.len() as f64 / long / 1e6, copied.as_secs_f64() / long);
            print!(" {rate:.0} | {share:.2} | {:.2} |", added_alone(format, what)?);
        }
        println!();
    }
    Ok(())
}

fn parse(mail: &[u8]) -> Option<mail_parser::Message<'_>> {
    mail_parser::MessageParser::new().parse(black_box(mail))
}

/// A mail of 25 MiB.
fn large(what: &str) -> Bytes {
    if what == "page" { page(25 << 20) } else { mail(25 << 20) }
}

/// Whether a format is the message or a piece of it.
fn is_whole(format: &str) -> bool {
    ["raw", "body", "action-mailbox"].contains(&format)
}

/// A mail of about so many octets, most of them an attachment.
fn mail(octets: usize) -> Bytes {
    let mut content = BASE64.encode(&vec![0x5a; octets * 73 / 100]);
    let mut lines = String::with_capacity(octets);
    while !content.is_empty() {
        let rest = content.split_off(content.len().saturating_sub(76));
        lines.push_str(&rest);
        lines.push_str("\r\n");
    }
    format!(
        "From: Ann <ann@app.example>\r\nTo: in@hooks.example\r\nSubject: A file\r\n\
         Message-ID: <1@app.example>\r\n\
         Date: Sat, 31 Jan 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Here it is.\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=a.pdf\r\n\r\n{lines}--b--\r\n"
    )
    .into()
}

/// A mail that is a page of about so many octets.
fn page(octets: usize) -> Bytes {
    let line = "<p class=\"text\">A line as pages have them, with a <a href=\"https://a.example/\">link</a> \
                and some words that say nothing at all to anybody who reads it.</p>\r\n";
    let head = "From: Ann <ann@app.example>\r\nTo: in@hooks.example\r\nSubject: A page\r\n\
                MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
    format!("{head}{}", line.repeat(octets / line.len())).into()
}

/// What composing in one format needs besides the message.
struct Setting {
    options: Options,
    envelope: Envelope,
}

impl Setting {
    fn of(format: &str) -> Outcome<Setting> {
        let recipient = "in@hooks.example".parse()?;
        let url = "https://shop.example/inbound".parse().map_err(|_| "no URL")?;
        let route = Route { payload: format.parse::<Payload>()?, ..Route::new(recipient, url) };
        let options = Options { routes: vec![route], ..Options::default() };
        let client = Client {
            address: None,
            helo: "app.example".to_owned(),
            tls: None,
            login: None,
            tenant: Tenant::default(),
            session: "S0001".to_owned(),
        };
        let target = target(&options, "in@hooks.example").map_err(|refusal| refusal.to_string())?;
        let recipients = vec![Recipient::new("in@hooks.example", target)];
        Ok(Setting { options, envelope: Envelope::new(client, "bounce@app.example", recipients) })
    }

    fn compose(&self, raw: &Bytes) -> Option<Composition> {
        let receipt = Receipt { message: MessageId(1), received_at: Timestamp(1_769_860_800_123) };
        compose(&self.options, &self.envelope, receipt, raw.clone()).ok()
    }

    /// Whether the body of the post is made of a message, and is not the message itself.
    fn is_made(&self, raw: &Bytes) -> bool {
        let composition = self.compose(raw);
        composition
            .and_then(|made| made.admission.posts.first().map(|post| post.body.number > 0))
            .unwrap_or(false)
    }
}

/// The least processor time of some runs.
fn best(runs: usize, work: impl Fn()) -> Outcome<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..runs {
        let start = processor_time()?;
        work();
        least = least.min(processor_time()? - start);
    }
    Ok(least)
}

/// What this thread has taken of a processor.
fn processor_time() -> Outcome<Duration> {
    // Without it the kernel says what that was at its last tick.
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}

/// Memory that composing adds at its peak, as a share of the message; in a program of
/// its own, where the heap keeps nothing large of work before.
fn added_alone(format: &str, what: &str) -> Outcome<f64> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.env("MALLOC_MMAP_THRESHOLD_", "131072").args([format, what]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn added(setting: &Setting, mail: &Bytes) -> Outcome<f64> {
    let idle = resident("VmRSS:")?;
    // Sets the peak to what is resident now.
    fs::write("/proc/self/clear_refs", "5")?;
    drop(black_box(setting.compose(mail)));
    Ok(resident("VmHWM:")?.saturating_sub(idle) as f64 / mail.len() as f64)
}

/// What the kernel says of this program's memory, in octets.
fn resident(name: &str) -> Outcome<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}
