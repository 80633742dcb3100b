//! Tables of recipients: what was seen of real clients, and what it must mean.

use super::*;
use crate::compose::{Pattern, Route};

fn route(recipient: &str) -> Route {
    Route::new(recipient.parse().unwrap(), "https://shop.example/in".parse().unwrap())
}

fn options() -> Options {
    let routes = ["*@all.example", "orders+*@all.example", "orders@all.example", "*@https"].map(route);
    let gateway_domains = vec!["postgate.local".to_owned(), "gw.example".to_owned()];
    Options { gateway_domains, routes: routes.into(), ..Options::default() }
}

fn shown(path: &str) -> String {
    match target(&options(), path) {
        Ok(Target::Direct { method, url }) => format!("{method} {url}"),
        Ok(Target::Header { method }) => format!("{method} of header"),
        Ok(Target::Event { name }) => format!("event {name}"),
        Ok(Target::Route { route, detail: None }) => route,
        Ok(Target::Route { route, detail: Some(detail) }) => format!("{route} {detail}"),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn wrecks_are_refused_before_any_route() {
    for path in [
        "",
        "@gw.example",
        "@all.example",
        "post@https",
        "post@http",
        "POST@HTTPS",
        "\"post\"@https",
        "//host.example/webhook.aspx",
        "//host.example/webhook.aspx@all.example",
        "8443/a/b?x=1&y=a%20b",
        "8443/a/b?x=1&y=a%20b@all.example",
        "undefined",
        "//host.example:8443/a/b?x=1&y=a@20b]",
        "post@https://host.example/x]",
    ] {
        assert_eq!(
            shown(path),
            "550 5.1.3 your mail library cut the URL out of the address; use a route or the form printed \
             by: postgate address URL",
            "{path}"
        );
    }
}

#[test]
fn every_form_means_its_url() {
    for (path, expected) in [
        ("Orders@ALL.example", "orders@all.example"),
        ("\"orders\"@all.example", "orders@all.example"),
        ("orders+17@all.example", "orders+*@all.example 17"),
        ("other@all.example", "*@all.example"),
        ("https@all.example", "*@all.example"),
        ("post@nb2hi4dthixs62bpo4.u.postgate.local", "POST https://h/w"),
        ("Put@NB2HI4DT.hixs62bp.O4.U.GW.Example", "PUT https://h/w"),
        ("post+aHR0cHM6Ly9zaG9wLmV4YW1wbGUvaG9vaw@postgate.local", "POST https://shop.example/hook"),
        ("delete+aHR0cHM6Ly9oL3c_YQ==@GW.example", "DELETE https://h/w?a"),
        ("post=https=3A=2F=2Fshop.example=2Fhook@postgate.local", "POST https://shop.example/hook"),
        ("patch=https=3a=2f=2Fh=2F=3F=3D@gw.example", "PATCH https://h/?="),
        ("event+order.paid@postgate.local", "event order.paid"),
        ("Event+email.opened@GW.example", "event email.opened"),
        ("event+order.paid@all.example", "*@all.example"),
        ("post@postgate.local", "POST of header"),
        ("GET@Gw.Example", "GET of header"),
        ("\"post:https://h/x?a=1\"@gw.example", "POST https://h/x?a=1"),
        ("\"put:https://h/x\"@gw.example", "PUT https://h/x"),
        ("\"https://h/x?y=1@2\"@gw.example", "POST https://h/x?y=1@2"),
        ("\"post:https://h/x?a=1 \"@gw.example", "POST https://h/x?a=1"),
        ("https://h/x?y=1@gw.example", "POST https://h/x?y=1"),
        ("post:https://h/x?y=1@gw.example", "POST https://h/x?y=1"),
        ("\"\"https://h/x\"\"@gw.example", "POST https://h/x"),
        ("\"https://h/x\" @gw.example", "POST https://h/x"),
        ("\"https://h/\\\"\\x\"@gw.example", "POST https://h/\"x"),
        ("post@[https://h/x?y=[1]@]", "POST https://h/x?y=[1]@"),
        ("Post@https://host.example/webhook.aspx", "POST https://host.example/webhook.aspx"),
        ("post@https://h:8443/a/b?x=1&y=a%20b", "POST https://h:8443/a/b?x=1&y=a%20b"),
        ("post@https://h/?to=a@all.example", "POST https://h/?to=a@all.example"),
        ("post@https://h/?to=a@gw.example", "POST https://h/?to=a@gw.example"),
        ("post@HTTPS://user:pass@h/@?a=b&c=%41", "POST HTTPS://user:pass@h/@?a=b&c=%41"),
        ("post@http://[::1]:8080/x", "POST http://[::1]:8080/x"),
    ] {
        assert_eq!(shown(path), expected, "{path}");
    }
}

#[test]
fn a_clear_form_with_a_bad_url_says_what_is_wrong() {
    for (path, expected) in [
        ("post@https://h/#x", "553 5.1.3 the URL has a fragment, which HTTP never sends; write # as %23"),
        ("post@https://h:0/", "553 5.1.3 the URL names port 0"),
        ("post@https://", "553 5.1.3 the URL names no host"),
        (
            "\"https://h/a b\"@gw.example",
            "553 5.1.3 the URL holds a blank, a control character or a backslash; write it as %XX",
        ),
        (
            "\"https://good\\\\@127.0.0.1/\"@gw.example",
            "553 5.1.3 the URL holds a blank, a control character or a backslash; write it as %XX",
        ),
        ("post+ZnRwOi8vaC8@gw.example", "553 5.1.3 the URL does not begin with http:// or https://"),
        (
            "post=https=3A=2F=2Fh=0D=0A@gw.example",
            "553 5.1.3 the URL holds a blank, a control character or a backslash; write it as %XX",
        ),
        (
            "event+post.delivered@gw.example",
            "553 5.1.3 event+TYPE: names that begin with post., destination. or webhook. are the gateway's own",
        ),
        (
            "event+paid@gw.example",
            "553 5.1.3 event+TYPE: a name has two or more parts of letters, digits, - and _ with dots \
             between, such as order.paid, and at most 64 octets",
        ),
        ("post+!@gw.example", "553 5.1.3 the recipient is not a URL in base64url"),
        ("post+_w@gw.example", "553 5.1.3 the recipient is not a URL in base64url"),
        ("post@1.u.gw.example", "553 5.1.3 the recipient is not a URL in base32"),
        ("post==FF@gw.example", "553 5.1.3 the recipient is not a URL in UTF-8"),
    ] {
        assert_eq!(shown(path), expected, "{path}");
    }
}

#[test]
fn the_rest_is_unknown() {
    for path in [
        "nobody@example.com",
        "post",
        "nobody@gw.example",
        "connect@gw.example",
        "trace@https://h/",
        "https://h/x",
        "post@ftp://h/",
        "post@https:h/",
        "post@sub.gw.example",
        "nobody@nb2hi4dthixs62bpo4.u.gw.example",
        "post@u.gw.example",
        "post@[::1]",
        "post@[https://h/",
        "\"ftp://h/x\"@gw.example",
        "\"@gw.example",
    ] {
        assert!(shown(path).starts_with("550 5.1.1 no such recipient"), "{path}: {}", shown(path));
    }
}

#[test]
fn credentials_in_coded_urls_are_found() {
    let shown = ["post@https://user:pass@h/x", "\"post:https://user:pass@h/x\"@gw.example", "a@all.example"];
    assert!(shown.iter().all(|path| !hides_credentials(&options(), path)));
    for url in ["https://user:pass@h/x", "https://h/x?token=y", "https://h/bot17:AAH/send"] {
        for (name, path) in crate::compose::forms(url, "gw.example").unwrap() {
            let is_coded = ["labels", "encoded", "escaped"].contains(&name);
            assert_eq!(hides_credentials(&options(), &path), is_coded, "{path}");
            let local = path.rsplit_once('@').unwrap().0;
            let is_local = ["encoded", "escaped"].contains(&name);
            assert_eq!(hides_credentials(&options(), local), is_local, "{local}");
        }
    }
    assert!(hides_credentials(&options(), r#"post=http=3A=2F=2F"@b@gw.example"#));
    for (_, path) in crate::compose::forms("https://h/x@y?z=a@b", "gw.example").unwrap() {
        assert!(!hides_credentials(&options(), &path), "{path}");
    }
}

/// Which pattern takes an address, whatever the order of the file, and with what
/// detail; by what else the file says, that order counts.
#[test]
fn the_most_specific_route_of_the_highest_priority_wins() {
    let regex = |text: &str| Route::new(Pattern::regex(text).unwrap(), route("a@b").url);
    let first = |priority, route: Route| Route { priority, ..route };
    let mut routes = vec![
        route("*@d"),
        regex(r"order-(\d+)@d"),
        regex(r"(order)-.*@d"),
        route("a+*@d"),
        route("a+b+*@d"),
        route("a+b+c@d"),
        first(-1, route("late@d")),
        first(1, regex(r"vip.*@d")),
        route("vip@d"),
        first(2, route("vip+*@d")),
    ];
    let led = |routes: &[Route], address: &str| {
        let options = Options { routes: routes.to_vec(), ..Options::default() };
        match target(&options, address) {
            Ok(Target::Route { route, detail }) => format!("{route} {}", detail.unwrap_or_default()),
            other => format!("{other:?}"),
        }
    };
    for turn in 0..2 {
        for (address, expected) in [
            ("A+B+C@D", "a+b+c@d "),
            ("a+b+x@d", "a+b+*@d x"),
            ("a+x@d", "a+*@d x"),
            ("order-17@d", [r"regex order-(\d+)@d 17", "regex (order)-.*@d order"][turn]),
            ("order-x@d", "regex (order)-.*@d order"),
            ("\"order-17\"@d", [r"regex order-(\d+)@d 17", "regex (order)-.*@d order"][turn]),
            ("late@d", "*@d "),
            ("vip@d", "regex vip.*@d "),
            ("vip+1@d", "vip+*@d 1"),
        ] {
            assert_eq!(led(&routes, address), expected, "{address}, turn {turn}");
        }
        routes.reverse();
    }
}

#[test]
fn routes_of_one_pattern_and_priority_are_taken_together() {
    let to = |recipient: &str, priority, url: &str| Route {
        priority,
        ..Route::new(recipient.parse().unwrap(), url.parse().unwrap())
    };
    let all = vec![
        to("a@d", 0, "https://h/1"),
        to("A@D", 0, "https://h/2"),
        to("a@d", -1, "https://h/3"),
        to("*@d", 0, "https://h/4"),
    ];
    let options = Options { routes: all, ..Options::default() };
    let urls = |name: &str| -> Vec<_> {
        routes(&options, name).into_iter().map(|route| route.url.path.clone()).collect()
    };
    assert_eq!(urls("a@d"), ["/1", "/2"]);
    assert_eq!(urls("*@d"), ["/4"]);
    assert!(urls("b@d").is_empty());
}

/// An expression takes addresses, never the forms that hold a URL with its `://`.
#[test]
fn expressions_take_no_urls() {
    let all = Route::new(Pattern::regex(".*").unwrap(), route("a@b").url);
    let options = Options { routes: vec![all], ..Options::default() };
    for path in ["post@https://shop.example/hook", "post@[https://shop.example/hook]"] {
        let expected =
            Target::Direct { method: "POST".to_owned(), url: "https://shop.example/hook".to_owned() };
        assert_eq!(target(&options, path), Ok(expected));
    }
    assert!(target(&options, "post@https").is_err());
}
