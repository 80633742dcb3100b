//! CloudEvents 1.0 in JSON.
//!
//! The type is the event's own name, the source this gateway, the subject what the
//! event is about: `postId`, else `destination`, else `recipient`.

use super::Told;
use crate::clock::rfc3339;
use serde_json::Value;

/// What an event is about, most telling first.
const SUBJECTS: [&str; 3] = ["postId", "destination", "recipient"];

/// One event in structured mode, on one line.
pub(super) fn write(told: &Told, hostname: &str) -> Vec<u8> {
    let event = told.event();
    let (source, at) = (Value::from(format!("//{hostname}")), rfc3339(event.at));
    let subject = SUBJECTS.iter().find_map(|key| told.text(key)).filter(|subject| !subject.is_empty());
    let subject = subject.map(|subject| format!("\"subject\":{},", Value::from(&*subject)));
    let head = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"source\":{source},\"type\":\"{}\",{}\"time\":\"{at}\",\
         \"tenant\":{},\"datacontenttype\":\"application/json\",\"data\":",
        event.id,
        event.name,
        subject.unwrap_or_default(),
        Value::from(event.tenant.as_str()),
    );
    [head.as_bytes(), event.data.as_ref(), b"}"].concat()
}
