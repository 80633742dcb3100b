//! Which octets of something are asked for, and whether they are there already.
//!
//! Preconditions and ranges of RFC 9110 (sections 13.1 and 14.2), pure: a strong
//! entity tag, single ranges of octets. Several ranges at once are answered with the
//! whole, which a server may (section 14.2); so is what cannot be understood.

use http::{HeaderMap, HeaderName, Method, header};

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Everything.
    Whole,
    /// The octets from the first to the last.
    Part(usize, usize),
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: there are no such octets.
    Unsatisfiable,
}

/// The answer to a request for `length` octets with this tag.
pub(super) fn answer(method: &Method, headers: &HeaderMap, tag: &str, length: usize) -> Answer {
    if all(headers, header::IF_NONE_MATCH).any(|known| names(known, tag)) {
        return Answer::NotModified;
    }
    let is_fresh = match only(headers, header::IF_RANGE) {
        // A date says nothing here.
        Some(known) => known == tag,
        None => !headers.contains_key(header::IF_RANGE),
    };
    match only(headers, header::RANGE) {
        // A range of anything but a GET is ignored (section 14.2).
        Some(range) if is_fresh && method == Method::GET => part(range, length).unwrap_or(Answer::Whole),
        _ => Answer::Whole,
    }
}

/// All values of a field that are text.
fn all(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The value of a field that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// Whether a list of tags names one; weak ones will do (section 13.1.2).
fn names(list: &str, tag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|other| other == "*" || other.strip_prefix("W/").unwrap_or(other) == tag)
}

/// A single range; nothing when it is none, or several.
fn part(range: &str, length: usize) -> Option<Answer> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let end = length.checked_sub(1);
    let (first, last) = match (number(first)?, number(last)?) {
        (None, None) => return None,
        (None, Some(0)) => return Some(Answer::Unsatisfiable),
        (None, Some(count)) => (length.saturating_sub(count), end),
        (Some(first), None) => (first, end),
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), Some(last)) => (first, end.map(|end| end.min(last))),
    };
    Some(match last {
        Some(last) if first <= last => Answer::Part(first, last),
        _ => Answer::Unsatisfiable,
    })
}

/// A number, or none at all; more digits than fit are more than any length.
fn number(text: &str) -> Option<Option<usize>> {
    let text = text.trim();
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| (!text.is_empty()).then(|| text.parse().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn single_ranges_are_parts_and_all_else_is_the_whole() {
        for (range, length, expected) in [
            ("bytes=0-0", 10, Answer::Part(0, 0)),
            ("bytes=3-5", 10, Answer::Part(3, 5)),
            ("bytes=3-", 10, Answer::Part(3, 9)),
            ("bytes=3-99", 10, Answer::Part(3, 9)),
            ("bytes=-3", 10, Answer::Part(7, 9)),
            ("bytes=-99", 10, Answer::Part(0, 9)),
            ("BYTES= 9-9", 10, Answer::Part(9, 9)),
            ("bytes=0-99999999999999999999999999", 10, Answer::Part(0, 9)),
            ("bytes=10-", 10, Answer::Unsatisfiable),
            ("bytes=99999999999999999999999999-", 10, Answer::Unsatisfiable),
            ("bytes=10-12", 10, Answer::Unsatisfiable),
            ("bytes=-0", 10, Answer::Unsatisfiable),
            ("bytes=0-", 0, Answer::Unsatisfiable),
            ("bytes=-1", 0, Answer::Unsatisfiable),
            ("bytes=5-3", 10, Answer::Whole),
            ("bytes=-", 10, Answer::Whole),
            ("bytes=", 10, Answer::Whole),
            ("bytes=a-b", 10, Answer::Whole),
            ("bytes=+1-3", 10, Answer::Whole),
            ("bytes=--3", 10, Answer::Whole),
            ("bytes=0-1,3-4", 10, Answer::Whole),
            ("items=0-1", 10, Answer::Whole),
            ("0-1", 10, Answer::Whole),
        ] {
            let headers = headers(&[("range", range)]);
            assert_eq!(answer(&Method::GET, &headers, "\"a\"", length), expected, "{range} of {length}");
            assert_eq!(answer(&Method::HEAD, &headers, "\"a\"", length), Answer::Whole, "{range}");
        }
    }

    #[test]
    fn preconditions_stand_before_ranges() {
        const RANGE: (&str, &str) = ("range", "bytes=0-0");
        for (fields, expected) in [
            (&[("if-none-match", "\"a\"")][..], Answer::NotModified),
            (&[("if-none-match", "\"b\", W/\"a\""), RANGE], Answer::NotModified),
            (&[("if-none-match", "*")], Answer::NotModified),
            (&[("if-none-match", "\"b\""), RANGE], Answer::Part(0, 0)),
            (&[("if-range", "\"a\""), RANGE], Answer::Part(0, 0)),
            (&[("if-range", "\"b\""), RANGE], Answer::Whole),
            (&[("if-range", "W/\"a\""), RANGE], Answer::Whole),
            (&[("if-range", "Sat, 31 Jan 2026 12:00:00 GMT"), RANGE], Answer::Whole),
            (&[("if-range", "\"b\""), ("range", "bytes=99-")], Answer::Whole),
            (&[RANGE, RANGE], Answer::Whole),
        ] {
            assert_eq!(answer(&Method::GET, &headers(fields), "\"a\"", 10), expected, "{fields:?}");
        }
    }
}
