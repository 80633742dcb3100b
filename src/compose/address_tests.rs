//! Tables of recipients: what was seen of real clients, and what it must mean.

use super::*;
use crate::compose::{HeaderControl, Payload, Route};

fn route(recipient: &str) -> Route {
    Route {
        recipient: recipient.parse().unwrap(),
        method: "POST".to_owned(),
        url: "https://shop.example/in".parse().unwrap(),
        payload: Payload::Json,
        header_control: HeaderControl::Off,
        vars: Vec::new(),
        headers: Vec::new(),
        order: crate::compose::Order::default(),
        mode: crate::compose::Mode::default(),
        sign_with: None,
        auth: None,
    }
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
    let url = "https://user:pass@h/x";
    let shown = ["post@https://user:pass@h/x", "\"post:https://user:pass@h/x\"@gw.example", "a@all.example"];
    assert!(shown.iter().all(|path| !hides_credentials(&options(), path)));
    for (name, path) in crate::compose::forms(url, "gw.example").unwrap() {
        let is_coded = ["labels", "encoded", "escaped"].contains(&name);
        assert_eq!(hides_credentials(&options(), &path), is_coded, "{path}");
        let local = path.rsplit_once('@').unwrap().0;
        let is_local = ["encoded", "escaped"].contains(&name);
        assert_eq!(hides_credentials(&options(), local), is_local, "{local}");
    }
    for (_, path) in crate::compose::forms("https://h/x@y?z=a@b", "gw.example").unwrap() {
        assert!(!hides_credentials(&options(), &path), "{path}");
    }
}
