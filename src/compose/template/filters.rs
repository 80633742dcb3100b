//! Filters of templates besides those that the language has.
//!
//! All of them take text that may be large and hold no more than what they answer.

use super::output::Json;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};
use std::borrow::Cow;

/// Makes them known.
pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", to_json);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("truncate", truncate);
    environment.add_filter("mrkdwn", mrkdwn);
    environment.add_filter("header", header);
}

/// As JSON, and not escaped again.
fn to_json(value: Value) -> Result<Value, Error> {
    check_defined(&value)?;
    Ok(Value::from_object(Json(value)))
}

/// Filters that take any value are given what is undefined, too.
fn check_defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(()) }
}

/// Percent-encoded, and not encoded again when a form prints it.
fn urlencode(value: &Value) -> Result<Value, Error> {
    check_defined(value)?;
    minijinja::filters::urlencode(value).map(Value::from_safe_string)
}

/// What one character counts.
type Weight = fn(char) -> usize;

fn weight(unit: Option<&str>) -> Result<Weight, Error> {
    match unit {
        None | Some("characters") => Ok(|_| 1),
        Some("octets") => Ok(char::len_utf8),
        Some("utf-16") => Ok(char::len_utf16),
        Some(_) => {
            let expected = "unit is one of \"characters\", \"octets\", \"utf-16\"";
            Err(Error::new(ErrorKind::InvalidOperation, expected))
        }
    }
}

/// `text|truncate(n, end="…", unit="characters")`: no more than `n` of the unit,
/// `end` among them.
fn truncate(text: &Value, most: usize, kwargs: Kwargs) -> Result<Value, Error> {
    check_defined(text)?;
    let end: Option<&str> = kwargs.get("end")?;
    let unit: Option<&str> = kwargs.get("unit")?;
    kwargs.assert_all_used()?;
    let (end, weight) = (end.unwrap_or("…"), weight(unit)?);
    let shown;
    let text = match text.as_str() {
        Some(text) => text,
        None if text.is_none() => return Ok(Value::from("")),
        None => {
            shown = text.to_string();
            &shown
        }
    };
    Ok(Value::from(cut(text, most, end, weight).as_ref()))
}

fn cut<'t>(text: &'t str, most: usize, end: &str, weight: Weight) -> Cow<'t, str> {
    let beginning = within(text, most, weight);
    if beginning.len() == text.len() {
        return Cow::Borrowed(text);
    }
    let end = within(end, most, weight);
    let room = most.saturating_sub(end.chars().map(weight).sum());
    Cow::Owned(format!("{}{end}", within(text, room, weight)))
}

/// As much of the beginning as weighs no more than `most`.
fn within(text: &str, most: usize, weight: Weight) -> &str {
    let mut sum = 0;
    let over = text.char_indices().find(|(_, char)| {
        sum += weight(*char);
        sum > most
    });
    over.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// `text|mrkdwn(n)`: as Slack wants text, `&`, `<` and `>` escaped, and no more than
/// `n` characters of that, cut between characters.
fn mrkdwn(text: &str, most: usize) -> String {
    let weight = |char| match char {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => 1,
    };
    let mut escaped = String::new();
    for char in cut(text, most, "…", weight).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            char => escaped.push(char),
        }
    }
    escaped
}

/// `headers|header("X-Priority")`: the first field of that name, or none; compared
/// without case.
fn header(headers: &Value, name: &str) -> Result<Value, Error> {
    for field in headers.try_iter()? {
        let found = field.get_item_by_index(0)?;
        if found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return field.get_item_by_index(1);
        }
    }
    Ok(Value::from(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_with_its_end_counted() {
        for (text, most, end, unit, expected) in [
            ("Straße", 6, "…", "characters", "Straße"),
            ("Straße", 5, "…", "characters", "Stra…"),
            ("Straße", 5, "", "characters", "Straß"),
            ("Straße", 2, "...", "characters", ".."),
            ("Straße", 0, "…", "characters", ""),
            ("Straße", 6, "", "octets", "Straß"),
            ("Straße", 5, "", "octets", "Stra"),
            ("Straße", 7, "…", "octets", "Straße"),
            ("😀😀", 4, "…", "utf-16", "😀😀"),
            ("😀😀", 3, "…", "utf-16", "😀…"),
            ("😀😀", 3, "", "octets", ""),
            ("", 0, "…", "octets", ""),
        ] {
            let weight = weight(Some(unit)).unwrap();
            assert_eq!(cut(text, most, end, weight), expected, "{text} {most} {unit}");
        }
        assert!(weight(Some("words")).is_err());
    }

    #[test]
    fn slack_text_is_escaped_and_never_cut_within_an_escape() {
        for (text, most, expected) in [
            ("a<!channel>&b", 99, "a&lt;!channel&gt;&amp;b"),
            ("a&b", 7, "a&amp;b"),
            ("a&b", 6, "a…"),
            ("a&&", 7, "a&amp;…"),
            ("ü", 1, "ü"),
        ] {
            assert_eq!(mrkdwn(text, most), expected);
            assert!(mrkdwn(text, most).chars().count() <= most);
        }
    }
}
