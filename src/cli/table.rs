//! Columns of text for a terminal.

use serde_json::Value;
use std::collections::BTreeMap;

/// Rows under their heads, each column as wide as its widest cell. Nothing in a
/// cell can move the cursor.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))));
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Text whose control characters are escaped.
pub(super) fn plain(text: &str) -> String {
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.into() };
    text.chars().map(escape).collect()
}

/// A field of an answer as text: empty when it is missing.
pub(super) fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The fields of an answer that say something, one a line; those of an object in it
/// with a dot between.
pub(super) fn fields(answer: &Value) -> String {
    let mut lines = Vec::new();
    collect("", answer, &mut lines);
    let line = |(name, value): &(String, String)| format!("{:16} {}", plain(name), plain(value));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn collect(above: &str, answer: &Value, lines: &mut Vec<(String, String)>) {
    for (name, value) in answer.as_object().into_iter().flatten() {
        let name = format!("{above}{name}");
        match value {
            Value::Null => {}
            Value::Object(_) => collect(&format!("{name}."), value, lines),
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => lines.push((name, items.iter().map(item).collect::<Vec<_>>().join(", "))),
            Value::String(text) => lines.push((name, text.clone())),
            other => lines.push((name, other.to_string())),
        }
    }
}

/// A text of a list, or a header field.
pub(super) fn item(item: &Value) -> String {
    match item {
        Value::String(text) => text.clone(),
        field if field.get("value").is_some_and(Value::is_null) => format!("{}: ***", text(field, "name")),
        field => format!("{}: {}", text(field, "name"), text(field, "value")),
    }
}

/// What an answer says of posts that are due and wait for the end of a pause; begins
/// with a semicolon.
pub(super) fn waiting(answer: &Value) -> String {
    let mut paused: BTreeMap<String, u64> = BTreeMap::new();
    for part in answer.get("paused").and_then(Value::as_array).into_iter().flatten() {
        let count = part.get("count").and_then(Value::as_u64).unwrap_or_default();
        *paused.entry(text(part, "origin")).or_default() += count;
    }
    let parts =
        paused.iter().map(|(origin, count)| format!("; {count} of them wait because {origin} is paused"));
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_moves_the_cursor() {
        let rows = [["1".to_owned(), "long".to_owned()], ["2222".to_owned(), "a\x1b[2J\nb".to_owned()]];
        assert_eq!(table(["ID", "TEXT"], &rows), "ID    TEXT\n1     long\n2222  a\\u{1b}[2J\\nb");
    }

    #[test]
    fn fields_that_say_something_stand_one_a_line() {
        let answer = serde_json::json!({ "id": "1", "none": null, "tags": ["a", "b"], "empty": [],
            "batch": { "max": 5, "of": { "x": "a\x1b" } } });
        let shown =
            "id               1\ntags             a, b\nbatch.max        5\nbatch.of.x       a\\u{1b}";
        assert_eq!(fields(&answer), shown);
    }

    #[test]
    fn fields_are_shown_as_text() {
        let value = serde_json::json!({ "a": "x", "b": 2, "c": null });
        assert_eq!(["a", "b", "c", "d"].map(|field| text(&value, field)), ["x", "2", "", ""]);
    }
}
