//! What a sender wishes to hear of a message's fate: the parameters of RFC 3461.
//!
//! Only failures are ever reported, so a wish for other news is understood and
//! not fulfilled.

use super::{Wrong, one_of};
use crate::post::{OnFailure, Returns};

/// The value of `RET`.
pub(super) fn returns(value: Option<&str>) -> Result<Returns, Wrong> {
    one_of(value, &["FULL", "HDRS"])?;
    let is_full = value.is_some_and(|value| value.eq_ignore_ascii_case("FULL"));
    Ok(if is_full { Returns::Full } else { Returns::Headers })
}

/// The value of `NOTIFY`: `NEVER`, which stands alone, or a list of events.
pub(super) fn on_failure(value: Option<&str>) -> Result<OnFailure, Wrong> {
    let value = value.ok_or(Wrong::Value)?;
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(OnFailure::Silent);
    }
    let mut on_failure = OnFailure::Silent;
    for event in value.split(',') {
        one_of(Some(event), &["SUCCESS", "FAILURE", "DELAY"])?;
        if event.eq_ignore_ascii_case("FAILURE") {
            on_failure = OnFailure::Report;
        }
    }
    Ok(on_failure)
}

/// Text as it was before RFC 3461 section 4 wrote some characters as `+3D`; a
/// plus that begins no such thing is dropped.
pub(in crate::smtp) fn from_xtext(text: &str) -> String {
    let mut pieces = text.split('+');
    let mut octets = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or(("", piece));
        match u8::from_str_radix(digits, 16) {
            Ok(octet) => octets.push(octet),
            Err(_) => octets.extend_from_slice(digits.as_bytes()),
        }
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_reported_unless_the_sender_asks_for_something_else() {
        for (value, expected) in [
            ("NEVER", Ok(OnFailure::Silent)),
            ("never", Ok(OnFailure::Silent)),
            ("FAILURE", Ok(OnFailure::Report)),
            ("SUCCESS,failure", Ok(OnFailure::Report)),
            ("SUCCESS,DELAY", Ok(OnFailure::Silent)),
            ("NEVER,FAILURE", Err(Wrong::Value)),
            ("FAILURE,NEVER", Err(Wrong::Value)),
            ("FAILURE,", Err(Wrong::Value)),
            ("", Err(Wrong::Value)),
        ] {
            assert_eq!(on_failure(Some(value)), expected, "{value:?}");
        }
        assert_eq!(on_failure(None), Err(Wrong::Value));
        for (value, expected) in
            [("FULL", Ok(Returns::Full)), ("hdrs", Ok(Returns::Headers)), ("ALL", Err(Wrong::Value))]
        {
            assert_eq!(returns(Some(value)), expected);
        }
    }

    #[test]
    fn xtext_is_decoded_as_far_as_it_is_one() {
        for (xtext, text) in
            [("a+2Bb", "a+b"), ("a+20b+3D", "a b="), ("+C3+BC", "ü"), ("a+", "a"), ("+zzb", "zzb")]
        {
            assert_eq!(from_xtext(xtext), text, "{xtext}");
        }
    }
}
