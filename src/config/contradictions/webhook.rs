//! What cannot hold together about webhooks.

use super::super::settings::Config;
use super::super::walk::Section;
use crate::tenant::Tenant;

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    let sections = root.tables("webhook").unwrap_or_default();
    if sections.len() != config.webhooks.len() || !super::is_whole(root, "tenant", config.tenants.len()) {
        return;
    }
    let default = Tenant::default();
    for (webhook, section) in config.webhooks.iter().zip(sections) {
        let tenant = &webhook.tenant;
        if tenant != default.as_str() && !config.tenants.iter().any(|known| known.name == *tenant) {
            section.complain("tenant", format!("there is no [[tenant]] {tenant:?}; add it or name another"));
        }
    }
}
