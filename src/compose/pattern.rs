//! Which recipients a route takes.
//!
//! Four shapes: an exact address, `user+*@domain`, a regular expression, and
//! `*@domain`. What stood for the `*` of the second, and for the first group of the
//! third, is handed on as the detail. Everything is compared without case: no
//! receiver of mail in use tells `Orders` from `orders`. When several patterns
//! match, the more specific shape wins, whatever their order.
//!
//! An expression is matched with the whole address, and its compiled form is
//! bounded; matching takes time linear in the address, whatever it says.

use regex::{Regex, RegexBuilder};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// Octets that a regular expression may have as it is written.
const LONGEST_REGEX: usize = 1000;
/// Octets that it may have when it is compiled.
const LARGEST_REGEX: usize = 1 << 20;

/// The `recipient` or `regex` of a route.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    name: String,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Address { local: Local, domain: String },
    Regex(Regex),
}

#[derive(Clone, Debug)]
enum Local {
    Exact(String),
    /// What stands before the `*`, the `+` included.
    Detail(String),
    Any,
}

/// How a pattern matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    /// So many octets stood before what was handed on.
    Detail(usize, String),
    Regex(Option<String>),
    Any,
}

impl Match {
    /// Smaller is more specific; of equal ones the first in the file counts.
    pub(super) fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            Match::Exact => (0, Reverse(0)),
            Match::Detail(prefix, _) => (1, Reverse(*prefix)),
            Match::Regex(_) => (2, Reverse(0)),
            Match::Any => (3, Reverse(0)),
        }
    }

    /// What is handed on.
    pub(super) fn into_detail(self) -> Option<String> {
        match self {
            Match::Detail(_, detail) => Some(detail),
            Match::Regex(detail) => detail,
            Match::Exact | Match::Any => None,
        }
    }
}

impl Pattern {
    /// A regular expression over whole addresses. The error says what is wrong
    /// with it.
    pub fn regex(text: &str) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > LONGEST_REGEX {
            return Err(format!("a regular expression has 1 to {LONGEST_REGEX} octets"));
        }
        let compile =
            |text: &str| RegexBuilder::new(text).case_insensitive(true).size_limit(LARGEST_REGEX).build();
        // By itself first: it must close the groups that it opens.
        let whole = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
        let regex = whole.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("{text:?} takes too much memory; write a simpler one")
            }
            error => {
                let error = error.to_string();
                let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("{text:?} is not a regular expression: {cause}")
            }
        })?;
        Ok(Pattern { text: text.to_owned(), name: format!("regex {text}"), shape: Shape::Regex(regex) })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self.shape, Shape::Regex(_))
    }

    /// What its routes are found by: the same for patterns that were written the
    /// same, but for the case of an address, and after the configuration was read
    /// again.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it takes this address.
    pub fn takes(&self, address: &str) -> bool {
        address.rsplit_once('@').is_some_and(|(local, domain)| self.try_match(local, domain).is_some())
    }

    /// Whether and how it takes `local@domain`.
    pub(super) fn try_match(&self, local: &str, domain: &str) -> Option<Match> {
        match &self.shape {
            Shape::Regex(regex) => {
                let address = format!("{local}@{domain}");
                let groups = regex.captures(&address)?;
                let detail = groups.name("detail").or_else(|| groups.get(1));
                Some(Match::Regex(detail.map(|detail| detail.as_str().to_owned())))
            }
            Shape::Address { domain: own, .. } if !own.eq_ignore_ascii_case(domain) => None,
            Shape::Address { local: Local::Exact(name), .. } => {
                name.eq_ignore_ascii_case(local).then_some(Match::Exact)
            }
            Shape::Address { local: Local::Detail(prefix), .. } => {
                let (start, detail) = local.split_at_checked(prefix.len())?;
                let is_prefix = start.eq_ignore_ascii_case(prefix);
                is_prefix.then(|| Match::Detail(prefix.len(), detail.to_owned()))
            }
            Shape::Address { local: Local::Any, .. } => Some(Match::Any),
        }
    }
}

impl PartialEq for Pattern {
    /// Whether they were written the same.
    fn eq(&self, other: &Pattern) -> bool {
        (self.is_regex(), &self.text) == (other.is_regex(), &other.text)
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let expected =
            || format!("{text:?} is not a recipient; write user@domain, user+*@domain or *@domain");
        let (local, domain) = text.rsplit_once('@').ok_or_else(expected)?;
        let is_odd = |char: char| char.is_whitespace() || char.is_control() || matches!(char, '<' | '>');
        if local.is_empty() || domain.is_empty() || domain.contains('*') || text.contains(is_odd) {
            return Err(expected());
        }
        let local = match local.strip_suffix('*') {
            Some("") => Local::Any,
            Some(prefix) if prefix.ends_with('+') && prefix.len() > 1 && !prefix.contains('*') => {
                Local::Detail(prefix.to_owned())
            }
            None if !local.contains('*') => Local::Exact(local.to_owned()),
            _ => return Err(expected()),
        };
        let shape = Shape::Address { local, domain: domain.to_owned() };
        Ok(Pattern { text: text.to_owned(), name: text.to_ascii_lowercase(), shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_match_without_case() {
        let detail = |prefix, text: &str| Some(Match::Detail(prefix, text.to_owned()));
        for (pattern, local, domain, expected) in [
            ("orders@hooks.example", "Orders", "HOOKS.example", Some(Match::Exact)),
            ("orders@hooks.example", "orders+1", "hooks.example", None),
            ("orders@hooks.example", "orders", "sub.hooks.example", None),
            ("*@hooks.example", "anything", "hooks.example", Some(Match::Any)),
            ("*@hooks.example", "anything", "example", None),
            ("orders+*@hooks.example", "ORDERS+Shop-17", "hooks.example", detail(7, "Shop-17")),
            ("orders+*@hooks.example", "orders+", "hooks.example", detail(7, "")),
            ("orders+*@hooks.example", "orders+a+b", "hooks.example", detail(7, "a+b")),
            ("orders+*@hooks.example", "orders", "hooks.example", None),
            ("é+*@hooks.example", "e", "hooks.example", None),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.try_match(local, domain), expected, "{pattern} {local}@{domain}");
        }
    }

    #[test]
    fn expressions_match_whole_addresses_without_case() {
        let detail = |text: &str| Some(Match::Regex(Some(text.to_owned())));
        for (regex, address, expected) in [
            (r"^order-(\d+)@shop\.example$", "Order-17@SHOP.example", detail("17")),
            (r"order-(\d+)@shop\.example", "order-17@shop.example", detail("17")),
            (r"order-(\d+)@shop\.example", "reorder-17@shop.example", None),
            (r"order-(\d+)@shop\.example", "order-17@shop.example.net", None),
            (r"a@d|b@d", "b@d", Some(Match::Regex(None))),
            (r"a@d|b@d", "xb@d", None),
            (r"(x)?a@d", "a@d", Some(Match::Regex(None))),
            (r"(\w+)-(?<detail>\w+)@d", "a-b@d", detail("b")),
            (r"É(.)@d", "éx@d", detail("x")),
        ] {
            let pattern = Pattern::regex(regex).unwrap();
            let (local, domain) = address.rsplit_once('@').unwrap();
            assert_eq!(pattern.try_match(local, domain), expected, "{regex} {address}");
        }
    }

    #[test]
    fn the_more_specific_shape_stands_first() {
        let longer = Match::Detail(9, String::new());
        let shorter = Match::Detail(2, "long".to_owned());
        let ranks = [Match::Exact, longer, shorter, Match::Regex(None), Match::Any].map(|how| how.rank());
        assert!(ranks.is_sorted() && ranks.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn names_tell_patterns_apart() {
        let address = |text: &str| text.parse::<Pattern>().unwrap();
        let regex = |text: &str| Pattern::regex(text).unwrap();
        assert_eq!(address("A@D.example").name(), address("a@d.example").name());
        assert_ne!(address("a@d").name(), regex("a@d").name());
        assert_ne!(regex(r"\w@d").name(), regex(r"\W@d").name());
    }

    #[test]
    fn what_is_no_pattern_is_told_so() {
        for text in
            ["", "orders", "@d", "a@", "*", "a*@d", "*+*@d", "+*@d", "a@*.d", "a b@d", "<a@d>", "a*b@d"]
        {
            assert!(text.parse::<Pattern>().unwrap_err().contains("user+*@domain"), "{text}");
        }
        for (text, cause) in [
            ("", "1 to 1000 octets"),
            (&"a".repeat(1001), "1 to 1000 octets"),
            ("a(b", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("(a{1000}){1000}", "too much memory"),
            (r"(a)\1", "backreferences are not supported"),
        ] {
            assert!(Pattern::regex(text).unwrap_err().contains(cause), "{text}");
        }
    }
}
