//! `Retry-After` (RFC 9110 section 10.2.3): what it asks for, not whether that is
//! granted.

use crate::post::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest that a receiver can ask for.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Seconds or an HTTP date as the time from `now`; nothing when it is neither,
/// or not in the future: then the own schedule holds.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than any cap.
        let seconds = text.parse().unwrap_or(u64::from(u32::MAX));
        return Some(Duration::from_secs(seconds)).filter(|after| !after.is_zero());
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    let since_epoch = at.duration_since(UNIX_EPOCH).ok()?;
    let after = since_epoch.checked_sub(Duration::from_millis(now.0))?;
    Some(after).filter(|after| !after.is_zero())
}
