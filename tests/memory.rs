//! What composing costs in memory: at its peak no more than twice the message, in every
//! format, besides the message itself.
//!
//! Measured in a program of its own, which is this one once more: one format after the
//! other, with a heap that gives back large pieces at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use data_encoding::BASE64;
use postgate::compose::{Composition, Options, Payload, Receipt, Route, Templates, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Timestamp};
use postgate::tenant::Tenant;
use std::fs;
use std::process::Command;
use std::sync::Arc;

/// Octets of a message; what is bounded by a constant, and a page of 2 MiB that is begun, is
/// little beside it.
const OCTETS: usize = 16 << 20;

/// Every format, as the complaint about a wrong one lists them, and a template.
fn names() -> Vec<String> {
    let complaint = "none of them".parse::<Payload>().unwrap_err();
    let (_, list) = complaint.split_once("expected ").unwrap();
    let (list, _) = list.split_once(" or template:").unwrap();
    let own = OWN.iter().map(|(file, _)| format!("template:{}", file.split('.').next().unwrap()));
    list.split(", ").chain(["template:slack"]).map(str::to_owned).chain(own).collect()
}

/// Formats that differ in what they make of a page.
const PAGES: [&str; 7] =
    ["json", "multipart", "mailgun", "ses-sns", "template:slack", "template:page", "template:plain"];

/// Templates of one's own that print all there is, each in one of their ways.
const OWN: [(&str, &str); 7] = [
    ("content.json.j2", "{% for a in attachments %}\"{{ a.content }}\"{% endfor %}"),
    ("tojson.json.j2", "{% for a in attachments %}{{ a.content|tojson }}{% endfor %}"),
    ("all.json.j2", "{{ attachments|tojson }}{# .content #}"),
    ("form.form.j2", "{% for a in attachments %}a={{ a.content }}{% endfor %}"),
    ("page.json.j2", "{{ html|tojson }}"),
    ("plain.txt.j2", "{{ html }}"),
    ("digits.txt.j2", "{% for a in attachments %}{{ a.content }}{% endfor %}"),
];

/// Nearly all an attachment.
fn with_attachment() -> String {
    let line = BASE64.encode(&[0x5a; 57]) + "\r\n";
    format!(
        "Subject: A file\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
         Here it is.\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}--b--\r\n",
        line.repeat(OCTETS / line.len())
    )
}

fn page() -> String {
    let line = "<p class=\"text\">A line as pages have them, and words that say nothing.</p>\r\n";
    format!("Subject: A page\r\nContent-Type: text/html\r\n\r\n{}", line.repeat(OCTETS / line.len()))
}

fn composed(format: &str, raw: &Bytes) -> Composition {
    let url = "https://shop.example/in".parse().unwrap();
    let recipient = "in@hooks.example";
    let route = Route { payload: format.parse().unwrap(), ..Route::new(recipient.parse().unwrap(), url) };
    let mut templates = Templates::default();
    for (file, source) in OWN {
        templates.add(file, source).unwrap();
    }
    let options = Options { routes: vec![route], templates: Arc::new(templates), ..Options::default() };
    let client = Client {
        address: None,
        helo: "app.example".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let recipients = vec![Recipient::new(recipient, target(&options, recipient).unwrap())];
    let envelope = Envelope::new(client, "app@app.example", recipients);
    let receipt = Receipt { message: MessageId(1), received_at: Timestamp(1_769_860_800_123) };
    compose(&options, &envelope, receipt, raw.clone()).unwrap()
}

/// What the kernel says of this program's memory, in octets.
fn resident(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn no_format_takes_more_than_twice_the_message() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--ignored", "--exact", "--nocapture", "compose_in_every_format"]);
    let output = again.env("MALLOC_MMAP_THRESHOLD_", "131072").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // A test that was not found is none that passed.
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by no_format_takes_more_than_twice_the_message"]
fn compose_in_every_format() {
    let small = Bytes::from_static(b"Subject: x\r\n\r\nhello\r\n");
    let pages = PAGES.map(str::to_owned).to_vec();
    for (what, raw, names) in [("attachment", with_attachment(), names()), ("page", page(), pages)] {
        let raw = Bytes::from(raw);
        for name in names {
            // Pages of the program itself are none of the message.
            drop(composed(&name, &small));
            let before = resident("VmRSS:");
            // Sets the peak to what is resident now.
            fs::write("/proc/self/clear_refs", "5").unwrap();
            let composition = composed(&name, &raw);
            let added = resident("VmHWM:").saturating_sub(before) as f64 / raw.len() as f64;
            let remarks = composition.remarks.join("; ");
            assert!(added <= 2.0 && remarks.is_empty(), "{name} of the {what}: {added:.2} times {remarks}");
        }
    }
}
