//! `/webhooks`: who is told of which events, how each does, and the forms that make and
//! change them.
//!
//! A secret stands on one page, once: the answer to what made it. Who reloads that page is
//! asked by the browser, and gets another webhook or another secret, never the same again.

mod batches;
mod form;
mod one;
mod orders;
pub(super) mod shapes;

use super::Panel;
use super::events::tenants;
use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use form::{FORMATS, Form, Group};
use http::{Method, StatusCode};
use serde_json::json;
use shapes::{Checked, Kinds, Tested, Webhook, Webhooks};

/// Most webhooks on the page, the worst first.
const MOST: usize = 200;

/// Its pages, at their paths.
pub(super) fn pages() -> Router<Panel> {
    Router::new()
        .route("/webhooks", get(list).post(create))
        .route("/webhooks/live", get(live))
        .route("/webhooks/new", get(fresh))
        .route("/webhooks/check", post(check))
        .route("/webhooks/{id}", get(one::show))
        .route("/webhooks/{id}/live", get(one::live))
        .route("/webhooks/{id}/edit", get(edit).post(save))
        .route("/webhooks/{id}/batches/{batch}", get(batches::show))
        .route("/webhooks/{id}/{verb}", post(orders::give))
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhooks.html")]
struct ListPage {
    frame: Frame,
    list: List,
    /// What was done just now.
    done: Option<&'static str>,
    may_steer: bool,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhooks_live.html")]
struct ListPiece {
    list: List,
    may_steer: bool,
}

struct List {
    webhooks: Vec<Webhook>,
    /// Those that have no room on the page.
    more: usize,
    has_tenants: bool,
}

/// `GET /webhooks`
async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let done = Fields::of_query(query.as_deref()).text("done").and_then(orders::done);
    let (list, may_steer) = (look(&visit).await?, visit.may_steer());
    layout::page(&ListPage { frame: visit.frame("Webhooks"), list, done, may_steer })
}

/// `GET /webhooks/live`: the part of it that is refreshed.
async fn live(visit: Visit) -> Answer {
    layout::page(&ListPiece { list: look(&visit).await?, may_steer: visit.may_steer() })
}

async fn look(visit: &Visit) -> Result<List, Trouble> {
    let Webhooks { mut webhooks } = visit.get("/api/v1/webhooks").await?;
    webhooks.sort_by_key(|one| match one.status.as_str() {
        "failing" => 0,
        "disabled" if one.disabled_reason.as_deref() != Some("by request") => 1,
        "unverified" => 2,
        "active" => 3,
        _ => 4,
    });
    let more = webhooks.len().saturating_sub(MOST);
    webhooks.truncate(MOST);
    let has_tenants = webhooks.iter().any(|one| one.tenant != "default");
    Ok(List { webhooks, more, has_tenants })
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_form.html")]
struct FormPage {
    frame: Frame,
    form: Form,
    groups: Vec<Group>,
    formats: [(&'static str, &'static str); 7],
    /// Of whom one is the webhook's; none where there is no choice.
    tenants: Vec<String>,
    /// The one that is changed.
    webhook: Option<Webhook>,
}

/// What a form needs to be shown.
async fn groups(visit: &Visit) -> Result<Vec<Group>, Trouble> {
    let Kinds { types } = visit.get("/api/v1/events/types").await?;
    Ok(Group::of(types))
}

async fn form_page(visit: &Visit, form: Form, webhook: Option<Webhook>) -> Answer {
    let tenants = if webhook.is_none() { tenants(visit).await? } else { Vec::new() };
    let title =
        webhook.as_ref().map_or_else(|| "Webhook, new".to_owned(), |one| format!("Webhook {}", one.id));
    let is_wrong = form.trouble.is_some() || form.has_wrong();
    let page = layout::page(&FormPage {
        frame: visit.frame(title),
        groups: groups(visit).await?,
        formats: FORMATS,
        tenants,
        webhook,
        form,
    })?;
    Ok(if is_wrong { (StatusCode::UNPROCESSABLE_ENTITY, page).into_response() } else { page })
}

/// `GET /webhooks/new`
async fn fresh(visit: Visit) -> Answer {
    if !visit.may_steer() {
        return Err(Trouble::new(StatusCode::FORBIDDEN, "webhooks are made with a key of the role operator"));
    }
    form_page(&visit, Form::default(), None).await
}

/// `POST /webhooks`
async fn create(visit: Visit, fields: Fields) -> Answer {
    let mut form = Form::of(&fields);
    let Some(settings) = form.made(&fields) else {
        return form_page(&visit, form, None).await;
    };
    let own = match form.tenant.as_str() {
        "" => visit.clone(),
        tenant => visit.for_tenant(tenant)?,
    };
    match own.order::<Webhook>(Method::POST, "/api/v1/webhooks", Some(&settings)).await {
        Ok(webhook) => orders::made(&visit, webhook, orders::Made::Webhook),
        Err(trouble) if is_of_form(&trouble) => form_page(&visit, form.refused(trouble), None).await,
        Err(trouble) => Err(trouble),
    }
}

/// `GET /webhooks/{id}/edit`
async fn edit(visit: Visit, Path(id): Path<String>) -> Answer {
    if !visit.may_steer() {
        return Err(Trouble::new(
            StatusCode::FORBIDDEN,
            "webhooks are changed with a key of the role operator",
        ));
    }
    let (webhook, version) = find(&visit, &id).await?;
    let form = Form::showing(&webhook, version, &groups(&visit).await?);
    form_page(&visit, form, Some(webhook)).await
}

/// `POST /webhooks/{id}/edit`
async fn save(visit: Visit, Path(id): Path<String>, fields: Fields) -> Answer {
    let (webhook, version) = find(&visit, &id).await?;
    let mut form = Form::of(&fields);
    let Some(patch) = form.changed(&webhook) else {
        return form_page(&visit, form, Some(webhook)).await;
    };
    let own = visit.for_version(&form.version);
    match own.order::<Webhook>(Method::PATCH, &webhook.call(), Some(&patch)).await {
        Ok(webhook) => Ok(layout::see(&format!("{}?done=save", webhook.path()))),
        Err(trouble) if trouble.status == StatusCode::PRECONDITION_FAILED => {
            let detail = "Somebody changed it while you wrote. What you wrote is still here: save again to put it \
                          in place of theirs, or look at theirs first.";
            let trouble = Trouble::new(trouble.status, detail);
            let mut form = form.refused(trouble);
            form.version = version;
            form_page(&visit, form, Some(webhook)).await
        }
        Err(trouble) if is_of_form(&trouble) => form_page(&visit, form.refused(trouble), Some(webhook)).await,
        Err(trouble) => Err(trouble),
    }
}

/// Whether what was written is the reason, or it may be mended by writing it again.
fn is_of_form(trouble: &Trouble) -> bool {
    let own = [
        StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::BAD_REQUEST,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::INSUFFICIENT_STORAGE,
    ];
    own.contains(&trouble.status)
}

/// The webhook of an id that somebody wrote, and its version.
async fn find(visit: &Visit, id: &str) -> Result<(Webhook, String), Trouble> {
    visit.versioned(&format!("/api/v1/webhooks/{}", words::piece(id))).await
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhooks_checked.html")]
struct CheckedPage {
    frame: Frame,
    /// Each with what it is called and where it is.
    checked: Vec<(Tested, String, String)>,
}

/// `POST /webhooks/check`: tests all that there are.
async fn check(visit: Visit) -> Answer {
    let Checked { webhooks: tested } =
        visit.order(Method::POST, "/api/v1/webhooks/check", Some(&json!({}))).await?;
    let Webhooks { webhooks } = visit.get("/api/v1/webhooks").await?;
    let named = |one: Tested| {
        let webhook = webhooks.iter().find(|webhook| webhook.id == one.id);
        let (name, path) =
            webhook.map(|webhook| (webhook.name().to_owned(), webhook.path())).unwrap_or_default();
        (one, name, path)
    };
    let mut checked: Vec<_> = tested.into_iter().map(named).collect();
    checked.sort_by_key(|(one, ..)| one.delivered);
    layout::page(&CheckedPage { frame: visit.frame("Webhooks, checked"), checked })
}
