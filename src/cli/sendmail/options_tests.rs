//! The command lines of programs that call sendmail, and of people.

use super::*;

fn parsed(line: &str) -> Result<Options, String> {
    parse(line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("''", "")))
}

/// Sender, whether the header is read, whether a lone dot is text, recipients.
type Understood<'a> = (Option<&'a str>, bool, bool, &'a [&'a str]);

#[test]
fn callers_are_understood() {
    let table: &[(&str, Understood)] = &[
        // cron of Debian, cronie, anacron
        ("-i -FCronDaemon -B8BITMIME -oem root", (None, false, true, &["root"])),
        ("-FCronDaemon -i -odi -oem -oi -t -f root", (Some("root"), true, true, &[])),
        ("-FAnacron -odi a@b", (None, false, false, &["a@b"])),
        // PHP mail(), with its fifth argument
        ("-t -i", (None, true, true, &[])),
        ("-t -i -fapp@shop.example", (Some("app@shop.example"), true, true, &[])),
        // mutt, s-nail, git send-email, nodemailer, Ruby's mail, MIME::Lite, Mail::Mailer
        (
            "-oem -oi -f a@b -B 8BITMIME -N failure -R hdrs -- c@d e@f",
            (Some("a@b"), false, true, &["c@d", "e@f"]),
        ),
        ("-i -f a@b -- c@d", (Some("a@b"), false, true, &["c@d"])),
        ("-f a@b -i c@d", (Some("a@b"), false, true, &["c@d"])),
        ("-t -oi -oem", (None, true, true, &[])),
        ("-ti", (None, true, true, &[])),
        ("-it", (None, true, true, &[])),
        ("-tif a@b", (Some("a@b"), true, true, &[])),
        ("-oi -odb -os -bm -t", (None, true, true, &[])),
        // null senders
        ("-f '' a@b", (Some(""), false, false, &["a@b"])),
        ("-f <> a@b", (Some("<>"), false, false, &["a@b"])),
        ("-r a@b c@d", (Some("a@b"), false, false, &["c@d"])),
        ("--read-recipients --from=a@b", (Some("a@b"), true, false, &[])),
        // a lone dot
        ("-oitrue a@b", (None, false, true, &["a@b"])),
        ("-OIgnoreDots=True a@b", (None, false, true, &["a@b"])),
        ("-O ignoredots=false a@b", (None, false, false, &["a@b"])),
        ("-i -oiF a@b", (None, false, false, &["a@b"])),
        // forgotten with their arguments
        (
            "-Am -A c -C /etc/mail/x.cf -L tag -X /tmp/log -h 5 -O A=b -ODeliveryMode=b -d0.1 -d -U -G -n -m \
             -V envid -e m -em -p ESMTP:host -M id -s -x -c -D file a@b",
            (None, false, false, &["a@b"]),
        ),
        // options end where recipients begin
        ("a@b -t -f x", (None, false, false, &["a@b", "-t", "-f", "x"])),
        ("-i -- -t", (None, false, true, &["-t"])),
        ("- a@b", (None, false, false, &["-", "a@b"])),
    ];
    for (line, understood) in table {
        let options = parsed(line).unwrap();
        let recipients: Vec<_> = options.recipients.iter().map(String::as_str).collect();
        let is_text = options.lone_dot == LoneDot::IsText;
        let found = (options.sender.as_deref(), options.reads_header, is_text, recipients.as_slice());
        assert_eq!(found, *understood, "{line}");
        assert_eq!(options.mode, Mode::Deliver, "{line}");
    }
}

#[test]
fn modes_are_told_apart() {
    for (line, mode) in [
        ("", Mode::Deliver),
        ("-bm", Mode::Deliver),
        ("-b m", Mode::Deliver),
        ("-bs", Mode::Converse),
        ("-bp", Mode::Queue),
        ("-bi", Mode::Nothing),
        ("-I", Mode::Nothing),
        ("-q", Mode::Nothing),
        ("-q30m", Mode::Nothing),
        ("-bh", Mode::Nothing),
        ("-bd -q1h", Mode::Daemon),
        ("-q1h -bd", Mode::Daemon),
        ("--help", Mode::Help),
        ("--version", Mode::Version),
    ] {
        assert_eq!(parsed(line).unwrap().mode, mode, "{line}");
    }
    assert!(parsed("-v a@b").unwrap().is_verbose);
}

#[test]
fn the_gateway_is_named() {
    let options = parsed("--server=h:1 --config F a@b").unwrap();
    assert_eq!((options.server.as_deref(), options.config), (Some("h:1"), Some("F".into())));
    assert_eq!(parsed("--server unix:/run/s").unwrap().server.as_deref(), Some("unix:/run/s"));
}

#[test]
fn what_nobody_knows_is_named() {
    for (line, complaint) in [
        ("-y", "unknown option -y"),
        ("-ti?", "unknown option -?"),
        ("--nonsense=1", "unknown option --nonsense"),
        ("-f", "-f needs an argument"),
        ("--server", "--server needs a value"),
        ("-bt", "-bt is not supported"),
        ("-bv a@b", "-bv is not supported"),
    ] {
        assert_eq!(parsed(line), Err(complaint.to_owned()), "{line}");
    }
}
