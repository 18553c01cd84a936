//! Key=value strings, whole and broken.

use super::*;

fn read(dsn: &str) -> String {
    match parse(dsn) {
        Ok(settings) => settings
            .pairs()
            .iter()
            .map(|(name, value)| format!("{name}=<{value}>"))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn values_are_read_as_libpq_reads_them() {
    let cases = [
        ("nothing", "", ""),
        ("spaces", " \t\r\n", ""),
        ("one pair", "user=ann", "user=<ann>"),
        ("spaces everywhere", "  user = ann  port\t=\n5433 ", "port=<5433> user=<ann>"),
        ("a quoted value", "user='ann b'", "user=<ann b>"),
        ("an empty quoted value", "user='' port=1", "port=<1> user=<>"),
        ("an empty value at the end", "user=", "user=<>"),
        ("a quote within a quoted value", r"user='O\'Brien'", "user=<O'Brien>"),
        ("a backslash", r"user='a\\b'", r"user=<a\b>"),
        ("a backslash outside of quotes", r"user=a\ b\'c\\", r"user=<a b'c\>"),
        ("a backslash before any letter", r"user=\a\n", "user=<an>"),
        ("a backslash at the end", r"user=a\", "user=<a>"),
        ("a quote in the middle is a letter", "user=a'b", "user=<a'b>"),
        ("an equals sign", "options=-cwork_mem=1MB", "options=<-cwork_mem=1MB>"),
        ("no space after a quoted value", "user='a'port=1", "port=<1> user=<a>"),
        ("the last of two", "user=a user=b", "user=<b>"),
        ("a URI in a value", "user=postgres://a", "user=<postgres://a>"),
        ("letters beyond ASCII", "user=\u{e9}\u{a0}\u{e9}", "user=<\u{e9}\u{a0}\u{e9}>"),
        ("an old name", "requiressl=0", "sslmode=<prefer>"),
        ("an empty value eats the next pair", "user= port=1", "user=<port=1>"),
    ];
    for (name, dsn, expected) in cases {
        assert_eq!(read(dsn), expected, "{name}: {dsn}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    let cases = [
        ("no '='", "user", "5: an '=' is missing"),
        ("no '=' before the next word", "user ann", "6: an '=' is missing"),
        ("a quote left open", "user='ann", "6: the quoted value"),
        ("a quote escaped away", r"user='ann\'", "6: the quoted value"),
        ("a quote, nothing", "user='", "6: the quoted value"),
        ("no keyword", "=ann", "1: what stands here"),
        ("an odd keyword", "user=a b-c=d", "8: what stands here"),
        ("another scheme", "postgre://ann:pw@db/x?a=b", "1: a URI starts with"),
        ("a space before the scheme", " postgres://ann:pw@db/x", "1: a URI starts with"),
        ("a scheme in capitals", "Postgres://ann:pw@db", "1: a URI starts with"),
    ];
    for (name, dsn, expected) in cases {
        let text = read(dsn);
        let wanted = format!("the connection string is malformed at character {expected}");
        assert!(text.starts_with(&wanted), "{name}: {dsn}: {text}");
        assert!(!text.contains("pw"), "{name}");
    }
    assert_eq!(read("uzer=ann"), "the connection string has the unknown parameter 'uzer'");
}

#[test]
fn the_rest_of_a_password_is_not_named() {
    for dsn in [
        "password=ge heim",
        "password=ge heim=1",
        "password=ge heim host=db",
        "sslpassword=ge heim=1",
    ] {
        assert!(read(dsn).contains("the value of '"), "{dsn}");
        assert!(!read(dsn).contains("heim"), "{dsn}");
    }
}
