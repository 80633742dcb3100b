//! What is said of a webhook on the command line, as the API takes it.
//!
//! A secret is read from a file or drawn by the gateway, never an argument: arguments
//! are seen by everybody on the machine.

use crate::cli::{DATA, Failure, USAGE};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The settings of a webhook; those that are not named stay as they are.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// Names of events, post.*, or *
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,
    /// How events are written: single, json, ndjson, csv, cloudevents, sparkpost, form
    #[arg(long)]
    format: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// The secret that signs, as the first line of this file; without, one is drawn
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where the hexadecimal signature stands, such as X-Mailtura-Signature
    #[arg(long, value_name = "NAME")]
    signature_header: Option<String>,
    /// A further header, "Name: value"; all that there are have to be named
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The [[auth]] of the configuration that proves who sends
    #[arg(long, value_name = "NAME")]
    auth: Option<String>,
    /// Requests in a time, such as 10/s
    #[arg(long)]
    rate: Option<String>,
    /// Requests at a time
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u32>,
    /// Most events of a request
    #[arg(long, value_name = "NUMBER")]
    max_events: Option<u32>,
    /// Most octets of one, such as 1MiB
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<String>,
    /// Longest wait for more events, such as 1s
    #[arg(long, value_name = "DURATION")]
    max_wait: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

/// Which events, by what they are about.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only events of posts with such a tag; * stands for any text
    #[arg(long = "tag", value_name = "PATTERN")]
    tags: Vec<String>,
    /// Only events of such an origin, such as https://*.shop.example
    #[arg(long = "destination", value_name = "ORIGIN")]
    destinations: Vec<String>,
    /// Only events of such a recipient; * stands for any text
    #[arg(long = "recipient", value_name = "PATTERN")]
    recipients: Vec<String>,
}

impl Filter {
    /// The fields that are named.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let fields =
            [("tag", &self.tags), ("destination", &self.destinations), ("recipient", &self.recipients)];
        let named = fields.into_iter().filter(|(_, patterns)| !patterns.is_empty());
        named.map(|(name, patterns)| (name.to_owned(), json!(patterns))).collect()
    }
}

impl Settings {
    /// The fields that are named.
    pub(super) fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        set("events", (!self.events.is_empty()).then(|| json!(self.events)));
        set("format", text(&self.format));
        set("description", text(&self.description));
        set("secret", self.secret_file.as_deref().map(secret).transpose()?.map(Value::from));
        set("signature_header", text(&self.signature_header));
        set("headers", self.headers()?);
        set("auth", text(&self.auth));
        set("rate", text(&self.rate));
        set("max_connections", self.max_connections.map(Value::from));
        set("batch", self.batch());
        let filter = self.filter.fields();
        set("filter", (!filter.is_empty()).then_some(Value::Object(filter)));
        Ok(fields)
    }

    fn batch(&self) -> Option<Value> {
        let fields = [
            ("max_events", self.max_events.map(Value::from)),
            ("max_bytes", self.max_bytes.as_deref().map(Value::from)),
            ("max_wait", self.max_wait.as_deref().map(Value::from)),
        ];
        let named = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let batch: Map<_, _> = named.collect();
        (!batch.is_empty()).then_some(Value::Object(batch))
    }

    fn headers(&self) -> Result<Option<Value>, Failure> {
        let wrong = || Failure::new(USAGE, "--header: write \"Name: value\"");
        let read = |header: &String| {
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), Value::from(value.trim())))
        };
        let headers = self.headers.iter().map(read).collect::<Result<Map<_, _>, Failure>>()?;
        Ok((!headers.is_empty()).then_some(Value::Object(headers)))
    }
}

/// The first line of a file.
pub(super) fn secret(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(DATA, format_args!("{}: {error}", path.display())))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Failure::new(DATA, format_args!("{}: its first line is empty", path.display()))),
    }
}
