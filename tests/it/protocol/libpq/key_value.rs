//! Strings of the form `keyword = value`.

use super::{
    case::{Case, bad, good},
    outcome::Refusal,
};

const DBNAME: &str =
    "psql takes a string without '=' for a database; PQconninfoParse and pghost do not";

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [quoting(), spacing(), wrong(), expanded()]
        .into_iter()
        .flatten()
        .map(|case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}"))
        .collect();
    cases.push(good(
        "everything",
        "host=127.0.0.1 port={port} user=pw password=secret dbname=shop application_name=x",
        "user=pw|db=shop|at=127.0.0.1|app=x|port={port}",
    ));
    cases
}

fn quoting() -> Vec<Case> {
    vec![
        good("a quoted value", "user='a b' dbname='my db'", "user=a b|db=my db"),
        good("a quote in quotes", r"user='o\'b' dbname=shop", "user=o'b"),
        good("a quote, bare", r"user=o\'b dbname=shop", "user=o'b"),
        good("a quote in the middle", "user=o'b dbname=shop", "user=o'b"),
        good("a backslash in quotes", r"user='b\\s' dbname=shop", r"user=b\s"),
        good("a backslash, bare", r"user=b\\s dbname=shop", r"user=b\s"),
        good("a space, escaped", r"user=a\ b dbname=my\ db", "user=a b|db=my db"),
        good("a backslash before any letter", r"user=\a\nn dbname='s\hop'", "user=ann|db=shop"),
        good("a backslash at the end", r"user=ann dbname=shop\", "db=shop"),
        good("quotes around quotes", r"user=ann dbname='\'q\''", "db='q'"),
        good("no space after quotes", "user='ann'dbname='shop'", "user=ann|db=shop"),
        good("an empty value", "user=ann dbname=''", "db=ann"),
        good("an equals sign", "user=ann dbname=x=y", "db=x=y"),
        good("letters beyond ASCII", "user=\u{fc} dbname=\u{fc}", "user=\u{fc}|db=\u{fc}"),
        good("a percent sign is no code", "user=50% dbname=50%", "user=50%|db=50%"),
        good("a slash", "user=ann dbname=a/b", "db=a/b"),
        good("a password in quotes", r"user=odd dbname=shop password='p:w\\x'", "user=odd"),
        good("a password, bare", r"user=odd dbname=shop password=p:w\\x", "user=odd"),
        bad("its backslash lost", r"user=odd dbname=shop password=p:w\x", Refusal::WrongPassword),
        bad("a space that is no space", "user=ann\u{a0}x dbname=shop", Refusal::NoRole),
    ]
}

fn spacing() -> Vec<Case> {
    vec![
        good("around the sign", "user = ann dbname\t=\n shop", "user=ann|db=shop"),
        good("around all", "  user=ann \r\n dbname=shop\t", "user=ann|db=shop"),
        good("of every kind", "user=ann\x0bdbname=shop\x0capplication_name=x", "db=shop|app=x"),
        good("an empty value at the end", "user=ann dbname=", "db=ann"),
        good("the last of two", "user=x user=ann dbname=shop", "user=ann"),
        good("an empty last one", "dbname=shop user=x user=''", "user={os}"),
        bad("an empty value eats the next", "dbname=shop user= port=1", Refusal::NoRole),
        bad("nothing but spaces", " ", Refusal::NoDatabase).env("PGUSER", "ann").diverges(
            "psql takes a space for a database, PQconninfoParse and pghost for no setting",
        ),
        good("nothing", "", "user=ann|db=ann").env("PGUSER", "ann"),
    ]
}

fn wrong() -> Vec<Case> {
    vec![
        bad("a word after a pair", "user=ann dbname", Refusal::Syntax),
        bad("two words", "user=ann dbname shop", Refusal::Syntax),
        bad("a quote left open", "user='ann", Refusal::Syntax),
        bad("a quote escaped away", r"user='ann\'", Refusal::Syntax),
        bad("a quote alone", "user='", Refusal::Syntax),
        bad("unknown", "uzer=ann", Refusal::Unknown),
        bad("in capitals", "USER=ann", Refusal::Unknown),
        bad("of libpq 13", "tty=x", Refusal::Unknown),
        bad("of JDBC", "ssl=true", Refusal::Unknown),
        bad("a comma between pairs", "user=ann,dbname=shop", Refusal::NoRole),
        good("a word alone", "ann", "db=ann").diverges(DBNAME),
        bad("no name", "=ann", Refusal::Unknown)
            .diverges("to libpq an empty name is an unknown one; pghost says that there is none"),
        bad("a name that is none", "u-ser=ann", Refusal::Unknown)
            .diverges("what is no name may be the rest of a password: it is not shown as a name"),
        bad("the rest of a password", "password=ge heim", Refusal::Syntax)
            .diverges("after a secret both kinds of mistake are one: what follows is not told"),
        bad("a scheme that is none", "postgre://ann@/shop?user=ann", Refusal::Unknown)
            .diverges("pghost says that it is no URI, not that 'postgre://..' is no parameter"),
        bad("a space before the scheme", " postgres://ann@/shop?user=ann", Refusal::Unknown)
            .diverges("pghost says that no space may stand there, and does not show the string"),
    ]
}

/// `psql` lets a database's name be a connection string: its argument, and that only once.
fn expanded() -> Vec<Case> {
    vec![
        good(
            "a string in dbname stays a name",
            "user=ann dbname='host=nowhere'",
            "db=host=nowhere",
        ),
        good(
            "so does a URI",
            "user=ann dbname=postgresql://nowhere/db",
            "db=postgresql://nowhere/db",
        ),
        good("and one in a URI", "postgresql://ann@?dbname=host%3Dnowhere", "db=host=nowhere"),
        good("and in PGDATABASE", "user=ann", "db=host=nowhere").env("PGDATABASE", "host=nowhere"),
    ]
}
