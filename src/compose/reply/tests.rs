//! Replies as mail programs write them, in the languages they speak.

use super::*;

#[test]
fn quotes_go_and_words_stay() {
    for (text, reply) in [
        ("Yes.\r\n\r\nOn Monday, Ann wrote:\r\n> Shall we?\r\n>\r\n> Ann\r\n", "Yes."),
        ("Yes.\n\nOn Monday at 12:00, Ann\n<ann@example.com> wrote:\n\n> Shall we?", "Yes."),
        ("> Shall we?\nYes.\n> When?\nNow.", "Yes.\nNow."),
        ("> Shall we?\r\nYes.\r\nNow.\r\n", "Yes.\r\nNow."),
        ("Am Montag schrieb Ann:\n> Wollen wir?\n\nJa.", "\nJa."),
        ("Fine\n-----Original Message-----\nFrom: x", "Fine"),
        ("Fine\n________________________________\nFrom: x", "Fine"),
        ("________________________________\nSigned", "________________________________\nSigned"),
        ("Note this:\nnothing quoted\n", "Note this:\nnothing quoted"),
        ("Two things, see below:\n> one\nNo.", "Two things, see below:\nNo."),
        ("a\n\n-- \nname", "a\n\n-- \nname"),
        ("Fine\n -- Ursprüngliche Nachricht --\r\nVon: x", "Fine"),
        ("Fine\n--\nFrom: x", "Fine\n--\nFrom: x"),
        (
            "These are 20 blanks:\n                    \nFrom: x",
            "These are 20 blanks:\n                    \nFrom: x",
        ),
        ("> all\n> quoted", ""),
        ("", ""),
    ] {
        assert_eq!(without_quotes(text), reply, "{text:?}");
    }
}

/// What is handed on is the message, and doubt keeps lines.
#[test]
fn what_is_handed_on_stays() {
    for text in [
        "FYI\n\n---------- Forwarded message ---------\nFrom: Ann <ann@example.com>\nDate: Mon\nSubject: s\nTo: b\n\n> quoted\n\nold",
        "FYI\n\nBegin forwarded message:\n\n> From: Ann\n> Subject: s",
        "-----Original Message-----\nFrom: Ann\n\nold",
        "From: Ann\nSent: Monday\nTo: Bob\nSubject: s\n\nall that there is",
        "A request from your form:\nFrom: Ann\nDate: today\nSubject: tea\n\nMore tea, please",
        "In 2026 Ann wrote:\n\nTea is good.",
        "On 5 January 2026 at 12:00 the court wrote:\n\nTea is good.",
        "She said at 12:00 to ann@example.com:\n\nTea is good.",
        "The time: 12:00",
    ] {
        assert_eq!(without_quotes(text), text);
    }
}

/// Language by language: the line above a quote, as Gmail, Apple Mail, Outlook,
/// Thunderbird or Yahoo write it.
const INTRODUCTIONS: &[&str] = &[
    "On Mon, Jan 5, 2026 at 12:00 PM Ann Smith <ann@example.com> wrote:",
    "On Mon, Jan 5, 2026 at 12:00 PM Ann With A Long Name <\nann@example.com> wrote:",
    "On Jan 5, 2026, at 12:00, Ann <ann@example.com> wrote:",
    "On 1/5/26 12:00 PM, Ann <ann@example.com> wrote:",
    "Quoting Ann <ann@example.com> on 2026-01-05:",
    "Am Mo., 5. Jan. 2026 um 12:00 Uhr schrieb Ann Smith <\nann@example.com>:",
    "Am 05.01.26 um 12:00 schrieb Ann <ann@example.com>:",
    "Le lun. 5 janv. 2026 à 12:00, Ann <ann@example.com> a écrit :",
    "Le 5 janv. 2026 à 12:00, Ann <ann@example.com> a\u{a0}écrit\u{a0}:",
    "El lun, 5 ene 2026 a las 12:00, Ann (<ann@example.com>) escribió:",
    "Il giorno lun 5 gen 2026 alle ore 12:00 Ann <ann@example.com> ha scritto:",
    "Em seg., 5 de jan. de 2026 às 12:00, Ann <ann@example.com> escreveu:",
    "Ann <ann@example.com> escreveu (segunda, 5/01/2026 à(s) 12:00):",
    "Op ma 5 jan 2026 om 12:00 schreef Ann <ann@example.com>:",
    "pon., 5 sty 2026 o 12:00 Ann With A Long Name <\nann@example.com> napisał(a):",
    "W dniu 5.01.2026 o 12:00, Ann <ann@example.com> pisze:",
    "Den mån 5 jan. 2026 kl 12:00 skrev Ann <ann@example.com>:",
    "Den man. 5. jan. 2026 kl. 12.00 skrev Ann <ann@example.com>:",
    "man. 5. jan. 2026 kl. 12:00 skrev Ann <ann@example.com>:",
    "ma 5. tammik. 2026 klo 12.00 Ann (ann@example.com) kirjoitti:",
    "po 5. 1. 2026 v 12:00 odesílatel Ann <ann@example.com> napsal:",
    "Dne 5. 1. 2026 v 12:00 Ann <ann@example.com> napsal(a):",
    "пн, 5 янв. 2026 г. в 12:00, Ann <ann@example.com>:",
    "5 янв. 2026 г., в 12:00, Ann <ann@example.com> написал(а):",
    "пн, 5 січ. 2026 р. о 12:00 Ann <ann@example.com> пише:",
    "Ann <ann@example.com>, 5 Oca 2026 Pzt, 12:00 tarihinde şunu yazdı:",
    "2026年1月5日(月) 12:00 Ann <ann@example.com>:",
    "2026/01/05 12:00、Ann <ann@example.com>のメール:",
    "Ann <ann@example.com> 于2026年1月5日周一 12:00写道：",
    "Ann <ann@example.com> 於 2026年1月5日 週一 下午12:00寫道：",
    "2026년 1월 5일 (월) 오후 12:00, Ann <ann@example.com>님이 작성:",
];

#[test]
fn introductions_are_known_with_and_without_marks_below() {
    for introduction in INTRODUCTIONS {
        for below in ["\n> Shall we?\n> Ann", "\n\n> Shall we?", "\n\nShall we?\n\nAnn", "\n  Shall we?"] {
            let text = format!("Yes.\n\n{introduction}{below}");
            assert_eq!(without_quotes(&text), "Yes.", "{text}");
            let text = text.replace('\n', "\r\n");
            assert_eq!(without_quotes(&text), "Yes.", "{text}");
        }
        let answered = format!("{introduction}\n> Shall we?\nYes.\n> When?\nNow.");
        assert_eq!(without_quotes(&answered), "Yes.\nNow.");
    }
}

/// The four names of Outlook's block, and what it puts above without one.
const BLOCKS: &[(&str, &str, &str, &str, &str)] = &[
    ("From", "Sent", "To", "Subject", "Original Message"),
    ("From", "Date", "To", "Subject", "Original Message"),
    ("Von", "Gesendet", "An", "Betreff", "Ursprüngliche Nachricht"),
    ("De\u{a0}", "Envoyé\u{a0}", "À\u{a0}", "Objet\u{a0}", "Message d'origine"),
    ("De", "Enviado el", "Para", "Asunto", "Mensaje original"),
    ("Da", "Inviato", "A", "Oggetto", "Messaggio originale"),
    ("De", "Enviada em", "Para", "Assunto", "Mensagem original"),
    ("Van", "Verzonden", "Aan", "Onderwerp", "Oorspronkelijk bericht"),
    ("Od", "Wysłane", "Do", "Temat", "Wiadomość oryginalna"),
    ("Från", "Skickat", "Till", "Ämne", "Ursprungligt meddelande"),
    ("Fra", "Sendt", "Til", "Emne", "Oprindelig meddelelse"),
    ("Fra", "Sendt", "Til", "Emne", "Opprinnelig melding"),
    ("Lähettäjä", "Lähetetty", "Vastaanottaja", "Aihe", "Alkuperäinen viesti"),
    ("Od", "Odesláno", "Komu", "Předmět", "Původní zpráva"),
    ("От", "Отправлено", "Кому", "Тема", "Исходное сообщение"),
    ("Від", "Надіслано", "Кому", "Тема", "Оригінальне повідомлення"),
    ("Kimden", "Gönderildi", "Kime", "Konu", "Özgün İleti"),
    ("差出人", "送信日時", "宛先", "件名", "元のメッセージ"),
    ("发件人", "发送时间", "收件人", "主题", "原始邮件"),
    ("寄件者", "寄件日期", "收件者", "主旨", "原始郵件"),
    ("보낸 사람", "보낸 날짜", "받는 사람", "제목", "원본 메시지"),
];

#[test]
fn blocks_and_separators_are_known() {
    for (from, sent, to, subject, original) in BLOCKS {
        let block = |colon: &str| {
            format!(
                "{from}{colon}Ann\n{sent}{colon}Monday\n{to}{colon}Bob\nCc: Eve\n{subject}{colon}tea\n\nShall we?"
            )
        };
        for old in [
            block(": "),
            block("："),
            block(": ").lines().map(|line| format!("*{}\n", line.replacen(':', ":*", 1))).collect(),
            format!("________________________________\n{}", block(": ")),
            format!("-----{original}-----\n{}", block(": ")),
            format!("-------- {original} --------\nShall we?"),
        ] {
            for text in [format!("Yes.\n\n{old}"), format!("Yes.\n\n{old}").replace('\n', "\r\n")] {
                assert_eq!(without_quotes(&text), "Yes.", "{text}");
            }
        }
        let incomplete = format!("Yes.\n\n{from}: Ann\n{subject}: tea\n\nand more");
        assert_eq!(without_quotes(&incomplete), incomplete);
    }
}

#[test]
fn signatures_are_told_from_the_text() {
    let telephones = [
        "Sent from my iPhone",
        "Sent from Mail for Windows 10",
        "Get Outlook for Android",
        "Von meinem iPhone gesendet",
        "Gesendet von Mail für Windows",
        "Envoyé de mon iPhone",
        "Envoyé à partir de Outlook pour iOS",
        "Enviado desde mi iPhone",
        "Inviato da iPhone",
        "Enviado do meu iPhone",
        "Verstuurd vanaf mijn iPhone",
        "Wysłane z iPhone'a",
        "Skickat från min iPhone",
        "Sendt fra min iPhone",
        "Lähetetty iPhonesta",
        "Odesláno z iPhonu",
        "Отправлено с iPhone",
        "Надіслано з iPhone",
        "iPhone'umdan gönderildi",
        "iPhoneから送信",
        "发自我的iPhone",
        "從我的 iPhone 傳送",
        "나의 iPhone에서 보냄",
    ];
    let marked = ["-- \nAnn\nShop Example\n+1 555 0100", "--\nAnn"];
    for signature in telephones.iter().chain(&marked) {
        for below in ["", "\n\nOn Mon, Jan 5, 2026 at 12:00 PM Ann <ann@example.com> wrote:\n> Shall we?"] {
            let text = format!("Yes.\n\nNow.\n\n{signature}{below}");
            let reply = without_quotes(&text);
            assert_eq!(reply, format!("Yes.\n\nNow.\n\n{signature}"));
            assert_eq!(split_signature(&reply), ("Yes.\n\nNow.", *signature), "{text}");
        }
    }
    let long = format!("Yes.\n--\n{}", "one more line\n".repeat(20));
    for text in ["Yes.\nSent from my desk I write\nthis\nlong\nletter", "Yes.", "", long.trim_end()] {
        assert_eq!(split_signature(&without_quotes(text)), (text, ""));
    }
}

#[test]
fn floods_take_linear_time() {
    let huge = "x".repeat(100_000) + "\n";
    for unit in [
        "a:\n",
        "From: x\n",
        "da:x\n",
        "a@b wrote 12:00:\n>\n",
        "\r\n>\r\n",
        "--\n",
        "__",
        "On ",
        ">\n\n",
        "：",
        "From:",
    ] {
        let text = huge.clone() + &unit.repeat(10_000);
        let reply = without_quotes(&text);
        assert!(split_signature(&reply).0.len() <= text.len());
    }
}
