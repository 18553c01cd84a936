//! The `PG*` environment: what stands in for what the string leaves out.

use super::{
    case::{Case, Need, bad, good},
    outcome::Refusal,
};

pub(super) fn cases() -> Vec<Case> {
    let at = |case: Case| case.or_env("PGHOST", "{sock}").or_env("PGPORT", "{port}");
    let ann = |case: Case| at(case).or_env("PGUSER", "ann");
    let mut cases = vec![
        good("everything", "", "user=pw|db=shop|app=x|work_mem=5MB|at=127.0.0.1")
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", "{port}")
            .env("PGUSER", "pw")
            .env("PGPASSWORD", "secret")
            .env("PGDATABASE", "shop")
            .env("PGAPPNAME", "x")
            .env("PGOPTIONS", "-c work_mem=5MB")
            .env("PGCONNECT_TIMEOUT", "10"),
        ann(good("PGHOSTADDR beside PGHOST", "", "at=127.0.0.1")).env("PGHOSTADDR", "127.0.0.1"),
        ann(good("an empty PGHOST is none", "hostaddr=127.0.0.1", "at=127.0.0.1"))
            .env("PGHOST", ""),
        ann(good("an empty PGPORT", "port={port}", "user=ann")).env("PGPORT", ""),
        ann(good("an empty PGDATABASE", "", "db=ann")).env("PGDATABASE", ""),
        at(good("an empty PGUSER is the system's", "", "user={os}")).env("PGUSER", ""),
        ann(good("names are not decoded", "", "db=50%")).env("PGDATABASE", "50%"),
        ann(good("nor unquoted", "", "db='q'")).env("PGDATABASE", "'q'"),
        ann(good("letters beyond ASCII", "", "db=\u{fc}")).env("PGDATABASE", "\u{fc}"),
        ann(good("PGTARGETSESSIONATTRS", "", "user=ann")).env("PGTARGETSESSIONATTRS", "any"),
        ann(good("PGSSLMODE", "", "user=ann")).env("PGSSLMODE", "disable"),
        ann(good("PGSSLMODE goes before PGREQUIRESSL", "host=127.0.0.1", "user=ann"))
            .env("PGSSLMODE", "disable")
            .env("PGREQUIRESSL", "1"),
        ann(good("PGREQUIRESSL=0 says nothing", "host=127.0.0.1", "user=ann"))
            .env("PGREQUIRESSL", "0"),
        good("a socket unasked", "port={port} user=ann dbname=shop", "user=ann|at=socket")
            .needs(Need::DefaultSocket),
        good("an empty host is unasked too", "host='' port={port} user=ann", "at=socket")
            .env("PGHOST", "nowhere.invalid")
            .needs(Need::DefaultSocket),
        good("unasked among others", "host=127.0.0.1, port={dead},{port} user=ann", "at=socket")
            .needs(Need::DefaultSocket),
        bad("nothing at all", "port={dead}", Refusal::Unreachable).needs(Need::DefaultSocket),
    ];
    cases.extend(precedence());
    cases.extend(names().into_iter().map(ann));
    cases.extend(bad_values().into_iter().map(ann));
    cases
}

fn precedence() -> Vec<Case> {
    let all_wrong = |case: Case| {
        case.or_env("PGHOST", "nowhere.invalid")
            .or_env("PGPORT", "1")
            .or_env("PGUSER", "nobody")
            .or_env("PGDATABASE", "nothing")
            .or_env("PGPASSWORD", "wrong")
            .or_env("PGAPPNAME", "wrong")
            .or_env("PGOPTIONS", "-c work_mem=wrong")
            .or_env("PGSSLMODE", "wrong")
    };
    vec![
        all_wrong(good(
            "a key=value string goes before it",
            "host={sock} port={port} user=pw dbname=shop password=secret application_name=right \
             options='-c work_mem=5MB' sslmode=disable",
            "user=pw|db=shop|app=right|work_mem=5MB|at=socket",
        )),
        all_wrong(good(
            "so does a URI",
            "postgres://pw:secret@127.0.0.1:{port}/shop?application_name=right\
             &options=-c%20work_mem%3D5MB&sslmode=disable",
            "user=pw|db=shop|app=right|work_mem=5MB|at=127.0.0.1",
        )),
        good("an empty value goes before it too", "user=ann dbname=''", "db=ann")
            .env("PGHOST", "{sock}")
            .env("PGPORT", "{port}")
            .env("PGDATABASE", "nothing"),
        bad("a wrong value that nobody overrides", "host={sock}", Refusal::Value)
            .env("PGSSLMODE", "wrong"),
    ]
}

/// Application names and options.
fn names() -> Vec<Case> {
    vec![
        good("nobody gave a name", "", "app=pghost"),
        good("PGAPPNAME", "", "app=it is me").env("PGAPPNAME", "it is me"),
        good("a name in the string", "application_name=a", "app=a").env("PGAPPNAME", "b"),
        good("a fallback stays behind", "application_name=a fallback_application_name=b", "app=a"),
        good("and comes forward", "fallback_application_name=b", "app=pghost").diverges(
            "psql sets a fallback of its own, after the string; to pghost's settings it is a default",
        ),
        good("an empty name", "application_name=''", "app=")
            .diverges("pghost's sessions can always be told from others"),
        good("an empty PGAPPNAME", "", "app=")
            .env("PGAPPNAME", "")
            .diverges("pghost's sessions can always be told from others"),
        good("options", "options='-c my.value=1 -c work_mem=5MB'", "my.value=1|work_mem=5MB"),
        good("options without a space", "options=-cmy.value=1", "my.value=1"),
        good("options in long", "options=--my.value=1", "my.value=1"),
        good("a space in one", r"options='-c my.value=a\\ b'", "my.value=a b"),
        good("a backslash in one", r"options='-c my.value=a\\\\b'", r"my.value=a\b"),
        good("PGOPTIONS", "", r"my.value=a b\c|my.other=d")
            .env("PGOPTIONS", r"-c my.value=a\ b\\c  -c my.other=d"),
        good("options go before PGOPTIONS", "options='-c my.value=1'", "my.value=1")
            .env("PGOPTIONS", "-c my.value=2 -c my.other=2"),
        good("empty options", "options=''", "work_mem=4MB").env("PGOPTIONS", "-c work_mem=5MB"),
        bad("options that the server refuses", "options='-c nothing=1'", Refusal::Server),
        bad("options that are none", "options=nonsense", Refusal::Server),
        good("PGTZ, PGDATESTYLE and PGGEQO", "", "user=ann")
            .env("PGTZ", "Asia/Tokyo")
            .env("PGDATESTYLE", "german")
            .env("PGGEQO", "off"),
        bad("a PGTZ that is none", "", Refusal::Server).env("PGTZ", "Mars/Base").diverges(
            "pghost's sessions have their own time zone, style of dates and planner's settings",
        ),
    ]
}

fn bad_values() -> Vec<Case> {
    vec![
        bad("PGPORT that is none", "", Refusal::Value).env("PGPORT", "five"),
        bad("PGSSLMODE in capitals", "", Refusal::Value).env("PGSSLMODE", "Disable"),
        bad("an empty PGSSLMODE", "", Refusal::Value).env("PGSSLMODE", ""),
        bad("PGCHANNELBINDING", "", Refusal::Value).env("PGCHANNELBINDING", "yes"),
        bad("PGGSSENCMODE", "", Refusal::Value).env("PGGSSENCMODE", "yes"),
        bad("PGTARGETSESSIONATTRS unknown", "", Refusal::Value)
            .env("PGTARGETSESSIONATTRS", "master"),
        bad("PGSSLMINPROTOCOLVERSION", "", Refusal::Value).env("PGSSLMINPROTOCOLVERSION", "1.2"),
        bad("PGREQUIREAUTH", "", Refusal::Value)
            .env("PGREQUIREAUTH", "nobody")
            .since("require_auth"),
        bad("PGLOADBALANCEHOSTS", "", Refusal::Value)
            .env("PGLOADBALANCEHOSTS", "yes")
            .since("load_balance_hosts"),
        bad("PGSSLNEGOTIATION", "", Refusal::Value)
            .env("PGSSLNEGOTIATION", "yes")
            .since("sslnegotiation"),
        bad("PGMAXPROTOCOLVERSION", "", Refusal::Value)
            .env("PGMAXPROTOCOLVERSION", "4")
            .since("max_protocol_version"),
        bad("PGCONNECT_TIMEOUT", "host=127.0.0.1", Refusal::Value).env("PGCONNECT_TIMEOUT", "soon"),
        bad("an empty PGCONNECT_TIMEOUT", "host=127.0.0.1", Refusal::Value)
            .env("PGCONNECT_TIMEOUT", ""),
        good("an empty PGREQUIREPEER", "", "user=ann").env("PGREQUIREPEER", ""),
    ]
}
