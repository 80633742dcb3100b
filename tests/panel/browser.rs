//! As much of a browser as a page of forms needs: a cookie, and the token of the page
//! that was looked at last.

use super::support::api::{Response, Scene};
use url::form_urlencoded::Serializer;

/// One that looks at the panel of a scene.
pub struct Browser<'a> {
    pub scene: &'a Scene,
    /// `NAME=VALUE`, as it was set last.
    pub cookie: Option<String>,
    /// That of the page that was looked at last.
    pub token: String,
}

impl<'a> Browser<'a> {
    pub fn new(scene: &'a Scene) -> Browser<'a> {
        Browser { scene, cookie: None, token: String::new() }
    }

    /// One that has signed in.
    pub fn with_key(scene: &'a Scene, key: &str) -> Browser<'a> {
        let mut browser = Browser::new(scene);
        browser.get("/sign-in");
        let entered = browser.send("/sign-in", &[("key", key)]);
        assert_eq!((entered.status, entered.header("location")), (303, Some("/")), "{entered:?}");
        browser
    }

    /// Looks at a page.
    pub fn get(&mut self, path: &str) -> Response {
        let response = self.ask("GET", path, "", "");
        if let Some(token) = field(&text(&response), "token") {
            self.token = token;
        }
        response
    }

    /// Sends a form of the page that was looked at last.
    pub fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.token.clone();
        let all: Vec<_> = [("token", token.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let origin = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", self.scene.api);
        self.form(path, &all, &origin)
    }

    /// Sends a form as it is, with more fields of a head.
    pub fn form(&mut self, path: &str, fields: &[(&str, &str)], lines: &str) -> Response {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask("POST", path, &format!("Content-Type: application/x-www-form-urlencoded\r\n{lines}"), &body)
    }

    /// A request with the cookie, which may get another.
    pub fn ask(&mut self, method: &str, path: &str, lines: &str, body: &str) -> Response {
        let cookie =
            self.cookie.as_ref().map(|cookie| format!("Cookie: a=b; {cookie}\r\n")).unwrap_or_default();
        let (host, length) = (self.scene.api, body.len());
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{cookie}");
        let response = self.scene.raw(&format!("{head}{lines}Connection: close\r\n\r\n{body}"));
        if let Some(set) = response.header("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        response
    }
}

/// A page as text.
pub fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// The value of the first hidden field of this name.
pub fn field(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}
