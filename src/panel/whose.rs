//! Whose posts an admin looks at: those of all tenants, or of one that is chosen for all pages.
//!
//! The choice is in a cookie of its own, which opens nothing: a key that is there for all
//! tenants has the API asked for one of them alone (`X-Tenant-ID`), and any other key for its
//! own, whatever was chosen before. A name that no tenant has any more is passed over.

use super::cookies::{self, cookies, set_cookie};
use super::guard::Fields;
use super::layout::{self, Answer};
use super::trouble::Trouble;
use super::visit::{Visit, Who};
use super::webhooks::shapes::Tenants;
use crate::intake::Role;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most tenants of a list to choose from; of more, one is typed.
const MOST: usize = 100;

/// What an admin chose: a tenant, or all of them.
#[derive(Clone)]
pub(super) struct Chosen(Option<String>);

impl Chosen {
    /// As a browser keeps it.
    pub(super) fn cookie(&self, host: &Authority, scheme: &Scheme) -> Option<HeaderValue> {
        let value = utf8_percent_encode(self.0.as_deref().unwrap_or_default(), NON_ALPHANUMERIC);
        set_cookie(&name(host), &value.to_string(), scheme)
    }
}

fn name(host: &Authority) -> String {
    format!("{}-tenant", cookies::name(host))
}

/// What a browser kept.
pub(super) fn chosen(headers: &HeaderMap, host: &Authority) -> Option<String> {
    let kept = percent_decode_str(cookies(headers, &name(host)).next()?).decode_utf8().ok()?;
    Some(kept.into_owned()).filter(|tenant| !tenant.is_empty())
}

/// Among whom an admin chooses.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// All of them; none where there is no choice.
    pub tenants: Vec<String>,
}

impl Choice {
    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.tenants.len() > 1
    }

    /// Whether all of them have room in a list.
    pub(super) fn is_short(&self) -> bool {
        self.tenants.len() <= MOST
    }
}

/// A visit of somebody who is known now, of the chosen tenant alone where they may choose.
pub(super) async fn narrowed(visit: Visit, who: Who, chosen: Option<String>) -> Visit {
    let is_for_all = who.role == Role::Admin && who.tenant.is_none();
    let mut whole = visit;
    whole.who = Some(who);
    if !is_for_all {
        return whole;
    }
    // A page that cannot tell among whom one chooses is one of all tenants.
    let Tenants { tenants } = whole.get("/api/v1/tenants").await.unwrap_or_default();
    whole.choice.tenants = tenants.into_iter().map(|tenant| tenant.name).collect();
    let chosen = chosen.filter(|chosen| whole.choice.tenants.contains(chosen));
    let Some(Ok(mut own)) = chosen.map(|chosen| whole.for_tenant(&chosen)) else { return whole };
    match own.identify().await {
        Ok(who) => {
            own.who = Some(who);
            own
        }
        Err(_) => whole,
    }
}

/// `POST /tenant`
pub(super) async fn choose(visit: Visit, fields: Fields) -> Answer {
    let tenant = fields.text("tenant").map(str::to_owned);
    if tenant.as_ref().is_some_and(|tenant| !visit.choice.tenants.contains(tenant)) {
        let detail = "there is no such tenant, or this key is there for one alone; nothing was chosen";
        return Err(Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let mut response = layout::see("/");
    response.extensions_mut().insert(Chosen(tenant));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    #[test]
    fn a_choice_comes_back_as_it_was_made() {
        let host: Authority = "localhost:8025".parse().unwrap();
        for tenant in [Some("shop"), Some("ä; b=c"), None] {
            let made = Chosen(tenant.map(str::to_owned)).cookie(&host, &Scheme::HTTP).unwrap();
            let pair = made.to_str().unwrap().split(';').next().unwrap().to_owned();
            let headers = HeaderMap::from_iter([(
                header::COOKIE,
                HeaderValue::from_str(&format!("x=y; {pair}")).unwrap(),
            )]);
            assert_eq!(chosen(&headers, &host).as_deref(), tenant, "{pair}");
            assert_eq!(chosen(&headers, &"localhost".parse().unwrap()), None, "of another gateway");
        }
    }
}
