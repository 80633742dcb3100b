//! `/send`: a form that posts a test message over SMTP, and what was said on both sides.
//!
//! The API sends it (`POST /send-test`), and says whether whoever asks may. A password is
//! never written into a page.

use super::dialogue::{Dialogue, Line};
use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::shapes::{Listener, Status};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::extract::RawQuery;
use axum::response::IntoResponse as _;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where `postgate sink` listens, unless it is told otherwise.
const SINK: &str = "post@http://127.0.0.1:8080/hello";
/// What a form of ours may have beyond what is written in it.
const TYPES: [&str; 4] =
    ["application/json", "text/plain; charset=utf-8", "application/xml", "application/x-www-form-urlencoded"];
/// How often the page looks by itself for what became of a post: after a second, and each time
/// after a second more, as a look may read all that was said since the post came.
const LOOKS: u32 = 8;

/// What was written into the form.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    listener: String,
    from: String,
    to: String,
    content_type: String,
    subject: String,
    body: String,
    headers: String,
    user: String,
}

/// `POST /send-test`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    listener: String,
    outcome: String,
    reply: String,
    id: Option<String>,
    dialogue: Vec<Said>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    by: String,
    line: String,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "send.html")]
struct SendPage {
    frame: Frame,
    form: Form,
    listeners: Vec<Listener>,
    types: [&'static str; 4],
    /// Whether its sender must name a user.
    needs_login: bool,
    wrong: Option<String>,
    sent: Option<Sent>,
    exchange: Exchange,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "send_log.html")]
struct ExchangePiece {
    exchange: Exchange,
}

/// What became of the post, as far as the log has it.
#[derive(Debug, Default)]
struct Exchange {
    id: String,
    /// `off`, `errors` or `full`.
    level: String,
    lines: Vec<Line>,
    /// How often it was looked for.
    looks: u32,
    is_over: bool,
}

/// `GET /protocol-log`, as far as it is needed here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Log {
    level: String,
    dialogues: Vec<Dialogue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Routes {
    routes: Vec<Value>,
}

/// `GET /send`
pub(super) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    permit(&visit)?;
    let fields = Fields::of_query(query.as_deref());
    let to = match fields.text("to") {
        Some(to) => to.to_owned(),
        None => usual(&visit).await?,
    };
    layout::page(&SendPage::of(&visit, Form::usual(to)).await?)
}

/// `POST /send`
pub(super) async fn send(visit: Visit, fields: Fields) -> Answer {
    permit(&visit)?;
    let form = Form::of(&fields);
    let mut page = SendPage::of(&visit, form).await?;
    let mail = match page.form.mail() {
        Ok(mail) => mail,
        Err(wrong) => return refused(page, StatusCode::UNPROCESSABLE_ENTITY, wrong.to_owned()),
    };
    let test = page.form.test(mail, fields.whole("password"));
    match visit.order::<Sent>(Method::POST, "/api/v1/send-test", Some(&test)).await {
        Ok(sent) => {
            page.exchange = Exchange { id: sent.id.clone().unwrap_or_default(), ..Exchange::default() };
            page.exchange.is_over = sent.id.is_none();
            page.sent = Some(sent);
            layout::page(&page)
        }
        Err(Trouble { status: StatusCode::UNAUTHORIZED, detail, .. }) => {
            Err(Trouble::new(StatusCode::UNAUTHORIZED, detail))
        }
        Err(Trouble { status, detail, .. }) => refused(page, status, detail),
    }
}

/// `GET /send/log`: the part of the page that waits for the attempt.
pub(super) async fn log(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let id = fields.text("id").unwrap_or_default().to_owned();
    let looks = fields.text("looks").and_then(|looks| looks.parse().ok()).unwrap_or(LOOKS).min(LOOKS) + 1;
    let path = format!("/api/v1/protocol-log?limit=20&post={}", words::piece(&id));
    let Log { level, dialogues } = visit.get(&path).await?;
    let mut attempts = dialogues.into_iter().filter(|one| one.session.starts_with('H'));
    // The first one is the oldest.
    let lines = attempts.next_back().map(|one| one.lines).unwrap_or_default();
    let is_over = level == "off" || looks > LOOKS || is_told(&lines, &id);
    let lines = lines.iter().map(|line| Line::of(line)).collect();
    layout::page(&ExchangePiece { exchange: Exchange { id, level, lines, looks, is_over } })
}

/// Whether the lines of an attempt say what came of it.
fn is_told(lines: &[String], id: &str) -> bool {
    let told = lines.iter().skip(1).filter_map(|line| line.split_once(&format!(" * {id}")));
    let verdicts = [" delivered", " deferred", " held", " failed"];
    told.into_iter().any(|(_, rest)| {
        verdicts.iter().any(|verdict| {
            rest.trim_start_matches(|it: char| it == '-' || it.is_ascii_digit()).starts_with(verdict)
        })
    })
}

fn permit(visit: &Visit) -> Result<(), Trouble> {
    match visit.who.as_ref().is_some_and(|who| who.may_send()) {
        true => Ok(()),
        false => {
            let detail = "sending needs a key of the role inject, operator or admin";
            Err(Trouble::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

/// Where a first message goes: to the first route with an address, or to a sink here.
async fn usual(visit: &Visit) -> Result<String, Trouble> {
    let Routes { routes } = visit.get("/api/v1/routes").await?;
    let address = |route: &Value| {
        let text = route.get("recipient")?.as_str()?;
        (text.contains('@') && !text.contains('*')).then(|| text.to_owned())
    };
    Ok(routes.iter().find_map(address).unwrap_or_else(|| SINK.to_owned()))
}

fn refused(mut page: SendPage, status: StatusCode, wrong: String) -> Answer {
    page.wrong = Some(wrong);
    Ok((status, layout::page(&page)?).into_response())
}

impl SendPage {
    async fn of(visit: &Visit, form: Form) -> Result<SendPage, Trouble> {
        let Status { mut listeners, .. } = visit.get("/api/v1/status").await?;
        if !visit.may_steer() {
            listeners.retain(|one| !one.address.starts_with("unix:"));
        }
        let tenant = visit.who.as_ref().and_then(|who| who.tenant.as_deref());
        Ok(SendPage {
            frame: visit.frame("Send"),
            needs_login: tenant.is_some_and(|tenant| tenant != "default"),
            form,
            listeners,
            types: TYPES,
            wrong: None,
            sent: None,
            exchange: Exchange::default(),
        })
    }
}

impl Form {
    /// One that can be sent as it is.
    fn usual(to: String) -> Form {
        Form {
            listener: String::new(),
            from: "test@app.example".to_owned(),
            to,
            content_type: "application/json".to_owned(),
            subject: "A first post".to_owned(),
            body: "{\"hello\": \"world\"}".to_owned(),
            headers: String::new(),
            user: String::new(),
        }
    }

    fn of(fields: &Fields) -> Form {
        let text = |name: &str| fields.text(name).unwrap_or_default().to_owned();
        Form {
            listener: text("listener"),
            from: text("from"),
            to: text("to"),
            content_type: text("content_type"),
            subject: text("subject"),
            body: fields.whole("body").to_owned(),
            headers: text("headers"),
            user: text("user"),
        }
    }

    /// Whether what is seldom needed is filled in.
    fn has_more(&self) -> bool {
        !self.headers.is_empty() || !self.user.is_empty() || !self.listener.is_empty()
    }

    /// As `POST /send-test` takes it; spaces may be part of a password.
    fn test(&self, mail: String, password: &str) -> Value {
        let mut test = json!({ "from": self.from, "to": self.to, "message": mail });
        let others = [("listener", self.listener.as_str()), ("user", &self.user), ("password", password)];
        if let Some(test) = test.as_object_mut() {
            let others = others.into_iter().filter(|(_, value)| !value.is_empty());
            test.extend(others.map(|(name, value)| (name.to_owned(), Value::from(value))));
        }
        test
    }

    /// The mail, or what is wrong with it.
    fn mail(&self) -> Result<String, &'static str> {
        let lines = [&self.from, &self.to, &self.subject, &self.content_type];
        if lines.into_iter().any(|line| line.contains(char::is_control)) {
            return Err("Addresses, subject and content type have one line each.");
        }
        if self.to.is_empty() {
            return Err("Write whom it is for: post@ and a URL, or an address of a route.");
        }
        let mut mail = String::new();
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                mail.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        let bare = |address: &str| !address.is_empty() && !address.contains(['<', '>']);
        field("From", &if bare(&self.from) { format!("<{}>", self.from) } else { String::new() });
        field("Subject", &self.subject);
        field("MIME-Version", "1.0");
        field("Content-Type", &self.content_type);
        field("Content-Transfer-Encoding", if self.body.is_ascii() { "" } else { "8bit" });
        for line in self.headers.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            let is_name = !name.is_empty() && name.bytes().all(|it| it.is_ascii_graphic());
            if line.chars().any(|it| it.is_control() && it != '\t')
                || !is_name && !line.starts_with([' ', '\t'])
            {
                return Err("Each further header line is a name, a colon and a value: X-XsHttp-X-Key: 1");
            }
            mail.push_str(line);
            mail.push_str("\r\n");
        }
        mail.push_str("\r\n");
        mail.push_str(&self.body);
        mail.push_str("\r\n");
        Ok(mail)
    }
}

impl Sent {
    /// What a reply means, and what to do about it.
    fn remedy(&self) -> &'static str {
        let status = self.reply.split([' ', '-']).nth(1).unwrap_or_default();
        let has = |text: &str| self.reply.starts_with(text);
        match status.split_once('.').map_or("", |(_, rest)| rest) {
            _ if self.outcome == "broken" => {
                "The session ended early. Is the listener still there? The operational log says more."
            }
            "1.1" => "Nothing here is for this address. Write post@ and a URL, or the recipient of a route.",
            "1.3" => {
                "The address is no URL and no address of a route. Write it as post@https://shop.example/hook."
            }
            "7.0" if has("4") || has("53") => {
                "The listener wants a login, or there were too many failed ones. Fill in user and password."
            }
            "7.0" => "The listener wants a login: fill in user and password below.",
            "7.1" => {
                "Whoever sends it may not post there. Log in as a user who may, use a route, or look at \
                 may_post_to and [egress] allow in the configuration."
            }
            "7.8" => "User or password is wrong. Users stand under [[user]] in the configuration.",
            "7.10" | "7.11" => "The listener wants TLS first. Choose a listener with STARTTLS or TLS.",
            "6.0" => "The message itself is refused: the reply names the header field. Mend it below.",
            "3.4" => "The message is larger than limits.message_size allows.",
            "3.1" => "There is no room on the disk, or in memory. Free some, then send it again.",
            "5.3" => {
                "A limit of the tenant or of the session is reached. Wait, or raise it in the configuration."
            }
            _ if has("4") => "The gateway refuses it for now: send it again in a while.",
            _ => "The gateway refuses it for good: the reply says why. Change it below, and send it again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        Form::usual("post@http://127.0.0.1/".to_owned())
    }

    #[test]
    fn a_form_becomes_mail() {
        let mail = form().mail().unwrap();
        assert_eq!(
            mail,
            "From: <test@app.example>\r\nSubject: A first post\r\nMIME-Version: 1.0\r\n\
             Content-Type: application/json\r\n\r\n{\"hello\": \"world\"}\r\n"
        );
        let more = Form { headers: "X-A: 1\r\n X\r\nX-B: 2".to_owned(), body: "ä".to_owned(), ..form() };
        let mail = more.mail().unwrap();
        assert!(mail.contains("Transfer-Encoding: 8bit\r\nX-A: 1\r\n X\r\nX-B: 2\r\n\r\nä\r\n"), "{mail}");
    }

    #[test]
    fn a_body_and_a_password_are_sent_as_they_were_typed() {
        let fields = Fields::of_query(Some("to=+a%40b+&body=+1%0D%0A%0D%0A&user=u&password=+p+"));
        let form = Form::of(&fields);
        let mail = form.mail().unwrap();
        assert!(mail.ends_with("\r\n\r\n 1\r\n\r\n\r\n"), "{mail:?}");
        let test = form.test(String::new(), fields.whole("password"));
        assert_eq!(test, json!({"from": "", "to": "a@b", "message": "", "user": "u", "password": " p "}));
        assert_eq!(form.test(String::new(), "").get("password"), None);
    }

    #[test]
    fn nothing_becomes_a_header_line_that_is_none() {
        for form in [
            Form { subject: "a\r\nX-Forged: 1".to_owned(), ..form() },
            Form { content_type: "a\nb".to_owned(), ..form() },
            Form { to: String::new(), ..form() },
            Form { headers: "no colon".to_owned(), ..form() },
            Form { headers: "two words: x".to_owned(), ..form() },
            Form { headers: "X-A: \u{7}".to_owned(), ..form() },
        ] {
            assert!(form.mail().is_err(), "{form:?}");
        }
    }

    #[test]
    fn an_attempt_is_over_when_the_log_says_what_came_of_it() {
        let id = "52a0000000000001";
        let begin = format!("2026-01-31T12:00:00.000Z H0001 * {id} attempt 1: connected to failed.example");
        for (text, is_over) in [
            (format!("Z H0001 * {id} delivered in 3 ms"), true),
            (format!("Z H0001 * {id}-1 deferred for 1 h: x"), true),
            ("Z H0001 > POST /delivered HTTP/1.1".to_owned(), false),
        ] {
            assert_eq!(is_told(&[begin.clone(), text.clone()], id), is_over, "{text}");
        }
        assert!(!is_told(&[begin], id));
    }
}
