//! Password files, line by line.

use super::*;

const WANTED: Wanted<'_> = Wanted { host: "db", port: 5432, dbname: "shop", user: "ann" };

fn found(file: &[u8], wanted: Wanted<'_>) -> Option<String> {
    let password = find(file, wanted)?;
    Some(String::from_utf8_lossy(password.reveal()).into_owned())
}

#[test]
fn a_line_fits_when_all_its_fields_do() {
    let cases: [(&str, &str, Option<&str>); 27] = [
        ("all named", "db:5432:shop:ann:pw", Some("pw")),
        ("all wild", "*:*:*:*:pw", Some("pw")),
        ("another host", "other:5432:shop:ann:pw", None),
        ("another port", "db:5433:shop:ann:pw", None),
        ("another database", "db:5432:other:ann:pw", None),
        ("another user", "db:5432:shop:bob:pw", None),
        ("a host that only starts so", "dbx:5432:shop:ann:pw", None),
        ("a host that ends too soon", "d:5432:shop:ann:pw", None),
        ("too few fields", "db:5432:shop:ann", None),
        ("an empty line", "", None),
        ("a comment", "#*:*:*:*:pw", None),
        ("a comment and a line", "# hello\n*:*:*:*:pw", Some("pw")),
        ("a space before a comment makes it a line", " #:*:*:*:pw", None),
        ("the first that fits", "x:*:*:*:a\n*:*:*:*:b\n*:*:*:*:c", Some("b")),
        ("an empty password", "*:*:*:*:", Some("")),
        ("the end of a line", "*:*:*:*:pw\n", Some("pw")),
        ("the end of a line from Windows", "*:*:*:*:pw\r\n", Some("pw")),
        ("a carriage return within", "*:*:*:*:p\rw", Some("p\rw")),
        ("spaces count", "*:*:*:*: p w ", Some(" p w ")),
        ("an escaped colon", r"*:*:*:*:p\:w", Some("p:w")),
        ("an escaped backslash", r"*:*:*:*:p\\w", Some(r"p\w")),
        ("a backslash before any letter", r"*:*:*:*:\p\w", Some("pw")),
        ("a backslash at the end", r"*:*:*:*:pw\", Some(r"pw\")),
        ("a colon ends the password", "*:*:*:*:pw:rest", Some("pw")),
        ("a hash in the password", "*:*:*:*:#pw", Some("#pw")),
        ("an escaped letter in a field", r"\d\b:*:*:*:pw", Some("pw")),
        ("a star that is no star", r"\*:*:*:*:pw", None),
    ];
    for (name, file, expected) in cases {
        assert_eq!(found(file.as_bytes(), WANTED).as_deref(), expected, "{name}");
    }
}

#[test]
fn odd_names_are_found_by_escaping() {
    let wanted = Wanted { host: "::1", port: 1, dbname: "*", user: r"a\b" };
    let line = r"\:\:1:1:\*:a\\b:pw";
    assert_eq!(found(line.as_bytes(), wanted).as_deref(), Some("pw"));
    // libpq's matcher takes a bare colon too while the name it looks for goes on.
    assert_eq!(found(br"::1:1:\*:a\\b:pw", wanted).as_deref(), Some("pw"));
    assert_eq!(found(b"::2:1:*:*:pw", wanted), None);
    let empty = Wanted { host: "", ..WANTED };
    assert_eq!(found(b":*:*:*:pw", empty).as_deref(), Some("pw"));
}

#[test]
fn a_password_may_be_any_bytes() {
    let password = find(b"*:*:*:*:\xff\xfe", WANTED).unwrap();
    assert_eq!(password.reveal(), b"\xff\xfe");
}

#[test]
fn a_file_that_others_may_read_is_not_used() {
    let path = Path::new("/home/ann/.pgpass");
    let file = |mode, is_file| Ok(FileText { bytes: Vec::new(), mode, is_file });
    let open = Some(Warning::PasswordFileOpenToOthers(path.to_owned()));
    for mode in [0o100_644, 0o640, 0o604, 0o610, 0o601, 0o602, 0o620] {
        assert_eq!(usable(path, file(mode, true)), Err(open.clone()), "{mode:o}");
    }
    for mode in [0o100_600, 0o600, 0o400, 0o700, 0] {
        assert_eq!(usable(path, file(mode, true)), Ok(Vec::new()), "{mode:o}");
    }
    let odd = Some(Warning::PasswordFileNotPlain(path.to_owned()));
    assert_eq!(usable(path, file(0o600, false)), Err(odd));
}

#[test]
fn only_a_missing_file_is_passed_over_in_silence() {
    let path = Path::new("/home/ann/.pgpass");
    let error = |kind: io::ErrorKind| usable(path, Err(kind.into()));
    assert_eq!(error(io::ErrorKind::NotFound), Err(None));
    assert_eq!(error(io::ErrorKind::NotADirectory), Err(None));
    let warning = error(io::ErrorKind::PermissionDenied).unwrap_err().unwrap();
    assert_eq!(
        warning.to_string(),
        "the password file /home/ann/.pgpass is ignored: permission denied"
    );
}
