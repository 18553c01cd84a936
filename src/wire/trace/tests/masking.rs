//! Secrets stay secret, in whatever field and quoting.

use super::{super::Trace, FIELD_BYTES_MAX, frame, started, untagged, written};
use crate::sql::quote_literal;
use crate::wire::{Format, ProtocolVersion};

const SECRET: &str = r#"pass"w'ör\d 100%"#;

/// The ways in which a password is written inside other texts.
fn spellings(secret: &str) -> Vec<String> {
    let conninfo = secret.replace('\\', r"\\").replace('\'', r"\'");
    let percent = |keep: &dyn Fn(u8) -> bool, lower: bool| {
        let encode = |byte: u8| match (keep(byte), lower) {
            (true, _) => char::from(byte).to_string(),
            (_, true) => format!("%{byte:02x}"),
            (_, false) => format!("%{byte:02X}"),
        };
        secret.bytes().map(encode).collect::<String>()
    };
    vec![
        secret.to_owned(),
        secret.replace('\'', "''"),
        secret.replace('\\', r"\\"),
        secret.replace('\'', "''").replace('\\', r"\\"),
        secret.replace('"', "\"\""),
        quote_literal(secret),
        conninfo.clone(),
        quote_literal(&conninfo),
        quote_literal(&quote_literal(&conninfo)),
        format!("{secret:?}"),
        percent(&|byte| byte.is_ascii_alphanumeric(), false),
        percent(&|byte| byte.is_ascii() && byte != b'%' && byte != b'\'', true),
        percent(&|_| false, false),
    ]
}

fn assert_hidden(line: &str) {
    assert_no_part(line);
    assert!(line.contains("***"), "{line}");
}

/// No part of the secret is there.
fn assert_no_part(line: &str) {
    for part in ["pass", "\"w", "w'", "ör", "\\d", "d 1", "100", "%70", "%20", "d%20"] {
        assert!(!line.contains(part), "{part}: {line}");
    }
}

#[test]
fn every_quoting_is_found() {
    for spelling in spellings(SECRET) {
        let mut trace = started(&[SECRET]);
        let sql = format!("create subscription s connection host=h secret={spelling} x=y");
        let line = trace.one_sent(&written(|w| w.query(&sql)));
        assert_hidden(&line);
        assert!(line.contains("host=h secret="), "{line}");
        assert!(line.contains(" x=y\""), "{line}");
    }
    let line = started(&["hunter22"]).one_sent(&written(|w| {
        w.query("create subscription s connection 'host=h password=''hunter22''' publication p");
    }));
    let hidden = "create subscription s connection 'host=h password=''***''' publication p";
    assert_eq!(line, format!("F\t82\tQuery\t \"{hidden}\""));
}

#[test]
fn every_field_of_text_or_bytes_is_searched() {
    let s = SECRET.as_bytes();
    let z = [s, b"\0"].concat();
    let received: [(u8, Vec<u8>); 12] = [
        (b'A', [b"\0\0\0\x01", &z[..], &z].concat()),
        (b'C', z.clone()),
        (b'D', [b"\0\x01\0\0\0\x11", s].concat()),
        (b'E', [b"M", &z[..], b"Q", &z, b"\0"].concat()),
        (b'N', [b"D", &z[..], b"\0"].concat()),
        (b'R', [b"\0\0\0\x0a", &z[..], b"\0"].concat()),
        (b'S', [&z[..], &z].concat()),
        (b'T', [b"\0\x01", &z[..], &[0; 18]].concat()),
        (b'd', [b"w\0", s, b"\0"].concat()),
        (b'v', [b"\0\x03\0\0\0\0\0\x01", &z[..]].concat()),
        (b'V', [b"\0\0\0\x11", s].concat()),
        (b'?', [b"\xff\0", s].concat()),
    ];
    for (tag, body) in received {
        let line = started(&[SECRET]).one_received(&frame(tag, &body));
        assert_hidden(&line);
        assert!(!line.contains("malformed"), "{line}");
        // And so it is when the message does not fit.
        assert_hidden(&started(&[SECRET]).one_received(&frame(tag, &[&body, s].concat())));
    }
    let sent = [
        written(|w| w.query(SECRET)),
        written(|w| w.parse(SECRET, SECRET, &[])),
        written(|w| {
            let mut bind = w.bind(SECRET, [Format::Text].into_iter());
            bind.value(Some(SECRET.as_bytes()));
            bind.finish();
        }),
        written(|w| w.close_statement(SECRET)),
        written(|w| w.copy_data(SECRET.as_bytes())),
        written(|w| w.copy_fail(SECRET)),
    ];
    for bytes in sent {
        assert_hidden(&started(&[SECRET]).one_sent(&bytes));
    }
    let startup =
        written(|w| w.startup(ProtocolVersion::V3_0, &[("user", "ann"), ("options", SECRET)]));
    let mut trace = Trace::new(vec![SECRET.as_bytes().to_vec()]);
    let line = trace.one_sent(&startup);
    assert_eq!(line, "F\t44\tStartupMessage\t 3 0 \"user\" \"ann\" \"options\" \"***\"");
}

#[test]
fn one_more_secret_can_be_told_later() {
    let mut trace = started(&["hunter22"]);
    let query = written(|w| w.query("connection 'password=tapioca' hunter22"));
    assert!(trace.one_sent(&query).contains("tapioca"));
    trace.hide(b"tapioca");
    let line = trace.one_sent(&query);
    assert!(line.contains("'password=***' ***"), "{line}");
}

#[test]
fn a_secret_is_not_cut_in_two() {
    for spelling in spellings(SECRET) {
        for before in FIELD_BYTES_MAX - spelling.len()..=FIELD_BYTES_MAX {
            let text = format!("{}{spelling} and more", "x".repeat(before));
            for line in [
                started(&[SECRET]).one_sent(&written(|w| w.query(&text))),
                started(&[SECRET]).one_received(&frame(b'd', text.as_bytes())),
            ] {
                assert_no_part(&line);
                // A spelling begins with up to eight bytes that are not the secret's.
                assert!(line.contains("***") || before > FIELD_BYTES_MAX - 8, "{line}");
                assert!(line.ends_with(&format!("... ({} bytes)", text.len())), "{line}");
            }
        }
    }
    // However long its quoting is.
    let quotes = "'".repeat(100_000);
    let text = format!("{}pass\"w{quotes}ör\\d 100%", "x".repeat(FIELD_BYTES_MAX - 1));
    let line = started(&[SECRET]).one_sent(&written(|w| w.query(&text)));
    assert!(line.ends_with("x***\""), "{line}");
    assert_hidden(&line);
}

#[test]
fn overlapping_and_neighbouring_secrets_leave_nothing() {
    let cases: [(&[&str], &str, &str); 8] = [
        (&["abab"], "xababaxababx", "x***ax***x"),
        (&["abab"], "xabababx", "x***x"),
        (&["abcd", "cdef"], "xabcdefx", "x***x"),
        (&["abcd"], "abcdabcd", "***"),
        (&["abcdef", "bcde"], "abcdef", "***"),
        (&["abcd", "bc"], "abcd abc bc", "*** abc ***"),
        (&["", "abcd"], "abcd", "***"),
        (&[], "abcd", "abcd"),
    ];
    for (secrets, text, shown) in cases {
        let line = started(secrets).one_sent(&written(|w| w.query(text)));
        assert_eq!(line.split_once(" \"").unwrap().1, format!("{shown}\""));
    }
}

/// See `SHORT_BYTES` for why.
#[test]
fn short_secrets_are_hidden_where_they_stand_alone() {
    let cases = [
        ("a", "select a from data", "select *** from data"),
        ("a", "password=a", "password=***"),
        ("a", "password=''a'' x", "password=''***'' x"),
        ("a", "p://u:%61@h", "p://u:***@h"),
        ("a", "an aä ab ba a_ a1", "an aä ab ba a_ a1"),
        ("abc", "abcd xabc abc.", "abcd xabc ***."),
        ("a!", "a!b ba! a!", "***b ba! ***"),
        ("!", "wow!", "wow***"),
        ("''", "a'b''c", "a'b***c"),
        ("abcd", "xabcdx", "x***x"),
    ];
    for (secret, text, shown) in cases {
        let line = started(&[secret]).one_sent(&written(|w| w.query(text)));
        assert_eq!(line.split_once(" \"").unwrap().1, format!("{shown}\""), "{secret}");
    }
}

#[test]
fn the_word_goes_on_beyond_the_cut() {
    let head = "-".repeat(FIELD_BYTES_MAX - 1);
    for (tail, shown) in
        [("a", "***\""), ("a b", "***\"... (1026 bytes)"), ("ab", "a\"... (1025 bytes)")]
    {
        let line = started(&["a"]).one_sent(&written(|w| w.query(&format!("{head}{tail}"))));
        assert_eq!(line.split_once(&head).unwrap().1, shown);
    }
}

#[test]
fn answers_and_keys_are_never_shown_even_when_malformed() {
    let requests: [&[u8]; 9] = [
        b"",
        b"\0\0\0\0",
        b"\0\0\0\x03",
        b"\0\0\0\x05salt",
        b"\0\0\0\x07",
        b"\0\0\0\x0aX\0\0",
        b"\0\0\0\x0a",
        b"\0\0\0\x0bx",
        b"\0\0\0\x0cx",
    ];
    let answers: [&[u8]; 5] =
        [b"geheim", b"geheim\0", b"geheim\0\0", b"X\0\0\0\0\x06geheim", b"\0geheim"];
    for request in requests {
        for answer in answers {
            let mut trace = started(&[]);
            trace.one_received(&frame(b'R', request));
            let line = trace.one_sent(&frame(b'p', answer));
            assert!(!line.contains("geheim") && line.ends_with(" ***"), "{request:?} {line}");
        }
    }
    let hidden: [&[u8]; 5] = [
        b"\0\0\0\x05geheim",
        b"\0\0\0\x0bgeheim",
        b"\0\0\0\x0cgeheim",
        b"\0\0\0\x08geheim",
        b"\0\0\0\x77geheim",
    ];
    for body in hidden {
        let line = started(&[]).one_received(&frame(b'R', body));
        assert!(!line.contains("geheim") && line.ends_with(" ***"), "{line}");
    }
    assert_eq!(
        started(&[]).one_received(&frame(b'K', b"key")),
        "B\t7\tBackendKeyData\t (malformed: the message ends inside its field 'process id') ***"
    );
    assert_eq!(
        Trace::new(Vec::new()).one_sent(&untagged(b"\x04\xd2\x16\x2ekey")),
        "F\t11\tCancelRequest\t (malformed: the message ends inside its field 'process id') ***"
    );
}
