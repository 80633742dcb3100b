//! `security.md` section 2.5, row by row: mail made to exhaust or confuse whoever
//! takes it apart, sent to the whole program.
//!
//! Each flood is sent at half its size and whole. What it costs must not grow
//! faster than it does, memory stays within four times the message, and the raw
//! message arrives byte for byte, whatever became of its parsed form.

use crate::support::collector::{Answer, Arrival, Collector};
use crate::support::program::{CONFIG, Client, Gateway, Reply};
use data_encoding::BASE64;
use serde_json::Value;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
/// What a message may cost besides its size: a build for tests is some twenty
/// times slower than the one that is used.
const SLACK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 600 } else { 100 });

/// So many octets or lines of a body; fewer where each takes twenty times as long.
const fn many(count: usize) -> usize {
    if cfg!(debug_assertions) { count / 10 } else { count }
}

/// A gateway with a route for each way to see a message.
struct Victim {
    receiver: Collector,
    gateway: Gateway,
    count: usize,
    _directory: TempDir,
}

/// What a message cost, and what was posted.
struct Cost {
    processor: Duration,
    memory: usize,
    json: Arrival,
}

impl Victim {
    fn start() -> Victim {
        let directory = TempDir::new().unwrap();
        let receiver = Collector::start(|_| Answer::Status(200));
        let route = |payload: &str| {
            format!(
                "[[route]]\nrecipient = \"{payload}@h.example\"\npayload = \"{payload}\"\n\
                 header_control = false\nurl = \"http://{}/{payload}\"\n",
                receiver.address
            )
        };
        let config = format!("{CONFIG}\n{}{}{}", route("json"), route("raw"), route("multipart"));
        let gateway = Gateway::start(directory.path(), &config);
        Victim { receiver, gateway, count: 0, _directory: directory }
    }

    fn send(&mut self, payload: &str, message: &[u8]) -> Reply {
        let mut client = Client::connect(self.gateway.smtp).unwrap();
        client.send(&[format!("{payload}@h.example")], message)
    }

    fn post(&mut self, payload: &str, message: &[u8]) -> Arrival {
        let reply = self.send(payload, message);
        assert!(reply.is_accepted(), "{reply:?}");
        self.count += 1;
        self.receiver.received(self.count).pop().unwrap()
    }

    /// Takes a message, whose raw form must arrive as it was sent.
    fn endure(&mut self, message: &[u8]) -> Cost {
        let raw = self.post("raw", message);
        assert_eq!(raw.checksum, crc32c::crc32c(message));
        let process = format!("/proc/{}", self.gateway.child.id());
        // From here on the peak is counted anew.
        fs::write(format!("{process}/clear_refs"), "5").unwrap();
        let (before, time) = (memory(&process, "VmHWM:"), processor_time(&process));
        let json = self.post("json", message);
        Cost {
            processor: processor_time(&process) - time,
            memory: memory(&process, "VmHWM:").saturating_sub(before),
            json,
        }
    }

    fn json(&mut self, message: &[u8]) -> Value {
        let arrival = self.endure(message).json;
        serde_json::from_slice(&arrival.body).unwrap_or_else(|error| panic!("{error}: {arrival:?}"))
    }
}

pub fn memory(process: &str, what: &str) -> usize {
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// User and system time so far; the kernel counts hundredths of a second.
pub fn processor_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Whether a message was posted as it came, because it could not be taken apart.
fn is_whole(arrival: &Arrival) -> bool {
    arrival.headers.contains_key("postgate-parse")
}

/// Sends a flood of `count` and of half as many; what the whole one cost.
fn flood(count: usize, message: impl Fn(usize) -> Vec<u8>) -> Cost {
    let mut victim = Victim::start();
    let half = victim.endure(&message(count / 2));
    let whole = message(count);
    let cost = victim.endure(&whole);
    let (twice, most) = (half.processor * 3, 4 * whole.len() + 16 * MIB);
    assert!(cost.processor < twice + SLACK, "{:?} for half, {:?}", half.processor, cost.processor);
    assert!(cost.processor < Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 }));
    assert!(cost.memory < most, "{} KiB of {} KiB", cost.memory / 1024, most / 1024);
    cost
}

/// Sends a flood whose header section is over the limits: refused while it comes.
fn refused(message: &[u8]) {
    let mut victim = Victim::start();
    for payload in ["json", "raw"] {
        let reply = victim.send(payload, message);
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with("552 5.3.4 ")), "{reply:?}");
    }
}

fn multipart(body: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}")
}

#[test]
fn m1_multipart_nesting() {
    let level = |at| format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n");
    let nested = |count| (0..count).map(level).collect::<String>().into_bytes();
    assert!(is_whole(&flood(100_000, nested).json));
}

#[test]
fn m2_message_nesting() {
    let nested = |count| "Content-Type: message/rfc822\r\n\r\n".repeat(count).into_bytes();
    let json = flood(100_000, nested).json;
    // The attached message stays closed, whatever is in it.
    let json: Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(json["attachments"].as_array().unwrap().len(), 1);
}

#[test]
fn m3_empty_parts() {
    let parts = |count| multipart(&"--b\r\n".repeat(count)).into_bytes();
    assert!(is_whole(&flood(1_000_000, parts).json));
}

#[test]
fn m4_parameters_in_pieces() {
    let pieces = |count: usize| {
        let pieces = (0..count).map(|at| format!("; name*{at}*=a")).collect::<String>();
        format!("Content-Type: text/plain{pieces}\r\n\r\nx\r\n").into_bytes()
    };
    refused(&pieces(800_000));
    // What fits into a header section must not take long either.
    flood(15_000, pieces);
}

#[test]
fn m5_header_fields_and_folds() {
    refused(("X: y\r\n".repeat(1_000_000) + "\r\nx\r\n").as_bytes());
    refused(format!("X: y\r\n{}\r\nx\r\n", " folded\r\n".repeat(1_000_000)).as_bytes());
    flood(28_000, |count| format!("Subject: y\r\n{}\r\nx\r\n", " folded\r\n".repeat(count)).into_bytes());
}

#[test]
fn m6_encoded_words_and_charsets() {
    let word = "=?utf-8?Q?a?= ";
    flood(18_000, |count| format!("Subject: {}\r\n\r\nx\r\n", word.repeat(count)).into_bytes());
    flood(20_000, |count| format!("From: {}\r\n\r\nx\r\n", "=?utf-8?Q?a".repeat(count)).into_bytes());
    flood(many(1_000_000), |count| format!("Subject: x\r\n\r\n{}\r\n", word.repeat(count)).into_bytes());
    let body = |charset: &str, encoding: &str, octets: &[u8]| {
        let head = format!(
            "Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        [head.as_bytes(), octets, b"\r\n"].concat()
    };
    flood(many(1_000_000), |count| body("iso-2022-jp", "8bit", &b"\x1b$B\x1b(B\xff".repeat(count)));
    flood(many(1_000_000), |count| body("utf-8", "quoted-printable", &b"=zz=4==\xff".repeat(count)));
    flood(many(1_000_000), |count| body("unheard-of", "8bit", &b"\xff\xfea\0b".repeat(count)));
    flood(many(1_000_000), |count| body("utf-7", "base64", &b"*&A=%".repeat(count)));
    let mut victim = Victim::start();
    assert_eq!(victim.json(&body("utf-7", "8bit", b"+ADw-b+AD4-"))["text"], "+ADw-b+AD4-\r\n");
    assert_eq!(victim.json(&body("utf-8", "8bit", b"a\xffb"))["text"], "a\u{fffd}b\r\n");
}

#[test]
fn m7_boundaries_that_mislead() {
    let inner = "Content-Type: multipart/x; boundary=bx\r\n\r\n--bx\r\n\r\none\r\n--b\r\n\r\ntwo\r\n";
    let mails = [
        (multipart(&format!("--b\r\n{inner}")), Some("one\r\ntwo\r\n"), Some("boundary")),
        (multipart("--b\r\n\r\nno end"), Some("no end"), Some("boundary")),
        (multipart("--b in the preamble\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nno\r\n"), Some("one"), None),
        (
            format!("Content-Type: text/plain\r\n{}", multipart("--b\r\n\r\n")),
            Some("--b\r\n\r\n\r\n"),
            Some("Content-Type"),
        ),
        ("Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none\r\n".to_owned(), None, None),
        (
            "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n"
                .to_owned(),
            Some("aGVsbG8=\r\n"),
            Some("Content-Transfer-Encoding"),
        ),
    ];
    let mut victim = Victim::start();
    for (mail, text, doubts) in mails {
        let mail = mail + "\r\n";
        let first = victim.endure(mail.as_bytes()).json;
        let second = victim.endure(mail.as_bytes()).json;
        assert_eq!(is_whole(&first), text.is_none(), "{mail:?}");
        let told = first.headers.get("postgate-ambiguous").map(String::as_str);
        assert_eq!(told, doubts, "{mail:?}");
        if let Some(text) = text {
            let found =
                |arrival: &Arrival| serde_json::from_slice::<Value>(&arrival.body).unwrap()["text"].clone();
            assert_eq!(found(&first).as_str().unwrap().trim_end(), text.trim_end(), "{mail:?}");
            assert_eq!(found(&first), found(&second));
        }
    }
    flood(100_000, |count| {
        let boundary = "b".repeat(count);
        let line = format!("--{boundary}x\r\n").repeat(20);
        format!("Content-Type: multipart/x; boundary={boundary}\r\n\r\n--{boundary}\r\n\r\n{line}")
            .into_bytes()
    });
}

#[test]
fn m8_file_names() {
    let long = "n".repeat(10_000);
    let names = [
        (r#"filename="../../etc/x""#.to_owned(), "../../etc/x", "x"),
        (r#"filename="C:\\x""#.to_owned(), r"C:\x", "x"),
        ("filename*=utf-8''a%00b".to_owned(), "a\0b", "ab"),
        ("filename*=utf-8''a%0D%0AX%3A%20y".to_owned(), "aX: y", "aX: y"),
        ("filename*=utf-8''a%22%3B%20x=%22".to_owned(), "a\"; x=\"", "a%22; x=%22"),
        ("filename*=utf-8''%E2%80%AEgpj.exe".to_owned(), "\u{202e}gpj.exe", "gpj.exe"),
        (format!("filename={long}"), long.as_str(), &long[..200]),
        ("filename*0*=utf-8''%C3%BC; filename*1=\"=?utf-8?Q?=C3=BC?=\"".to_owned(), "üü", "üü"),
    ];
    let mut victim = Victim::start();
    for (parameter, name, safe) in names {
        let part = format!("Content-Type: a/b\r\nContent-Disposition: attachment; {parameter}\r\n\r\nx\r\n");
        let mail = format!("{}--b--\r\n", multipart(&format!("--b\r\n{part}")));
        let cost = victim.endure(mail.as_bytes());
        let json: Value = serde_json::from_slice(&cost.json.body).unwrap();
        assert_eq!(json["attachments"][0]["filename"], name);
        // Data, and nothing else: no header of the request holds it.
        assert!(cost.json.headers.values().all(|value| !value.contains(name)));
        let form = String::from_utf8(victim.post("multipart", mail.as_bytes()).body.to_vec()).unwrap();
        let file = format!("name=\"attachment-1\"; filename=\"{safe}\"\r\nContent-Type: a/b\r\n\r\nx\r\n--");
        assert!(form.contains(&file), "{form}");
    }
}

#[test]
fn m9_bombs_are_data() {
    // A gzip member of a gigabyte of zeros begins like this; what follows does not matter.
    let bomb = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".as_slice(), &[0; MIB]].concat();
    let encoded = BASE64.encode(&bomb);
    let part = format!(
        "Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=a.gz\r\n\r\n{encoded}\r\n"
    );
    let mut victim = Victim::start();
    let cost = victim.endure(format!("{}--b--\r\n", multipart(&format!("--b\r\n{part}"))).as_bytes());
    let json: Value = serde_json::from_slice(&cost.json.body).unwrap();
    assert_eq!(json["attachments"][0]["content"], encoded);
    assert_eq!(json["attachments"][0]["size"], bomb.len());
    assert!(cost.json.body.len() < encoded.len() + 10_000);
}

#[test]
fn m10_hardly_a_message() {
    let mails: [&[u8]; 9] = [
        b"",
        b"\r\n",
        b"Subject: only a header\r\n",
        b"only a body\r\n",
        b"{\"only\":\"data\"}\r\n",
        b"Subject: x\r\nno blank line\r\n",
        b"Subject: a\0b\r\n\r\nx\0y\r\n",
        b"Subject: gr\xfc\xdfe\r\n\r\n\xff\r\n",
        b"\xef\xbb\xbfSubject: x\r\n\r\n\r\n",
    ];
    let mut victim = Victim::start();
    for mail in mails {
        let json = victim.json(mail);
        assert_eq!(json["size"], mail.len(), "{}", mail.escape_ascii());
    }
}

#[test]
fn m11_fields_that_contradict() {
    let mail = "From: a@one.example\r\nFrom: b@two.example\r\nSubject: first\r\nSubject: second\r\n\
                To: c@x.example\r\nTo: d@x.example\r\n\r\nbody\r\n";
    let mut victim = Victim::start();
    let arrival = victim.endure(mail.as_bytes()).json;
    assert_eq!(arrival.headers["postgate-ambiguous"], "From, To, Subject");
    let json: Value = serde_json::from_slice(&arrival.body).unwrap();
    assert_eq!(json["subject"], "first");
    let addresses = |name: &str| {
        let list = json[name].as_array().unwrap().iter();
        list.map(|mailbox| mailbox["address"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (addresses("from"), addresses("to")),
        ("a@one.example b@two.example".to_owned(), "c@x.example d@x.example".to_owned())
    );
    assert_eq!(json["headers"].as_array().unwrap().len(), 6);
    // Neither is a field: a blank before the colon, or no colon.
    for line in ["Subject : x", "Subject x"] {
        let json = victim.json(format!("X-A: b\r\n{line}\r\n\r\nbody\r\n").as_bytes());
        assert_eq!(json["subject"], Value::Null);
        assert_eq!(json["text"], format!("{line}\r\n\r\nbody\r\n"));
    }
}

#[test]
fn m12_documents_are_json_and_safe_in_a_page() {
    let text = "</script><!--&\u{2028}\u{2029}\u{1}\u{8}\t\\\"\u{7f}\u{fffe} \u{1f600}";
    let mut victim = Victim::start();
    let mail = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n");
    let cost = victim.endure(mail.as_bytes());
    let json: Value = serde_json::from_slice(&cost.json.body).unwrap();
    assert_eq!(json["text"], format!("{text}\r\n"));
    let document = String::from_utf8(cost.json.body).unwrap();
    assert!(!document.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{1}']), "{document}");
    // A surrogate in UTF-8 and in UTF-16: neither is a character.
    let lone = b"Content-Type: text/plain; charset=utf-8\r\n\r\na\xed\xa0\x80b\r\n";
    assert!(victim.json(lone)["text"].as_str().unwrap().contains('\u{fffd}'));
    let lone = b"Content-Type: text/plain; charset=utf-16le\r\n\r\na\0\0\xd8b\0\r\n";
    assert!(victim.json(lone)["text"].as_str().unwrap().contains('\u{fffd}'));
    let cost = flood(60_000, |count| format!("To: {}x@b\r\n\r\nx\r\n", "a@b,".repeat(count)).into_bytes());
    assert!(!is_whole(&cost.json));
    flood(many(5_000_000), |count| format!("Subject: x\r\n\r\n{}", "\r\n".repeat(count)).into_bytes());
    flood(many(5_000_000), |count| format!("Subject: x\r\n\r\n{}\r\n", "\u{1}".repeat(count)).into_bytes());
}
