//! What each tenant may do, and how much of it.

use crate::compose::HeaderControl;
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::time::Duration;

/// What the configuration says of a tenant.
#[derive(Clone, Debug)]
pub struct TenantTerms {
    /// Its name.
    pub tenant: Tenant,
    /// Posts of a day (UTC).
    pub daily_limit: Option<u64>,
    /// So many posts in that time.
    pub rate: Option<(u32, Duration)>,
    /// The only URLs that its clients may name; empty is any.
    pub may_post_to: Vec<UrlPattern>,
    /// Whether headers in its messages steer direct posts.
    pub header_control: HeaderControl,
}

/// All tenants.
#[derive(Debug, Default)]
pub struct Tenants;
