//! `/posts`: looking for posts as the API does, a page at a time, and choosing what is
//! to be done to all that were found.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::shapes::{Post, Posts};
use super::visit::Visit;
use askama::Template;
use axum::extract::RawQuery;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

/// Posts of a page.
const PAGE: usize = 50;

/// How a post stands, as it is asked for.
const STATES: [&str; 5] = ["queued", "deferred", "sending", "held", "failed"];

/// Parameters of a search, as the API names them, and as people do.
const PARAMETERS: [(&str, &str); 9] = [
    ("state", "State"),
    ("q", "Text"),
    ("destination", "Destination"),
    ("tag", "Tag"),
    ("sender", "Sender"),
    ("recipient", "Recipient"),
    ("route", "Route"),
    ("since", "Accepted since"),
    ("until", "Accepted before"),
];

/// Which posts are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    /// Parameters that say something, with their values.
    pub said: Vec<(&'static str, String)>,
}

impl Search {
    /// What a form or an address says; what it leaves empty means nothing.
    pub(super) fn of(fields: &Fields) -> Search {
        let said = PARAMETERS.iter().filter_map(|(name, _)| Some((*name, fields.text(name)?.to_owned())));
        Search { said: said.collect() }
    }

    /// The value of a parameter; empty where it says nothing.
    fn value(&self, name: &str) -> &str {
        self.said.iter().find(|(other, _)| other == &name).map_or("", |(_, value)| value)
    }

    /// Whether it means all posts.
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// As a query, with further parameters.
    pub(super) fn query(&self, further: &[(&str, &str)]) -> String {
        let said = self.said.iter().map(|(name, value)| (*name, value.as_str()));
        Serializer::new(String::new()).extend_pairs(said.chain(further.iter().copied())).finish()
    }

    /// The page that shows what it means.
    pub(super) fn path(&self) -> String {
        if self.is_empty() { "/posts".to_owned() } else { format!("/posts?{}", self.query(&[])) }
    }

    /// As the API has it in a body.
    pub(super) fn filter(&self) -> Value {
        let said = self.said.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        Value::Object(said.collect::<Map<_, _>>())
    }

    /// What it says, as people name it.
    pub(super) fn words(&self) -> Vec<(&'static str, &str)> {
        let word =
            |name: &str| PARAMETERS.iter().find(|(other, _)| *other == name).map_or("", |(_, word)| word);
        self.said.iter().map(|(name, value)| (word(name), value.as_str())).collect()
    }

    /// Whether it says something beyond what is always shown of the form.
    fn is_long(&self) -> bool {
        self.said.iter().any(|(name, _)| !["state", "q", "destination"].contains(name))
    }
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "posts.html")]
struct PostsPage {
    frame: Frame,
    search: Search,
    states: [&'static str; 5],
    posts: Vec<Post>,
    /// Where the next page is, if there is one.
    next: Option<String>,
    /// Whether this is not the first.
    is_later: bool,
    may_steer: bool,
    /// Whether there are posts of several tenants.
    has_tenants: bool,
}

/// `GET /posts`
pub(super) async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields);
    let limit = PAGE.to_string();
    let mut asked = vec![("limit", limit.as_str())];
    asked.extend(fields.text("cursor").map(|cursor| ("cursor", cursor)));
    let Posts { posts, next } = visit.get(&format!("/api/v1/posts?{}", search.query(&asked))).await?;
    let next = next.map(|cursor| format!("/posts?{}", search.query(&[("cursor", &cursor)])));
    layout::page(&PostsPage {
        frame: visit.frame("Posts"),
        has_tenants: posts.iter().any(|post| post.tenant != "default"),
        states: STATES,
        posts,
        next,
        is_later: asked.len() > 1,
        may_steer: visit.may_steer(),
        search,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_says_what_is_not_empty_and_known() {
        let search = Search::of(&Fields::of_query(Some("tag=&q=a%26b&state=failed&all=true&since=+")));
        assert_eq!(search.said, [("state", "failed".to_owned()), ("q", "a&b".to_owned())]);
        assert_eq!(search.path(), "/posts?state=failed&q=a%26b");
        assert_eq!(search.filter(), json!({ "state": "failed", "q": "a&b" }));
        assert_eq!(search.words(), [("State", "failed"), ("Text", "a&b")]);
        assert!(!search.is_empty() && !search.is_long());
        assert!(Search::of(&Fields::of_query(None)).is_empty());
    }
}
