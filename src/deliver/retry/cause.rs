//! Why a post was given up, in a word for programs; the reason is for people.

use super::{Fate, Outcome, Trouble};

/// Why a post is given up after an attempt that ended so, and whose outcome alone
/// means `fate`.
pub fn cause(fate: Fate, outcome: &Outcome) -> &'static str {
    match (fate, outcome) {
        // It would have been tried again, had there been time or attempts left.
        (Fate::Defer | Fate::Slim, _) => "expired",
        (_, Outcome::Answered { status, .. }) if status.as_u16() == 410 => "gone",
        (_, Outcome::Answered { .. } | Outcome::Replied { .. }) => "rejected",
        (_, Outcome::Broken(trouble)) => match trouble {
            Trouble::Denied(_) => "egress-denied",
            Trouble::Expired => "expired",
            Trouble::Damaged(_) => "damaged",
            Trouble::Unsendable(_) => "unsendable",
            Trouble::Withheld(_) => "withheld",
            Trouble::Unsubscribed => "webhook-deleted",
            // A ruling of the operator's.
            _ => "unreachable",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn every_end_has_its_word() {
        let answered = |status| Outcome::Answered {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            text: String::new(),
            remark: None,
        };
        let broken = |trouble: fn(String) -> Trouble| Outcome::Broken(trouble(String::new()));
        for (fate, outcome, expected) in [
            (Fate::Fail, answered(404), "rejected"),
            (Fate::Fail, answered(410), "gone"),
            (Fate::Defer, answered(503), "expired"),
            (Fate::Fail, Outcome::Broken(Trouble::Expired), "expired"),
            (Fate::Fail, broken(Trouble::Denied), "egress-denied"),
            (Fate::Fail, broken(Trouble::Damaged), "damaged"),
            (Fate::Defer, broken(Trouble::Connect), "expired"),
            (Fate::Fail, broken(Trouble::Connect), "unreachable"),
        ] {
            assert_eq!(cause(fate, &outcome), expected, "{fate:?} {outcome:?}");
        }
    }
}
