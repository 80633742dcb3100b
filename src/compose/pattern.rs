//! Which recipients a route takes.
//!
//! Three shapes: an exact address, `*@domain`, and `user+*@domain`, whose `*`
//! is handed on as the detail. Domains and local parts are compared without
//! case: no receiver of mail in use tells `Orders` from `orders`. When several
//! patterns match, the more specific shape wins, whatever their order.

use std::fmt;
use std::str::FromStr;

/// The `recipient` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    local: Local,
    domain: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Local {
    Exact(String),
    /// What stands before the `*`, the `+` included.
    Detail(String),
    Any,
}

/// How a pattern matched; smaller is more specific.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    Exact,
    Detail(String),
    Any,
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether and how it takes `local@domain`.
    pub(super) fn try_match(&self, local: &str, domain: &str) -> Option<Match> {
        if !self.domain.eq_ignore_ascii_case(domain) {
            return None;
        }
        match &self.local {
            Local::Exact(name) => name.eq_ignore_ascii_case(local).then_some(Match::Exact),
            Local::Detail(prefix) => {
                let (start, detail) = local.split_at_checked(prefix.len())?;
                start.eq_ignore_ascii_case(prefix).then(|| Match::Detail(detail.to_owned()))
            }
            Local::Any => Some(Match::Any),
        }
    }
}

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
        Ok(Pattern { text: text.to_owned(), local, domain: domain.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_shapes_match_without_case() {
        let detail = |text: &str| Some(Match::Detail(text.to_owned()));
        for (pattern, local, domain, expected) in [
            ("orders@hooks.example", "Orders", "HOOKS.example", Some(Match::Exact)),
            ("orders@hooks.example", "orders+1", "hooks.example", None),
            ("orders@hooks.example", "orders", "sub.hooks.example", None),
            ("*@hooks.example", "anything", "hooks.example", Some(Match::Any)),
            ("*@hooks.example", "anything", "example", None),
            ("orders+*@hooks.example", "ORDERS+Shop-17", "hooks.example", detail("Shop-17")),
            ("orders+*@hooks.example", "orders+", "hooks.example", detail("")),
            ("orders+*@hooks.example", "orders+a+b", "hooks.example", detail("a+b")),
            ("orders+*@hooks.example", "orders", "hooks.example", None),
            ("é+*@hooks.example", "e", "hooks.example", None),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.try_match(local, domain), expected, "{pattern} {local}@{domain}");
        }
        assert!(Match::Exact < Match::Detail(String::new()) && Match::Detail("z".to_owned()) < Match::Any);
    }

    #[test]
    fn what_is_no_pattern_is_told_so() {
        for text in
            ["", "orders", "@d", "a@", "*", "a*@d", "*+*@d", "+*@d", "a@*.d", "a b@d", "<a@d>", "a*b@d"]
        {
            assert!(text.parse::<Pattern>().unwrap_err().contains("user+*@domain"), "{text}");
        }
    }
}
