//! The page of the configuration: checked, compared, applied, and nothing typed lost.

use super::browser::{Browser, field, text};
use super::support::api::{Response, Scene};
use super::{key, with_keys};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// What is nowhere to be seen.
const SECRET: &str = "[[user]]\nname = \"erp\"\npassword = \"kAnArY-0\"\n";

fn file(scene: &Scene) -> PathBuf {
    scene.directory.path().join("postgate.toml")
}

fn on_disk(scene: &Scene) -> String {
    fs::read_to_string(file(scene)).unwrap()
}

/// A gateway with more in its file, also a secret.
fn with_secret(more: &str) -> Scene {
    let scene = Scene::start(more);
    fs::set_permissions(file(&scene), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file(&scene), on_disk(&scene) + SECRET).unwrap();
    let loaded = scene.post_to("/api/v1/reload", "");
    assert_eq!(loaded.status, 200, "{loaded:?}");
    scene
}

fn unescaped(text: &str) -> String {
    let named = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    named.iter().fold(text.to_owned(), |text, (name, char)| text.replace(name, char))
}

/// What stands in the editor of a page; a browser leaves out the first end of line.
fn typed(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<textarea id=\"config\"")?;
    let (_, rest) = rest.split_once(">\n")?;
    rest.split_once("</textarea>").map(|(text, _)| unescaped(text))
}

/// A page with its editor, or with its difference.
struct Page {
    status: u16,
    html: String,
    /// The text, and the hidden fields of its form.
    fields: Vec<(&'static str, String)>,
}

impl Page {
    fn of(response: &Response) -> Page {
        let html = text(response);
        let mut fields: Vec<_> = ["version", "ends", "origin", "against"]
            .into_iter()
            .filter_map(|name| Some((name, unescaped(&field(&html, name)?))))
            .collect();
        let config = typed(&html).or_else(|| field(&html, "config").map(|text| unescaped(&text)));
        fields.extend(config.map(|config| ("config", config)));
        Page { status: response.status, html, fields }
    }

    fn open(browser: &mut Browser<'_>) -> Page {
        Page::of(&browser.get("/config"))
    }

    fn config(&self) -> &str {
        &self.fields.iter().find(|(name, _)| *name == "config").unwrap().1
    }

    /// The same with something else typed.
    fn with(mut self, old: &str, new: &str) -> Page {
        let config = self.config().replace(old, new);
        assert_ne!(config, self.config(), "{old}");
        self.fields.retain(|(name, _)| *name != "config");
        self.fields.push(("config", config));
        self
    }

    /// Presses a button of it; a browser ends lines in CRLF.
    fn press(&self, browser: &mut Browser<'_>, action: &str) -> Page {
        let all: Vec<_> =
            self.fields.iter().map(|(name, value)| (*name, value.replace('\n', "\r\n"))).collect();
        let mut all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("action", action));
        let page = Page::of(&browser.send("/config", &all));
        if let Some(token) = field(&page.html, "token") {
            browser.token = token;
        }
        page
    }
}

#[test]
fn the_file_is_checked_compared_and_applied() {
    let scene = with_secret("# kept\n[limits]\nrecipients = 700\n");
    let before = on_disk(&scene);
    let mut browser = Browser::new(&scene);
    assert!(text(&browser.get("/")).contains("href=\"/config\""));
    let page = Page::open(&mut browser).with("recipients = 700", "recipients = 0 # <b>");
    assert!(page.config().contains("# kept") && page.config().contains("\"***"), "{}", page.html);
    let checked = page.press(&mut browser, "check");
    let line = page.config().lines().position(|line| line.starts_with("recipients")).unwrap() + 1;
    assert_eq!(checked.status, 422);
    let (at, excerpt) = (format!("data-line=\"{line}\""), "<bdi>recipients = 0 # &#60;b&#62;</bdi>");
    assert!(checked.html.contains(&at) && checked.html.contains(excerpt), "{}", checked.html);
    assert_eq!(checked.config(), page.config(), "what was typed stays");
    let page = checked.with("recipients = 0 # <b>", "recipients = 0");
    let compared = page.press(&mut browser, "difference");
    assert!(compared.html.contains("gone: </span>recipients = 700</del>"), "{}", compared.html);
    assert!(compared.html.contains("new: </span>recipients = 0</ins>"), "{}", compared.html);
    assert!(compared.html.contains("limits.recipients") && !compared.html.contains("value=\"apply\""));
    let page = compared.press(&mut browser, "edit").with("recipients = 0", "recipients = 800");
    let page =
        page.with("hostname = \"gateway.example\"", "hostname = \"gateway.example\"\ndata_dir = \"else\"");
    assert!(page.press(&mut browser, "check").html.contains("<b>Good</b>"));
    let compared = page.press(&mut browser, "difference");
    assert!(compared.html.contains("value=\"apply\"") && compared.html.contains("server.data_dir"));
    assert_eq!(on_disk(&scene), before, "nothing is applied before it was shown");
    let applied = compared.press(&mut browser, "apply");
    assert!(applied.status == 200 && applied.html.contains("<b>Applied</b>"), "{}", applied.html);
    assert!(applied.html.contains("until the gateway is started again: server.data_dir"), "{}", applied.html);
    assert_eq!(
        on_disk(&scene),
        before
            .replace("recipients = 700", "recipients = 800")
            .replace("\"gateway.example\"", "\"gateway.example\"\ndata_dir = \"else\"")
    );
    assert!(applied.press(&mut browser, "difference").html.contains("<b>No difference</b>"));
    for page in [page, compared, applied] {
        assert!(!page.html.contains("kAnArY"), "{}", page.html);
    }
}

#[test]
fn what_somebody_else_changed_is_shown_and_not_overwritten() {
    let scene = Scene::start("[limits]\nrecipients = 700\n");
    let mut browser = Browser::new(&scene);
    let page = Page::open(&mut browser).with("recipients = 700", "recipients = 800");
    let theirs = on_disk(&scene).replace("[limits]", "[limits]\nconnections = 1500");
    fs::write(file(&scene), &theirs).unwrap();
    let compared = page.press(&mut browser, "difference");
    assert!(compared.html.contains("Changed meanwhile"), "{}", compared.html);
    assert!(compared.html.contains("gone: </span>connections = 1500</del>"), "{}", compared.html);
    let later = theirs.replace("1500", "1600");
    fs::write(file(&scene), &later).unwrap();
    let refused = compared.press(&mut browser, "apply");
    assert_eq!(refused.status, 412);
    assert!(refused.html.contains("<b>Not applied</b>"), "{}", refused.html);
    assert!(refused.html.contains("gone: </span>connections = 1600</del>"), "{}", refused.html);
    assert_eq!((on_disk(&scene), refused.config()), (later, page.config()));
    // Who has seen that may.
    assert_eq!(refused.press(&mut browser, "apply").status, 200);
    assert!(!on_disk(&scene).contains("connections") && on_disk(&scene).contains("800"));
}

#[test]
fn nothing_typed_is_lost_when_the_session_ends() {
    let scene = with_keys();
    let mut browser = Browser::with_key(&scene, &key("admin"));
    let before = on_disk(&scene);
    // Longer than what is read of anybody.
    let long = format!("breaker = 3 # kept\n# {}", "<".repeat(100_000));
    let page = Page::open(&mut browser).with("breaker = 0", &long);
    // Somewhere else.
    let cookie = browser.cookie.clone();
    browser.send("/sign-out", &[]);
    browser.cookie = cookie;
    for action in ["check", "difference", "apply", "reload", "edit"] {
        let kept = page.press(&mut browser, action);
        assert_eq!((kept.status, kept.config()), (403, page.config()), "{action}");
        assert!(kept.html.contains("The session has ended") || kept.html.contains("the session has ended"));
        assert!(kept.html.contains("target=\"_blank\""), "{}", kept.html);
        assert_eq!(kept.html.matches("gateway.example").count(), 1, "what was sent alone");
    }
    // In another window; the form is of the old session still.
    browser.get("/sign-in");
    assert_eq!(browser.send("/sign-in", &[("key", &key("admin"))]).status, 303);
    browser.token = "AAAA".to_owned();
    let kept = page.press(&mut browser, "apply");
    assert_eq!((kept.status, kept.config()), (403, page.config()));
    assert!(kept.html.contains("of another session"), "{}", kept.html);
    assert_eq!(on_disk(&scene), before);
    let compared = kept.press(&mut browser, "difference");
    assert_eq!(compared.press(&mut browser, "apply").status, 200);
    assert!(on_disk(&scene).contains("breaker = 3 # kept"));
    // What is no form at all is refused as anywhere, and so is what comes from elsewhere.
    assert_eq!(browser.form("/config", &[("config", "x")], "Origin: https://evil.example\r\n").status, 403);
    assert!(!text(&browser.form("/config", &[("config", "<i>")], "Origin: null\r\n")).contains("<i>"));
}

#[test]
fn a_configuration_is_for_admins_alone() {
    let scene = with_keys();
    let before = on_disk(&scene);
    let mut other = Browser::with_key(&scene, &key("default-operator"));
    assert!(!text(&other.get("/")).contains("href=\"/config\""));
    assert_eq!(Page::open(&mut other).status, 403);
    let text = before.replace("breaker = 0", "breaker = 3");
    for action in ["check", "difference", "apply", "reload"] {
        let sent = Page { status: 0, html: String::new(), fields: vec![("config", text.clone())] };
        let refused = sent.press(&mut other, action);
        assert_eq!(refused.status, 403, "{action}");
        assert!(refused.html.contains("admin"), "{action}: {}", refused.html);
    }
    let sent = Page { status: 0, html: String::new(), fields: vec![("config", "breaker = 1\n".to_owned())] };
    for action in ["difference", "reload", "edit"] {
        assert!(!sent.press(&mut other, action).html.contains("gateway.example"), "{action}");
    }
    assert_eq!(on_disk(&scene), before);
}

#[test]
fn a_file_that_was_changed_elsewhere_is_loaded() {
    let scene = Scene::start("[limits]\nrecipients = 700\n");
    let mut browser = Browser::new(&scene);
    let opened = Page::open(&mut browser);
    let good = on_disk(&scene).replace("700", "750");
    fs::write(file(&scene), &good).unwrap();
    let loaded = opened.press(&mut browser, "reload");
    assert!(loaded.html.contains("<b>Loaded</b>") && loaded.config().contains("750"), "{}", loaded.html);
    let typed = loaded.with("750", "760");
    let kept = typed.press(&mut browser, "reload");
    assert!(kept.html.contains("<b>Loaded</b>") && kept.config() == typed.config(), "{}", kept.html);
    fs::write(file(&scene), good.replace("recipients = 750", "recipients = ")).unwrap();
    let bad = typed.press(&mut browser, "reload");
    assert!(bad.status == 422 && bad.html.contains("<b>Not loaded</b>"), "{}", bad.html);
    assert_eq!(bad.config(), typed.config());
    let unread = Page::open(&mut browser);
    assert!(unread.html.contains("mend it where it stands") && !unread.html.contains("<textarea"));
    fs::write(file(&scene), &good).unwrap();
    assert!(unread.press(&mut browser, "reload").html.contains("<b>Loaded</b>"));
}

#[test]
fn a_long_file_with_any_ends_of_lines_stays_as_it_is() {
    let scene = with_secret("");
    let mut browser = Browser::new(&scene);
    for (ends, long) in [("\r\n", 10), ("\n", 8_000)] {
        let notes = format!("# {}{ends}", "& ".repeat(20)).repeat(long);
        let before = on_disk(&scene).replace("\r\n", "\n").replace('\n', ends) + &notes;
        fs::write(file(&scene), &before).unwrap();
        let page = Page::open(&mut browser).with("breaker = 0", "breaker = 2");
        let applied = page.press(&mut browser, "difference").press(&mut browser, "apply");
        assert_eq!(applied.status, 200, "{}", applied.html);
        let after = before.replace("breaker = 0", "breaker = 2");
        assert!(on_disk(&scene) == after, "{ends:?}");
        fs::write(file(&scene), after.replace("breaker = 2", "breaker = 0")).unwrap();
    }
    let none = browser.send("/config", &[("action", "apply"), ("config", " \r\n")]);
    assert!(none.status == 422 && text(&none).contains("empty"), "{}", text(&none));
}

#[test]
fn strangers_have_no_long_form_read_or_repeated() {
    let scene = with_keys();
    let (long, many) = ("<".repeat(100_000), "a&".repeat(2_000));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let mut nobody = Browser::new(&scene);
    nobody.get("/sign-in");
    let mut other = Browser::with_key(&scene, &key("default-operator"));
    other.get("/");
    for (browser, remedy) in [(&mut nobody, "the session has ended"), (&mut other, "is for admins")] {
        let token = browser.token.clone();
        let refused = browser.send("/config", &[("config", &long), ("action", "edit")]);
        assert_eq!(refused.status, 413, "{}", text(&refused));
        assert!(text(&refused).contains(remedy) && refused.body.len() < 10_000, "{}", text(&refused));
        let fields = browser.ask("POST", "/config", form, &format!("token={token}&{many}"));
        assert_eq!(fields.status, 422, "{}", text(&fields));
        assert!(text(&fields).contains("more than 1000 fields"), "{}", text(&fields));
        let beside = browser.send("/config", &[("version", &long[..20_000]), ("action", "edit")]);
        assert_eq!(beside.status, 413, "{}", text(&beside));
    }
    let mut admin = Browser::with_key(&scene, &key("admin"));
    admin.get("/");
    let large = "x".repeat((1 << 20) + 1);
    let refused = admin.send("/config", &[("config", &large), ("action", "edit")]);
    assert_eq!(refused.status, 413, "{}", text(&refused));
    assert!(text(&refused).contains("1048576 octets") && refused.body.len() < 10_000);
    let taken = admin.send("/config", &[("config", &large[..1 << 20]), ("action", "edit")]);
    assert!(taken.status == 200 && text(&taken).contains(&large[..1 << 20]));
}

#[test]
fn lines_that_end_in_two_ways_are_told_of_before_they_change() {
    let scene = with_secret("");
    let mut browser = Browser::new(&scene);
    let before = on_disk(&scene) + "# one\r\n# another\n";
    fs::write(file(&scene), &before).unwrap();
    let page = Page::open(&mut browser).with("breaker = 0", "breaker = 2");
    let compared = page.press(&mut browser, "difference");
    assert!(compared.html.contains("Not all lines of the file end in LF"), "{}", compared.html);
    let applied = compared.press(&mut browser, "apply");
    assert_eq!(on_disk(&scene), before.replace("breaker = 0", "breaker = 2").replace("\r\n", "\n"));
    let again = applied.with("breaker = 2", "breaker = 3").press(&mut browser, "difference");
    assert!(!again.html.contains("Not all lines of the file end"), "{}", again.html);
}
