//! `security.md` section 2.5 for every format of a body: the same mail, smaller, in
//! each of them. What comes out must be what its type says, hold no name that is a
//! path or breaks out of its place, and be no larger than it may.

use bytes::Bytes;
use postgate::compose::{Options, Payload, Receipt, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Timestamp};
use postgate::tenant::Tenant;
use serde_json::Value;

/// Every format but templates, as the complaint about a wrong one lists them.
fn names() -> Vec<String> {
    let complaint = "none of them".parse::<Payload>().unwrap_err();
    let (_, list) = complaint.split_once("expected ").unwrap();
    let (list, _) = list.split_once(" or template:").unwrap();
    list.split(", ").map(str::to_owned).collect()
}

/// Each row with mail of its kind.
fn mails() -> Vec<(&'static str, Vec<u8>)> {
    let multipart = |body: &str| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
    let level = |at| format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n");
    let pieces = (0..2000).map(|at| format!("; name*{at}*=a")).collect::<String>();
    let file = |parameter: &str| {
        let part = format!(
            "Content-Type: a/b\r\nContent-ID: <x\"y>\r\nContent-Disposition: attachment; {parameter}"
        );
        multipart(&format!("--b\r\n\r\ntext\r\n--b\r\n{part}\r\n\r\nx\r\n--b--\r\n"))
    };
    let texts = [
        ("M1", (0..2000).map(level).collect()),
        ("M1", (0..60).map(level).collect::<String>() + "\r\ndeep"),
        ("M2", "Content-Type: message/rfc822\r\n\r\n".repeat(2000)),
        ("M3", multipart(&"--b\r\n".repeat(5000))),
        ("M3", multipart(&"--b\r\nContent-Disposition: attachment\r\n\r\n".repeat(900))),
        ("M4", format!("Content-Type: text/plain{pieces}\r\n\r\nx")),
        ("M5", "X: y\r\n".repeat(2000)),
        ("M6", format!("Subject: {}\r\nFrom: {}\r\n\r\nx", "=?utf-8?Q?a?= ".repeat(2000), "=?utf-8?Q?a".repeat(2000))),
        ("M6", "Content-Type: text/html; charset=utf-7\r\nContent-Transfer-Encoding: base64\r\n\r\n*&A=%".to_owned()),
        ("M7", multipart("--bx\r\n--b\r\nContent-Type: multipart/x; boundary=bx\r\n\r\n--bx\r\n\r\none\r\n--b\r\n\r\ntwo")),
        ("M8", file(r#"filename="../../etc/x""#)),
        ("M8", file(r#"filename="C:\\x""#)),
        ("M8", file("filename*=utf-8''a%00b")),
        ("M8", file("filename*=utf-8''a%0D%0AX%3A%20y")),
        ("M8", file("filename*=utf-8''a%22%3B%20name%3D%22text")),
        ("M8", file("filename*=utf-8''%E2%80%AEgpj.exe")),
        ("M8", file(&format!("filename={}", "n".repeat(10_000)))),
        ("M8", file("filename=..")),
        ("M9", file("filename=a.gz").replace("x\r\n--b--", "\u{1f}\u{8b}\u{8}\r\n--b--")),
        ("M10", String::new()),
        ("M10", "Subject: only a header\r\n".to_owned()),
        ("M10", "only a body\r\n".to_owned()),
        ("M10", "Subject: a\0b\r\n\r\nx\0y\r\n".to_owned()),
        ("M11", "From: a@b\r\nFrom: c@d\r\nSubject: x\r\nSubject: y\r\nDate: never\r\nTo : z\r\n\r\nbody".to_owned()),
        ("M12", "Subject: </script>&\u{2028}\u{1}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n</script><!--\u{2029}\u{7f}\u{1}\"\\".to_owned()),
        ("M12", format!("To: {}\r\n\r\nx", "a@b,".repeat(20_000))),
        ("M12", format!("Subject: x\r\n\r\n{}", "\u{1}".repeat(100_000))),
        ("M12", format!("Content-Type: text/html\r\n\r\n{}", "<blockquote><ul><li>x".repeat(5000))),
        ("M12", format!("Subject: x\r\n\r\n{}", "From: x\r\nOn 12:00 a@b wrote:\r\n>\r\n".repeat(2000))),
    ];
    let mut mails: Vec<_> = texts.into_iter().map(|(row, text)| (row, text.into_bytes())).collect();
    mails.push(("M10", b"Subject: gr\xfc\xdfe\r\n\r\n\xff\r\n".to_vec()));
    mails.push(("M12", b"Content-Type: text/plain; charset=utf-8\r\n\r\na\xed\xa0\x80b\r\n".to_vec()));
    mails
}

/// Content type and body of the only post that a message makes in a format.
fn posted(payload: &str, raw: &[u8]) -> (String, Vec<u8>) {
    let url = "https://shop.example/in".parse().unwrap();
    let route =
        Route { payload: payload.parse().unwrap(), ..Route::new("a@h.example".parse().unwrap(), url) };
    let options = Options { routes: vec![route], ..Options::default() };
    let client = Client {
        address: None,
        helo: "mx.example".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let recipient = Recipient::new("a@h.example", target(&options, "a@h.example").unwrap());
    let envelope = Envelope::new(client, "app@example.com", vec![recipient]);
    let receipt = Receipt { message: MessageId(1 << 40), received_at: Timestamp(1_769_860_800_123) };
    let composition = compose(&options, &envelope, receipt, Bytes::copy_from_slice(raw)).unwrap();
    let post = &composition.admission.posts[0];
    for field in &post.headers {
        http::HeaderValue::from_bytes(&field.value).unwrap();
    }
    let blob = &composition.admission.blobs[usize::from(post.body.number)];
    let body = &blob[post.body.start as usize..][..post.body.length as usize];
    (String::from_utf8(post.headers[0].value.clone()).unwrap(), body.to_vec())
}

/// What is wrong with a body of a type.
fn complaint(content_type: &str, body: &[u8], raw: &[u8]) -> Option<String> {
    if body.len() > 3 * raw.len() + (4 << 20) {
        return Some(format!("{} octets", body.len()));
    }
    if content_type == "application/json" {
        let document = String::from_utf8_lossy(body);
        let is_safe =
            !document.contains(['\u{2028}', '\u{2029}', '\0', '\u{1}']) && !document.contains("</script");
        let is_json = serde_json::from_slice::<Value>(body).is_ok();
        return (!is_safe || !is_json).then(|| document.into_owned());
    }
    if content_type == "application/x-www-form-urlencoded" {
        let is_written = |octet: &u8| octet.is_ascii_alphanumeric() || b"*-._+%&=".contains(octet);
        return (!body.iter().all(is_written)).then(|| String::from_utf8_lossy(body).into_owned());
    }
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=")?.trim_matches('"');
    form_complaint(&String::from_utf8_lossy(body), &format!("--{boundary}"))
}

/// A form must end, and the head of each part name one field and no path.
fn form_complaint(form: &str, delimiter: &str) -> Option<String> {
    if !form.trim_end().ends_with(&format!("{delimiter}--")) {
        return Some("the form does not end".to_owned());
    }
    let heads = form.split(delimiter).skip(1).filter(|part| !part.starts_with("--"));
    heads.map(|part| part.split("\r\n\r\n").next().unwrap_or_default()).find_map(|head| {
        let fields: Vec<_> = head.trim_start().split("\r\n").collect();
        let disposition =
            fields.iter().find(|field| field.starts_with("Content-Disposition: form-data; name=\""));
        let name = disposition.and_then(|field| field.split("filename=\"").nth(1)).unwrap_or_default();
        let name = name.trim_end_matches('"');
        let is_path =
            name.contains(['/', '\\', '"', '\u{202e}']) || name.chars().any(char::is_control) || name == "..";
        let is_foreign = |field: &&str| !field.to_ascii_lowercase().starts_with("content-");
        let is_bad = disposition.is_none() || is_path || fields.iter().any(is_foreign) || name.len() > 1000;
        is_bad.then(|| head.to_owned())
    })
}

#[test]
fn every_format_endures_every_row() {
    assert!(names().len() >= 16);
    let mut wrong = Vec::new();
    for (row, raw) in mails() {
        for name in names() {
            let (content_type, body) = posted(&name, &raw);
            let complaint = complaint(&content_type, &body, &raw);
            wrong.extend(
                complaint.map(|it| format!("{row} {name}: {}", it.chars().take(500).collect::<String>())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_breaks_a_format_is_seen() {
    let form = |name: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"{name}\"\r\n\r\nx\r\n--b--\r\n"
        )
    };
    let kind = "multipart/form-data; boundary=b";
    assert_eq!(complaint(kind, form("a.txt").as_bytes(), b""), None);
    for name in ["../x", r"C:\x", "a\r\nX: y", "a\0", "a\" b=\"c", ".."] {
        assert!(complaint(kind, form(name).as_bytes(), b"").is_some(), "{name:?}");
    }
    assert!(complaint("application/json", b"{", b"").is_some());
    assert!(complaint("application/json", b"\"</script>\"", b"").is_some());
    assert!(complaint("application/x-www-form-urlencoded", b"a=<", b"").is_some());
    assert!(complaint("text/plain", &vec![b'x'; 5 << 20], b"").is_some());
}
