//! Every message with its line, and what does not fit the protocol.

use super::{super::Trace, FIELD_BYTES_MAX, frame, started, untagged, written};
use crate::{
    pg::Oid,
    wire::{Format, ProtocolVersion, caps::MAX_FRAME_BYTES},
};

/// What the server sends: tag, body, line.
const RECEIVED: &[(u8, &[u8], &str)] = &[
    (b'1', b"", "B\t4\tParseComplete"),
    (b'2', b"", "B\t4\tBindComplete"),
    (b'3', b"", "B\t4\tCloseComplete"),
    (b'A', b"\0\0\0\x07shop\0open\0", "B\t18\tNotificationResponse\t 7 \"shop\" \"open\""),
    (b'C', b"INSERT 0 5\0", "B\t15\tCommandComplete\t \"INSERT 0 5\""),
    (b'D', b"\0\x02\0\0\0\x02a\xff\xff\xff\xff\xff", "B\t16\tDataRow\t 2 2 'a\\xff' -1"),
    (b'D', b"\0\x01\0\0\0\0", "B\t10\tDataRow\t 1 0 ''"),
    (
        b'E',
        b"SFEHLER\0VERROR\0C42601\0Mbad \"x\"\nhere\0\0",
        "B\t41\tErrorResponse\t S \"FEHLER\" V \"ERROR\" C \"42601\" \
         M \"bad \"x\"\\x0ahere\" \\x00",
    ),
    (b'G', b"\0\0\x02\0\0\0\0", "B\t11\tCopyInResponse\t \\x00 2 0 0"),
    (b'H', b"\x01\0\x01\0\x01", "B\t9\tCopyOutResponse\t \\x01 1 1"),
    (b'I', b"", "B\t4\tEmptyQueryResponse"),
    (b'K', b"\0\0\x12\x67keys", "B\t12\tBackendKeyData\t 4711 ***"),
    (b'N', b"SWARNING\0\0", "B\t14\tNoticeResponse\t S \"WARNING\" \\x00"),
    (b'R', b"\0\0\0\0", "B\t8\tAuthenticationOk"),
    (b'R', b"\0\0\0\x02", "B\t8\tAuthenticationKerberosV5"),
    (b'R', b"\0\0\0\x03", "B\t8\tAuthenticationCleartextPassword"),
    (b'R', b"\0\0\0\x05salt", "B\t12\tAuthenticationMD5Password\t ***"),
    (b'R', b"\0\0\0\x07", "B\t8\tAuthenticationGSS"),
    (b'R', b"\0\0\0\x08token", "B\t13\tAuthenticationGSSContinue\t ***"),
    (b'R', b"\0\0\0\x09", "B\t8\tAuthenticationSSPI"),
    (
        b'R',
        b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
        "B\t42\tAuthenticationSASL\t \"SCRAM-SHA-256-PLUS\" \"SCRAM-SHA-256\" \"\"",
    ),
    (b'R', b"\0\0\0\x0br=nonce,s=salt,i=1", "B\t26\tAuthenticationSASLContinue\t ***"),
    (b'R', b"\0\0\0\x0cv=signature", "B\t19\tAuthenticationSASLFinal\t ***"),
    (b'R', b"\0\0\0\x63", "B\t8\tUnknown authentication message 99"),
    (b'R', b"\0\0\0\x63what", "B\t12\tUnknown authentication message 99\t ***"),
    (b'S', b"TimeZone\0UTC\0", "B\t17\tParameterStatus\t \"TimeZone\" \"UTC\""),
    (
        b'T',
        b"\0\x01k\xc3\xa4se\0\xff\xff\xff\xff\0\x02\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01",
        "B\t30\tRowDescription\t 1 \"käse\" 4294967295 2 25 65535 -1 1",
    ),
    (b'V', b"\xff\xff\xff\xff", "B\t8\tFunctionCallResponse\t -1"),
    (b'V', b"\0\0\0\x01x", "B\t9\tFunctionCallResponse\t 1 'x'"),
    (b'W', b"\0\0\0", "B\t7\tCopyBothResponse\t \\x00 0"),
    (b'Z', b"T", "B\t5\tReadyForQuery\t T"),
    (b'c', b"", "B\t4\tCopyDone"),
    (b'd', b"1\tO'Brien\\\0", "B\t15\tCopyData\t '1\\x09O'Brien\\\\x00'"),
    (b'n', b"", "B\t4\tNoData"),
    (b's', b"", "B\t4\tPortalSuspended"),
    (b't', b"\0\x02\0\0\0\x17\0\0\0\x19", "B\t14\tParameterDescription\t 2 23 25"),
    (
        b'v',
        b"\0\x03\0\0\0\0\0\x01_pq_.x\0",
        "B\t19\tNegotiateProtocolVersion\t 196608 1 \"_pq_.x\"",
    ),
    (b'?', b"what\n", "B\t9\tUnknown message: 3f\t 'what\\x0a'"),
    (b'?', b"", "B\t4\tUnknown message: 3f\t ''"),
];

/// What we send once the startup phase is over: the bytes, the line.
fn sent() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (written(|w| w.query("select 'ä'\n")), "F\t17\tQuery\t \"select 'ä'\\x0a\""),
        (
            written(|w| w.parse("s", "select $1", &[Oid(23), Oid(u32::MAX)])),
            "F\t26\tParse\t \"s\" \"select $1\" 2 23 4294967295",
        ),
        (
            written(|w| {
                let mut bind = w.bind("s", [Format::Text, Format::Binary].into_iter());
                bind.value(Some(b"1")).value(None);
                bind.finish();
            }),
            "F\t26\tBind\t \"\" \"s\" 2 0 1 2 1 '1' -1 0",
        ),
        (
            frame(b'B', b"p\0s\0\0\0\0\x01\0\0\0\x01\x01\0\x01\0\x01"),
            "F\t21\tBind\t \"p\" \"s\" 0 1 1 '\\x01' 1 1",
        ),
        (written(|w| w.describe_portal()), "F\t6\tDescribe\t P \"\""),
        (frame(b'D', b"Sadd\0"), "F\t9\tDescribe\t S \"add\""),
        (written(|w| w.execute()), "F\t9\tExecute\t \"\" 0"),
        (written(|w| w.close_statement("add")), "F\t9\tClose\t S \"add\""),
        (written(|w| w.flush_request()), "F\t4\tFlush"),
        (written(|w| w.sync()), "F\t4\tSync"),
        (written(|w| w.copy_data(b"1\t\\N\n")), "F\t9\tCopyData\t '1\\x09\\N\\x0a'"),
        (written(|w| w.copy_done()), "F\t4\tCopyDone"),
        (written(|w| w.copy_fail("why")), "F\t8\tCopyFail\t \"why\""),
        (written(|w| w.terminate()), "F\t4\tTerminate"),
        (
            frame(b'F', b"\0\0\x04\xd2\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0"),
            "F\t25\tFunctionCall\t 1234 1 1 2 1 'x' -1 0",
        ),
        (frame(b'!', b"\xff"), "F\t5\tUnknown message: 21\t '\\xff'"),
    ]
}

/// What has no tag: the bytes, the line, and whether the startup phase is over then.
fn without_tag() -> Vec<(Vec<u8>, &'static str, bool)> {
    let key = [7; 32];
    vec![
        (
            written(|w| w.startup(ProtocolVersion::V3_0, &[("user", "ann"), ("options", "")])),
            "F\t27\tStartupMessage\t 3 0 \"user\" \"ann\" \"options\" \"\"",
            true,
        ),
        (written(|w| w.startup(ProtocolVersion::V3_0, &[])), "F\t9\tStartupMessage\t 3 0", true),
        (untagged(b"\x04\xd2\x16\x2f"), "F\t8\tSSLRequest\t 1234 5679", false),
        (untagged(b"\x04\xd2\x16\x30"), "F\t8\tGSSENCRequest\t 1234 5680", false),
        (
            written(|w| w.cancel_request(4711, b"keys")),
            "F\t16\tCancelRequest\t 1234 5678 4711 ***",
            true,
        ),
        (written(|w| w.cancel_request(-1, &key)), "F\t44\tCancelRequest\t 1234 5678 -1 ***", true),
    ]
}

/// What answers which request: the request, the answer, the line.
const ANSWERS: &[(&[u8], &[u8], &str)] = &[
    (b"\0\0\0\x03", b"geheim\0", "F\t11\tPasswordMessage\t ***"),
    (b"\0\0\0\x05salt", b"md5c0ffee\0", "F\t14\tPasswordMessage\t ***"),
    (b"\0\0\0\x07", b"token", "F\t9\tGSSResponse\t ***"),
    (b"\0\0\0\x08token", b"token", "F\t9\tGSSResponse\t ***"),
    (b"\0\0\0\x09", b"token", "F\t9\tGSSResponse\t ***"),
    (
        b"\0\0\0\x0aSCRAM-SHA-256\0\0",
        b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=ab",
        "F\t32\tSASLInitialResponse\t \"SCRAM-SHA-256\" 10 ***",
    ),
    (b"\0\0\0\x0aX\0\0", b"X\0\xff\xff\xff\xff", "F\t10\tSASLInitialResponse\t \"X\" -1"),
    (b"\0\0\0\x0br=ab", b"c=biws,r=ab,p=cd", "F\t20\tSASLResponse\t ***"),
    (b"\0\0\0\x0cv=ab", b"what", "F\t8\tUnknownAuthenticationResponse\t ***"),
    (b"\0\0\0\x63", b"what", "F\t8\tUnknownAuthenticationResponse\t ***"),
    (b"\0\0", b"what", "F\t8\tUnknownAuthenticationResponse\t ***"),
];

#[test]
fn what_the_server_sends_has_its_line() {
    for (tag, body, line) in RECEIVED {
        assert_eq!(started(&[]).one_received(&frame(*tag, body)), *line);
    }
}

#[test]
fn what_we_send_has_its_line() {
    for (bytes, line) in sent() {
        assert_eq!(started(&[]).one_sent(&bytes), line);
    }
}

#[test]
fn what_has_no_tag_has_its_line_and_may_end_the_startup_phase() {
    for (bytes, line, over) in without_tag() {
        let mut trace = Trace::new(Vec::new());
        assert_eq!(trace.one_sent(&bytes), line);
        let (sync, expected) = match over {
            true => (written(|w| w.sync()), "F\t4\tSync"),
            false => {
                (written(|w| w.startup(ProtocolVersion::V3_0, &[])), "F\t9\tStartupMessage\t 3 0")
            }
        };
        assert_eq!(trace.one_sent(&sync), expected);
    }
}

#[test]
fn answers_are_named_by_what_was_asked() {
    for (request, answer, line) in ANSWERS {
        let mut trace = started(&[]);
        trace.one_received(&frame(b'R', request));
        assert_eq!(trace.one_sent(&frame(b'p', answer)), *line);
        // And each request is answered once.
        let more = trace.one_sent(&frame(b'p', answer));
        assert!(more.contains("\tUnknownAuthenticationResponse\t ***"), "{more}");
    }
}

#[test]
fn the_answer_to_ssl_request_is_one_byte() {
    let mut trace = Trace::new(Vec::new());
    assert_eq!(trace.ssl_response(b'S'), "B\t1\tSSLResponse\t S");
    assert_eq!(trace.ssl_response(0), "B\t1\tSSLResponse\t \\x00");
}

/// The room's own table names every message; none may be without its line here.
#[test]
fn every_message_of_the_rooms_table_is_traced() {
    let lines: Vec<&str> = RECEIVED
        .iter()
        .map(|(.., line)| *line)
        .chain(sent().into_iter().map(|(_, line)| line))
        .chain(without_tag().into_iter().map(|(_, line, _)| line))
        .chain(ANSWERS.iter().map(|(.., line)| *line))
        .collect();
    let mut count = 0;
    // The first table of the room's documentation; others follow.
    let lines_of_table = |line: &&str| line.starts_with("//! |");
    let table = include_str!("../../mod.rs").lines().skip_while(|line| !lines_of_table(line));
    let table = table.take_while(lines_of_table).filter(|line| !line.contains("|---"));
    for row in table.skip(1) {
        let cells: Vec<_> = row.split('|').collect();
        for (side, cell) in [("F", cells[1]), ("B", cells[3])] {
            // Behind some names stands their file.
            let names = cell.split(',').map(|name| name.split('(').next().unwrap_or(name).trim());
            for name in names.filter(|name| !name.is_empty()) {
                let name = match name {
                    "Authentication" => "AuthenticationOk".to_owned(),
                    "SASL responses" => "SASLInitialResponse".to_owned(),
                    _ => name.replace('-', "Response"),
                };
                let named = |line: &&str| {
                    let mut parts = line.split('\t');
                    parts.next() == Some(side) && parts.nth(1) == Some(&name)
                };
                assert!(lines.iter().any(named), "{side} {name}");
                count += 1;
            }
        }
    }
    assert!(count >= 36, "{count} messages in the table");
}

#[test]
fn what_does_not_fit_is_shown_with_the_reason() {
    let received: [(u8, &[u8], &str); 6] = [
        (
            b'Z',
            b"",
            "B\t4\tReadyForQuery\t (malformed: the message ends inside its field \
            'transaction status') ''",
        ),
        (
            b'Z',
            b"II",
            "B\t6\tReadyForQuery\t (malformed: 1 bytes are left over after the end of \
            ReadyForQuery) 'II'",
        ),
        (
            b'1',
            b"\n",
            "B\t5\tParseComplete\t (malformed: 1 bytes are left over after the end of \
            ParseComplete) '\\x0a'",
        ),
        (
            b'D',
            b"\xff\xff",
            "B\t6\tDataRow\t (malformed: the message ends inside its field \
            'column value') '\\xff\\xff'",
        ),
        (
            b'D',
            b"\0\x01\xff\xff\xff\xfe",
            "B\t10\tDataRow\t (malformed: the field 'column value' \
            holds a value that the protocol does not allow) '\\x00\\x01\\xff\\xff\\xff\\xfe'",
        ),
        (
            b'E',
            b"Mhalf",
            "B\t9\tErrorResponse\t (malformed: the message ends inside its field \
            'error field') 'Mhalf'",
        ),
    ];
    for (tag, body, line) in received {
        assert_eq!(started(&[]).one_received(&frame(tag, body)), line);
    }
    assert_eq!(
        started(&[]).one_sent(&frame(b'Q', b"select 1")),
        "F\t12\tQuery\t (malformed: the message ends inside its field 'query') 'select 1'"
    );
    assert_eq!(
        Trace::new(Vec::new()).one_sent(&untagged(b"\0\x03\0\0user\0ann\0")),
        "F\t17\tStartupMessage\t (malformed: the message ends inside its field 'parameter name') \
            '\\x00\\x03\\x00\\x00user\\x00ann\\x00'"
    );
    assert_eq!(
        Trace::new(Vec::new()).one_sent(&untagged(b"\0\x03")),
        "F\t6\tUnknown message\t (malformed: the message ends inside its field 'minor protocol \
            version') '\\x00\\x03'"
    );
}

const IMPOSSIBLE: &str =
    "(malformed: the field 'message length' holds a value that the protocol does not allow)";

#[test]
fn after_an_impossible_length_all_bytes_are_taken() {
    let mut trace = started(&[]);
    let http = b"HTTP/1.1 400 Bad Request\r\n";
    assert_eq!(
        trace.one_received(http),
        format!(
            "B\t1414811695\tUnknown message: 48\t {IMPOSSIBLE} \
             'HTTP/1.1 400 Bad Request\\x0d\\x0a'"
        )
    );
    assert_eq!(
        trace.one_received(&frame(b'Z', b"I")),
        format!("B\t6\tUnknown message\t {IMPOSSIBLE} 'Z\\x00\\x00\\x00\\x05I'")
    );
    // A PasswordMessage that was not finished must not show up.
    assert_eq!(
        trace.one_sent(b"p\xff\xff\xff\xffgeheim\0"),
        format!("F\t-1\tUnknown message: 70\t {IMPOSSIBLE} ***")
    );
    assert_eq!(
        trace.one_sent(&frame(b'Q', b"geheim\0")),
        format!("F\t12\tUnknown message\t {IMPOSSIBLE} ***")
    );
    assert_eq!(
        Trace::new(Vec::new()).one_sent(b"\0\0\0\x03geheim"),
        format!("F\t3\tUnknown message\t {IMPOSSIBLE} ***")
    );
}

#[test]
fn messages_are_taken_when_they_are_whole() {
    let bytes = [
        written(|w| w.startup(ProtocolVersion::V3_0, &[])),
        written(|w| w.query("a")),
        written(|w| w.sync()),
    ];
    let all = bytes.concat();
    for cut in 0..all.len() {
        let (mut trace, mut lines) = (Trace::new(Vec::new()), Vec::new());
        let taken = trace.sent(&all[..cut], &mut |line| lines.push(line.to_owned()));
        let ends = [9, 16, 21];
        assert_eq!(taken, ends.into_iter().filter(|end| *end <= cut).max().unwrap_or(0));
        trace.sent(&all[taken..], &mut |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["F\t9\tStartupMessage\t 3 0", "F\t6\tQuery\t \"a\"", "F\t4\tSync"]);
    }
    let longest = i32::try_from(MAX_FRAME_BYTES).unwrap().to_be_bytes();
    assert_eq!(Trace::new(Vec::new()).sent(&longest, &mut |_| panic!("a line")), 0);
}

#[test]
fn long_fields_are_cut_and_counted() {
    let (most, more) = ("x".repeat(FIELD_BYTES_MAX), "x".repeat(FIELD_BYTES_MAX + 1));
    let mut trace = started(&[]);
    assert_eq!(
        trace.one_sent(&written(|w| w.query(&most))),
        format!("F\t1029\tQuery\t \"{most}\"")
    );
    assert_eq!(
        trace.one_sent(&written(|w| w.query(&more))),
        format!("F\t1030\tQuery\t \"{most}\"... (1025 bytes)")
    );
    assert_eq!(
        trace.one_received(&frame(b'd', more.as_bytes())),
        format!("B\t1029\tCopyData\t '{most}'... (1025 bytes)")
    );
    assert_eq!(
        trace.one_received(&frame(b'1', more.as_bytes())),
        format!(
            "B\t1029\tParseComplete\t (malformed: 1025 bytes are left over after the end of \
             ParseComplete) '{most}'... (1025 bytes)"
        )
    );
}

#[test]
fn text_is_not_cut_within_a_letter() {
    let mut trace = started(&[]);
    for letter in ["ä", "€", "🐘"] {
        for before in 0..=letter.len() {
            let head = "x".repeat(FIELD_BYTES_MAX - before);
            let line = trace.one_sent(&written(|w| w.query(&format!("{head}{letter}yyyy"))));
            assert!(!line.contains("\\x"), "{line}");
            assert_eq!(line.contains(letter), before == letter.len(), "{line}");
        }
    }
    // Bytes that are no letters are cut where they are.
    let line = trace.one_received(&frame(b'C', &[vec![0x80; 2000], vec![0]].concat()));
    assert!(line.matches("\\x80").count() >= FIELD_BYTES_MAX - 3);
}

#[test]
fn nothing_in_a_field_ends_the_line() {
    let text = "a\r\n\u{b}\u{c}\u{85}\u{2028}\u{2029}\u{1b}[2J";
    assert_eq!(
        started(&[]).one_sent(&written(|w| w.query(text))),
        "F\t22\tQuery\t \"a\\x0d\\x0a\\x0b\\x0c\\xc2\\x85\\xe2\\x80\\xa8\\xe2\\x80\\xa9\\x1b[2J\""
    );
    assert_eq!(
        started(&[]).one_received(&frame(b'C', b"\xff\n\xc3\0")),
        "B\t8\tCommandComplete\t \"\\xff\\x0a\\xc3\""
    );
}

#[test]
fn nothing_that_is_printed_holds_the_secrets() {
    let trace = Trace::new(vec![b"geheim".to_vec()]);
    assert_eq!(
        format!("{trace:?}"),
        "Trace { sent: Untagged, received: Tagged, answer: Unknown, .. }"
    );
}
