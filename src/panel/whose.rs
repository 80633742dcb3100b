//! Whose posts an admin looks at: those of all tenants, or of one that is chosen for all pages.
//!
//! The choice is in a cookie of its own, which opens nothing: a key that is there for all
//! tenants has the API asked for one of them alone (`X-Tenant-ID`), and any other key for its
//! own, whatever was chosen before.
//!
//! Pages of one browser share the cookie, so that a page may be of another choice than the one
//! that holds by now. What it shows is in the token of its forms, and in what its live parts
//! send: neither does anything with the posts of others than those that it showed. A choice
//! that cannot be honoured is none of all tenants either: where its tenant is there no more, it
//! is forgotten and the page says so, and a form does nothing.

use super::cookies::{self, cookies, set_cookie};
use super::guard::{Fields, SIGN_IN};
use super::layout::{self, Answer};
use super::sign_in::SIGN_OUT;
use super::trouble::Trouble;
use super::visit::{Visit, Who};
use super::webhooks::shapes::Tenants;
use crate::intake::Role;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// Where one chooses.
pub(super) const CHOOSE: &str = "/tenant";

/// Most tenants of a list to choose from; of more, one is typed.
const MOST: usize = 100;

/// What live parts of a page say of it when they ask (`layout.html`): a [`Shown`] as it is
/// written.
const SHOWN: &str = "postgate-shown";

/// Whose posts a page shows: those of a tenant, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown(pub Option<String>);

impl Shown {
    /// Letters, digits and percent signs alone; nothing of all tenants.
    pub(super) fn written(&self) -> String {
        utf8_percent_encode(self.0.as_deref().unwrap_or_default(), NON_ALPHANUMERIC).to_string()
    }

    /// What was written so.
    pub(super) fn read(text: &str) -> Option<Shown> {
        let tenant = percent_decode_str(text).decode_utf8().ok()?;
        Some(Shown(Some(tenant.into_owned()).filter(|tenant| !tenant.is_empty())))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(tenant) => write!(f, "the tenant {tenant}"),
            None => f.write_str("all tenants"),
        }
    }
}

/// What an admin chose.
#[derive(Clone)]
pub(super) struct Chosen(pub Shown);

impl Chosen {
    /// As a browser keeps it.
    pub(super) fn cookie(&self, host: &Authority, scheme: &Scheme) -> Option<HeaderValue> {
        set_cookie(&name(host), &self.0.written(), scheme)
    }
}

fn name(host: &Authority) -> String {
    format!("{}-tenant", cookies::name(host))
}

/// The tenant that a browser kept.
pub(super) fn chosen(headers: &HeaderMap, host: &Authority) -> Option<String> {
    Shown::read(cookies(headers, &name(host)).next()?)?.0
}

/// Among whom an admin chooses.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// All of them; none where there is no choice.
    pub tenants: Vec<String>,
    /// What was chosen and is there no more.
    pub gone: Option<String>,
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

/// Makes a visit of somebody who is known now one of the chosen tenant alone, where they may
/// choose. Where that fails it stays one of all tenants, for pages that are of none.
pub(super) async fn narrow(visit: &mut Visit, who: Who, chosen: Option<String>) -> Result<(), Trouble> {
    let is_for_all = who.role == Role::Admin && who.tenant.is_none();
    visit.who = Some(who);
    if !is_for_all {
        return Ok(());
    }
    let tenants = visit.get::<Tenants>("/api/v1/tenants").await;
    let Some(chosen) = chosen else {
        // A page that cannot tell among whom one chooses is one of all tenants.
        visit.choice.tenants = names(tenants.unwrap_or_default());
        return Ok(());
    };
    visit.choice.tenants = names(tenants?);
    if !visit.choice.tenants.contains(&chosen) {
        visit.choice.gone = Some(chosen);
        return Ok(());
    }
    let mut own = visit.for_tenant(&chosen)?;
    own.who = Some(own.identify().await?);
    *visit = own;
    Ok(())
}

fn names(Tenants { tenants }: Tenants) -> Vec<String> {
    tenants.into_iter().map(|tenant| tenant.name).collect()
}

/// Whether a form does the same whatever its page showed.
pub(super) fn is_of_nobody(path: &str) -> bool {
    [SIGN_IN, SIGN_OUT, CHOOSE].contains(&path)
}

/// Refuses a form that is of another session, or of a page that showed what this visit does not.
pub(super) fn check_form(visit: &Visit, path: &str, token: &str) -> Result<(), Trouble> {
    let now = visit.shown();
    let detail = match (visit.panel.sessions.shown(&visit.session, token), &visit.choice.gone) {
        (None, _) => {
            "the form is of another session, or older than the last restart of the gateway; nothing was \
             done; open its page again"
                .to_owned()
        }
        (Some(_), _) if is_of_nobody(path) => return Ok(()),
        (Some(_), Some(gone)) => {
            format!(
                "the tenant {gone} was chosen and is there no more; nothing was done; open the page again"
            )
        }
        (Some(shown), None) if shown != now => format!(
            "the form is of a page of {shown}, and this browser looks at {now} by now; nothing was done; \
             choose the tenant, and open the page again"
        ),
        _ => return Ok(()),
    };
    Err(Trouble::new(StatusCode::FORBIDDEN, detail))
}

/// Refuses to a live part what is not of those that its page shows; `panel.js` says so.
pub(super) fn check_part(visit: &Visit, headers: &HeaderMap) -> Result<(), Trouble> {
    let shown = headers.get(SHOWN).and_then(|shown| Shown::read(shown.to_str().ok()?));
    match shown {
        Some(shown) if shown != visit.shown() => {
            let detail =
                format!("the page is of {shown}, and this browser looks at {} by now", visit.shown());
            Err(Trouble::new(StatusCode::CONFLICT, detail))
        }
        _ => Ok(()),
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
    response.extensions_mut().insert(Chosen(Shown(tenant)));
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
            let made = Chosen(Shown(tenant.map(str::to_owned))).cookie(&host, &Scheme::HTTP).unwrap();
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
