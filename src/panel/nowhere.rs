//! Paths at which there is no page: they are the API's, and where it has nothing either, a
//! browser is told so within the usual frame.

use super::trouble::Trouble;
use super::visit::ask;
use super::{Panel, guard};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use http::{Method, StatusCode, header};

/// Has the API answer, and a page where it knows no such path.
pub(super) async fn answer(State(panel): State<Panel>, request: Request) -> Response {
    let again = wants_page(&request).then(|| without_body(&request));
    let response = ask(panel.api.clone(), request).await;
    match again {
        Some(again) if response.status() == StatusCode::NOT_FOUND => ask(nowhere(panel), again).await,
        _ => response,
    }
}

/// Whether somebody looks for a page; what is fetched by a signed address is none.
fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|field| field.to_str().ok());
    request.method() == Method::GET
        && !["/api/", "/attachments/"].iter().any(|others| path.starts_with(others))
        && accepted.any(|field| field.contains("text/html"))
}

fn without_body(request: &Request) -> Request {
    let mut again = Request::new(Body::empty());
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    again
}

fn nowhere(panel: Panel) -> Router {
    Router::new().fallback(trouble).layer(from_fn_with_state(panel, guard::check))
}

async fn trouble() -> Trouble {
    Trouble::new(StatusCode::NOT_FOUND, "no page has this address; what there is stands in the menu")
}
