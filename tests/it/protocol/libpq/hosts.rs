//! Several hosts, ports and addresses, and which of them is reached.

use super::{
    case::{Case, Need, bad, good},
    outcome::Refusal,
};

const AT_ONCE: &str = "pghost tells of a mistake in any host's place before it tries the first";

pub(super) fn cases() -> Vec<Case> {
    [several(), lists(), addresses(), ports(), declared()]
        .into_iter()
        .flatten()
        .map(|case| case.or_env("PGUSER", "ann"))
        .collect()
}

fn several() -> Vec<Case> {
    vec![
        good("the first is dead", "postgres://127.0.0.1:{dead},127.0.0.1:{port}/", "port={port}"),
        good(
            "two are dead",
            "postgres://127.0.0.1:1,127.0.0.1:{dead},127.0.0.1:{port}/",
            "user=ann",
        ),
        good("the first is a socket", "host=/nowhere,127.0.0.1 port={port}", "at=127.0.0.1"),
        good("the second is a socket", "host=127.0.0.1,{sock} port={dead},{port}", "at=socket"),
        good("the first has no address", "host=nowhere.invalid,{sock} port={port}", "at=socket"),
        good("the first that answers", "host={sock},127.0.0.1 port={port}", "at=socket"),
        good("by their order", "host=127.0.0.2,127.0.0.1 port={port}", "at=127.0.0.2")
            .needs(Need::SecondAddress),
        good("sockets in a URI", "postgres://%2Fnowhere,{sock%}:{port}/shop", "db=shop|at=socket"),
        bad("all are dead", "host=127.0.0.1,/nowhere port={dead}", Refusal::Unreachable),
        bad(
            "one that says no is the last",
            "host={sock},127.0.0.1 port={port} user=nobody",
            Refusal::NoRole,
        ),
        bad(
            "so is one that does not like the password",
            "host={sock},127.0.0.1 port={port} user=pw password=wrong",
            Refusal::WrongPassword,
        ),
    ]
}

fn lists() -> Vec<Case> {
    vec![
        good("one port for all", "host=/nowhere,{sock} port={port}", "at=socket"),
        good("an empty port is 5432", "host=/nowhere,{sock} port=,{port}", "at=socket"),
        good("PGPORT for the hosts of a string", "host=/nowhere,{sock}", "at=socket")
            .env("PGPORT", "{port}"),
        good("PGHOST for the ports of a string", "port={dead},{port}", "at=socket")
            .env("PGHOST", "/nowhere,{sock}"),
        bad("more ports than hosts", "host=127.0.0.1 port=1,2", Refusal::Lists),
        bad("fewer ports than hosts", "host=a,b,c port=1,2", Refusal::Lists),
        bad("a comma too many", "host=127.0.0.1 port={port},", Refusal::Lists),
        bad("ports without hosts", "port=1,2", Refusal::Lists),
        bad("ports of a URI and PGHOST", "postgres://:1,:2/?host=a", Refusal::Lists),
        bad("PGPORT and hosts", "host=a,b,c", Refusal::Lists).env("PGPORT", "1,2"),
        bad("fewer addresses than hosts", "host=a,b hostaddr=127.0.0.1", Refusal::Lists),
        bad("more addresses than hosts", "host=a hostaddr=127.0.0.1,::1", Refusal::Lists),
        bad("an address with a host from PGHOST", "hostaddr=127.0.0.1", Refusal::Lists)
            .env("PGHOST", "a,b"),
    ]
}

fn addresses() -> Vec<Case> {
    vec![
        good("alone", "hostaddr=127.0.0.1 port={port}", "at=127.0.0.1"),
        good(
            "beside a name",
            "host=nowhere.invalid hostaddr=127.0.0.1 port={port}",
            "at=127.0.0.1",
        ),
        good("beside a directory", "host={sock} hostaddr=127.0.0.1 port={port}", "at=127.0.0.1"),
        good("for the second", "host=/nowhere,x hostaddr=,127.0.0.1 port={port}", "at=127.0.0.1"),
        good("two, no names", "hostaddr=127.0.0.1,127.0.0.1 port={dead},{port}", "port={port}"),
        good("IPv6", "hostaddr=::1 port={port}", "at=::1").needs(Need::Ipv6),
        good("IPv6 as a host", "host=::1 port={port}", "at=::1").needs(Need::Ipv6),
        good("a short way to write one", "host=127.1 port={port}", "at=127.0.0.1"),
        bad("a name", "hostaddr=localhost port={port}", Refusal::Value),
        bad("spaces around one", "hostaddr=' 127.0.0.1 ' port={port}", Refusal::Value),
        bad("brackets", "hostaddr=[::1] port={port}", Refusal::Value),
        bad("brackets in a host", "host=[::1] port={port}", Refusal::Unreachable),
        bad("an abstract socket", "host=@pghost-none port={port}", Refusal::Unreachable),
        bad("a directory that is relative", "host=./x port={port}", Refusal::Unreachable),
    ]
}

fn ports() -> Vec<Case> {
    vec![
        good("spaces around it", "host=127.0.0.1 port='\t{port} '", "port={port}"),
        good("a sign", "host=127.0.0.1 port=+{port}", "port={port}"),
        good("zeros before it", "host=127.0.0.1 port=00{port}", "port={port}"),
        bad("zero", "host=127.0.0.1 port=0", Refusal::Value),
        bad("too great", "host=127.0.0.1 port=65536", Refusal::Value),
        bad("far too great", "host=127.0.0.1 port=99999999999", Refusal::Value),
        bad("below zero", "host=127.0.0.1 port=-1", Refusal::Value),
        bad("no number", "host=127.0.0.1 port=five", Refusal::Value),
        bad("a number and more", "host=127.0.0.1 port={port}x", Refusal::Value),
        bad("a fraction", "host=127.0.0.1 port={port}.0", Refusal::Value),
        bad("hexadecimal", "host=127.0.0.1 port=0x1538", Refusal::Value),
        bad("nothing but a space", "host=127.0.0.1 port=' '", Refusal::Value),
        bad("of a socket", "host={sock} port=0", Refusal::Value),
    ]
}

fn declared() -> Vec<Case> {
    vec![
        good("a wrong port behind one that answers", "host={sock},x port={port},five", "user=ann")
            .diverges(AT_ONCE),
        good("a port too great before it", "host=x,{sock} port=65536,{port}", "user=ann")
            .diverges(AT_ONCE),
        good(
            "a wrong address behind it",
            "host={sock},x hostaddr=,localhost port={port}",
            "user=ann",
        )
        .diverges(AT_ONCE),
        good("a short way to write an address", "hostaddr=127.1 port={port}", "at=127.0.0.1")
            .diverges("addresses are read in full: 127.1 or 0177.0.0.1 is rather a slip"),
        good("a zone", "hostaddr=::1%1 port={port}", "at=::1")
            .needs(Need::Ipv6)
            .diverges("zones are not read in 'hostaddr'; in 'host' the system resolves them"),
        good("a zone in a host", "host=::1%1 port={port}", "at=::1").needs(Need::Ipv6),
    ]
}
