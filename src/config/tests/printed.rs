//! Any settings, printed and read again; and no text whatever that gives a password away.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::machine;
use crate::config::parameter::{PARAMETERS, Settings};
use crate::config::{HostAddress, keyword_value, uri};

/// A value in a key=value string; in quotes, or with a backslash before each space.
fn quote(value: &str, in_quotes: bool) -> String {
    let escaped = value.replace('\\', r"\\").replace('\'', r"\'");
    if in_quotes || value.is_empty() {
        return format!("'{escaped}'");
    }
    let mut bare = String::new();
    for c in escaped.chars() {
        if c.is_ascii_whitespace() || c == '\x0b' {
            bare.push('\\');
        }
        bare.push(c);
    }
    bare
}

/// Every byte but letters and digits of ASCII, percent-encoded.
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

/// Values of any letters, and of those that mean something in one form or the other.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof!["[^\0]{0,12}", r"[ '\\=&%@/:?#,\[\]a\t\n]{0,12}"]
}

fn owned(settings: &Settings) -> Vec<(&'static str, String)> {
    let pairs = settings.pairs();
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

proptest! {
    #[test]
    fn printed_as_key_and_value_they_read_back(
        given in btree_map(0..PARAMETERS.len(), (any_value(), any::<bool>()), 0..6),
    ) {
        let mut text = String::new();
        let mut expected = Vec::new();
        for (&place, (value, in_quotes)) in &given {
            let name = PARAMETERS[place].name;
            text.push_str(&format!("{name}={} ", quote(value, *in_quotes)));
            expected.push((name, value.clone()));
        }
        expected.sort();
        prop_assert_eq!(owned(&keyword_value::parse(&text).unwrap()), expected);
    }

    #[test]
    fn printed_as_parameters_of_a_uri_they_read_back(
        given in btree_map(0..PARAMETERS.len(), any_value(), 0..6),
    ) {
        let mut pairs = Vec::new();
        let mut expected = Vec::new();
        for (&place, value) in &given {
            let name = PARAMETERS[place].name;
            pairs.push(format!("{}={}", percent(name), percent(value)));
            expected.push((name, value.clone()));
        }
        expected.sort();
        let text = format!("postgres://?{}", pairs.join("&"));
        let rest = uri::strip_scheme(&text).unwrap();
        prop_assert_eq!(owned(&uri::parse(&text, rest).unwrap()), expected);
    }

    #[test]
    fn printed_as_the_parts_of_a_uri_they_read_back(
        user in "[^\0]{1,12}",
        password in "[^\0]{1,12}",
        dbname in "[^\0]{1,12}",
        hosts in vec(("[a-z@/][^\0,;=]{0,8}", 1_u16..), 1..4),
    ) {
        let list: Vec<_> = hosts
            .iter()
            .map(|(host, port)| format!("{}:{port}", percent(host)))
            .collect();
        let (user_text, password_text) = (percent(&user), percent(&password));
        let list = list.join(",");
        let text = format!("postgres://{user_text}:{password_text}@{list}/{}", percent(&dbname));
        let config = machine().config(&text);
        prop_assert_eq!(&config.user, &user);
        prop_assert_eq!(&config.dbname, &dbname);
        prop_assert_eq!(config.password.as_ref().unwrap().reveal(), password.as_bytes());
        for (host, (name, port)) in config.hosts.iter().zip(&hosts) {
            prop_assert_eq!(host.port, *port);
            let read = match &host.address {
                HostAddress::Tcp { host, .. } => host.clone(),
                HostAddress::Unix(directory) => directory.display().to_string(),
            };
            prop_assert_eq!(&read, name);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any_value(), scheme in any::<bool>()) {
        let scheme = if scheme { "postgres://" } else { "" };
        let _ = machine().parse(&format!("{scheme}{text}"));
    }

    #[test]
    fn a_password_that_nobody_encoded_is_not_shown(
        password in "[a-z]{6}[-@/:?&=' %#+,\\\\\\[\\]]{1,4}[A-Z]{6}[@/:?&=%]{0,2}[1-9]{6}",
    ) {
        let pieces = password.split(|c: char| !c.is_ascii_alphanumeric());
        let pieces: Vec<_> = pieces.filter(|piece| piece.len() == 6).collect();
        for text in [
            format!("postgres://ann:{password}@db/shop"),
            format!("postgres://ann:{password}@db/shop?sslmode=require"),
            format!("postgre://ann:{password}@db/shop?sslmode=require"),
            format!("postgres://db/shop?password={password}"),
            format!("postgres://db/shop?password={password}&user=ann"),
            format!("host=db password={password}"),
            format!("password={password} user=ann"),
            format!("password='{password}' user=ann"),
        ] {
            let shown = match machine().parse(&text) {
                Ok(config) => format!("{} {config:?}", config.describe()),
                Err(error) => format!("{error} {error:?}"),
            };
            for piece in &pieces {
                prop_assert!(!shown.contains(piece), "{}: {}", text, shown);
            }
        }
    }
}
