//! Templates: a parsed mail becomes whatever text a receiver expects.
//!
//! A template is a rule like any other format: it sees the fields of the `json`
//! document and the route's `vars`, and neither clock, files nor network. Its file
//! name says what it makes (`NAME.json.j2`), and with it how printed values are
//! escaped; what a filter has made for that type already is not escaped again. An
//! undefined variable is a failure, and so is JSON that does not parse. Steps and
//! output are bounded. Of the mail, only the fields that a template names are
//! copied; the content of attachments only where it says `.content`.

mod filters;
mod output;
mod trial;
mod variables;

use super::json::Document;
use super::room;
use bytes::Bytes;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use variables::{Needs, Vars};

/// What comes along, by file name; a file of the operator's with the same name
/// stands before it.
const PRESETS: &[(&str, &str)] = &[
    ("alertmanager.json.j2", include_str!("../../../config/templates/alertmanager.json.j2")),
    ("discord.json.j2", include_str!("../../../config/templates/discord.json.j2")),
    ("gotify.json.j2", include_str!("../../../config/templates/gotify.json.j2")),
    ("ntfy.json.j2", include_str!("../../../config/templates/ntfy.json.j2")),
    ("pagerduty.json.j2", include_str!("../../../config/templates/pagerduty.json.j2")),
    ("slack.json.j2", include_str!("../../../config/templates/slack.json.j2")),
    ("teams.json.j2", include_str!("../../../config/templates/teams.json.j2")),
    ("telegram.json.j2", include_str!("../../../config/templates/telegram.json.j2")),
];

/// Steps of one rendering, a thousand for each header field that a message may
/// have: some 50 ms.
const STEPS: u64 = 1_000_000;

/// Octets of a template's source at most.
const MAX_SOURCE: usize = 1 << 20;

/// What a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.json`.
    Json,
    /// `.txt`.
    Text,
    /// `.html`.
    Html,
    /// `.xml`.
    Xml,
    /// `.form`, as browsers send forms.
    Form,
}

impl Kind {
    const ALL: [(&'static str, Kind); 5] = [
        ("json", Kind::Json),
        ("txt", Kind::Text),
        ("html", Kind::Html),
        ("xml", Kind::Xml),
        ("form", Kind::Form),
    ];

    /// Its type in full.
    pub fn content_type(self) -> &'static str {
        match self {
            Kind::Json => "application/json",
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Html => "text/html; charset=utf-8",
            Kind::Xml => "application/xml; charset=utf-8",
            Kind::Form => "application/x-www-form-urlencoded",
        }
    }

    fn escapes(self) -> AutoEscape {
        match self {
            Kind::Json => AutoEscape::Custom(output::JSON.into()),
            Kind::Form => AutoEscape::Custom(output::FORM.into()),
            Kind::Html | Kind::Xml => AutoEscape::Html,
            Kind::Text => AutoEscape::None,
        }
    }
}

/// Name and kind of a template's file, `NAME.KIND.j2`; `None` for a file that is
/// no template.
fn parse_file(file: &str) -> Option<Result<(&str, Kind), String>> {
    let stem = file.strip_suffix(".j2")?;
    let known = stem.rsplit_once('.').and_then(|(name, ending)| {
        let kind = Kind::ALL.iter().find(|(known, _)| *known == ending)?;
        (!name.is_empty()).then_some((name, kind.1))
    });
    Some(known.ok_or_else(|| {
        let endings: Vec<_> = Kind::ALL.iter().map(|(ending, _)| format!(".{ending}.j2")).collect();
        format!("the name does not say what it makes; let it end in one of {}", endings.join(", "))
    }))
}

/// Why a file is no template that can be used, with its name and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a template comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It comes along.
    Preset,
    /// The operator wrote it.
    Own,
}

/// One template, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    file: String,
    source: String,
    kind: Kind,
    origin: Origin,
    needs: Needs,
}

/// All templates by their names.
#[derive(Clone)]
pub struct Templates {
    known: BTreeMap<String, Known>,
    environment: Environment<'static>,
}

/// A body as a template makes it.
pub struct Made {
    /// Its octets.
    pub octets: Bytes,
    /// Its type in full.
    pub content_type: &'static str,
}

impl Default for Templates {
    /// Those that come along.
    fn default() -> Templates {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS));
        environment.set_debug(false);
        environment.set_formatter(output::write);
        environment.set_auto_escape_callback(|file| match parse_file(file) {
            Some(Ok((_, kind))) => kind.escapes(),
            _ => AutoEscape::None,
        });
        filters::add(&mut environment);
        let mut templates = Templates { known: BTreeMap::new(), environment };
        for (file, source) in PRESETS {
            // None is wrong: a test looks.
            let _ = templates.insert(file, source, Origin::Preset);
        }
        templates
    }
}

impl PartialEq for Templates {
    fn eq(&self, other: &Templates) -> bool {
        self.known == other.known
    }
}

impl Eq for Templates {}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

impl Templates {
    /// Adds what an operator wrote, before a preset of the same name; a file whose
    /// name does not end in `.j2` is none and left out.
    pub fn add(&mut self, file: &str, source: &str) -> Result<(), Mistake> {
        self.insert(file, source, Origin::Own)
    }

    fn insert(&mut self, file: &str, source: &str, origin: Origin) -> Result<(), Mistake> {
        let Some(parsed) = parse_file(file) else { return Ok(()) };
        let (name, kind) = parsed.map_err(|reason| Mistake(format!("{file}: {reason}")))?;
        if let Some(other) = self.known.get(name).filter(|other| other.origin == Origin::Own) {
            return Err(Mistake(format!("{file}: {} makes the template {name} already", other.file)));
        }
        if source.len() > MAX_SOURCE {
            return Err(Mistake(format!("{file}: longer than {MAX_SOURCE} octets")));
        }
        let mistake = |error| Mistake(complaint(file, source, &error));
        self.environment.add_template_owned(file.to_owned(), source.to_owned()).map_err(mistake)?;
        let needs = Needs::of(source);
        let known = Known { file: file.to_owned(), source: source.to_owned(), kind, origin, needs };
        self.known.insert(name.to_owned(), known);
        Ok(())
    }

    /// Whether one has this name.
    pub fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// Name, type and origin of each, sorted.
    pub fn list(&self) -> impl Iterator<Item = (&str, &'static str, Origin)> {
        self.known.iter().map(|(name, known)| (name.as_str(), known.kind.content_type(), known.origin))
    }

    /// Which of a route's own words a template wants that is not among `vars`, and
    /// where, as far as it asks for it whatever the mail: `slack.json.j2:3 wants vars.room`.
    pub fn lacks(&self, name: &str, vars: &Vars) -> Option<String> {
        let known = self.known.get(name)?;
        let template = self.environment.get_template(&known.file).ok()?;
        let (context, _) = trial::with_sample(|sample| known.needs.context(sample, vars))?;
        let error = template.render(context).err()?;
        let word = expression(&known.source, error.range()?).strip_prefix("vars.")?;
        let word = word.split(|char: char| !char.is_alphanumeric() && char != '_').next()?;
        let is_it = error.kind() == ErrorKind::UndefinedError && !vars.iter().any(|(name, _)| name == word);
        is_it.then(|| format!("{}:{} wants vars.{word}", known.file, error.line().unwrap_or_default()))
    }

    /// What the template `name` makes of `document`, with what it copies of it no
    /// longer than `limit` octets. The error names template, line and reason, and
    /// holds nothing of the mail.
    pub fn render(
        &self,
        name: &str,
        document: &Document<'_>,
        vars: &Vars,
        limit: usize,
    ) -> Result<Made, String> {
        let known = self.known.get(name).ok_or_else(|| format!("no template is called {name}"))?;
        let failed = |error| complaint(&known.file, &known.source, &error);
        let template = self.environment.get_template(&known.file).map_err(failed)?;
        let (context, copied) = known.needs.context(document, vars);
        let mut error = None;
        let octets = room::fill(copied + known.source.len(), limit.saturating_sub(copied), |out| {
            let rendered = template.render_captured_to(context, out);
            rendered.map(drop).map_err(|failed| {
                error = Some(failed);
                io::ErrorKind::InvalidData.into()
            })
        });
        match (octets, error) {
            (Some(octets), _) => {
                check(known, &octets)?;
                Ok(Made { octets, content_type: known.kind.content_type() })
            }
            (None, Some(error)) => Err(failed(error)),
            (None, None) => Err(format!("{}: there is no memory for what it makes", known.file)),
        }
    }
}

/// Refuses what is not of its type.
fn check(known: &Known, octets: &[u8]) -> Result<(), String> {
    if known.kind != Kind::Json {
        return Ok(());
    }
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(octets);
    parsed.map(drop).map_err(|error| format!("{}: what it makes is no JSON: {error}", known.file))
}

/// What stands at `place`; of a filter what it was put behind, too: that is what it
/// could not work on.
fn expression(source: &str, place: Range<usize>) -> &str {
    let before = source.get(..place.start).unwrap_or_default().trim_end();
    let start = match before.strip_suffix('|').and_then(|piped| piped.rfind(['{', '%'])) {
        Some(opening) => opening + 1,
        None => place.start,
    };
    source.get(start..place.end).unwrap_or_default().trim()
}

/// What went wrong where, in one line without anything of a mail.
fn complaint(file: &str, source: &str, error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!("{file}:{line}")).unwrap_or_else(|| file.to_owned());
    let place = error.range().map(|range| expression(source, range)).unwrap_or_default();
    let reason = match error.kind() {
        ErrorKind::WriteFailure => "more than there is room for".to_owned(),
        ErrorKind::OutOfFuel => format!("more than {STEPS} steps"),
        kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    let place = if error.kind() == ErrorKind::UndefinedError && !place.is_empty() {
        format!(": {place}")
    } else {
        String::new()
    };
    let words = format!("{line}: {reason}{place}");
    words.chars().take(300).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
