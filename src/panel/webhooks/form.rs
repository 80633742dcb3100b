//! What somebody writes of a webhook: read into what the API takes, and shown again where
//! the API says what is wrong with it.
//!
//! Of one that exists the values of headers are not known here, and of its URL not what may
//! be a secret: what is left as it was is not sent.

use super::super::guard::Fields;
use super::super::trouble::Trouble;
use super::shapes::{Kind, Webhook};
use serde_json::{Map, Value, json};

/// Fields of one text each; the names are the API's, or those of its parts.
const TEXTS: [&str; 15] = [
    "url",
    "description",
    "more_events",
    "format",
    "max_events",
    "max_bytes",
    "max_wait",
    "headers",
    "auth",
    "rate",
    "max_connections",
    "signature_header",
    "tag",
    "destination",
    "recipient",
];

/// Those of them that everybody sees; the others few need.
const USUAL: usize = 4;

/// How events are written, and what that is called.
pub(super) const FORMATS: [(&str, &str); 7] = [
    ("single", "single: one event a request, as Standard Webhooks has it"),
    ("json", "json: an array of events"),
    ("ndjson", "ndjson: one event a line"),
    ("csv", "csv: accounting columns"),
    ("cloudevents", "cloudevents: CloudEvents 1.0"),
    ("sparkpost", "sparkpost: an array of msys objects"),
    ("form", "form: parameters of a form"),
];

/// A form as it is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    texts: Vec<(&'static str, String)>,
    /// Names and patterns that are ticked.
    events: Vec<String>,
    /// Headers that are to go.
    dropped: Vec<String>,
    /// Whether nobody has to be asked.
    pub is_trusted: bool,
    /// Whose it is to be; empty where there is no choice.
    pub tenant: String,
    /// Which version was changed.
    pub version: String,
    /// What is wrong with a field, by its name here.
    wrong: Vec<(String, String)>,
    /// What is wrong with all of it.
    pub trouble: Option<String>,
}

impl Form {
    /// As somebody sent it.
    pub(super) fn of(fields: &Fields) -> Form {
        let text = |name: &'static str| (name, fields.text(name).unwrap_or_default().to_owned());
        let all = |name| fields.all(name).map(str::to_owned).collect();
        Form {
            texts: TEXTS.map(text).into(),
            events: all("event"),
            dropped: all("drop"),
            is_trusted: fields.text("verify") == Some("skip"),
            tenant: fields.text("tenant").unwrap_or_default().to_owned(),
            version: fields.text("version").unwrap_or_default().to_owned(),
            ..Form::default()
        }
    }

    /// As one is that exists.
    pub(super) fn showing(webhook: &Webhook, version: String, groups: &[Group]) -> Form {
        let is_offered = |name: &&String| groups.iter().any(|group| group.offers(name));
        let (events, others): (Vec<_>, Vec<_>) = webhook.events.iter().partition(is_offered);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let values = [
            webhook.url.clone(),
            webhook.description.clone(),
            others.into_iter().cloned().collect::<Vec<_>>().join(", "),
            webhook.format.clone(),
            webhook.batch.max_events.to_string(),
            webhook.batch.max_bytes.clone(),
            webhook.batch.max_wait.clone(),
            String::new(),
            text(&webhook.auth),
            text(&webhook.rate),
            webhook.max_connections.map(|most| most.to_string()).unwrap_or_default(),
            text(&webhook.signature_header),
            webhook.filter.tag.lines(),
            webhook.filter.destination.lines(),
            webhook.filter.recipient.lines(),
        ];
        let texts = TEXTS.into_iter().zip(values).collect();
        Form { texts, events: events.into_iter().cloned().collect(), version, ..Form::default() }
    }

    /// The text of a field.
    pub(super) fn value(&self, name: &str) -> &str {
        self.texts.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    /// What is wrong with a field.
    pub(super) fn wrong(&self, name: &str) -> Option<&str> {
        self.wrong.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str())
    }

    /// Whether anything is wrong with any of them.
    pub(super) fn has_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Whether a name or pattern is ticked.
    pub(super) fn has(&self, event: &str) -> bool {
        self.events.iter().any(|other| other == event)
    }

    /// Whether a header is to go.
    pub(super) fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|other| other == name)
    }

    /// Whether what few need says something, or something is wrong with it.
    pub(super) fn is_long(&self) -> bool {
        let usual = [("max_events", "500"), ("max_bytes", "1MiB"), ("max_wait", "1s")];
        let says = |name: &&str| !self.value(name).is_empty() && !usual.contains(&(name, self.value(name)));
        TEXTS.iter().skip(USUAL).any(|name| says(name) || self.wrong(name).is_some())
    }

    /// The same with what the API says of it, each at its field.
    pub(super) fn refused(mut self, trouble: Trouble) -> Form {
        let (mut others, is_alone) = (Vec::new(), trouble.fields.is_empty());
        for (field, text) in trouble.fields {
            match place(&field, &text) {
                Some(name) => self.wrong.push((name.to_owned(), text)),
                None => others.push(format!("{field}: {text}")),
            }
        }
        self.trouble = match is_alone {
            true => Some(trouble.detail),
            false => (!others.is_empty()).then(|| others.join("; ")),
        };
        self
    }

    /// As `POST /webhooks` takes it, with the secret as it was typed; nothing where something
    /// is wrong, which it says then.
    pub(super) fn made(&mut self, typed: &Fields) -> Option<Value> {
        let mut fields = self.read()?;
        fields.insert("url".to_owned(), self.value("url").into());
        let secret = Some(typed.whole("secret")).filter(|secret| !secret.is_empty());
        fields.extend(secret.map(|secret| ("secret".to_owned(), secret.into())));
        fields.extend(self.is_trusted.then(|| ("verify".to_owned(), "skip".into())));
        let mut settings = Value::Object(fields);
        prune(&mut settings);
        Some(settings)
    }

    /// As `PATCH /webhooks/{id}` takes it, for one that is so; nothing where something is wrong.
    pub(super) fn changed(&mut self, webhook: &Webhook) -> Option<Value> {
        let url = self.value("url").to_owned();
        if url != webhook.url && url.contains("***") {
            let text = "write the whole URL: *** stands for what is not shown";
            self.wrong.push(("url".to_owned(), text.to_owned()));
        }
        let mut fields = self.read()?;
        if let Some(Value::Object(headers)) = fields.get_mut("headers") {
            // A name that is written otherwise is the same name (RFC 9110 section 5.1).
            let is_anew =
                |name: &&String| headers.keys().any(|new| new != *name && new.eq_ignore_ascii_case(name));
            let gone: Vec<_> = webhook.headers.keys().filter(is_anew).cloned().collect();
            headers.extend(gone.into_iter().map(|name| (name, Value::Null)));
        }
        if url != webhook.url {
            fields.insert("url".to_owned(), url.into());
        }
        Some(Value::Object(fields))
    }

    /// All but the URL, where what is empty is null.
    fn read(&mut self) -> Option<Map<String, Value>> {
        let (events, headers) = (self.names(), self.headers());
        let numbers = [self.number("max_events"), self.number("max_connections")];
        if !self.wrong.is_empty() {
            return None;
        }
        let [max_events, max_connections] = numbers;
        let text = |name: &str| Some(self.value(name)).filter(|text| !text.is_empty()).map(str::to_owned);
        let lines = |name: &str| {
            let lines: Vec<_> = self.value(name).lines().map(str::trim).collect();
            let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            (!lines.is_empty()).then(|| json!(lines))
        };
        let settings = json!({
            "events": events,
            "description": text("description"),
            "format": text("format"),
            "batch": { "max_events": max_events, "max_bytes": text("max_bytes"), "max_wait": text("max_wait") },
            "headers": headers,
            "auth": text("auth"),
            "rate": text("rate"),
            "max_connections": max_connections,
            "signature_header": text("signature_header"),
            "filter": { "tag": lines("tag"), "destination": lines("destination"), "recipient": lines("recipient") },
        });
        match settings {
            Value::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// Which events.
    fn names(&self) -> Vec<String> {
        let more = self.value("more_events").split(|char: char| char == ',' || char.is_whitespace());
        let more = more.filter(|name| !name.is_empty()).map(str::to_owned);
        self.events.iter().cloned().chain(more).collect()
    }

    /// Header lines: those to be set, and null for those to go.
    fn headers(&mut self) -> Map<String, Value> {
        let dropped = self.dropped.iter().map(|name| (name.clone(), Value::Null));
        let mut headers: Map<_, _> = dropped.collect();
        let lines: Vec<_> = self.value("headers").lines().map(|line| line.trim().to_owned()).collect();
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some((name, value)) => {
                    headers.insert(name.trim().to_owned(), value.trim().into());
                }
                None => {
                    let text = "write one header a line, such as X-Team: orders";
                    self.wrong.push(("headers".to_owned(), text.to_owned()));
                }
            }
        }
        headers
    }

    fn number(&mut self, name: &'static str) -> Option<u32> {
        let text = self.value(name);
        if text.is_empty() {
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong.push((name.to_owned(), "write a number".to_owned()));
        }
        number
    }
}

/// Where a field of the API stands in the form.
fn place(field: &str, text: &str) -> Option<&'static str> {
    let begins = |name: &&&'static str| text.starts_with(**name);
    match field {
        "batch" => ["max_events", "max_bytes", "max_wait"].iter().find(begins).copied(),
        "filter" => ["tag", "destination", "recipient"].iter().find(begins).copied(),
        "events" => Some("events"),
        "secret" => Some("secret"),
        _ => TEXTS.into_iter().find(|name| *name == field),
    }
}

/// Leaves out what is null.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(prune);
    }
}

/// Kinds of events of one beginning.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// `post.*`
    pub pattern: String,
    pub kinds: Vec<Kind>,
}

impl Group {
    /// Those of the gateway; a kind that stands alone is an example.
    pub(super) fn of(kinds: Vec<Kind>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for kind in kinds {
            let pattern = format!("{}.*", kind.r#type.split('.').next().unwrap_or_default());
            match groups.iter_mut().find(|group| group.pattern == pattern) {
                Some(group) => group.kinds.push(kind),
                None => groups.push(Group { pattern, kinds: vec![kind] }),
            }
        }
        groups.retain(|group| group.kinds.len() > 1);
        groups
    }

    fn offers(&self, name: &str) -> bool {
        name == "*" || name == self.pattern || self.kinds.iter().any(|kind| kind.r#type == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(query: &str) -> Form {
        Form::of(&Fields::of_query(Some(query)))
    }

    #[test]
    fn a_header_that_is_written_otherwise_takes_the_place_of_the_old_one() {
        let headers = [("X-Team".to_owned(), None), ("X-Other".to_owned(), None)].into();
        let webhook = Webhook { headers, ..Webhook::default() };
        let changed = form("headers=X-TEAM%3A+new").changed(&webhook).unwrap();
        assert_eq!(changed["headers"], json!({ "X-TEAM": "new", "X-Team": null }));
    }

    #[test]
    fn what_is_written_becomes_what_the_api_takes() {
        let query = "url=https%3A%2F%2Fr.example&event=post.*&event=email.sent&more_events=order.paid%2C+a.b\
                     &format=json&max_events=20&headers=X-A%3A+1%0D%0AX-B%3A2&tag=a%0Ab&verify=skip&max_connections=3";
        let made = form(query).made(&Fields::of_query(Some("secret=+s+"))).unwrap();
        let expected = json!({
            "events": ["post.*", "email.sent", "order.paid", "a.b"], "format": "json",
            "batch": { "max_events": 20 }, "headers": { "X-A": "1", "X-B": "2" }, "max_connections": 3,
            "filter": { "tag": ["a", "b"] }, "url": "https://r.example", "secret": " s ", "verify": "skip",
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn what_was_left_as_it_was_is_not_sent_and_what_was_emptied_is_null() {
        let webhook = Webhook { url: "https://r.example/?token=***".to_owned(), ..Webhook::default() };
        let same = "url=https%3A%2F%2Fr.example%2F%3Ftoken%3D***&event=*&drop=X-A";
        let patch = form(same).changed(&webhook).unwrap();
        assert_eq!(patch.get("url"), None);
        assert_eq!((&patch["auth"], &patch["headers"]), (&Value::Null, &json!({ "X-A": null })));
        assert_eq!(patch["filter"], json!({ "tag": null, "destination": null, "recipient": null }));
        let mut half = form("url=https%3A%2F%2Fother.example%2F%3Ftoken%3D***");
        assert_eq!(half.changed(&webhook), None);
        assert!(half.wrong("url").unwrap().contains("***"));
        let patch = form("url=https%3A%2F%2Fother.example").changed(&webhook).unwrap();
        assert_eq!(patch["url"], "https://other.example");
    }

    #[test]
    fn what_is_wrong_stands_at_its_field() {
        let mut wrong = form("max_events=many&headers=nothing");
        assert_eq!(wrong.made(&Fields::default()), None);
        assert!(wrong.wrong("max_events").is_some() && wrong.wrong("headers").is_some() && wrong.is_long());
        let told = |field: &str, text: &str| {
            let fields = vec![(field.to_owned(), text.to_owned())];
            let trouble = Trouble { fields, ..Trouble::new(http::StatusCode::UNPROCESSABLE_ENTITY, "all") };
            form("url=x").refused(trouble)
        };
        for (field, text, at) in [
            ("url", "no", "url"),
            ("events", "no", "events"),
            ("batch", "max_wait is a duration", "max_wait"),
            ("filter", "destination: no", "destination"),
            ("filter", "tag: at most", "tag"),
            ("filter", "recipient: at most", "recipient"),
            ("secret", "write 1 to 256 octets", "secret"),
        ] {
            let form = told(field, text);
            assert_eq!((form.wrong(at), &form.trouble), (Some(text), &None), "{field}");
            assert_eq!(form.value("url"), "x", "what was written stays");
        }
        assert_eq!(told("verify", "no").trouble.as_deref(), Some("verify: no"));
        let trouble = Trouble::new(http::StatusCode::CONFLICT, "too many");
        assert_eq!(form("").refused(trouble).trouble.as_deref(), Some("too many"));
    }
}
