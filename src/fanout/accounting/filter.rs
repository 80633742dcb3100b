//! Which records are written, by what they are about.
//!
//! A rule of patterns in order, one a field: the first that fits decides. One with `!`
//! before it leaves records out. Where none fits, a record is written if there are none
//! but such; so is one that does not say what it is asked for. A record is written when
//! all fields let it through. What is left out is lost.

use super::super::Told;
use super::super::pattern::Pattern;
use std::fmt;

/// Rules for each field; without any, everything is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    tenant: Vec<Rule>,
    tag: Vec<Rule>,
    destination: Vec<Rule>,
    recipient: Vec<Rule>,
}

/// Most octets of a pattern.
const LONGEST: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// As it was written.
    written: String,
    /// What it does with those that it fits.
    lets_through: bool,
    pattern: Pattern,
}

/// One that is none: its field, which one of that, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The field.
    pub field: &'static str,
    /// From 0.
    pub index: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

impl Filter {
    /// The names of the fields, in the order of their lists.
    pub const FIELDS: [&'static str; 4] = ["tenant", "tag", "destination", "recipient"];

    /// The filter of these patterns, a list a field.
    pub fn of(lists: [Vec<String>; 4]) -> Result<Filter, BadPattern> {
        let mut read = lists.into_iter().zip(Filter::FIELDS).map(|(list, field)| {
            let rule = |(index, written): (usize, String)| {
                Rule::of(field, written).map_err(|text| BadPattern { field, index, text })
            };
            list.into_iter().enumerate().map(rule).collect::<Result<Vec<_>, _>>()
        });
        let mut next = || read.next().unwrap_or(Ok(Vec::new()));
        Ok(Filter { tenant: next()?, tag: next()?, destination: next()?, recipient: next()? })
    }

    /// The patterns as they were written, a list a field.
    pub fn written(&self) -> [(&'static str, Vec<&str>); 4] {
        let lists = [&self.tenant, &self.tag, &self.destination, &self.recipient];
        let mut lists = lists.map(|list| list.iter().map(|rule| rule.written.as_str()).collect()).into_iter();
        Filter::FIELDS.map(|field| (field, lists.next().unwrap_or_default()))
    }

    /// Whether the record of an event is written.
    pub fn lets_through(&self, told: &Told) -> bool {
        let fields = [&self.tenant, &self.tag, &self.destination, &self.recipient];
        fields.into_iter().all(|rules| decide(rules, told))
    }
}

fn decide(rules: &[Rule], told: &Told) -> bool {
    match rules.iter().find(|rule| rule.pattern.fits(told)) {
        Some(rule) => rule.lets_through,
        None => rules.iter().all(|rule| !rule.lets_through),
    }
}

impl Rule {
    fn of(field: &str, written: String) -> Result<Rule, String> {
        let text = written.strip_prefix('!');
        let lets_through = text.is_none();
        let text = text.unwrap_or(&written);
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a pattern has 1 to {LONGEST} octets"));
        }
        let pattern = match field {
            "destination" => Pattern::destination(text)?,
            "recipient" => Pattern::recipient(text),
            "tag" => Pattern::Tag(text.to_owned()),
            _ => Pattern::Tenant(text.to_owned()),
        };
        Ok(Rule { lets_through, pattern, written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventId};
    use crate::post::Timestamp;
    use crate::tenant::Tenant;

    #[test]
    fn the_first_pattern_that_fits_decides() {
        let data =
            r#"{"tags":["bill","x"],"destination":"https://a.shop.example","recipient":"Jane@shop.example"}"#;
        let event = Event {
            id: EventId::new(Timestamp(0), 0),
            name: "post.delivered".parse().unwrap(),
            at: Timestamp(0),
            tenant: Tenant::new("shop"),
            data: data.into(),
        };
        let told = Told::of(event.clone());
        let bare = Told::of(Event { data: "{}".into(), ..event });
        for (field, patterns, lets_through, lets_bare_through) in [
            ("tenant", &[][..], true, true),
            ("tenant", &["shop"], true, true),
            ("tenant", &["other", "!*"], false, false),
            ("tenant", &["!other"], true, true),
            ("tag", &["bill"], true, false),
            ("tag", &["!b*"], false, true),
            ("tag", &["!bill", "x"], false, false),
            ("tag", &["x", "!bill"], true, false),
            ("destination", &["https://*.shop.example"], true, false),
            ("destination", &["!https://a.shop.example", "*"], false, false),
            ("destination", &["http://a.shop.example"], false, false),
            ("recipient", &["jane@*"], true, false),
            ("recipient", &["!JANE@shop.example"], false, true),
        ] {
            let list = |name| patterns.iter().filter(|_| name == field).map(|it| (*it).to_owned()).collect();
            let filter = Filter::of(Filter::FIELDS.map(list)).unwrap();
            let did = (filter.lets_through(&told), filter.lets_through(&bare));
            assert_eq!(did, (lets_through, lets_bare_through), "{field} {patterns:?}");
            let written = filter.written().map(|(_, list)| list.into_iter().map(str::to_owned).collect());
            assert_eq!(Filter::of(written), Ok(filter));
        }
        for (list, at) in [(["", "a"], 0), (["a", "!"], 1)] {
            let lists = [Vec::new(), list.map(str::to_owned).to_vec(), Vec::new(), Vec::new()];
            let bad = Filter::of(lists).unwrap_err();
            assert_eq!((bad.field, bad.index), ("tag", at));
        }
        let lists = [Vec::new(), Vec::new(), vec!["!no origin".to_owned()], Vec::new()];
        assert_eq!(Filter::of(lists).unwrap_err().field, "destination");
    }
}
