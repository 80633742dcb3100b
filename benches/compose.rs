//! What composing costs in each format, beside the two things it cannot do without.
//!
//! A mail of 10 KiB with one attachment is measured against `mail-parser` reading
//! it; one of 25 MiB against its attachment through base64 both ways, with the
//! memory that composing adds at its peak, as shares of the message. Best of
//! several runs; formats that this version cannot make show `-`.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use data_encoding::BASE64;
use postgate::compose::{Options, Payload, Receipt, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Timestamp};
use postgate::tenant::Tenant;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const FORMATS: [&str; 15] = [
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
    "ses-sns",
    "smtp2http",
    "action-mailbox",
];

fn main() -> Outcome<()> {
    let (small, large) = (mail(10 * 1024), mail(25 * 1024 * 1024));
    let idle = resident("VmRSS:")?;
    let parsed = best(400, || mail_parser::MessageParser::new().parse(black_box(&small)));
    let content = vec![0x5a; 18 * 1024 * 1024];
    let copied = best(5, || BASE64.decode(BASE64.encode(black_box(&content)).as_bytes()));
    println!("mail-parser, 10 KiB: {:.1} µs", parsed.as_secs_f64() * 1e6);
    println!("base64 both ways, 25 MiB: {:.1} ms\n", copied.as_secs_f64() * 1e3);
    println!("| payload | 10 KiB, µs | of mail-parser | 25 MiB, MB/s | of base64 | memory added | body |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for format in FORMATS {
        let setting = Setting::of(format)?;
        if setting.octets(&small).is_none_or(|octets| octets == small.len()) && !is_whole(format) {
            println!("| {format} | - | | | | | |");
            continue;
        }
        let short = best(400, || setting.octets(&small)).as_secs_f64();
        let long = best(5, || setting.octets(&large)).as_secs_f64();
        let (peak, octets) = peak(|| setting.octets(&large))?;
        let added = peak.saturating_sub(idle);
        let length = large.len() as f64;
        println!(
            "| {format} | {:.1} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
            short * 1e6,
            short / parsed.as_secs_f64(),
            length / long / 1e6,
            copied.as_secs_f64() / long,
            added as f64 / length,
            octets.unwrap_or_default() as f64 / length,
        );
    }
    Ok(())
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

    /// How long the body of the post is that is made of a message.
    fn octets(&self, raw: &Bytes) -> Option<usize> {
        let receipt = Receipt { message: MessageId(1), received_at: Timestamp(1_769_860_800_123) };
        let composition = compose(&self.options, &self.envelope, receipt, raw.clone()).ok()?;
        composition.admission.posts.first().map(|post| post.body.length as usize)
    }
}

fn best<T>(runs: usize, work: impl Fn() -> T) -> Duration {
    let run = |_| {
        let start = Instant::now();
        let done = black_box(work());
        let time = start.elapsed();
        drop(done);
        time
    };
    (0..runs).map(run).min().unwrap_or_default()
}

/// Octets of resident memory at the peak of the work, and what it returns. What the
/// heap kept of work before counts: it is used again.
fn peak<T>(work: impl Fn() -> T) -> Outcome<(usize, T)> {
    // Sets the peak to what is resident now.
    fs::write("/proc/self/clear_refs", "5")?;
    let done = work();
    Ok((resident("VmHWM:")?, done))
}

/// What the kernel says of this program's memory, in octets.
fn resident(name: &str) -> Outcome<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}
