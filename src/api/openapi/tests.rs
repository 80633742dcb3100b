//! Whether the document holds together; whether it is true, `schemathesis` looks.

use super::*;
use std::collections::HashSet;

/// All texts that stand under a name, at any depth.
fn under<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| match value {
            Value::String(text) if field == name => found.push(text),
            value => under(name, value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| under(name, value, found)),
        _ => {}
    }
}

fn all<'a>(name: &str, value: &'a Value) -> Vec<&'a str> {
    let mut found = Vec::new();
    under(name, value, &mut found);
    found
}

#[test]
fn what_is_pointed_at_is_there() {
    let document = document(&calls::all());
    let references = all("$ref", &document);
    assert!(references.len() > 400, "{}", references.len());
    for reference in references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let calls: Vec<_> = document["paths"].as_object().unwrap().values().collect();
    let operations: Vec<_> = calls.iter().flat_map(|methods| methods.as_object().unwrap().values()).collect();
    let ids: HashSet<_> = operations.iter().map(|it| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), super::calls::all().len(), "an id of a call is there twice");
    let named = all("operationId", &document);
    assert!(named.len() > 2 * ids.len(), "links: {}", named.len());
    assert!(named.iter().all(|id| ids.contains(id)), "{named:?}");
}

#[test]
fn every_status_and_header_field_of_the_table_is_explained() {
    for call in calls::all() {
        let refused = call.refusals.iter().chain(&call.taken.refusals).chain(&ANY).chain(&KEYED);
        for status in refused {
            assert!(REFUSALS.iter().any(|(known, _)| known == status), "{}: {status}", call.path);
        }
        for name in call.answers.iter().flat_map(|answer| &answer.headers) {
            assert!(HEADERS.iter().any(|(known, ..)| known == name), "{}: {name}", call.path);
        }
        assert!(!call.answers.is_empty(), "{} answers nothing", call.path);
    }
}
