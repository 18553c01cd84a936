//! Password files never panic, a line that was written for a login is found, and any file gives
//! what libpq's own way of reading it gives.
//!
//! Input: host, database, user and password, each ended by a zero byte, then the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::config::pgpass::{Wanted, find};

fuzz_target!(|data: &[u8]| {
    let mut pieces = data.splitn(5, |&byte| byte == 0);
    let mut piece = || pieces.next().unwrap_or_default();
    let (host, dbname, user, password, file) = (piece(), piece(), piece(), piece(), piece());
    let (Ok(host), Ok(dbname), Ok(user)) =
        (std::str::from_utf8(host), std::str::from_utf8(dbname), std::str::from_utf8(user))
    else {
        return;
    };
    let wanted = Wanted { host, port: 5432, dbname, user };
    let found = find(file, wanted);
    // A zero byte ends a text of C.
    if !file.contains(&0) {
        let fields = [host, "5432", dbname, user].map(str::as_bytes);
        let expected = libpq(file, fields);
        assert_eq!(found.as_ref().map(|password| password.reveal()), expected.as_deref());
    }

    let fields = [host.as_bytes(), b"5432", dbname.as_bytes(), user.as_bytes(), password];
    let fits_a_line = fields.iter().all(|field| !field.contains(&b'\n'));
    if !fits_a_line || password.last() == Some(&b'\r') {
        return;
    }
    let mut line = fields.map(escape).join(&b':');
    line.push(b'\n');
    line.extend_from_slice(file);
    let found = find(&line, wanted).expect("the first line fits");
    assert_eq!(found.reveal(), password);
});

/// Every byte escaped, so that none of them means anything.
fn escape(field: &[u8]) -> Vec<u8> {
    field.iter().flat_map(|&byte| [b'\\', byte]).collect()
}

/// `passwordFromFile` of `fe-connect.c`, step by step as it stands there: a second way to read a
/// file, written without a thought for the first.
fn libpq(file: &[u8], fields: [&[u8]; 4]) -> Option<Vec<u8>> {
    for line in file.split(|&byte| byte == b'\n') {
        if line.first() == Some(&b'#') {
            continue;
        }
        let mut length = line.len();
        while length > 0 && matches!(line[length - 1], b'\n' | b'\r') {
            length -= 1;
        }
        if length == 0 {
            continue;
        }
        // The zero byte at a text's end, which C looks at.
        let text = [&line[..length], &[0]].concat();
        let mut at = Some(0);
        for token in fields {
            at = at.and_then(|at| matches_string(&text, at, token));
        }
        let Some(mut at) = at else { continue };
        let mut password = Vec::new();
        while text[at] != b':' && text[at] != 0 {
            if text[at] == b'\\' && text[at + 1] != 0 {
                at += 1;
            }
            password.push(text[at]);
            at += 1;
        }
        return Some(password);
    }
    None
}

/// `pwdfMatchesString`: where the next field begins, if this one matches.
fn matches_string(text: &[u8], mut at: usize, token: &[u8]) -> Option<usize> {
    let mut token = token.iter().copied().chain([0]).peekable();
    if text[at] == b'*' && text[at + 1] == b':' {
        return Some(at + 2);
    }
    while text[at] != 0 {
        let wanted = *token.peek()?;
        if text[at] == b':' && wanted == 0 {
            return Some(at + 1);
        }
        if text[at] == b'\\' {
            at += 1;
        }
        if wanted == 0 || text[at] != wanted {
            return None;
        }
        at += 1;
        token.next();
    }
    None
}
