//! Password files never panic, and a line that was written for a login is found.
//!
//! Input: host, database, user and password, each ended by a zero byte, then the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::config::pgpass::{Wanted, find};

fuzz_target!(|data: &[u8]| {
    let mut pieces = data.splitn(5, |&byte| byte == 0);
    let mut piece = || pieces.next().unwrap_or_default();
    let (host, dbname, user, password, file) = (piece(), piece(), piece(), piece(), piece());
    let (Ok(host), Ok(dbname), Ok(user)) = (
        std::str::from_utf8(host),
        std::str::from_utf8(dbname),
        std::str::from_utf8(user),
    ) else {
        return;
    };
    let wanted = Wanted {
        host,
        port: 5432,
        dbname,
        user,
    };
    let _ = find(file, wanted);

    let fields = [
        host.as_bytes(),
        b"5432",
        dbname.as_bytes(),
        user.as_bytes(),
        password,
    ];
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
