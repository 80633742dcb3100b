//! The walk over a configuration file that gathers every complaint.
//!
//! A derived reader stops at the first mistake; this one takes key by key out
//! of a table whose places are known, keeps the default where a value is bad,
//! and goes on. What nobody took is an unknown key. A key of the full product
//! that this version lacks is told apart from a misspelt one.

use super::value::Value;
use std::cell::RefCell;
use std::fmt::{self, Display};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong, by its octet.
#[derive(Debug)]
struct Finding {
    at: usize,
    key: String,
    text: String,
}

/// Where complaints are gathered during one walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    complaints: RefCell<Vec<Finding>>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Line and column, from 1, columns in characters; of a place in the file.
    pub place: Option<(usize, usize)>,
    /// The key with its table; of a place in the file.
    pub key: String,
    /// Cause and remedy.
    pub text: String,
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaints {
    file: String,
    all: Vec<Complaint>,
}

impl Complaints {
    /// A single one about a file as a whole.
    pub(super) fn about_file(file: &str, text: impl Display) -> Complaints {
        let only = Complaint { place: None, key: String::new(), text: text.to_string() };
        Complaints { file: file.to_owned(), all: vec![only] }
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Each of them.
    pub fn all(&self) -> &[Complaint] {
        &self.all
    }
}

impl Display for Complaints {
    /// One a line: `file:line:column: key: cause; remedy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Complaint { place, key, text }) in self.all.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            match place {
                Some((line, column)) => write!(f, "{}:{line}:{column}: {key}: {text}", self.file)?,
                None => write!(f, "{}: {text}", self.file)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}

impl Walk {
    /// Notes that something at `span` is wrong.
    pub(super) fn complain(&self, span: Range<usize>, key: impl Into<String>, text: impl Into<String>) {
        let complaint = Finding { at: span.start, key: key.into(), text: text.into() };
        self.complaints.borrow_mut().push(complaint);
    }

    /// Ends the walk: `value` when nothing was wrong.
    pub(super) fn finish<T>(self, file: &str, source: &str, value: T) -> Result<T, Complaints> {
        let mut complaints = self.complaints.into_inner();
        if complaints.is_empty() {
            return Ok(value);
        }
        complaints.sort_by_key(|complaint| complaint.at);
        let mut written: Vec<_> =
            complaints.into_iter().map(|complaint| located(source, complaint)).collect();
        written.dedup();
        Err(Complaints { file: file.to_owned(), all: written })
    }
}

/// Line and column count from 1, columns in characters.
fn located(source: &str, Finding { at, key, text }: Finding) -> Complaint {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
    Complaint { place: Some((line, column)), key, text }
}

/// One table of the file on its way into a struct.
pub(super) struct Section<'a> {
    name: &'static str,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    walk: &'a Walk,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(document: &'a Spanned<DeTable<'a>>, walk: &'a Walk) -> Section<'a> {
        Section { name: "", span: document.span(), table: document.get_ref(), known: Vec::new(), walk }
    }

    /// The name of a key with its table's.
    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn look_up(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Complains about the value of `key`, or about the table when the key is
    /// not there.
    pub(super) fn complain(&self, key: &str, text: impl Into<String>) {
        let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
        self.walk.complain(span, self.full(key), text);
    }

    /// Complains about an element of a list, or about its only one that stands
    /// without brackets.
    pub(super) fn complain_element(&self, key: &str, index: usize, text: impl Into<String>) {
        let elements = self.table.get(key).and_then(|value| value.get_ref().as_array());
        match elements.and_then(|elements| elements.get(index)) {
            Some(element) => self.walk.complain(element.span(), self.full(key), text),
            None => self.complain(key, text),
        }
    }

    /// Elements of a list, good or not; 1 when it is no list.
    pub(super) fn count(&self, key: &str) -> usize {
        let count = |value: &Spanned<DeValue<'_>>| value.get_ref().as_array().map_or(1, |list| list.len());
        self.table.get(key).map_or(0, count)
    }

    /// Whether the key stands in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The text under a key, good or not.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// Takes a value; a bad or missing one leaves `into` as it is.
    pub(super) fn take<T: Value>(&mut self, key: &'static str, into: &mut T) {
        if let Some(value) = self.take_optional(key) {
            *into = value;
        }
    }

    /// Takes a value that need not be there.
    pub(super) fn take_optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let value = self.look_up(key)?;
        T::read(value.get_ref()).map_err(|text| self.complain(key, text)).ok()
    }

    /// Takes a value into what need not be set; a bad or missing one leaves it as it is.
    pub(super) fn take_some<T: Value>(&mut self, key: &'static str, into: &mut Option<T>) {
        if let Some(value) = self.take_optional(key) {
            *into = Some(value);
        }
    }

    /// Takes a value that must be there.
    pub(super) fn take_required<T: Value>(&mut self, key: &'static str, example: &str) -> Option<T> {
        if !self.has(key) {
            self.complain(key, format!("missing; add {key} = {example}"));
        }
        self.take_optional(key)
    }

    /// Takes a list that may also be written as its only element.
    pub(super) fn take_one_or_more<T: Value>(&mut self, key: &'static str, into: &mut Vec<T>) {
        match self.table.get(key).map(|value| value.get_ref().as_array().is_some()) {
            Some(false) => *into = self.take_optional(key).into_iter().collect(),
            _ => self.take_list(key, into),
        }
    }

    /// Takes a list, whose bad elements are complained about one by one.
    pub(super) fn take_list<T: Value>(&mut self, key: &'static str, into: &mut Vec<T>) {
        let Some(value) = self.look_up(key) else { return };
        let Some(elements) = value.get_ref().as_array() else {
            return self.complain(key, "not a list; write it in square brackets");
        };
        into.clear();
        for element in elements.iter() {
            match T::read(element.get_ref()) {
                Ok(element) => into.push(element),
                Err(text) => self.walk.complain(element.span(), self.full(key), text),
            }
        }
    }

    /// Takes a table of values under free names; `read` answers with what is made of
    /// a pair, or with what is wrong with it.
    pub(super) fn take_pairs<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.look_up(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.complain(key, "not a table; write { Name = \"value\" }");
            return None;
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            match read(name.get_ref(), value.get_ref()) {
                Ok(pair) => pairs.push(pair),
                Err(text) => {
                    self.walk.complain(value.span(), format!("{}.{}", self.full(key), name.get_ref()), text);
                }
            }
        }
        Some(pairs)
    }

    /// Refuses keys that have no meaning here, with the remedy.
    pub(super) fn refuse(&mut self, keys: &[&'static str], text: &str) {
        for key in keys {
            if self.look_up(key).is_some() {
                self.complain(key, text);
            }
        }
    }

    /// The table `[key]`, if it is there.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.look_up(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.complain(key, format!("not a table; write [{key}] and its keys below"));
            return None;
        };
        Some(Section { name: key, span: value.span(), table, known: Vec::new(), walk: self.walk })
    }

    /// The tables `[[key]]`, if there are any.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let value = self.look_up(key)?;
        let elements = value.get_ref().as_array();
        let table = |element: &'a Spanned<DeValue<'a>>| {
            let table = element.get_ref().as_table()?;
            Some(Section { name: key, span: element.span(), table, known: Vec::new(), walk: self.walk })
        };
        let tables: Option<Vec<_>> = elements.and_then(|elements| elements.iter().map(table).collect());
        if tables.is_none() {
            let full = self.full(key);
            self.complain(key, format!("not a list of tables; write [[{full}]] and its keys below"));
        }
        tables
    }

    /// The tables `[[key]]`, or the only one, which may be written as `[key]`.
    pub(super) fn one_or_more_tables(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        match self.look_up(key)?.get_ref().as_table() {
            Some(_) => self.table(key).map(|only| vec![only]),
            None => self.tables(key),
        }
    }

    /// Ends the table: every key that was not taken is unknown. `later` are the
    /// keys of the full product that this version lacks.
    pub(super) fn finish(self, later: &[&str]) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let text = if later.contains(&name) {
                "unknown key; not supported by this version".to_owned()
            } else {
                match nearest(name, &self.known) {
                    Some(near) => format!("unknown key; did you mean {near}?"),
                    None => format!("unknown key; known here are {}", self.known.join(", ")),
                }
            };
            self.walk.complain(key.span(), self.full(name), text);
        }
    }
}

/// The known key that is least changes away, when that is few.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|known| (changes(name, known), *known)).min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}

/// How many single characters are to be changed, added or removed between two
/// words (Levenshtein's distance).
fn changes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(to.chars()) {
            let best = (diagonal + usize::from(from != to)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("hostname", "hostnam", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(changes(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("hostnme", &["data_dir", "hostname"]), Some("hostname"));
        assert_eq!(nearest("colour", &["data_dir", "hostname"]), None);
    }
}
