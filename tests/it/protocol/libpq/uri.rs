//! URIs: libpq's own list (`src/interfaces/libpq/t/001_uri.pl`), to a server that is there; and
//! what that list leaves out.

use super::{
    case::{Case, Need, bad, good},
    outcome::Refusal,
};

const STRAY_AT: &str = "a bare @ may be half a password: it is refused, not looked up and shown";
const DBNAME: &str =
    "psql takes a string without '=' for a database; PQconninfoParse and pghost do not";

pub(super) fn cases() -> Vec<Case> {
    let parts = [whole(), with_parts_left_out(), sockets()].into_iter().flatten();
    let refused = [malformed(), unknown()].into_iter().flatten();
    parts.chain(encoded()).chain(parameters()).chain(refused).chain(declared()).collect()
}

fn whole() -> Vec<Case> {
    vec![
        good(
            "user, password, host, port, database",
            "postgresql://pw:secret@127.0.0.1:{port}/shop",
            "user=pw|db=shop|at=127.0.0.1|port={port}",
        ),
        good("the short scheme", "postgres://ann@127.0.0.1:{port}/shop", "user=ann|db=shop"),
        good("no password", "postgresql://ann@127.0.0.1:{port}/shop", "user=ann|db=shop"),
        good("no port", "postgresql://ann@127.0.0.1/shop", "user=ann|db=shop")
            .env("PGPORT", "{port}"),
        good("no user", "postgresql://127.0.0.1:{port}/shop", "user=ann|db=shop")
            .env("PGUSER", "ann"),
        good("no database", "postgresql://ann@127.0.0.1:{port}/", "user=ann|db=ann"),
        good("no slash either", "postgresql://ann@127.0.0.1:{port}", "user=ann|db=ann"),
        good("the system's user", "postgresql://127.0.0.1:{port}/shop", "user={os}|db=shop"),
        good("and a database of that name", "postgresql://127.0.0.1:{port}", "user={os}|db={os}"),
        good(
            "an IPv6 address",
            "postgresql://ann@[::1]:{port}/shop",
            "user=ann|db=shop|at=::1|port={port}",
        )
        .needs(Need::Ipv6),
        good("IPv6, no port", "postgresql://ann@[::1]/shop", "at=::1")
            .env("PGPORT", "{port}")
            .needs(Need::Ipv6),
        good("IPv6, parameters", "postgresql://[::1]?user=ann&port={port}", "user=ann|at=::1")
            .needs(Need::Ipv6),
        good("IPv6, and another", "postgresql://ann@[::1]:{dead},[::1]:{port}/shop", "at=::1")
            .needs(Need::Ipv6),
        bad("an IPv6 address that is none", "postgresql://[200z:db8::1]/", Refusal::Unreachable),
        good(
            "the issue's favourite",
            "postgresql:///shop?host=localhost&port={port}&user=ann",
            "user=ann|db=shop|port={port}",
        ),
    ]
}

fn with_parts_left_out() -> Vec<Case> {
    let around = |case: Case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}");
    let ann = |case: Case| around(case).env("PGUSER", "ann");
    vec![
        around(good("a user alone", "postgresql://ann@", "user=ann|db=ann|at=socket")),
        around(good("a user and a database", "postgres://ann@/shop", "user=ann|db=shop")),
        ann(good("nothing", "postgresql://", "user=ann|db=ann|at=socket")),
        ann(good("nothing, short", "postgres://", "user=ann|db=ann")),
        ann(good("nothing and a slash", "postgres:///", "user=ann|db=ann")),
        ann(good("nothing and a question mark", "postgres://?", "user=ann|db=ann")),
        ann(good("a database alone", "postgres:///shop", "user=ann|db=shop")),
        ann(good("an empty database leaves PGDATABASE", "postgres:///", "db=shop"))
            .env("PGDATABASE", "shop"),
        ann(good("an empty dbname does not", "postgres://?dbname=", "db=ann"))
            .env("PGDATABASE", "shop"),
        ann(good("a host and a question mark", "postgresql://127.0.0.1?", "at=127.0.0.1")),
        ann(good("an empty user", "postgres://@127.0.0.1", "user=ann|at=127.0.0.1")),
        ann(good("an empty port", "postgres://127.0.0.1:/", "at=127.0.0.1")),
        ann(good("no host but a port", "postgres://:{port}/", "at=socket")).env("PGPORT", "1"),
        around(good("an empty password", "postgres://ann:@127.0.0.1", "user=ann")),
        around(bad("an empty password is none", "postgres://pw:@127.0.0.1", Refusal::NoPassword)),
        around(good("a password alone", "postgres://:secret@127.0.0.1", "user=pw"))
            .env("PGUSER", "pw"),
        around(good(
            "an address alone",
            "postgresql://?hostaddr=127.0.0.1&user=ann",
            "at=127.0.0.1",
        ))
        .env("PGHOST", ""),
        around(good(
            "an address beside a name",
            "postgresql://nowhere.invalid?hostaddr=127.0.0.1&user=ann",
            "at=127.0.0.1",
        )),
    ]
}

fn sockets() -> Vec<Case> {
    vec![
        good("a socket", "postgres://?host={sock}&port={port}&user=ann", "at=socket"),
        good("a socket, encoded", "postgres://ann@{sock%}:{port}/shop", "db=shop|at=socket"),
        good("after a user", "postgres://ann@?host={sock}&port={port}", "user=ann|at=socket"),
        good("after a slash", "postgres://ann@/?host={sock}&port={port}", "user=ann|at=socket"),
        good("after a port", "postgres://ann@:{port}?host={sock}", "user=ann|at=socket"),
        good("after it all", "postgres://ann@:{port}/shop?host={sock}", "user=ann|db=shop"),
        good("after a port, no user", "postgres://:{port}/shop?host={sock}", "user={os}|db=shop"),
        good("in brackets", "postgres://ann@[{sock}]:{port}/shop", "db=shop|at=socket"),
        bad("one that is not there", "postgres://ann@?host=/no/such/socket", Refusal::Unreachable),
        bad("an abstract one", "postgres://ann@%40pghost-none:{port}", Refusal::Unreachable),
    ]
}

fn encoded() -> Vec<Case> {
    let at = |case: Case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}");
    vec![
        at(good("a space", "postgres://a%20b@/my%20db", "user=a b|db=my db")),
        at(good("two bytes, one letter", "postgres://%C3%BC@/%c3%bc", "user=\u{fc}|db=\u{fc}")),
        at(good("that letter as it is", "postgres://\u{fc}@/\u{fc}", "user=\u{fc}|db=\u{fc}")),
        at(good("a percent sign, once", "postgres://50%25@/50%25", "user=50%|db=50%")),
        at(good("a quote and a backslash", "postgres://b%5Cs@/'q'", r"user=b\s|db='q'")),
        at(good("a slash, encoded or not", "postgres://ann@/a%2Fb", "db=a/b")),
        at(good("a second slash", "postgres://ann@/a/b", "db=a/b")),
        at(good("an equals sign in the path", "postgres://ann@/x=y", "db=x=y")),
        at(good("and in a value", "postgres://ann@?dbname=x%3Dy", "db=x=y")),
        at(good("a name", "postgres://?u%73er=ann&port={port}", "user=ann")),
        at(good("digits of a port", "postgres://ann@:{port}%20/shop", "db=shop")),
        at(good("digits of a host", "postgres://ann@%31%32%37.0.0.1/", "at=127.0.0.1")),
        at(good("a list in one", "postgres://ann@127.0.0.1%2C127.0.0.1/", "at=127.0.0.1")),
        at(good("a password", "postgres://odd:p%3Aw%5cx@/shop", "user=odd")),
        at(good("a password, bare", r"postgres://odd:p:w\x@/shop", "user=odd")),
        at(bad("a plus is a plus", "postgres://a+b@/", Refusal::NoRole)),
        at(bad("a hash starts nothing", "postgres://ann@/shop#x", Refusal::NoDatabase)),
        at(bad("a semicolon parts nothing", "postgres://ann@/shop;x", Refusal::NoDatabase)),
        at(bad("spaces before 17", "postgres://ann @/shop", Refusal::NoRole))
            .until("sslnegotiation")
            .diverges("from libpq 17 on spaces around a part are skipped, and pghost follows 18"),
        at(good("spaces from 17 on", "postgres:// ann @/ shop ", "user=ann|db=shop"))
            .since("sslnegotiation"),
        at(bad("a space within, from 17 on", "postgres://a b@/shop", Refusal::Syntax))
            .since("sslnegotiation"),
    ]
}

fn parameters() -> Vec<Case> {
    let at = |case: Case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}");
    vec![
        at(good("a parameter after a path", "postgresql:///shop?user=ann", "user=ann|db=shop")),
        good("and no path", "postgres://127.0.0.1:{port}?user=ann", "user=ann|at=127.0.0.1"),
        good("two", "postgres://127.0.0.1/shop?user=ann&port={port}", "user=ann|port={port}"),
        at(good("a last ampersand", "postgres://?user=ann&", "user=ann")),
        at(good("the last of two", "postgres://?user=x&user=ann", "user=ann")),
        at(good("a later host", "postgres://nowhere.invalid?host={sock}&user=ann", "at=socket")),
        at(good(
            "a later user and name",
            "postgres://x@/x?user=ann&dbname=shop",
            "user=ann|db=shop",
        )),
        at(good("a value with a slash", "postgres://ann@/shop?application_name=a/b", "app=a/b")),
        at(good("a question mark in it", "postgres://ann@/?application_name=a?b", "app=a?b")),
        at(good("an encoded ampersand", "postgres://ann@/?application_name=a%26b", "app=a&b")),
        at(good("JDBC's ssl, at a socket", "postgres://ann@/?ssl=true", "user=ann")),
        at(bad("JDBC's ssl otherwise", "postgres://ann@/?ssl=false", Refusal::Unknown)),
        at(good("an old name", "postgres://ann@/?requiressl=1", "user=ann")),
        at(good("options", "postgres://ann@/?options=-c%20my.value%3Da%26b", "my.value=a&b")),
    ]
}

fn malformed() -> Vec<Case> {
    vec![
        bad("a bracket left open", "postgres://[::1", Refusal::Syntax),
        bad("empty brackets", "postgres://[]", Refusal::Syntax),
        bad("text after a bracket", "postgres://[::1]z", Refusal::Syntax),
        bad("a parameter without '='", "postgresql://host?zzz", Refusal::Syntax),
        bad("two of them", "postgresql://host?value1&value2", Refusal::Syntax),
        bad("two ampersands", "postgresql://host?user=a&&port=1", Refusal::Syntax),
        bad("an ampersand first", "postgresql://host?&user=a", Refusal::Syntax),
        bad("a second '='", "postgresql://host?key=key=value", Refusal::Syntax),
        bad("no hexadecimal digits", "postgres://host?dbname=%XXfoo", Refusal::Syntax),
        bad("a zero byte", "postgresql://a%00b", Refusal::Syntax),
        bad("no digits at all", "postgresql://%zz", Refusal::Syntax),
        bad("one digit", "postgresql://%1", Refusal::Syntax),
        bad("a lone percent sign", "postgresql://%", Refusal::Syntax),
        bad("one in a user", "postgresql://50%@host", Refusal::Syntax),
        bad("one in a password", "postgresql://ann:50%@host", Refusal::Syntax),
        bad("one in a port", "postgresql://host:%/", Refusal::Syntax),
        bad("a port that is none", "postgresql://127.0.0.1:port/", Refusal::Value),
        bad("a port and more", "postgresql://127.0.0.1:1:2/", Refusal::Value),
        bad("an IPv6 address without brackets", "postgresql://::1/", Refusal::Value),
    ]
}

fn unknown() -> Vec<Case> {
    vec![
        bad("unknown", "postgresql://host?uzer=", Refusal::Unknown),
        bad("unknown, encoded", "postgresql://host/db?u%7aer=someone&port=1", Refusal::Unknown),
        bad("in capitals", "postgresql://host?User=ann", Refusal::Unknown),
        bad("no name", "postgresql://host?=ann", Refusal::Unknown).diverges(NAMELESS),
    ]
}

const NAMELESS: &str = "to libpq an empty name is an unknown one; pghost says that there is none";

fn declared() -> Vec<Case> {
    let at = |case: Case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}");
    vec![
        at(bad("a scheme that is none", "postgre://", Refusal::NoDatabase)).diverges(DBNAME),
        bad("an @ in the host", "postgres://ann:p@w@127.0.0.1/", Refusal::Unreachable)
            .diverges(STRAY_AT),
        at(bad("an @ in the database", "postgres://ann@/a@b", Refusal::NoDatabase))
            .diverges(STRAY_AT),
        at(bad("bytes that are no UTF-8", "postgres://%ff@/shop", Refusal::NoRole))
            .diverges("settings are text; a name that is no UTF-8 is refused before it is sent"),
    ]
}
