//! Sending a test message, and looking into the protocol log.

use super::browser::{Browser, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::{Client, eventually};
use super::{HOSTILE, block, has_marks, is_inert, key};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

const PASSWORD: &str = "correct-horse-kAnArY";

/// Users of both tenants, and keys that may send.
fn with_users() -> Scene {
    let user = |name: &str, more: &str| {
        format!("[[user]]\nname = \"{name}\"\npassword = \"{PASSWORD}-{name}\"\n{more}")
    };
    let users = [user("erp", ""), user("till", "tenant = \"club\"\n")].concat();
    let keys: String = ["admin", "default-read", "default-inject", "club-inject"].map(block).concat();
    let mut scene = Scene::start("");
    // Passwords are in it, which nobody else may read.
    let file = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{config}[[tenant]]\nname = \"club\"\n\n{users}\n{keys}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    scene.gateway.end("-TERM");
    scene.again();
    scene
}

/// What a form of the page says, with the recipient.
fn form(to: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("from", "test@app.example"),
        ("to", to),
        ("content_type", "application/json"),
        ("subject", "Grüße"),
        ("body", "{\"a\": 1}"),
    ]
}

/// The id of the post that a page tells of.
fn post(page: &str) -> String {
    let (_, rest) = page.split_once("href=\"/posts/").unwrap_or_else(|| panic!("no post: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// What the page of a test message becomes when the attempt is over.
fn attempt(browser: &mut Browser<'_>, id: &str) -> String {
    eventually("the attempt in the log", DEADLINE, || {
        let piece = text(&browser.get(&format!("/send/log?id={id}&looks=1")));
        (!piece.contains("hx-get")).then_some(piece)
    })
}

#[test]
fn a_first_post_is_sent_and_both_dialogues_are_shown() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let page = text(&browser.get("/send"));
    assert!(page.contains("value=\"post@http://127.0.0.1:8080/hello\""), "{page}");
    let to = scene.receiver.recipient("/first");
    let sent = browser.send("/send", &form(&to));
    has_marks(&sent);
    let page = text(&sent);
    for shown in [
        "<b>Accepted</b>",
        "S: 220 gateway.example",
        "C: EHLO localhost",
        &format!("C: RCPT TO:&#60;{to}&#62;"),
        "C: MAIL FROM:&#60;test@app.example&#62; BODY=8BITMIME SMTPUTF8",
        "C: QUIT",
        "hx-get=\"/send/log?id=",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let arrival = scene.receiver.received(1).remove(0);
    assert_eq!(arrival.path, "/first");
    assert_eq!(String::from_utf8_lossy(&arrival.body).trim_end(), "{\"a\": 1}");
    let piece = attempt(&mut browser, &post(&page));
    for shown in ["POST /first HTTP/1.1", "HTTP/1.1 200 OK", "delivered in"] {
        assert!(piece.contains(shown), "{shown}: {piece}");
    }
}

#[test]
fn a_refusal_says_what_to_do_and_keeps_the_form() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    browser.get("/send");
    for (to, reply, remedy) in [
        ("nobody@nowhere.example", "550 5.1.1", "recipient of a route"),
        ("post@https", "550 5.1.3", "post@https://shop.example/hook"),
    ] {
        let page = text(&browser.send("/send", &form(to)));
        assert!(page.contains("<b>Refused</b>") && page.contains(reply), "{page}");
        assert!(page.contains(remedy) && page.contains(&format!("value=\"{to}\"")), "{remedy}: {page}");
        assert!(page.contains("value=\"Grüße\"") && !page.contains("/send/log"), "{page}");
    }
    let mut forged = form("post@http://127.0.0.1:1/");
    forged[3].1 = "x\r\nX-Forged: 1";
    let refused = browser.send("/send", &forged);
    assert_eq!(refused.status, 422);
    assert!(text(&refused).contains("have one line each"), "{}", text(&refused));
    let mut elsewhere = form("post@http://127.0.0.1:1/");
    elsewhere.push(("listener", "192.0.2.1:25"));
    let refused = browser.send("/send", &elsewhere);
    assert_eq!(refused.status, 422, "{}", text(&refused));
    for word in HOSTILE {
        let mut all = form(word);
        all.push(("headers", word));
        all.push(("user", word));
        let page = browser.send("/send", &all);
        is_inert(&text(&page));
        has_marks(&page);
    }
}

#[test]
fn who_sends_is_whose_key_it_is() {
    let scene = with_users();
    let to = scene.receiver.recipient("/own");
    let mut viewer = Browser::with_key(&scene, &key("default-read"));
    assert!(!text(&viewer.get("/")).contains("href=\"/send\""));
    assert_eq!(viewer.get("/send").status, 403);
    assert_eq!(viewer.send("/send", &form(&to)).status, 403);
    let mut club = Browser::with_key(&scene, &key("club-inject"));
    let page = text(&club.get("/send"));
    assert!(page.contains("SMTP user (of your tenant)"), "{page}");
    let login = |user: &'static str, password: String| {
        let mut all: Vec<_> = form(&to).into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        all.extend([("user", user.to_owned()), ("password", password)]);
        all
    };
    let send = |browser: &mut Browser<'_>, fields: &[(&'static str, String)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.send("/send", &fields)
    };
    // Without a login the session would be the default tenant's.
    let none = club.send("/send", &form(&to));
    assert_eq!(none.status, 403, "{}", text(&none));
    let others = send(&mut club, &login("erp", format!("{PASSWORD}-erp")));
    assert_eq!(others.status, 422, "{}", text(&others));
    assert!(text(&others).contains("535 5.7.8 authentication failed"), "{}", text(&others));
    let wrong = send(&mut club, &login("till", "wrong".to_owned()));
    assert_eq!(wrong.status, 422, "{}", text(&wrong));
    let sent = send(&mut club, &login("till", format!("{PASSWORD}-till")));
    let page = text(&sent);
    assert!(page.contains("AUTH PLAIN ***") && page.contains("<b>Accepted</b>"), "{page}");
    assert!(!page.contains("kAnArY"), "{page}");
    scene.receiver.received(1);
    // It is over, and its sender sees the dialogue; others do not.
    let id = post(&page);
    assert!(attempt(&mut club, &id).contains("delivered in"));
    let mut default = Browser::with_key(&scene, &key("default-inject"));
    assert_eq!(default.get(&format!("/send/log?id={id}")).status, 404);
    assert!(text(&default.send("/send", &form(&to))).contains("<b>Accepted</b>"));
    // It is a post of its own tenant.
    let busy = scene.receiver.recipient("/busy/own");
    let fields = [("to", busy), ("user", "till".to_owned()), ("password", format!("{PASSWORD}-till"))];
    let id = post(&text(&send(&mut club, &fields)));
    assert_eq!(club.get(&format!("/posts/{id}")).status, 200);
    assert_eq!(default.get(&format!("/posts/{id}")).status, 404);
}

#[test]
fn a_listener_with_tls_is_spoken_to_with_tls() {
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\nrequire_tls = true\n\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\n\n[tls]\nself_signed = true\n";
    let scene = Scene::start(more);
    let mut browser = Browser::new(&scene);
    browser.get("/send");
    let to = scene.receiver.recipient("/tls");
    let listeners = scene.get("/api/v1/status").json()["listeners"].as_array().unwrap().clone();
    assert_eq!(listeners.len(), 4);
    for listener in listeners {
        let mut all = form(&to);
        all.push(("listener", listener["address"].as_str().unwrap()));
        let page = text(&browser.send("/send", &all));
        assert!(page.contains("<b>Accepted</b>"), "{listener}: {page}");
        assert_eq!(page.contains("(TLSv1.3, with a certificate of this gateway)"), listener["tls"] != "none");
        assert_eq!(page.contains("C: STARTTLS"), listener["tls"] == "starttls", "{page}");
        assert_eq!(page.contains("C: LHLO"), listener["protocol"] == "lmtp", "{page}");
    }
    scene.receiver.received(4);
}

/// Sends a mail, and waits until the log has its attempt.
fn logged(scene: &Scene, browser: &mut Browser<'_>, path: &str) -> String {
    let id = scene.send(path, "");
    eventually("the dialogue in the log", DEADLINE, || {
        let page = text(&browser.get(&format!("/log?post={id}")));
        (page.contains("deferred for") && page.contains("queued as")).then_some(())
    });
    id
}

#[test]
fn dialogues_are_found_by_peer_post_destination_session_and_day() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let empty = text(&browser.get("/log"));
    assert!(empty.contains("Nothing was said yet") && empty.contains("href=\"/send\""), "{empty}");
    let (one, two) = (logged(&scene, &mut browser, "/busy/1"), logged(&scene, &mut browser, "/busy/2"));
    let page = text(&browser.get("/log"));
    assert!(page.contains("/busy/1") && page.contains("/busy/2"), "{page}");
    assert!(page.find(&two).unwrap() < page.find(&one).unwrap(), "the newest first: {page}");
    let own = text(&browser.get(&format!("/log?post={one}")));
    assert!(own.contains("RCPT TO") && own.contains("POST /busy/1") && !own.contains("/busy/2"), "{own}");
    let (_, rest) = own.split_once("href=\"/log?session=S").unwrap();
    let session = format!("S{}", rest.split('"').next().unwrap());
    let whole = text(&browser.get(&format!("/log?session={session}")));
    assert!(whole.contains(&format!("<span class=\"mono\">{session}</span>")), "{whole}");
    assert_eq!(whole.matches("<summary>").count(), 1, "{whole}");
    let origin = scene.origin().replace(':', "%3A").replace('/', "%2F");
    for (query, smtp, http) in [
        ("peer=127.0.0.1".to_owned(), true, true),
        (format!("peer={}", scene.receiver.address), false, true),
        ("peer=127.0.0.10".to_owned(), false, false),
        (format!("destination={origin}"), false, true),
        ("destination=http%3A%2F%2Fother.example".to_owned(), false, false),
        ("day=2020-01-01".to_owned(), false, false),
    ] {
        let page = text(&browser.get(&format!("/log?{query}")));
        assert_eq!((page.contains("RCPT TO"), page.contains("POST /busy")), (smtp, http), "{query}: {page}");
        assert!(page.contains("Looked through"), "{page}");
    }
    let day =
        format!("<option>{}</option>", &scene.get("/api/v1/status").json()["now"].as_str().unwrap()[..10]);
    assert!(page.contains(&day), "{day}: {page}");
    for (query, status) in
        [("day=yesterday", 422), ("post=x", 422), ("destination=x", 422), ("cursor=x", 422)]
    {
        assert_eq!(browser.get(&format!("/log?{query}")).status, status, "{query}");
    }
    let transcript = text(&browser.get(&format!("/posts/{one}/transcript")));
    assert!(transcript.contains(&format!("href=\"/log?post={one}\"")), "{transcript}");
}

/// Where the files of the protocol log are.
fn log_directory(scene: &Scene) -> PathBuf {
    let data = |name: &str| scene.directory.path().join(name).join("log");
    let found = [data("data"), data("postgate-data")].into_iter().find(|path| path.is_dir());
    found.unwrap()
}

#[test]
fn a_large_log_is_looked_through_page_by_page() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let mut file = fs::File::create(log_directory(&scene).join("protocol-2020-01-31.log")).unwrap();
    for number in 0..60 {
        let stamp = "2020-01-31T12:00:00.000Z";
        let head = format!("{stamp} S{number:04x} * connected from 192.0.2.7:{number}\n");
        let lines = format!("{stamp} S{number:04x} < NOOP <script>alert(1)</script>\n").repeat(40);
        file.write_all(format!("{head}{lines}").as_bytes()).unwrap();
    }
    let mut at = "/log?peer=192.0.2.7&day=2020-01-31".to_owned();
    let mut found = Vec::new();
    loop {
        let page = browser.get(&at);
        assert!(page.body.len() < 100_000, "{} octets", page.body.len());
        let page = text(&page);
        is_inert(&page);
        let heads = page.split("connected from 192.0.2.7:").skip(1).map(|rest| {
            rest.split(|char: char| !char.is_ascii_digit()).next().unwrap().parse::<u32>().unwrap()
        });
        found.extend(heads);
        assert!(page.contains("more lines"), "{page}");
        match page.split_once("rel=\"next\" href=\"") {
            Some((_, rest)) => at = rest.split('"').next().unwrap().replace("&#38;", "&"),
            None => break,
        }
    }
    found.dedup();
    assert_eq!(found, (0..60).rev().collect::<Vec<_>>());
}

/// What a page asks for by itself.
fn by_itself(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("hx-get=\"/log/further?")?;
    Some(format!("/log/further?{}", rest.split('"').next().unwrap().replace("&#38;", "&")))
}

#[test]
fn a_search_goes_on_by_itself_until_it_is_over_or_was_long_enough() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let mut file = fs::File::create(log_directory(&scene).join("protocol-2020-01-31.log")).unwrap();
    let stamp = "2020-01-31T12:00:00.000Z";
    // Its address begins with what is looked for, so that each line has to be taken apart.
    let line = |name: &str, peer: &str| format!("{stamp} {name} * connected from {peer}:25\n");
    let noise = line("S0002", "192.0.2.77").repeat(150_000);
    file.write_all((line("S0001", "192.0.2.7") + &noise).as_bytes()).unwrap();
    let first = text(&browser.get("/log?peer=192.0.2.7&day=2020-01-31"));
    assert!(first.contains("Nothing of that in what was looked at so far"), "{first}");
    assert!(first.contains("rel=\"next\" href=\"/log?"), "without script as well: {first}");
    let (mut page, mut turns, mut all) = (first.clone(), 0, String::new());
    while let Some(next) = by_itself(&page) {
        turns += 1;
        assert!(next.contains(&format!("&turn={turns}&")), "{next}");
        page = text(&browser.get(&next));
        assert!(!page.contains("<html"), "{page}");
        all.push_str(&page);
    }
    assert!(turns > 1 && page.contains("that is all there is"), "{page}");
    assert_eq!(all.matches("<summary>").count(), 1, "{all}");
    assert!(all.contains("connected from 192.0.2.7:25"), "{all}");
    let all = (noise.len() as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
    assert!(page.contains(&format!("Looked through {all:.1} MiB")), "all looks together: {page}");
    // One that was looked for long enough, and one that is full.
    let next = by_itself(&first).unwrap();
    for (from, to) in [("&turn=1&", "&turn=100&"), ("&count=0&", "&count=25&")] {
        let last = text(&browser.get(&next.replace(from, to)));
        assert!(by_itself(&last).is_none() && last.contains("rel=\"next\""), "{to}: {last}");
    }
}

#[test]
fn a_transcript_says_that_it_has_not_looked_at_all_of_the_log() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let never = text(&browser.get("/posts/52a0000000000002/transcript"));
    assert!(never.contains("The log has nothing of it."), "{never}");
    let id = logged(&scene, &mut browser, "/busy/long-ago");
    // Written after it, and each line has to be taken apart, as it names the post.
    let mut file = fs::File::create(log_directory(&scene).join("protocol-2099-01-31.log")).unwrap();
    let noise = format!("2099-01-31T12:00:00.000Z S0002 < NOOP {id}\n");
    file.write_all(noise.repeat(400_000).as_bytes()).unwrap();
    let page = text(&browser.get(&format!("/posts/{id}/transcript")));
    assert!(
        !page.contains("The log has nothing of it.") && page.contains("Older lines may have it"),
        "{page}"
    );
    let (_, rest) = page.split_once(&format!("href=\"/log?post={id}&#38;cursor=")).unwrap();
    // From there on it is found.
    let mut at = format!("/log?post={id}&cursor={}", rest.split('"').next().unwrap());
    let found = eventually("the dialogue", DEADLINE, || {
        let page = text(&browser.get(&at));
        if let Some((_, rest)) = page.split_once("rel=\"next\" href=\"") {
            at = rest.split('"').next().unwrap().replace("&#38;", "&");
        }
        page.contains("POST /busy/long-ago").then_some(page)
    });
    assert!(!found.contains("nothing older"), "{found}");
}

#[test]
fn new_lines_are_told_as_they_are_written() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let next = |page: &str| {
        let (_, rest) = page.split_once("hx-get=\"").unwrap_or_else(|| panic!("{page}"));
        rest.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
    };
    let page = browser.get("/log/live");
    has_marks(&page);
    let mut at = next(&text(&page));
    assert!(!text(&page).contains("connected from"));
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    client.say("NOOP <script>alert(1)</script>").unwrap();
    let mut seen = String::new();
    eventually("the new lines", DEADLINE, || {
        let piece = text(&browser.get(&at));
        assert!(!piece.contains("<script"), "{piece}");
        at = next(&piece);
        seen.push_str(&piece);
        seen.contains("NOOP").then_some(())
    });
    assert_eq!(seen.matches("connected from").count(), 1, "{seen}");
    let place = at.split_once("after=").unwrap().1;
    let mine = text(&browser.get(&format!("/log/lines?peer=127.0.0.9&after={}.0", &place[..10])));
    assert!(mine.contains("hx-get") && !mine.contains("class=\"line\""), "{mine}");
    client.say("VRFY somebody").unwrap();
    eventually("a line of an old session", DEADLINE, || {
        let piece = text(&browser.get(&format!("/log/lines?peer=127.0.0.1&after={place}")));
        piece.contains("VRFY").then_some(())
    });
}

#[test]
fn the_log_of_all_is_for_those_who_see_all() {
    let scene = with_users();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let mut club = Browser::with_key(&scene, &key("club-inject"));
    assert!(text(&admin.get("/")).contains("href=\"/log\""));
    assert!(!text(&club.get("/")).contains("href=\"/log\""));
    let id = scene.send("/busy", "");
    eventually("the dialogue", DEADLINE, || {
        text(&admin.get(&format!("/log?post={id}"))).contains("deferred for").then_some(())
    });
    for (path, status) in [
        ("/log".to_owned(), 403),
        ("/log/live".to_owned(), 403),
        ("/log/lines".to_owned(), 403),
        ("/log?peer=127.0.0.1".to_owned(), 403),
        (format!("/log?post={id}"), 404),
        (format!("/log/lines?post={id}"), 404),
    ] {
        let refused = club.get(&path);
        assert_eq!(refused.status, status, "{path}: {}", text(&refused));
        assert!(!text(&refused).contains("connected from"));
    }
    let mut own = Browser::with_key(&scene, &key("default-read"));
    assert_eq!(own.get("/log").status, 403);
    assert!(text(&own.get(&format!("/log?post={id}"))).contains("deferred for"));
}

#[test]
fn without_a_log_the_page_says_what_turns_it_on() {
    let scene = Scene::start("[log]\nprotocol_log = \"off\"\n");
    let mut browser = Browser::new(&scene);
    for path in ["/log", "/log/live"] {
        let page = text(&browser.get(path));
        assert!(page.contains("protocol_log = \"full\"") && !page.contains("hx-get"), "{path}: {page}");
    }
    browser.get("/send");
    let sent = text(&browser.send("/send", &form(&scene.receiver.recipient("/off"))));
    let piece = attempt(&mut browser, &post(&sent));
    assert!(piece.contains("protocol_log = \"full\""), "{piece}");
}
