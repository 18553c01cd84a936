//! Passwords: where they are found, which line of a file fits, and whether the file may be used.

use super::{
    case::{Case, Need, bad, good},
    outcome::Refusal,
};

pub(super) fn cases() -> Vec<Case> {
    let at = |case: Case| {
        case.or_env("PGHOST", "127.0.0.1").or_env("PGPORT", "{port}").or_env("PGUSER", "pw")
    };
    let mut cases: Vec<Case> =
        [sources(), lines(), escapes(), modes()].into_iter().flatten().map(at).collect();
    cases.extend(hosts());
    cases.extend(methods());
    cases
}

fn sources() -> Vec<Case> {
    const RIGHT: &str = "*:*:*:*:secret\n";
    const WRONG: &str = "*:*:*:*:wrong\n";
    vec![
        bad("none", "", Refusal::NoPassword),
        good("in the string", "password=secret", "user=pw").env("PGPASSWORD", "wrong"),
        bad("wrong in the string", "password=wrong", Refusal::WrongPassword)
            .env("PGPASSWORD", "secret"),
        good("PGPASSWORD", "", "user=pw").env("PGPASSWORD", "secret").file(".pgpass", WRONG),
        bad("wrong in PGPASSWORD", "", Refusal::WrongPassword)
            .env("PGPASSWORD", "wrong")
            .file(".pgpass", RIGHT),
        good("an empty PGPASSWORD is none", "", "user=pw")
            .env("PGPASSWORD", "")
            .file(".pgpass", RIGHT),
        good("an empty one in the string is none", "password=''", "user=pw").file(".pgpass", RIGHT),
        good("but hides PGPASSWORD", "password=''", "user=pw")
            .env("PGPASSWORD", "wrong")
            .file(".pgpass", RIGHT),
        good("the file at home", "", "user=pw").file(".pgpass", RIGHT),
        good("PGPASSFILE", "", "user=pw")
            .env("PGPASSFILE", "{home}/other")
            .file("other", RIGHT)
            .file(".pgpass", WRONG),
        good("passfile", "passfile={home}/mine", "user=pw")
            .env("PGPASSFILE", "{home}/other")
            .file("mine", RIGHT)
            .file("other", WRONG),
        good("an empty PGPASSFILE is none", "", "user=pw")
            .env("PGPASSFILE", "")
            .file(".pgpass", RIGHT),
        bad("a file that is not there", "", Refusal::NoPassword)
            .env("PGPASSFILE", "{home}/none")
            .file(".pgpass", RIGHT),
        bad("a file below a file", "", Refusal::NoPassword)
            .env("PGPASSFILE", "{home}/.pgpass/x")
            .file(".pgpass", RIGHT),
        bad("wrong in the file", "", Refusal::WrongPassword).file(".pgpass", WRONG),
        good("nobody asks for it", "user=ann", "user=ann").file(".pgpass", WRONG),
    ]
}

fn lines() -> Vec<Case> {
    let line = |name, text| good(name, "", "user=pw|db=pw").file(".pgpass", text);
    let none = |name, text| bad(name, "", Refusal::NoPassword).file(".pgpass", text);
    let wrong = |name, text| bad(name, "", Refusal::WrongPassword).file(".pgpass", text);
    vec![
        line("all named", "127.0.0.1:{port}:pw:pw:secret"),
        line("a wild host", "*:{port}:pw:pw:secret"),
        line("a wild port", "127.0.0.1:*:pw:pw:secret"),
        line("a wild database", "127.0.0.1:{port}:*:pw:secret"),
        line("a wild user", "127.0.0.1:{port}:pw:*:secret"),
        none("another host", "127.0.0.2:*:*:*:secret"),
        none("another port", "*:{dead}:*:*:secret"),
        none("another database", "*:*:shop:*:secret"),
        none("another user", "*:*:*:ann:secret"),
        none("a host that starts so", "127.0.0.11:*:*:*:secret"),
        none("a host that ends too soon", "127.0.0:*:*:*:secret"),
        none("a star and more", "127.*:*:*:*:secret"),
        none("a star and a letter", "*x:*:*:*:secret"),
        none("a host in capitals", "LOCALHOST:*:*:*:secret"),
        none("too few fields", "*:*:*:secret"),
        none("an empty field", ":*:*:*:secret"),
        none("an empty file", ""),
        none("empty lines", "\n\n\n"),
        line("the first that fits", "x:*:*:*:wrong\n*:*:*:*:secret\n*:*:*:*:wrong"),
        wrong("even when a later is better", "*:*:*:*:wrong\n127.0.0.1:{port}:pw:pw:secret"),
        none("the first with no password ends it", "*:*:*:*:\n*:*:*:*:secret"),
        line("comments and empty lines", "# *:*:*:*:wrong\n\n#\n*:*:*:*:secret\n"),
        none("a comment alone", "#*:*:*:*:secret"),
        none("a space before a comment", " #:*:*:*:secret"),
        none("a space before a line", " *:*:*:*:secret"),
        wrong("a space after it", "*:*:*:*:secret \n"),
        line("lines of Windows", "x:*:*:*:a\r\n*:*:*:*:secret\r\n"),
        line("no end of line", "*:*:*:*:secret"),
        line("a long line before it", LONG),
        line("a byte-order mark hides the first", "\u{feff}*:*:*:*:wrong\n*:*:*:*:secret"),
        line("more fields", "*:*:*:*:secret:more:*"),
    ]
}

const LONG: &str = concat!(
    "x:*:*:*:0123456789012345678901234567890123456789012345678901234567890123456789012345678901",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "\n*:*:*:*:secret\n"
);

fn escapes() -> Vec<Case> {
    let odd = |name, text| good(name, "user=odd dbname=shop", "user=odd").file(".pgpass", text);
    let plain = |name, text| good(name, "dbname=shop", "user=pw").file(".pgpass", text);
    vec![
        odd("a colon and a backslash", r"*:*:*:*:p\:w\\x"),
        odd("whatever is escaped", r"*:*:*:*:\p\:\w\\\x"),
        bad("a bare colon ends it", "user=odd dbname=shop", Refusal::WrongPassword)
            .file(".pgpass", r"*:*:*:*:p:w\\x"),
        bad("a bare backslash is lost", "user=odd dbname=shop", Refusal::WrongPassword)
            .file(".pgpass", r"*:*:*:*:p\:w\x"),
        plain("fields may be escaped", r"\1\2\7.0.0.1:*:s\hop:\p\w:secret"),
        plain("a star that is no star", "x\\*:*:*:*:wrong\n\\*:*:*:*:wrong\n*:*:*:*:secret"),
        good("a colon in a name", "dbname=x=y", "db=x=y").file(".pgpass", "*:*:x=y:*:secret"),
        good("a slash in a name", "dbname=a/b", "db=a/b").file(".pgpass", "*:*:a/b:*:secret"),
        good("a space in a name", "dbname='my db'", "db=my db")
            .file(".pgpass", "*:*:my db:*:secret"),
        good(
            "colons in a name, escaped",
            "dbname=postgresql://nowhere/db",
            "db=postgresql://nowhere/db",
        )
        .file(".pgpass", r"*:*:postgresql\://nowhere/db:*:secret"),
        good(
            "colons in a name, bare",
            "dbname=postgresql://nowhere/db",
            "db=postgresql://nowhere/db",
        )
        .file(".pgpass", "*:*:postgresql://nowhere/db:*:secret"),
    ]
}

fn modes() -> Vec<Case> {
    const TEXT: &str = "*:*:*:*:secret\n";
    let used = |name, mode| good(name, "", "user=pw").file_with_mode(".pgpass", TEXT, mode);
    let not = |name, mode| bad(name, "", Refusal::NoPassword).file_with_mode(".pgpass", TEXT, mode);
    vec![
        used("0600", 0o600),
        used("0400", 0o400),
        used("0700", 0o700),
        used("1600", 0o1600),
        not("0640", 0o640),
        not("0604", 0o604),
        not("0644", 0o644),
        not("0620", 0o620),
        not("0610", 0o610),
        not("0601", 0o601),
        not("0777", 0o777),
        good("an open file and another password", "password=secret", "user=pw")
            .file_with_mode(".pgpass", TEXT, 0o644),
        bad("a directory", "passfile={home}", Refusal::NoPassword),
        bad("a device", "passfile=/dev/null", Refusal::NoPassword),
        good("an open file that is not needed is told of too", "user=ann", "user=ann")
            .file_with_mode(".pgpass", TEXT, 0o644),
    ]
}

/// Which name of a host a line has to have.
fn hosts() -> Vec<Case> {
    let pw = |case: Case| case.or_env("PGPORT", "{port}").or_env("PGUSER", "pw");
    let unasked = |case: Case| pw(case).needs(Need::DefaultSocket);
    vec![
        pw(good("a socket is its directory", "host={sock}", "at=socket"))
            .file(".pgpass", "localhost:*:*:*:wrong\n{sock}:*:*:*:secret"),
        pw(bad("and not localhost", "host={sock}", Refusal::NoPassword))
            .file(".pgpass", "localhost:*:*:*:secret"),
        unasked(good("the one unasked is localhost", "", "at=socket"))
            .file(".pgpass", "{default}:*:*:*:wrong\nlocalhost:*:*:*:secret"),
        unasked(good("also by its name", "host={default}", "at=socket"))
            .file(".pgpass", "{default}:*:*:*:wrong\nlocalhost:*:*:*:secret"),
        unasked(bad("with a slash more it is another", "host={default}/", Refusal::NoPassword))
            .file(".pgpass", "localhost:*:*:*:secret"),
        unasked(good("then it is as it was written", "host={default}/", "at=socket"))
            .file(".pgpass", "{default}/:*:*:*:secret"),
        unasked(good("its address", "host={default} hostaddr=127.0.0.1", "at=127.0.0.1"))
            .file(".pgpass", "127.0.0.1:*:*:*:wrong\nlocalhost:*:*:*:secret"),
        pw(good("an address alone", "hostaddr=127.0.0.1", "at=127.0.0.1"))
            .file(".pgpass", "localhost:*:*:*:wrong\n127.0.0.1:*:*:*:secret"),
        pw(good("a name beside it", "host=db hostaddr=127.0.0.1", "at=127.0.0.1"))
            .file(".pgpass", "127.0.0.1:*:*:*:wrong\ndb:*:*:*:secret"),
        pw(good("a name is not looked up", "host=localhost", "user=pw"))
            .file(".pgpass", "127.0.0.1:*:*:*:wrong\n::1:*:*:*:wrong\nlocalhost:*:*:*:secret"),
        pw(good("colons of an address, escaped", "host=::1", "at=::1"))
            .needs(Need::Ipv6)
            .file(".pgpass", r"\:\:1:*:*:*:secret"),
        pw(good("colons of an address, bare", "host=::1", "at=::1"))
            .needs(Need::Ipv6)
            .file(".pgpass", "::1:*:*:*:secret"),
        pw(good("each of several its own", "host=/nowhere,127.0.0.1", "at=127.0.0.1"))
            .file(".pgpass", "/nowhere:*:*:*:wrong\n127.0.0.1:*:*:*:secret"),
        pw(good("a port of several", "host=127.0.0.1,127.0.0.1 port={dead},{port}", "user=pw"))
            .file(".pgpass", "*:{dead}:*:*:wrong\n*:{port}:*:*:secret"),
        pw(bad(
            "a port is compared as it was written",
            "host=127.0.0.1 port=0{port}",
            Refusal::NoPassword,
        ))
        .file(".pgpass", "*:{port}:*:*:secret")
        .diverges("a port is a number to pghost, however many zeros it is written with"),
    ]
}

/// How the server asks.
fn methods() -> Vec<Case> {
    let at = |case: Case| case.or_env("PGPORT", "{port}").or_env("PGDATABASE", "shop");
    vec![
        at(good("MD5", "host=127.0.0.1 user=md5 password=secret", "user=md5")),
        at(bad("MD5, wrong", "host=127.0.0.1 user=md5 password=x", Refusal::WrongPassword)),
        at(good("in the open at a socket", "host={sock} user=clear password=secret", "user=clear")),
        at(bad("and wrong", "host={sock} user=clear password=x", Refusal::WrongPassword)),
        at(good("in the open over TCP", "host=127.0.0.1 user=clear password=secret", "user=clear"))
            .diverges("a password goes in the open only where nobody listens, or when it is named"),
        at(good(
            "in the open over TCP, by name",
            "host=127.0.0.1 user=clear password=secret require_auth=password",
            "user=clear",
        ))
        .since("require_auth"),
        at(bad(
            "a method that is not allowed",
            "host={sock} user=clear password=secret require_auth=scram-sha-256",
            Refusal::Method,
        ))
        .since("require_auth"),
        at(bad("no method at all", "host={sock} user=ann require_auth=md5", Refusal::Method))
            .since("require_auth"),
        at(good("none is allowed", "host={sock} user=ann require_auth=none", "user=ann"))
            .since("require_auth"),
        at(bad(
            "binding without TLS",
            "host=127.0.0.1 user=pw password=secret channel_binding=require",
            Refusal::ChannelBinding,
        )),
        at(bad(
            "binding where nobody asks",
            "host=127.0.0.1 user=ann channel_binding=require",
            Refusal::ChannelBinding,
        )),
        at(good(
            "binding ruled out",
            "host=127.0.0.1 user=pw password=secret channel_binding=disable",
            "user=pw",
        )),
        at(bad("a role that is shut out", "host={sock} user=shut", Refusal::Shut)),
        at(bad("a role that is not there", "host={sock} user=nobody", Refusal::NoRole)),
        at(bad("a database that is not", "host={sock} user=ann dbname=no", Refusal::NoDatabase)),
    ]
}
