//! What a trace tells of a message that was taken.

use crate::envelope::{Client, Refusal, Source, Taken};
use crate::post::{Admission, Trace};
use crate::trace::{self, Kind, Span, Tracer};
use serde_json::json;

/// A message on its way through the door, as a span.
pub(super) struct Traced<'a> {
    tracer: &'a Tracer,
    span: Option<Span>,
}

impl<'a> Traced<'a> {
    /// The span of a message for so many recipients begins; none when nobody traces.
    pub(super) fn begin(
        tracer: &'a Tracer,
        source: Source,
        client: &Client,
        recipients: usize,
    ) -> Traced<'a> {
        let mut span = tracer.begin("receive", Kind::Server, None);
        if let Some(span) = &mut span {
            span.attributes.push(("messaging.system", json!(source)));
            span.attributes.push(("postgate.session", json!(client.session)));
            span.attributes.push(("postgate.tenant", json!(client.tenant.as_str())));
            span.attributes.push(("postgate.recipients", json!(recipients)));
        }
        Traced { tracer, span }
    }

    /// Makes all posts of a message parts of its trace; that of the sender, when it
    /// named one.
    pub(super) fn mark(&mut self, admission: &mut Admission) {
        let Some(span) = &mut self.span else { return };
        let headers = admission.posts.iter().flat_map(|post| &post.headers);
        let named = headers.filter(|field| field.name.eq_ignore_ascii_case("traceparent"));
        let mut named =
            named.filter_map(|field| trace::parse_traceparent(std::str::from_utf8(&field.value).ok()?));
        if let Some(parent) = named.next() {
            span.context = Trace { trace: parent.trace, ..span.context };
            span.parent = Some(parent.span);
        }
        span.attributes.push(("messaging.message.id", json!(admission.message.to_string())));
        admission.posts.iter_mut().for_each(|post| post.trace = Some(span.context));
    }

    /// The span ends with what the client hears.
    pub(super) fn end(self, answer: Result<&Taken, &Refusal>) {
        if let Some(mut span) = self.span {
            let refusal = answer.map_or_else(Some, Taken::refusal);
            span.error = refusal.map(ToString::to_string);
            self.tracer.end(span);
        }
    }
}
