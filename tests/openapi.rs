//! The description of the API, from outside: it is there, and names the methods that
//! there are and no others. Whether all that it says is true, `tests/openapi` looks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::api::Scene;

#[test]
fn the_document_names_the_methods_of_every_path() {
    let scene = Scene::start("");
    let response = scene.get("/api/v1/openapi.json");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let document = response.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 35, "{}", paths.len());
    for (path, methods) in paths {
        let described: BTreeSet<_> =
            methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let path = path.replace("{origin}", "*").replace(['{', '}'], "");
        let refused = scene.ask("PROPFIND", &path, None);
        assert_eq!(refused.status, 405, "{path}");
        let allowed = refused.header("allow").unwrap().split(',').map(|method| method.trim().to_owned());
        // Where there is a GET there is a HEAD.
        let allowed: BTreeSet<_> = allowed.filter(|method| method != "HEAD").collect();
        assert_eq!(described, allowed, "{path}");
    }
}

#[test]
fn a_call_says_what_it_takes_and_how_it_refuses() {
    let scene = Scene::start("");
    let document = scene.get("/api/v1/openapi.json").json();
    let list = &document["paths"]["/api/v1/posts"]["get"];
    assert_eq!(list["security"][0]["key"][0], "read");
    let parameter = |name: &str| {
        let all = list["parameters"].as_array().unwrap();
        all.iter().find(|parameter| parameter["name"] == name).unwrap_or(&Value::Null)
    };
    assert_eq!(parameter("limit")["schema"]["maximum"], 1000);
    assert_eq!(parameter("state")["schema"]["enum"][1], "deferred");
    assert_eq!(parameter("X-Tenant-ID")["in"], "header");
    for status in ["200", "400", "401", "403", "408", "415", "421", "422", "429", "500", "503", "508"] {
        assert!(list["responses"][status].is_object(), "{status}");
    }
    let problem = &document["components"]["responses"]["TooManyRequests"];
    assert_eq!(problem["headers"]["Retry-After"]["required"], true);
    let schema = &problem["content"]["application/problem+json"]["schema"]["$ref"];
    let named = document.pointer(&schema.as_str().unwrap()[1..]).unwrap();
    assert!(named["properties"]["errors"].is_object(), "{named}");
    let actions = &document["paths"]["/api/v1/posts/actions"]["post"]["requestBody"];
    let body = &actions["content"]["application/json"]["schema"];
    assert_eq!(
        (&body["additionalProperties"], &body["required"][0]),
        (&Value::Bool(false), &"action".into())
    );
}
