//! Templates on their own; what they make of mail is `fixtures/templates`.

use super::*;

#[test]
fn presets_are_templates() {
    let templates = Templates::default();
    assert_eq!(templates.list().count(), PRESETS.len());
    let names: Vec<_> = templates.list().map(|(name, _, _)| name).collect();
    for name in ["slack", "teams", "discord", "telegram", "ntfy", "gotify", "pagerduty", "alertmanager"] {
        assert!(names.contains(&name), "{name} is missing of {names:?}");
    }
}

#[test]
fn what_is_no_template_is_named_with_file_line_and_reason() {
    let long = "x".repeat(MAX_SOURCE + 1);
    for (file, source, expected) in [
        ("a.json.j2", "{}\n{{ subject", "a.json.j2:2: syntax error: "),
        ("a.json.j2", "{% for x in y %}", "a.json.j2:1: syntax error: "),
        ("a.json.j2", "{% include \"/etc/passwd\" %}", "a.json.j2:1: syntax error: "),
        ("a.j2", "", "a.j2: the name does not say what it makes; let it end in one of .json.j2, "),
        (".json.j2", "", ".json.j2: the name does not say"),
        ("a.csv.j2", "", "a.csv.j2: the name does not say"),
        ("a.txt.j2", &long, "a.txt.j2: longer than 1048576 octets"),
    ] {
        let mistake = Templates::default().add(file, source).unwrap_err().to_string();
        assert!(mistake.starts_with(expected), "{file}: {mistake}");
    }
    let mut templates = Templates::default();
    assert_eq!(templates.add("README.md", "{{"), Ok(()));
    assert_eq!(templates.add("a.json.j2", "{}"), Ok(()));
    let twice = templates.add("a.txt.j2", "").unwrap_err().to_string();
    assert_eq!(twice, "a.txt.j2: a.json.j2 makes the template a already");
}

#[test]
fn an_own_template_stands_before_the_preset() {
    let mut templates = Templates::default();
    assert_ne!(templates.add("slack.txt.j2", "{{ subject }}"), Err(Mistake(String::new())));
    let slack = templates.list().find(|(name, _, _)| *name == "slack");
    assert_eq!(slack, Some(("slack", "text/plain; charset=utf-8", Origin::Own)));
    assert_ne!(templates, Templates::default());
}
