//! What command lines are taken for.

use super::*;

#[test]
fn forward_paths_as_programs_write_them() {
    let rows = [
        ("RCPT TO:<a@b>", "a@b"),
        ("rcpt to: <a@b>  ", "a@b"),
        ("Rcpt To :a@b", "a@b"),
        ("RCPT TO:a@b NOTIFY=NEVER", "a@b"),
        ("RCPT TO:<>", ""),
        ("RCPT TO:<@a.example,@b:c@d>", "c@d"),
        ("RCPT TO:<@post.domain>", "@post.domain"),
        ("RCPT TO:<post@https://h/x?a=<b>&c=1>", "post@https://h/x?a=<b>&c=1"),
        ("RCPT TO:<post@https://h/x y> ORCPT=rfc822;x notify=success,DELAY", "post@https://h/x y"),
        ("RCPT TO:<\"https://h/x\" @post.domain>", "\"https://h/x\" @post.domain"),
        ("RCPT TO:<\u{fc}@b>", "\u{fc}@b"),
    ];
    for (line, path) in rows {
        let Ok(Command::Rcpt(rcpt)) = parse(line.as_bytes()) else { panic!("{line}") };
        assert_eq!(rcpt.path, path, "{line}");
    }
}

#[test]
fn reverse_paths_and_their_parameters() {
    let mail = |path, size, encoding| Ok(Command::Mail(Mail { path, size, encoding, ..Mail::default() }));
    let (ascii, utf8) = (Encoding::Ascii, Encoding::Utf8);
    let rows = [
        ("MAIL FROM:<>", mail("", None, ascii)),
        ("mail from: a@b size=12 body=8bitmime ret=hdrs", mail("a@b", Some(12), ascii)),
        ("MAIL FROM:<a@b> AUTH=<> SIZE=0", mail("a@b", Some(0), ascii)),
        ("MAIL FROM:<a@b> AUTH=<>", mail("a@b", None, ascii)),
        ("MAIL FROM:<a@b> SIZE=99999999999999999999", mail("a@b", Some(u64::MAX), ascii)),
        ("MAIL FROM:<\"a b\"@c> SMTPUTF8", mail("\"a b\"@c", None, utf8)),
        ("MAIL FROM:<\u{fc}@b> SMTPUTF8", mail("\u{fc}@b", None, utf8)),
        ("MAIL FROM:<\u{fc}@b>", Err(Wrong::NeedsUtf8)),
        ("MAIL FROM:", Err(Wrong::ReversePath)),
        ("MAIL", Err(Wrong::ReversePath)),
        ("MAIL FROM <a@b>", Err(Wrong::ReversePath)),
        ("MAIL FROM:<a@b", Err(Wrong::ReversePath)),
        ("MAIL FROM:<a@b>x", Err(Wrong::ReversePath)),
        ("MAIL FROM:a@b>", Err(Wrong::ReversePath)),
        ("MAIL TO:<a@b>", Err(Wrong::ReversePath)),
        ("MAIL FROM:<a@b> SIZE=-1", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> SIZE=", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> SIZE", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> BODY=X", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> SMTPUTF8=1", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> RET=ALL", Err(Wrong::Value)),
        ("MAIL FROM:<a@b> SIZE=1 size=1", Err(Wrong::Twice)),
        ("MAIL FROM:<a@b> HOLDFOR=1", Err(Wrong::Parameter)),
    ];
    for (line, expected) in rows {
        assert_eq!(parse(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn what_a_sender_wants_to_hear() {
    let Ok(Command::Mail(mail)) = parse(b"MAIL FROM:<a@b> ret=full envid=q+2B1") else { panic!() };
    assert_eq!((mail.returns, mail.envelope_id), (Returns::Full, Some("q+2B1")));
    let Ok(Command::Rcpt(rcpt)) = parse(b"RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;c+2Bd@e") else { panic!() };
    assert_eq!((rcpt.on_failure, rcpt.original), (OnFailure::Silent, Some("rfc822;c+2Bd@e")));
}

#[test]
fn lines_that_are_no_commands() {
    let rows: [(&[u8], Wrong); 9] = [
        (b"", Wrong::Unknown),
        (b" NOOP", Wrong::Unknown),
        (b"FOO BAR", Wrong::Unknown),
        (b"EHLO a\tb", Wrong::Characters),
        (b"MAIL FROM:<a\rb@c>", Wrong::Characters),
        (b"RCPT TO:<a\0@b>", Wrong::Characters),
        (b"RCPT TO:<\xc0\xafa@b>", Wrong::Characters),
        ("RCPT TO:<\u{202e}a@b>".as_bytes(), Wrong::Characters),
        (b"DATA now", Wrong::Argument("syntax: DATA")),
    ];
    for (line, expected) in rows {
        assert_eq!(parse(line), Err(expected), "{line:?}");
    }
}
