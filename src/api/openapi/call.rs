//! A call: its role, path and handler, and what is said of it in the document.
//!
//! What a call takes is read off the arguments of its handler (`takes`); what it answers
//! stands beside it in the table of calls, as the types that are written down. Errors are
//! those that its arguments and its role can lead to, and what its row adds.

use super::super::desk::Desk;
use super::takes::{Taken, Takes};
use crate::intake::Role;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A call of the API.
pub(in crate::api) struct Call {
    /// What a key has to allow; nothing: no key is needed.
    pub role: Option<Role>,
    /// From the root, with `{…}` for what is named in it.
    pub path: &'static str,
    /// In lower case.
    pub method: &'static str,
    /// What answers.
    pub handler: MethodRouter<Desk>,
    pub(super) what: &'static str,
    pub(super) taken: Taken,
    pub(super) answers: Vec<Answer>,
    pub(super) refusals: Vec<StatusCode>,
}

/// What a call answers when it does what is asked.
pub(super) struct Answer {
    pub status: StatusCode,
    pub what: &'static str,
    pub content: Option<(&'static str, Content)>,
    pub headers: Vec<&'static str>,
    /// Where an id stands in it, and the path of the calls that take that id.
    pub leads: Option<(&'static str, &'static str)>,
}

/// What a body is.
pub(super) enum Content {
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A text.
    Text,
    /// Any octets.
    Octets,
}

macro_rules! methods {
    ($($name:ident $filter:ident $text:literal)*) => {$(
        /// A call by this method: who may call it, its path, what answers, and what it does.
        pub(in crate::api) fn $name<H, T>(
            role: impl Into<Option<Role>>,
            path: &'static str,
            handler: H,
            what: &'static str,
        ) -> Call
        where
            H: Handler<T, Desk>,
            T: Takes + 'static,
        {
            Call {
                role: role.into(),
                path,
                method: $text,
                handler: on(MethodFilter::$filter, handler),
                what,
                taken: Taken::by::<T>(),
                answers: Vec::new(),
                refusals: Vec::new(),
            }
        }
    )*};
}

methods! { get GET "get" post POST "post" put PUT "put" patch PATCH "patch" delete DELETE "delete" }

impl Call {
    /// Answers JSON of this type.
    pub(in crate::api) fn answers<T: JsonSchema>(self, status: StatusCode, what: &'static str) -> Call {
        self.writes(status, what, SchemaGenerator::subschema_for::<T>)
    }

    /// Answers JSON of this schema.
    pub(in crate::api) fn writes(
        self,
        status: StatusCode,
        what: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Call {
        self.answer(status, what, Some(("application/json", Content::Json(schema))))
    }

    /// Answers a text of this type.
    pub(in crate::api) fn tells(self, kind: &'static str, what: &'static str) -> Call {
        self.answer(StatusCode::OK, what, Some((kind, Content::Text)))
    }

    /// Answers octets of this type.
    pub(in crate::api) fn sends(self, status: StatusCode, kind: &'static str, what: &'static str) -> Call {
        self.answer(status, what, Some((kind, Content::Octets)))
    }

    /// Answers without a body.
    pub(in crate::api) fn says(self, status: StatusCode, what: &'static str) -> Call {
        self.answer(status, what, None)
    }

    fn answer(
        mut self,
        status: StatusCode,
        what: &'static str,
        content: Option<(&'static str, Content)>,
    ) -> Call {
        self.answers.push(Answer { status, what, content, headers: Vec::new(), leads: None });
        self
    }

    /// With these header fields, of the answer before.
    pub(in crate::api) fn with(mut self, headers: &[&'static str]) -> Call {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.extend(headers);
        }
        self
    }

    /// What stands at `pointer` in the answer before is the `id` of the calls below `path`.
    pub(in crate::api) fn leads(mut self, pointer: &'static str, path: &'static str) -> Call {
        if let Some(answer) = self.answers.last_mut() {
            answer.leads = Some((pointer, path));
        }
        self
    }

    /// Refuses with these statuses beyond the usual ones.
    pub(in crate::api) fn refuses(mut self, refusals: &[StatusCode]) -> Call {
        self.refusals.extend(refusals);
        self
    }

    /// Takes a body of this type, which it reads by itself.
    pub(in crate::api) fn takes(mut self, kind: &'static str, schema: Schema) -> Call {
        self.taken.body(kind, schema);
        self
    }

    /// The same of one that nobody need send.
    pub(in crate::api) fn may_take(self, kind: &'static str, schema: Schema) -> Call {
        let mut call = self.takes(kind, schema);
        call.taken.is_body_required = false;
        call
    }

    /// Takes this header field.
    pub(in crate::api) fn heeds(mut self, name: &'static str, what: &'static str) -> Call {
        self.taken.header(name, what);
        self
    }

    /// The same of one that is like this regular expression.
    pub(in crate::api) fn heeds_like(
        mut self,
        name: &'static str,
        pattern: &'static str,
        what: &'static str,
    ) -> Call {
        let schema = json_schema!({ "type": "string", "pattern": pattern, "description": what });
        self.taken.parameter("header", name, schema);
        self
    }

    /// Takes this parameter of the query, which it reads by itself.
    pub(in crate::api) fn asks(mut self, name: &'static str, schema: Schema) -> Call {
        self.taken.parameter("query", name, schema);
        self
    }

    /// Takes bodies of at most so many octets.
    pub(in crate::api) fn up_to(mut self, octets: usize) -> Call {
        self.handler = self.handler.layer(DefaultBodyLimit::max(octets));
        self
    }
}
