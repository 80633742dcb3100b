//! What a handler takes of a request, as its arguments say.
//!
//! An argument of a type that is not here does not compile in the table of calls: a call
//! cannot ask for what the document is silent about.

use super::super::ask::{Asked, Given};
use super::super::caller::{Admission, Caller};
use super::super::desk::Desk;
use super::super::presence::Presence;
use super::settings;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, Request, State};
use http::{HeaderMap, Method, StatusCode};
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value, json};

/// What a request may have.
#[derive(Default)]
pub(in crate::api) struct Taken {
    /// Parameters as they stand in the document.
    pub parameters: Vec<Value>,
    /// Bodies by their types.
    pub bodies: Map<String, Value>,
    /// Whether there has to be one.
    pub is_body_required: bool,
    /// How a request is refused that does not have it.
    pub refusals: Vec<StatusCode>,
}

impl Taken {
    pub(super) fn by<T: Takes>() -> Taken {
        let mut taken = Taken::default();
        T::describe(&mut taken);
        taken
    }

    pub(super) fn parameter(&mut self, place: &str, name: &str, mut schema: Schema) {
        let described = schema.remove("description");
        let mut parameter = json!({ "name": name, "in": place, "schema": schema });
        if let (Some(parameter), Some(text)) = (parameter.as_object_mut(), described) {
            parameter.insert("description".to_owned(), text);
        }
        self.parameters.push(parameter);
    }

    pub(super) fn header(&mut self, name: &str, what: &str) {
        self.parameter("header", name, json_schema!({ "type": "string", "description": what }));
    }

    pub(super) fn body(&mut self, kind: &str, schema: Schema) {
        self.bodies.insert(kind.to_owned(), json!({ "schema": schema }));
        self.is_body_required = true;
        self.refuse(&[
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]);
    }

    fn refuse(&mut self, statuses: &[StatusCode]) {
        self.refusals.extend(statuses);
    }
}

/// An argument of a handler, or all of them.
pub(in crate::api) trait Takes {
    /// Adds what it takes.
    fn describe(taken: &mut Taken);
}

/// A type as it is read, whole.
pub(super) fn schema<T: JsonSchema>() -> Schema {
    let mut schema = settings().into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// Each field is a parameter, which may be missing and is never `null`.
impl<T: JsonSchema> Takes for Asked<T> {
    fn describe(taken: &mut Taken) {
        let mut schema = schema::<T>();
        let Some(Value::Object(fields)) = schema.remove("properties") else { return };
        for (name, field) in fields {
            if let Ok(mut field) = Schema::try_from(field) {
                for list in ["type", "enum"] {
                    if let Some(Value::Array(choices)) = field.get_mut(list) {
                        choices.retain(|choice| *choice != Value::Null && *choice != "null");
                    }
                }
                taken.parameter("query", &name, field);
            }
        }
        taken.refuse(&[StatusCode::UNPROCESSABLE_ENTITY]);
    }
}

impl<T: JsonSchema> Takes for Given<T> {
    fn describe(taken: &mut Taken) {
        let schema = schema::<T>();
        // Nothing is an empty object.
        let is_required = schema.get("required").is_some();
        taken.body("application/json", schema);
        taken.is_body_required = is_required;
    }
}

/// What is named stands in the path of the call itself.
impl<T> Takes for Path<T> {
    fn describe(taken: &mut Taken) {
        taken.refuse(&[StatusCode::NOT_FOUND]);
    }
}

impl Takes for Caller {
    fn describe(taken: &mut Taken) {
        let what = "Of all tenants, the one whose things are meant; for keys of the role admin.";
        let pattern = "^[!-~]([ -~]*[!-~])?$";
        let schema = json_schema!({ "type": "string", "pattern": pattern, "description": what });
        taken.parameter("header", "X-Tenant-ID", schema);
    }
}

/// Whatever is done here may be too much for the disk, or come when the gateway stops.
impl Takes for State<Desk> {
    fn describe(taken: &mut Taken) {
        taken.refuse(&[StatusCode::SERVICE_UNAVAILABLE]);
    }
}

macro_rules! says_nothing {
    ($($argument:ty)*) => {$(
        /// What it takes of it, the row in the table of calls says.
        impl Takes for $argument {
            fn describe(_: &mut Taken) {}
        }
    )*};
}

says_nothing! { HeaderMap Method RawQuery Request Extension<Presence> Extension<Admission> Result<Bytes, BytesRejection> }

macro_rules! all_of {
    ($($argument:ident)*) => {
        /// The arguments of a handler; `M` says how axum reads the last.
        impl<M, $($argument: Takes),*> Takes for (M, $($argument,)*) {
            fn describe(taken: &mut Taken) {
                let _ = &taken;
                $($argument::describe(taken);)*
            }
        }
    };
}

all_of! {}
all_of! { A }
all_of! { A B }
all_of! { A B C }
all_of! { A B C D }
all_of! { A B C D E }
all_of! { A B C D E F }
