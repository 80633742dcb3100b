//! The control panel of the running program, as a browser without script sees it: who
//! gets in, what a page may do, and what it shows of hostile mail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "panel/afar.rs"]
mod afar;
#[path = "panel/browser.rs"]
mod browser;
#[path = "panel/config.rs"]
mod config;
#[path = "panel/destinations.rs"]
mod destinations;
#[path = "panel/hooks.rs"]
mod hooks;
mod support;
#[path = "panel/tail.rs"]
mod tail;
#[path = "panel/talk.rs"]
mod talk;
#[path = "panel/whose.rs"]
mod whose;

use browser::{Browser, text};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Read as _;
use support::DEADLINE;
use support::api::{Response, Scene};
use support::program::{Client, eventually};

/// The block of the configuration for a key that is called `TENANT-ROLE`, or `admin`.
fn block(name: &str) -> String {
    let digest = HEXLOWER.encode(&Sha256::digest(key(name)));
    let head = format!("[[api_key]]\nname = \"{name}\"\ndigest = \"sha256:{digest}\"\n");
    match name.split_once('-') {
        Some((tenant, role)) => format!("{head}role = \"{role}\"\ntenant = \"{tenant}\"\n"),
        None => format!("{head}role = \"{name}\"\n"),
    }
}

/// A key that nobody would draw, to look for it afterwards.
fn key(name: &str) -> String {
    format!("pgk_{name}_kAnArY")
}

/// A gateway with two tenants, and keys of theirs and of nobody's.
fn with_keys() -> Scene {
    let keys: String = ["admin", "default-read", "default-operator", "club-operator"].map(block).concat();
    Scene::start(&format!("[[tenant]]\nname = \"club\"\n\n{keys}"))
}

fn has_marks(response: &Response) {
    let policy = response.header("content-security-policy").unwrap();
    for wanted in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"]
    {
        assert!(policy.contains(wanted), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(response.header(name), Some(value), "{response:?}");
    }
}

#[test]
fn nobody_sees_a_page_before_signing_in() {
    let scene = with_keys();
    for (path, there) in [
        ("/", "/sign-in"),
        ("/posts?state=failed", "/sign-in?next=%2Fposts%3Fstate%3Dfailed"),
        ("/posts/0123456789abcdef", "/sign-in?next=%2Fposts%2F0123456789abcdef"),
    ] {
        let response = Browser::new(&scene).get(path);
        assert_eq!((response.status, response.header("location")), (303, Some(there)), "{path}");
        has_marks(&response);
    }
    let live = Browser::new(&scene).ask("GET", "/overview/live", "HX-Request: true\r\n", "");
    assert_eq!((live.status, live.header("hx-redirect")), (401, Some("/sign-in")));
    let mut browser = Browser::new(&scene);
    has_marks(&browser.get("/sign-in?next=%2Fposts"));
    let before = browser.cookie.clone().unwrap();
    let entered = browser.send("/sign-in", &[("key", &key("admin")), ("next", "/posts")]);
    assert_eq!((entered.status, entered.header("location")), (303, Some("/posts")), "{entered:?}");
    let set = entered.header("set-cookie").unwrap();
    for wanted in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(wanted), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains("kAnArY"), "{set}");
    assert_ne!(browser.cookie.clone().unwrap(), before, "whoever knew the old id would be in");
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    assert!(text(&page).contains("admin") && !text(&page).contains("kAnArY"));
    has_marks(&page);
    assert_eq!(browser.send("/sign-out", &[]).header("location"), Some("/sign-in"));
    assert_eq!(browser.get("/").status, 303);
}

/// The browser itself says that it speaks TLS with a proxy.
#[test]
fn a_cookie_is_secure_where_the_browser_speaks_tls() {
    let scene = with_keys();
    let mut browser = Browser::new(&scene);
    browser.get("/sign-in");
    let (token, key) = (browser.token.clone(), key("admin"));
    let fields = [("token", token.as_str()), ("key", key.as_str())];
    let entered = browser.form("/sign-in", &fields, &format!("Origin: https://{}\r\n", scene.api));
    assert!(entered.header("set-cookie").unwrap().ends_with("; Secure"), "{entered:?}");
    // A page of ours names no referrer, and its forms no origin; but of sites browsers speak
    // to who is trustworthy alone.
    for (host, site, is_secure) in [
        ("gate.example", "Sec-Fetch-Site: none\r\n", true),
        ("gate.example", "", false),
        ("localhost", "Sec-Fetch-Site: none\r\n", false),
    ] {
        let page = format!("GET /sign-in HTTP/1.1\r\nHost: {host}\r\n{site}Connection: close\r\n\r\n");
        let set = scene.raw(&page).header("set-cookie").unwrap().to_owned();
        assert_eq!(set.ends_with("; Secure"), is_secure, "{host} {site}: {set}");
    }
}

#[test]
fn wrong_keys_are_refused_and_counted_as_by_the_api() {
    let scene = with_keys();
    let mut browser = Browser::new(&scene);
    browser.get("/sign-in");
    for wrong in ["", "x", "pgk_admin_kAnAr", "ÿ\u{202e}"] {
        let refused = browser.send("/sign-in", &[("key", wrong)]);
        assert!([403, 401, 422].contains(&refused.status), "{wrong}: {refused:?}");
        assert!(refused.header("set-cookie").is_none() && !text(&refused).contains("kAnAr"), "{refused:?}");
        has_marks(&refused);
    }
    let statuses: Vec<_> = (0..12)
        .map(|number| browser.send("/sign-in", &[("key", &format!("guess-{number}"))]).status)
        .collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let late = browser.send("/sign-in", &[("key", &key("admin"))]);
    assert_eq!(late.status, 429, "none is looked at now: {late:?}");
    let api = scene.raw(&format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        scene.api,
        key("admin")
    ));
    assert_eq!(api.status, 429, "it is the same count");
}

#[test]
fn a_key_that_is_taken_away_ends_its_sessions() {
    let scene = with_keys();
    let (mut gone, mut stays) =
        (Browser::with_key(&scene, &key("default-read")), Browser::with_key(&scene, &key("admin")));
    assert_eq!((gone.get("/").status, stays.get("/").status), (200, 200));
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(&block("default-read"), "")).unwrap();
    let lines = format!("Authorization: Bearer {}\r\n", key("admin"));
    let reload = format!("POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n", scene.api);
    assert_eq!(scene.raw(&format!("{reload}{lines}Connection: close\r\n\r\n")).status, 200);
    assert_eq!((gone.get("/").status, stays.get("/").status), (303, 200));
}

#[test]
fn a_browser_is_told_of_no_page_by_a_page_and_a_program_as_by_the_api() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    for (path, accept, is_page) in [
        ("/nowhere", "text/html,*/*;q=0.8", true),
        ("/nowhere", "*/*", false),
        ("/api/v1/nowhere", "text/html", false),
        ("/attachments/1-1/1", "text/html", false),
    ] {
        let missing = browser.ask("GET", path, &format!("Accept: {accept}\r\n"), "");
        let kind = missing.header("content-type").unwrap().to_owned();
        assert_eq!(kind.starts_with("text/html"), is_page, "{path} {accept}: {missing:?}");
        if is_page {
            assert_eq!(missing.status, 404);
            assert!(text(&missing).contains("There is nothing here"), "{}", text(&missing));
            has_marks(&missing);
        }
    }
    assert_eq!(browser.ask("GET", "/healthz", "Accept: text/html\r\n", "").status, 200);
}

#[test]
fn a_form_counts_with_the_token_of_its_session_from_a_page_of_our_own() {
    let scene = with_keys();
    let mut victim = Browser::with_key(&scene, &key("admin"));
    let mut attacker = Browser::with_key(&scene, &key("club-operator"));
    victim.get("/");
    attacker.get("/");
    let (own, other) = (victim.token.clone(), attacker.token.clone());
    let site = format!("Origin: http://{}\r\n", scene.api);
    let with = |token: &'static str| vec![("token", token)];
    for (fields, lines) in [
        (Vec::new(), site.as_str()),
        (with(""), &site),
        (with("AAAA"), &site),
        (vec![("token", other.as_str())], &site),
        (vec![("token", &own)], "Origin: https://evil.example\r\n"),
        (vec![("token", &own)], "Origin: null\r\n"),
        // A frame that may do nothing, and who says only half of what a browser does.
        (vec![("token", &own)], "Origin: null\r\nSec-Fetch-Site: cross-site\r\n"),
        (vec![("token", &own)], "Origin: null\r\nSec-Fetch-Site: none\r\n"),
        (vec![("token", &own)], "Sec-Fetch-Site: cross-site\r\n"),
        (vec![("token", &own)], "Sec-Fetch-Site: same-site\r\n"),
    ] {
        let refused = victim.form("/sign-out", &fields, lines);
        assert_eq!(refused.status, 403, "{fields:?} {lines}: {refused:?}");
        has_marks(&refused);
    }
    let plain = victim.ask("POST", "/sign-out", "Content-Type: text/plain\r\n", &format!("token={own}"));
    assert_eq!(plain.status, 415);
    assert_eq!(victim.get("/").status, 200, "it is still signed in");
    // As browsers name a page that names no referrer.
    let own_page = "Origin: null\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(attacker.form("/sign-out", &[("token", &other)], own_page).status, 303);
    assert_eq!(victim.form("/sign-out", &[("token", &own)], &site).status, 303);
    assert_eq!(victim.get("/").status, 303);
}

#[test]
fn without_keys_this_machine_is_in_and_forms_need_their_token_all_the_same() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let page = browser.get("/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(text(&page).contains("All is well") && !text(&page).contains("Sign out"), "{}", text(&page));
    assert!(page.header("set-cookie").unwrap().contains("HttpOnly"));
    let name = browser.cookie.clone().unwrap().split('=').next().unwrap().to_owned();
    assert_eq!(name, format!("postgate-{}", scene.api.port()), "another gateway has another");
    for host in ["evil.example", "evil.example:8025", "192.0.2.1"] {
        for path in ["/", "/sign-in", "/posts"] {
            let refused =
                scene.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            assert_eq!(refused.status, 421, "{host} {path}");
            has_marks(&refused);
        }
    }
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n"] {
        let refused = scene.raw(&format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"));
        assert_eq!(refused.status, 400, "{hosts}");
    }
    let none = Browser::new(&scene).form("/sign-out", &[], "");
    assert_eq!(none.status, 403, "{none:?}");
}

/// Else whoever follows a link from elsewhere would be signed out by it.
#[test]
fn a_link_from_another_site_takes_no_session_away() {
    let scene = with_keys();
    let mut browser = Browser::with_key(&scene, &key("admin"));
    let kept = browser.cookie.take();
    let page = browser.ask("GET", "/posts?q=%22%3E%3Cscript%3E", "Sec-Fetch-Site: cross-site\r\n", "");
    assert_eq!((page.status, page.header("set-cookie")), (200, None), "{page:?}");
    assert!(text(&page).contains("href=\"/posts?q=%22%3E%3Cscript%3E\""), "{}", text(&page));
    let page = browser.ask("GET", "//evil.example/", "Sec-Fetch-Site: cross-site\r\n", "");
    assert!(!text(&page).contains("evil.example"), "{page:?}");
    browser.cookie = kept;
    assert_eq!(browser.get("/").status, 200);
}

#[test]
fn assets_are_kept_for_good_under_the_names_that_pages_have() {
    let scene = Scene::start("");
    let page = text(&Browser::new(&scene).get("/"));
    let names = assets(&page);
    assert_eq!(names.len(), 7, "{names:?}");
    for name in names {
        let asset = scene.get(name);
        assert_eq!((asset.status, asset.header("x-content-type-options")), (200, Some("nosniff")), "{name}");
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"), "{name}");
    }
    assert_eq!(scene.get("/assets/panel.css").status, 404);
    // Of what others wrote, the licence is there under a name that stays.
    for (name, words) in [("uplot", "Permission is hereby granted"), ("htmx", "Zero-Clause BSD")] {
        let licence = scene.get(&format!("/assets/{name}.LICENSE"));
        assert_eq!((licence.status, licence.header("cache-control")), (200, Some("no-cache")), "{name}");
        assert!(text(&licence).contains(words), "{licence:?}");
    }
    assert!(!page.contains("style=") && !page.contains("onclick") && !page.contains("<script>"), "{page}");
}

#[test]
fn assets_are_sent_in_gzip_to_who_takes_it() {
    let scene = Scene::start("");
    let page = text(&Browser::new(&scene).get("/"));
    let request = |method: &str, name: &str, accepts: &str| {
        let response = scene.raw(&format!(
            "{method} {name} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: {accepts}\r\nConnection: close\r\n\r\n",
            scene.api
        ));
        assert_eq!((response.status, response.header("vary")), (200, Some("accept-encoding")), "{name}");
        response
    };
    let ask = |name: &str, accepts: &str| request("GET", name, accepts);
    // Charts are told of both.
    let mut octets = page.len() + fullest(&scene, "hour", 360) + fullest(&scene, "day", 1440);
    for name in assets(&page) {
        let plain = scene.get(name);
        assert_eq!(plain.header("content-encoding"), None, "{name}");
        for accepts in PLAIN {
            let other = ask(name, accepts);
            assert_eq!((other.header("content-encoding"), &other.body), (None, &plain.body), "{accepts}");
        }
        for accepts in PACKED {
            let packed = ask(name, accepts);
            assert_eq!(packed.header("content-encoding"), Some("gzip"), "{name}: {accepts}");
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == plain.body, "{name}: {accepts}");
            let head = request("HEAD", name, accepts);
            let both = ["content-length", "content-encoding"];
            assert_eq!(
                both.map(|field| head.header(field)),
                both.map(|field| packed.header(field)),
                "{name}"
            );
            assert!(head.body.is_empty() && packed.header("content-length").is_some(), "{name}: {head:?}");
        }
        octets += ask(name, "gzip, deflate, br").body.len();
    }
    assert!(octets < 150_000, "a first page takes {octets}");
}

/// What says that gzip is not to be sent, or does not say that it may be.
const PLAIN: [&str; 13] = [
    "identity",
    "*",
    "gzip;q=0",
    "deflate, gzip; q=0.000",
    "gzipped",
    "identity;q=0",
    "identity;q=0, *;q=0",
    "identity;q=0, *, gzip;q=0",
    "gzip;x=1",
    "gzip;qq1",
    "gzip;q=2",
    "gzip;q=1.1",
    "gzip;q=0.1234",
];

/// What says that it may be.
const PACKED: [&str; 6] = [
    "gzip",
    "br, GZIP;q=0.5",
    "deflate,gzip; q=1.0,br",
    "gzip ; Q=0.001",
    "identity;q=0, *",
    "*;q=0.1, Identity; q=0.0",
];

/// The octets of the longest answer there can be to who asks for so many steps.
fn fullest(scene: &Scene, span: &str, steps: usize) -> usize {
    let mut answer = scene.get(&format!("/history?span={span}")).json();
    let series = answer["series"].as_object_mut().unwrap();
    for numbers in series.values_mut() {
        *numbers = vec![u32::MAX; steps].into();
    }
    answer.to_string().len()
}

/// The paths of what a page loads.
fn assets(page: &str) -> Vec<&str> {
    page.match_indices("/assets/").map(|(at, _)| page[at..].split('"').next().unwrap()).collect()
}

#[test]
fn the_overview_says_first_what_is_wrong() {
    let scene = Scene::start("");
    scene.post("/gone", "", "failed");
    let held = scene.post("/busy", "", "deferred");
    assert_eq!(scene.post_to(&format!("/api/v1/posts/{held}/hold"), "").status, 200);
    scene.stands(&held, "held");
    let mut browser = Browser::new(&scene);
    let looked = || {
        let page = text(&browser.get("/overview/live"));
        (page.contains("1 post failed for good") && page.contains("1 post held back")).then_some(page)
    };
    let page = eventually("what is wrong", DEADLINE, looked);
    assert!(page.find("failed for good").unwrap() < page.find("held back").unwrap(), "{page}");
    assert!(page.contains("href=\"/posts?state=failed\"") && !page.contains("All is well"), "{page}");
    assert!(page.contains("<time datetime=\"") && page.contains(&scene.gateway.smtp.to_string()), "{page}");
    scene.post("/busy", "", "deferred");
    let page = text(&browser.get("/"));
    assert!(page.contains("1 destination in trouble; 1 post waiting"), "{page}");
    assert!(page.contains("<bdi>500 Internal Server Error</bdi>"), "{page}");
    let pause = scene
        .post_to(&format!("/api/v1/destinations/{}/pause", scene.origin_piece()), r#"{"reason":"<b>night"}"#);
    assert_eq!(pause.status, 200);
    let page = text(&browser.get("/"));
    assert!(
        page.contains("1 destination paused or slowed; 1 post waiting") && page.contains("&#60;b&#62;night"),
        "{page}"
    );
    assert!(page.contains("hx-get=\"/overview/live\""), "{page}");
}

/// Words that a page must show as words.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{1337*7331}}",
    "\u{202e}gnp.exe",
];

/// Sends a whole message to a path of the receiver, and waits until its post stands so.
fn mail(scene: &Scene, path: &str, message: &str, state: &str) -> String {
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let id = client.send(&[scene.receiver.recipient(path)], message.as_bytes()).id().to_owned();
    scene.stands(&id, state);
    id
}

/// Nothing of [`HOSTILE`] is markup, and nothing of it is worked out.
fn is_inert(page: &str) {
    // Lines of latencies are our own.
    let lower = page.to_lowercase().replace("<svg class=\"spark\"", "");
    for markup in ["<script>", "<img", "<svg", "href=\"javascript", "src=\"javascript", "srcdoc", "style="] {
        assert!(!lower.contains(markup), "{markup}: {page}");
    }
    let scripts = if lower.contains("data-history") { 4 } else { 2 };
    assert_eq!(lower.matches("<script ").count(), scripts, "its own alone: {page}");
    assert!(!page.contains("9801547"), "{page}");
}

#[test]
fn hostile_words_are_shown_as_words() {
    let scene = Scene::start("");
    let all = HOSTILE.join(" ");
    let tags: String = HOSTILE[..5].iter().map(|word| format!("X-Postgate-Tag: {word}\r\n")).collect();
    let message = format!(
        "{tags}X-XsHttp-Content-Type: text/plain; x=\"<script>\"\r\nSubject: {all}\r\nFrom: \"<script>\" <a@b>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{all}\r\n\
         --b\r\nContent-Type: text/html; name=\"{}\"\r\nContent-Disposition: attachment\r\n\r\n{all}\r\n--b--\r\n",
        "<img src=x onerror=alert(1)>.html"
    );
    let id = mail(&scene, "/busy?q=%3Cscript%3E%22%3E%3Cimg%20onerror%3E", &message, "deferred");
    let mut browser = Browser::new(&scene);
    for path in ["/posts".to_owned(), format!("/posts/{id}"), "/".to_owned(), "/destinations".to_owned()] {
        let page = browser.get(&path);
        assert_eq!(page.status, 200, "{path}: {}", text(&page));
        is_inert(&text(&page));
        has_marks(&page);
    }
    let page = text(&browser.get(&format!("/posts/{id}")));
    for shown in ["&#60;script&#62;alert(1)&#60;/script&#62;", "{{1337*7331}}", "<bdi>", "onerror=alert(1)"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for (name, word) in
        [("q", HOSTILE[1]), ("state", HOSTILE[0]), ("cursor", HOSTILE[1]), ("since", HOSTILE[0])]
    {
        let word: String = url::form_urlencoded::byte_serialize(word.as_bytes()).collect();
        let page = browser.get(&format!("/posts?{name}={word}"));
        is_inert(&text(&page));
        has_marks(&page);
    }
    is_inert(&text(&browser.get("/posts/%3Cscript%3Ealert(1)%3C%2Fscript%3E")));
}

#[test]
fn html_mail_is_shown_in_a_frame_that_may_do_nothing() {
    let scene = Scene::start("");
    let html = "<p style=\"color: red\">Hi <b>there</b></p><script>alert(1)</script><img src=\"https://evil.example/p.gif\">\
                <a href=\"https://evil.example/\">x</a><form action=\"https://evil.example/\"><input></form>\
                <link rel=preconnect href=\"https://evil.example/\"><img src=\"data:image/gif;base64,R0lG\">";
    let id = mail(&scene, "/busy", &format!("Content-Type: text/html\r\n\r\n{html}\r\n"), "deferred");
    let mut browser = Browser::new(&scene);
    let page = text(&browser.get(&format!("/posts/{id}")));
    let frame = format!(
        "<iframe sandbox referrerpolicy=\"no-referrer\" loading=\"lazy\" title=\"The mail as HTML\" src=\"/posts/{id}/mail.html\">"
    );
    assert!(page.contains(&frame), "{page}");
    let shown = browser.get(&format!("/posts/{id}/mail.html"));
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox; default-src 'none'") && !policy.contains("allow-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'self'") && !policy.contains("script-src"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-dns-prefetch-control", "off"),
    ] {
        assert_eq!(shown.header(name), Some(value));
    }
    let shown = text(&shown);
    assert!(shown.contains("<b>there</b>") && shown.contains("data:image/gif"), "{shown}");
    for gone in ["evil.example", "<script", "<form", "<link"] {
        assert!(!shown.contains(gone), "{gone}: {shown}");
    }
    let plain = scene.post("/busy", "", "deferred");
    assert!(!text(&browser.get(&format!("/posts/{plain}"))).contains("<iframe"));
    assert_eq!(browser.get(&format!("/posts/{plain}/mail.html")).status, 404);
}

#[test]
fn what_strangers_wrote_is_downloaded_and_not_shown() {
    let scene = Scene::start("");
    let message = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
                   --b\r\n\r\nhello\r\n--b\r\nContent-Type: text/html\r\n\
                   Content-Disposition: attachment; filename=\"../a\\\"b.html\"\r\n\r\n<script>\r\n--b--\r\n";
    let id = mail(&scene, "/busy", message, "deferred");
    let mut browser = Browser::new(&scene);
    for path in ["body", "message", "attachments/1"] {
        let response = browser.get(&format!("/posts/{id}/{path}"));
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), Some("application/octet-stream"), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        let disposition = response.header("content-disposition").unwrap();
        assert!(disposition.starts_with("attachment; filename=\""), "{path}: {disposition}");
        assert!(!disposition.contains("..") && !disposition.contains("\\"), "{path}: {disposition}");
    }
    assert_eq!(browser.get(&format!("/posts/{id}/attachments/1")).body.trim_ascii(), b"<script>");
    assert_eq!(browser.get(&format!("/posts/{id}/attachments/2")).status, 404);
}

#[test]
fn posts_are_found_page_by_page() {
    let scene = Scene::start("");
    let empty = text(&Browser::new(&scene).get("/posts"));
    assert!(empty.contains("href=\"/send\"") && !empty.contains("Retry"), "{empty}");
    let all: Vec<_> = (0..52).map(|_| scene.send("/gone", "X-Postgate-Tag: bill\r\n")).collect();
    let other = scene.post("/busy", "", "deferred");
    all.iter().for_each(|id| scene.stands(id, "failed"));
    let mut browser = Browser::new(&scene);
    let page = text(&browser.get("/posts?state=failed&tag=bill&q="));
    assert!(page.contains("<option value=\"failed\" selected>"), "{page}");
    assert!(!page.contains(&other) && page.contains(&all[51]) && !page.contains(&all[0]), "{page}");
    let (_, rest) = page.split_once("rel=\"next\" href=\"").unwrap();
    let next = rest.split('"').next().unwrap().replace("&#38;", "&");
    assert!(next.starts_with("/posts?state=failed&tag=bill&cursor="), "{next}");
    let page = text(&browser.get(&next));
    assert!(page.contains(&all[0]) && !page.contains(&all[51]) && !page.contains("rel=\"next\""), "{page}");
    let none = text(&browser.get("/posts?tag=other"));
    assert!(none.contains("No post is like that now"), "{none}");
    let wrong = browser.get("/posts?since=yesterday");
    assert_eq!(wrong.status, 422);
    assert!(text(&wrong).contains("RFC 3339"), "{}", text(&wrong));
}

#[test]
fn many_posts_are_steered_after_their_count_was_shown() {
    let scene = Scene::start("");
    let bills: Vec<_> = (0..3).map(|_| scene.post("/busy", "X-Postgate-Tag: bill\r\n", "deferred")).collect();
    let other = scene.post("/busy", "", "deferred");
    let mut browser = Browser::new(&scene);
    browser.get("/posts?tag=bill");
    let asked = browser.send("/posts/actions", &[("action", "hold"), ("tag", "bill")]);
    let page = text(&asked);
    assert!(page.contains("Hold: 3 posts?") && page.contains("Tag: <bdi>bill</bdi>"), "{page}");
    scene.stands(&bills[0], "deferred");
    let done = browser.send("/posts/actions", &[("action", "hold"), ("tag", "bill"), ("sure", "yes")]);
    assert!(text(&done).contains("Hold: 3 posts"), "{}", text(&done));
    bills.iter().for_each(|id| scene.stands(id, "held"));
    scene.stands(&other, "deferred");
    let again = text(&browser.send("/posts/actions", &[("action", "hold"), ("tag", "bill")]));
    assert!(again.contains("0 posts") && !again.contains("value=\"yes\""), "{again}");
    let url = format!("{}/ok", scene.origin());
    let none = browser.send("/posts/actions", &[("action", "reroute"), ("tag", "bill")]);
    assert_eq!(none.status, 422);
    let reroute = [("action", "reroute"), ("tag", "bill"), ("url", url.as_str()), ("sure", "yes")];
    assert!(text(&browser.send("/posts/actions", &reroute)).contains("3 posts"));
    let released =
        text(&browser.send("/posts/actions", &[("action", "release"), ("tag", "bill"), ("sure", "yes")]));
    assert!(released.contains("Release: "), "{released}");
    bills.iter().for_each(|id| scene.ends(id));
    let all = text(&browser.send("/posts/actions", &[("action", "delete")]));
    assert!(all.contains("Delete: 1 post?") && all.contains("every post there is"), "{all}");
    assert_eq!(browser.send("/posts/actions", &[("action", "delete"), ("sure", "yes")]).status, 200);
    scene.ends(&other);
    assert_eq!(browser.send("/posts/actions", &[("action", "explode")]).status, 404);
}

#[test]
fn a_post_shows_its_request_its_mail_and_its_attempts_and_is_steered() {
    let scene = Scene::start("[log]\nprotocol_log = \"full\"\n");
    let headers = "X-XsHttp-Authorization: Bearer canary\r\nX-XsHttp-Content-Type: application/json\r\n";
    let id = mail(
        &scene,
        "/busy?token=canary",
        &format!("{headers}Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n{{\"a\":1.0}}\r\n"),
        "deferred",
    );
    let mut browser = Browser::new(&scene);
    let page = text(&browser.get(&format!("/posts/{id}")));
    for shown in
        ["token=***", "Grüße", "500 Internal Server Error", "hidden: it may be a secret", "app@app.example"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains("  &#34;a&#34;: 1.0\n"), "{page}");
    assert!(!page.contains("canary"), "{page}");
    let log = eventually("the protocol log", DEADLINE, || {
        let log = text(&browser.get(&format!("/posts/{id}/transcript")));
        (log.contains("RCPT TO") && log.contains("500 Internal Server Error")).then_some(log)
    });
    assert!(!log.contains("canary"), "{log}");
    browser.get(&format!("/posts/{id}"));
    for (verb, state) in [("hold", "held"), ("release", "deferred")] {
        assert_eq!(browser.send(&format!("/posts/{id}/{verb}"), &[]).status, 200, "{verb}");
        scene.stands(&id, state);
    }
    assert_eq!(browser.send(&format!("/posts/{id}/release"), &[]).status, 409);
    let url = format!("{}/gone", scene.origin());
    let rerouted = text(&browser.send(&format!("/posts/{id}/reroute"), &[("url", &url)]));
    assert!(rerouted.contains("Done"), "{rerouted}");
    scene.stands(&id, "failed");
    let asked = text(&browser.send(&format!("/posts/{id}/delete"), &[]));
    assert!(asked.contains("cannot be undone"), "{asked}");
    scene.stands(&id, "failed");
    assert_eq!(browser.send(&format!("/posts/{id}/delete"), &[("sure", "yes")]).status, 200);
    scene.ends(&id);
    let gone = browser.get(&format!("/posts/{id}"));
    assert!(gone.status == 404 && text(&gone).contains("delivered or deleted"), "{}", text(&gone));
}

#[test]
fn a_viewer_is_offered_nothing_to_do_and_refused_it() {
    let scene = with_keys();
    let lines = format!("Authorization: Bearer {}\r\n", key("admin"));
    let id = scene.send("/busy", "");
    let mut admin = Browser::with_key(&scene, &key("admin"));
    eventually("the first attempt", DEADLINE, || {
        text(&admin.get(&format!("/posts/{id}"))).contains("500 Internal Server Error").then_some(())
    });
    let mut viewer = Browser::with_key(&scene, &key("default-read"));
    for path in ["/", "/posts", &format!("/posts/{id}"), "/destinations"] {
        let page = text(&viewer.get(path));
        assert_eq!(page.matches("method=\"post\"").count(), 1, "to sign out: {path}: {page}");
        assert!(text(&admin.get(path)).matches("method=\"post\"").count() > 1 || path == "/", "{path}");
    }
    for (path, fields) in [
        (format!("/posts/{id}/hold"), vec![]),
        (format!("/posts/{id}/delete"), vec![("sure", "yes")]),
        ("/posts/actions".to_owned(), vec![("action", "delete"), ("sure", "yes")]),
        ("/destinations/actions".to_owned(), vec![("action", "pause"), ("origin", "*")]),
    ] {
        let refused = viewer.send(&path, &fields);
        assert_eq!(refused.status, 403, "{path}: {}", text(&refused));
        assert!(text(&refused).contains("operator"), "{}", text(&refused));
    }
    let get =
        format!("GET /api/v1/posts/{id} HTTP/1.1\r\nHost: {}\r\n{lines}Connection: close\r\n\r\n", scene.api);
    assert_eq!(scene.raw(&get).json()["state"], "deferred");
}

#[test]
fn a_tenant_sees_and_steers_its_own_alone() {
    let scene = with_keys();
    let id = scene.send("/busy", "X-Postgate-Tag: private\r\n");
    let mut own = Browser::with_key(&scene, &key("default-operator"));
    eventually("the first attempt", DEADLINE, || {
        text(&own.get("/posts")).contains("500 Internal Server Error").then_some(())
    });
    let mut other = Browser::with_key(&scene, &key("club-operator"));
    for path in ["/", "/posts", "/posts?tag=private", "/destinations"] {
        let page = text(&other.get(path));
        assert!(!page.contains(&id) && !page.contains(&scene.origin()), "{path}: {page}");
    }
    for piece in ["", "/body", "/message", "/mail.html", "/attachments/1", "/transcript"] {
        assert_eq!(other.get(&format!("/posts/{id}{piece}")).status, 404, "{piece}");
    }
    assert_eq!(other.send(&format!("/posts/{id}/delete"), &[("sure", "yes")]).status, 404);
    let all = other.send("/posts/actions", &[("action", "delete"), ("sure", "yes")]);
    assert!(text(&all).contains("Delete: 0 posts"), "{}", text(&all));
    assert_eq!(own.get(&format!("/posts/{id}")).status, 200);
}

#[test]
fn charts_and_log_are_shown_to_whom_all_posts_are_shown() {
    let scene = with_keys();
    for (name, sees) in [("admin", true), ("default-read", false), ("club-operator", false)] {
        let page = text(&Browser::with_key(&scene, &key(name)).get("/"));
        assert_eq!(page.contains("data-history"), sees, "{name}: {page}");
        assert_eq!(page.contains("href=\"/log\""), sees, "{name}: {page}");
    }
    let scene = Scene::start(&block("default-read"));
    let mut only = Browser::with_key(&scene, &key("default-read"));
    let page = text(&only.get("/"));
    assert!(page.contains("data-history") && page.contains("href=\"/log\""), "{page}");
    let log = only.get("/log");
    assert_eq!(log.status, 200, "{log:?}");
}

#[test]
fn destinations_are_paused_resumed_and_flushed() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    assert!(text(&browser.get("/destinations")).contains("There is no destination yet"));
    scene.post("/busy", "", "deferred");
    let origin = scene.origin();
    let page = text(&browser.get("/destinations"));
    assert!(page.contains(&origin) && page.contains("value=\"pause\""), "{page}");
    let paused = browser.send("/destinations/actions", &[("action", "pause"), ("origin", &origin)]);
    assert_eq!((paused.status, paused.header("location")), (303, Some("/destinations")));
    let page = text(&browser.get("/destinations/live"));
    assert!(page.contains("paused in the panel") && page.contains("value=\"resume\""), "{page}");
    browser.get("/destinations");
    browser.send("/destinations/actions", &[("action", "resume"), ("origin", &origin)]);
    browser.send("/destinations/actions", &[("action", "flush"), ("origin", &origin)]);
    scene.receiver.received(2);
    assert_eq!(
        browser.send("/destinations/actions", &[("action", "purge"), ("origin", &origin)]).status,
        404
    );
}
