//! Services: which file is read, which group of it, and what goes before what.

use super::{
    case::{Case, bad, good},
    outcome::Refusal,
};

const HOME: &str = ".pg_service.conf";
const SHOP: &str = "[shop]\nhost={sock}\nport={port}\nuser=ann\ndbname=shop\n";

pub(super) fn cases() -> Vec<Case> {
    [places(), groups(), precedence(), wrong()].into_iter().flatten().collect()
}

fn places() -> Vec<Case> {
    vec![
        good("at home", "service=shop", "user=ann|db=shop|at=socket").file(HOME, SHOP),
        good("in a URI", "postgres://?service=shop", "user=ann|db=shop").file(HOME, SHOP),
        good("PGSERVICE", "", "user=ann|db=shop").env("PGSERVICE", "shop").file(HOME, SHOP),
        good("the string goes before PGSERVICE", "service=shop", "user=ann")
            .env("PGSERVICE", "none")
            .file(HOME, SHOP),
        good("PGSERVICEFILE", "service=shop", "user=ann")
            .env("PGSERVICEFILE", "{home}/services")
            .file("services", SHOP)
            .file(HOME, "[shop]\nhost=nowhere.invalid"),
        good("the system's", "service=shop", "user=ann")
            .env("PGSYSCONFDIR", "{home}")
            .file("pg_service.conf", SHOP),
        good("the system's after the one at home", "service=shop", "user=ann")
            .env("PGSYSCONFDIR", "{home}")
            .file("pg_service.conf", SHOP)
            .file(HOME, "[other]\nhost=nowhere.invalid"),
        good("home goes before the system's", "service=shop", "user=ann")
            .env("PGSYSCONFDIR", "{home}")
            .file("pg_service.conf", "[shop]\nhost=nowhere.invalid")
            .file(HOME, SHOP),
        bad("a mistake at home ends it", "service=shop", Refusal::ServiceSyntax)
            .env("PGSYSCONFDIR", "{home}")
            .file("pg_service.conf", SHOP)
            .file(HOME, "[shop]\nnonsense"),
        bad("in no file", "service=shop", Refusal::NoService).file(HOME, "[other]\nuser=ann"),
        bad("no file", "service=shop", Refusal::NoService),
        bad("a file that was named and is not there", "service=shop", Refusal::NoServiceFile)
            .env("PGSERVICEFILE", "{home}/none")
            .file(HOME, SHOP),
        bad("an empty PGSERVICEFILE", "service=shop", Refusal::NoServiceFile)
            .env("PGSERVICEFILE", "")
            .file(HOME, SHOP),
        bad("a directory for a file", "service=shop", Refusal::NoService)
            .env("PGSERVICEFILE", "{home}"),
        bad("an empty name", "service=''", Refusal::NoService)
            .env("PGSERVICE", "shop")
            .file(HOME, SHOP),
        bad("an empty PGSERVICE", "", Refusal::NoService).env("PGSERVICE", "").file(HOME, SHOP),
        good("permissions do not matter", "service=shop", "user=ann")
            .file_with_mode(HOME, SHOP, 0o666),
    ]
}

fn groups() -> Vec<Case> {
    let is = |name, text| good(name, "service=shop", "user=ann|at=socket").file(HOME, text);
    let not = |name, text| bad(name, "service=shop", Refusal::NoService).file(HOME, text);
    vec![
        is(
            "comments and spaces",
            "# one\n\n  [shop]  \n\t# two\n host={sock} \n\tport={port}\t\r\nuser=ann\n",
        ),
        is(
            "between others",
            "[a]\nuser=x\n[shop]\nhost={sock}\nport={port}\nuser=ann\n[b]\nuser=y\nnonsense",
        ),
        is("the first of two", "[shop]\nhost={sock}\nport={port}\nuser=ann\n[shop]\nuser=x\n"),
        is("the first value of two", "[shop]\nuser=ann\nuser=x\nhost={sock}\nport={port}\n"),
        is("what follows the bracket", "[shop] and more\nhost={sock}\nport={port}\nuser=ann"),
        is(
            "lines before any group",
            "user=x\nnonsense\n[shop]\nuser=ann\nhost={sock}\nport={port}",
        ),
        is("a group's end", "[shop]\nuser=ann\nhost={sock}\nport={port}\n[\nuser=x\n"),
        not("a name that starts so", "[shops]\nuser=ann"),
        not("a name that ends so", "[workshop]\nuser=ann"),
        not("a name in capitals", "[SHOP]\nuser=ann"),
        not("spaces in brackets", "[ shop ]\nuser=ann"),
        not("a comment", "#[shop]\nuser=ann"),
        good("a name with a bracket", "service='a]b'", "user=ann")
            .file(HOME, "[a]b]\nuser=ann\nhost={sock}\nport={port}"),
        good("a name with a space", "service='a b'", "user=ann")
            .file(HOME, "[a b]\nuser=ann\nhost={sock}\nport={port}"),
        good("values are as they stand", "service=s", "db='q'|app=a b\\c = d %41 # e").file(
            HOME,
            "[s]\nhost={sock}\nport={port}\nuser=ann\ndbname='q'\n\
                   application_name=a b\\c = d %41 # e",
        ),
        good("a space after the sign is the value's", "service=s", "app= x")
            .file(HOME, "[s]\nhost={sock}\nport={port}\nuser=ann\napplication_name= x \n"),
        good("letters beyond ASCII", "service=\u{fc}", "db=\u{fc}")
            .file(HOME, "[\u{fc}]\nhost={sock}\nport={port}\nuser=\u{fc}\ndbname=\u{fc}"),
    ]
}

fn precedence() -> Vec<Case> {
    let around = |case: Case| {
        case.or_env("PGHOST", "nowhere.invalid")
            .or_env("PGPORT", "1")
            .or_env("PGUSER", "nobody")
            .or_env("PGDATABASE", "nothing")
            .or_env("PGAPPNAME", "wrong")
    };
    vec![
        around(good(
            "it goes before the environment",
            "service=shop",
            "user=ann|db=shop|app=wrong",
        ))
        .file(HOME, SHOP),
        around(good("also through PGSERVICE", "", "user=ann|db=shop"))
            .env("PGSERVICE", "shop")
            .file(HOME, SHOP),
        around(good(
            "the string goes before it",
            "service=shop dbname=x=y user=o'b",
            "db=x=y|user=o'b",
        ))
        .file(HOME, SHOP),
        around(good("a URI too", "postgres://o'b@/x=y?service=shop", "db=x=y|user=o'b"))
            .file(HOME, SHOP),
        around(good("an empty value in the string", "service=shop dbname=''", "user=ann|db=ann"))
            .file(HOME, SHOP),
        good("an empty value in it", "service=s", "user=ann|db=ann")
            .env("PGDATABASE", "nothing")
            .file(HOME, "[s]\nhost={sock}\nport={port}\nuser=ann\ndbname=\n"),
        good("its password", "service=s", "user=pw")
            .env("PGPASSWORD", "wrong")
            .file(HOME, "[s]\nhost={sock}\nport={port}\nuser=pw\npassword=secret"),
        good("its password file", "service=s", "user=pw")
            .env("PGPASSFILE", "{home}/none")
            .file(HOME, "[s]\nhost={sock}\nport={port}\nuser=pw\npassfile={home}/mine")
            .file("mine", "*:*:*:*:secret"),
        good("a URI of its own is a name", "service=s", "db=postgresql://nowhere/db")
            .file(HOME, "[s]\nhost={sock}\nport={port}\nuser=ann\ndbname=postgresql://nowhere/db"),
    ]
}

fn wrong() -> Vec<Case> {
    let is = |name, text| bad(name, "service=shop", Refusal::ServiceSyntax).file(HOME, text);
    vec![
        is("no '='", "[shop]\nuser ann"),
        is("unknown", "[shop]\nuzer=ann"),
        is("a space before the sign", "[shop]\nuser =ann"),
        is("in capitals", "[shop]\nUSER=ann"),
        is("no name", "[shop]\n=ann"),
        is("one within another", "[shop]\nservice=other\n[other]\nuser=ann"),
        is("an old name", "[shop]\nrequiressl=1"),
        bad("a value that can't be", "service=shop", Refusal::Value)
            .file(HOME, "[shop]\nhost=127.0.0.1\nport=five"),
        bad("a long line", "service=shop", Refusal::ServiceSyntax)
            .file(HOME, LONG)
            .diverges("libpq reads lines of 1023 bytes; pghost reads a line whatever its length"),
    ]
}

const LONG: &str = concat!(
    "[shop]\nhost={sock}\nport={port}\nuser=ann\napplication_name=x\n#",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "\n"
);
