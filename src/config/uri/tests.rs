//! URIs, whole and broken.

use super::*;

/// The settings as `name=value` words, or the error's text.
fn read(dsn: &str) -> String {
    match parse(dsn, strip_scheme(dsn).unwrap()) {
        Ok(settings) => settings
            .pairs()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_part_may_be_there_or_not() {
    let cases = [
        ("nothing", "postgres://", ""),
        ("nothing, with a slash", "postgresql:///", ""),
        ("a host", "postgres://db", "host=db"),
        ("a host and a slash", "postgres://db/", "host=db"),
        ("a host, no port after its colon", "postgres://db:/", "host=db"),
        ("a port alone", "postgres://:5433/", "port=5433"),
        ("a database alone", "postgres:///shop", "dbname=shop"),
        ("a user alone", "postgres://ann@", "user=ann"),
        ("an empty user", "postgres://@db", "host=db"),
        ("an empty user with a password", "postgres://:pw@db", "host=db password=pw"),
        ("an empty password", "postgres://ann:@db", "host=db user=ann"),
        (
            "all",
            "postgresql://ann:pw@db:5433/shop?sslmode=require",
            "dbname=shop host=db password=pw port=5433 sslmode=require user=ann",
        ),
        ("a colon in the password", "postgres://ann:p:w@db", "host=db password=p:w user=ann"),
        ("a question mark in it", "postgres://a:p?w@db", "host=db password=p?w user=a"),
        ("parameters without a path", "postgres://db?user=ann", "host=db user=ann"),
        ("a question mark and no parameters", "postgres://db?", "host=db"),
        ("a final ampersand", "postgres://?user=ann&", "user=ann"),
        ("an empty value", "postgres://?user=", "user="),
        ("a second slash belongs to the name", "postgres://db/a/b", "dbname=a/b host=db"),
        ("a slash in a value", "postgres://?host=/run/pg", "host=/run/pg"),
    ];
    for (name, dsn, expected) in cases {
        assert_eq!(read(dsn), expected, "{name}: {dsn}");
    }
}

#[test]
fn several_hosts_keep_their_places() {
    let cases = [
        ("two", "postgres://a,b/", "host=a,b port=,"),
        ("ports for both", "postgres://a:1,b:2/", "host=a,b port=1,2"),
        ("a port for one", "postgres://a,b:2/", "host=a,b port=,2"),
        ("an empty host", "postgres://a:1,:2/", "host=a, port=1,2"),
        ("ports alone", "postgres://:1,:2/", "host=, port=1,2"),
        ("IPv6", "postgres://[::1]:5433/shop", "dbname=shop host=::1 port=5433"),
        (
            "IPv6 among others",
            "postgres://[::1],[fe80::1%25lo]:2,c",
            "host=::1,fe80::1%lo,c port=,2,",
        ),
        (
            "a socket directory",
            "postgres://%2Frun%2Fpg:5433/shop",
            "dbname=shop host=/run/pg port=5433",
        ),
        ("an abstract socket", "postgres://%40pg/shop", "dbname=shop host=@pg"),
        (
            "whatever stands in brackets",
            "postgres://[/run/pg?]:1/a",
            "dbname=a host=/run/pg? port=1",
        ),
        ("a list in brackets", "postgres://[::1,::2]:1", "host=::1,::2 port=1"),
        ("spaces around a list", "postgres:// a,b ?user=c", "host=a,b port=, user=c"),
    ];
    for (name, dsn, expected) in cases {
        assert_eq!(read(dsn), expected, "{name}: {dsn}");
    }
}

#[test]
fn names_and_values_are_percent_decoded_after_cutting() {
    let cases = [
        ("delimiters", "postgres://a%40b:p%2Fw%3A%3F%40@db", "host=db password=p/w:?@ user=a@b"),
        ("both cases of digits", "postgres://%6a%4A", "host=jJ"),
        ("a name", "postgres://?u%73er=ann", "user=ann"),
        ("an ampersand", "postgres://?options=a%26b%3Dc", "options=a&b=c"),
        ("an encoded percent sign is decoded once", "postgres://%2541", "host=%41"),
        ("two bytes, one letter", "postgres://%C3%A9", "host=\u{e9}"),
        ("letters that need none", "postgres://\u{e9}/", "host=\u{e9}"),
        ("a plus is a plus", "postgres://a+b@db", "host=db user=a+b"),
        ("spaces around a value", "postgres://ann @db/shop ", "dbname=shop host=db user=ann"),
        ("encoded spaces stay", "postgres://%20a%20", "host= a "),
    ];
    for (name, dsn, expected) in cases {
        assert_eq!(read(dsn), expected, "{name}: {dsn}");
    }
}

#[test]
fn jdbc_and_the_last_of_two_are_understood() {
    assert_eq!(read("postgres://?ssl=true"), "sslmode=require");
    assert_eq!(read("postgres://?requiressl=1"), "sslmode=require");
    assert_eq!(read("postgres://db?host=other&host=third"), "host=third");
}

/// The string is refused at a character and with a problem that starts like this.
fn refused(name: &str, dsn: &str, expected: &str) {
    let text = read(dsn);
    let wanted = format!("the connection string is malformed at character {expected}");
    assert!(text.starts_with(&wanted), "{name}: {dsn}: {text}");
}

#[test]
fn wrong_percent_encoding_is_refused_with_its_place() {
    let cases = [
        ("a lone percent sign", "postgres://%", "12: a '%' needs"),
        ("one digit", "postgres://%1", "12: a '%' needs"),
        ("no digits", "postgres://%zz", "12: a '%' needs"),
        ("a sign is no digit", "postgres://%+1", "12: a '%' needs"),
        ("half a letter", "postgres://%\u{e9}", "12: a '%' needs"),
        ("a zero byte", "postgres://a%00b", "13: %00 is forbidden"),
        ("no UTF-8", "postgres://%ff", "12: percent-encoded bytes"),
        ("a space", "postgres://a b", "13: a space within"),
        ("a space in a list", "postgres://a ,b", "13: a space within"),
    ];
    for (name, dsn, expected) in cases {
        refused(name, dsn, expected);
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    let cases = [
        ("a bracket left open", "postgres://[::1", "12: an IPv6 address without"),
        ("empty brackets", "postgres://[]", "12: an empty IPv6 address"),
        ("text after a bracket", "postgres://[::1]z", "17: only ':'"),
        ("a bracket left open in a path", "postgres://[a/b", "12: an IPv6 address without"),
        ("no '='", "postgres://db?user", "15: a parameter without '='"),
        ("an empty pair", "postgres://db?&user=a", "15: a parameter without '='"),
        ("two ampersands", "postgres://?user=a&&port=1", "20: a parameter without '='"),
        ("two '='", "postgres://?user=a=b", "13: a second '='"),
        ("an @ in the host", "postgres://ann:p@w@db", "19: an '@' where"),
        ("an @ in the name", "postgres://ann:1/w@db/shop", "19: an '@' where"),
        ("an @ in a name after userinfo", "postgres://a@b/c@d", "17: an '@' where"),
        ("an @ after what is unknown", "postgres:///?a=1@b", "17: an '@' where"),
        ("an odd name", "postgres://?a-b=1", "13: what stands here before"),
    ];
    for (name, dsn, expected) in cases {
        refused(name, dsn, expected);
    }
    assert_eq!(
        read("postgres://?uzer=ann"),
        "the connection string has the unknown parameter 'uzer'"
    );
}

#[test]
fn the_rest_of_a_password_is_not_named() {
    for dsn in [
        "postgres://?password=ge&heim",
        "postgres://?password=ge&heim=1",
        "postgres://?sslpassword=ge&heim=1",
    ] {
        assert!(read(dsn).contains("the value of '"), "{dsn}");
        assert!(!read(dsn).contains("heim"), "{dsn}");
    }
}
