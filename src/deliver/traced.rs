//! What a trace tells of an attempt.

use super::retry::{self, Outcome};
use crate::spool::Claim;
use crate::trace::{Kind, Span, Tracer};
use serde_json::json;

/// The span of an attempt begins; none when nobody traces. A message that was
/// taken when nobody did begins a trace here.
pub(super) fn begin(tracer: &Tracer, claim: &Claim) -> Option<Span> {
    let post = &claim.post;
    let name = match post.method.as_str() {
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "GET" => "GET",
        "DELETE" => "DELETE",
        _ => "POST",
    };
    let mut span = tracer.begin(name, Kind::Client, post.trace)?;
    let path = post.path.split('?').next().unwrap_or_default();
    span.attributes.extend([
        ("http.request.method", json!(post.method)),
        ("url.full", json!(format!("{}{path}", post.destination))),
        ("server.address", json!(post.destination.host)),
        ("server.port", json!(post.destination.port)),
        ("http.request.resend_count", json!(claim.attempt.saturating_sub(1))),
        ("postgate.post.id", json!(post.id.to_string())),
        ("postgate.tenant", json!(post.destination.tenant.as_str())),
    ]);
    Some(span)
}

/// The span ends with what came of the attempt.
pub(super) fn end(tracer: &Tracer, span: Option<Span>, outcome: &Outcome) {
    let Some(mut span) = span else { return };
    let is_taken = match outcome {
        Outcome::Answered { status, .. } => {
            span.attributes.push(("http.response.status_code", json!(status.as_u16())));
            status.is_success()
        }
        Outcome::Replied { code, .. } => {
            span.attributes.push(("postgate.smtp.reply_code", json!(code)));
            (200..300).contains(code)
        }
        Outcome::Broken(_) => false,
    };
    span.error = (!is_taken).then(|| retry::reason(outcome));
    tracer.end(span);
}
