//! What each parameter may be: taken by both or refused by both.

use super::{
    case::{Case, bad, good},
    outcome::Refusal,
};

const AT_ONCE: &str =
    "libpq reads what is for TCP only when it has TCP; pghost tells of it at once";

pub(super) fn cases() -> Vec<Case> {
    let tcp = |case: Case| case.or_env("PGHOST", "127.0.0.1");
    let socket = |case: Case| case.or_env("PGHOST", "{sock}");
    let at_tcp = [words(), numbers(), newer(), kerberos()].into_iter().flatten().map(tcp);
    let at_sockets = [at_sockets(), declared()].into_iter().flatten().map(socket);
    at_tcp
        .chain(at_sockets)
        .map(|case| case.or_env("PGPORT", "{port}").or_env("PGUSER", "ann"))
        .collect()
}

const ZERO: &str = "libpq hands it on and the system refuses it; by libpq's own documentation, and in pghost, \
    zero leaves it to the system";

/// To a server without TLS.
fn words() -> Vec<Case> {
    vec![
        good("sslmode=disable", "sslmode=disable", "at=127.0.0.1"),
        good("sslmode=allow", "sslmode=allow", "at=127.0.0.1"),
        good("sslmode=prefer", "sslmode=prefer", "at=127.0.0.1"),
        bad("sslmode unknown", "sslmode=strict", Refusal::Value),
        bad("sslmode in capitals", "sslmode=PREFER", Refusal::Value),
        bad("sslmode with a space", "sslmode='prefer '", Refusal::Value),
        bad("sslmode empty", "sslmode=''", Refusal::Value),
        good("requiressl=0 is prefer", "requiressl=0", "user=ann"),
        good("the last of both", "requiressl=1 sslmode=disable", "user=ann"),
        good("channel_binding=prefer", "channel_binding=prefer", "user=ann"),
        bad("channel_binding unknown", "channel_binding=yes", Refusal::Value),
        bad("channel_binding empty", "channel_binding=''", Refusal::Value),
        good("target_session_attrs=any", "target_session_attrs=any", "user=ann"),
        bad("target_session_attrs unknown", "target_session_attrs=master", Refusal::Value),
        bad("target_session_attrs empty", "target_session_attrs=''", Refusal::Value),
        good(
            "versions of TLS",
            "ssl_min_protocol_version=tlsv1.2 ssl_max_protocol_version=TLSv1.3",
            "user=ann",
        ),
        good("no versions", "ssl_min_protocol_version='' ssl_max_protocol_version=''", "user=ann"),
        good("an old lowest version", "ssl_min_protocol_version=TLSv1", "user=ann"),
        bad("a version that is none", "ssl_min_protocol_version=1.2", Refusal::Value),
        bad("a highest that is none", "ssl_max_protocol_version=TLSv2", Refusal::Value),
        bad(
            "versions that cross",
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            Refusal::Contradiction,
        ),
        good("sslsni", "sslsni=0", "user=ann"),
        good("sslsni of any kind", "sslsni=nonsense", "user=ann"),
        good("sslcompression", "sslcompression=1", "user=ann"),
        good("a certificate that is not there", "sslcert=/none sslkey=/none", "user=ann"),
        good("roots that are not there", "sslrootcert=/none", "user=ann"),
        good("sslpassword", "sslpassword=x", "user=ann"),
        good("requirepeer over TCP", "requirepeer=nobody", "user=ann"),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        good("connect_timeout", "connect_timeout=10", "user=ann"),
        good("zero is without end", "connect_timeout=0", "user=ann"),
        good("so is less", "connect_timeout=-5", "user=ann"),
        good("spaces and a sign", "connect_timeout=' +10\t'", "user=ann"),
        bad("connect_timeout is no number", "connect_timeout=soon", Refusal::Value),
        bad("connect_timeout and its unit", "connect_timeout=10s", Refusal::Value),
        bad("a fraction", "connect_timeout=1.5", Refusal::Value),
        bad("too great", "connect_timeout=99999999999", Refusal::Value),
        bad("an empty one", "connect_timeout=''", Refusal::Value),
        good(
            "keepalives",
            "keepalives=1 keepalives_idle=10 keepalives_interval=5 keepalives_count=3",
            "user=ann",
        ),
        good("no keepalives", "keepalives=0", "user=ann"),
        bad("zero", "keepalives_idle=0", Refusal::Value).diverges(ZERO),
        bad("less than zero", "keepalives_interval=-1", Refusal::Value).diverges(ZERO),
        bad("no probe", "keepalives_count=0", Refusal::Value).diverges(ZERO),
        good("any number is yes", "keepalives=-7", "user=ann"),
        bad("keepalives is no number", "keepalives=on", Refusal::Value),
        bad("keepalives empty", "keepalives=''", Refusal::Value),
        bad("keepalives_idle", "keepalives_idle=10s", Refusal::Value),
        bad("keepalives_idle empty", "keepalives_idle=''", Refusal::Value),
        bad("keepalives_interval", "keepalives_interval=x", Refusal::Value),
        bad("keepalives_count", "keepalives_count=x", Refusal::Value),
        good("tcp_user_timeout", "tcp_user_timeout=10000", "user=ann"),
        bad("tcp_user_timeout is no number", "tcp_user_timeout=x", Refusal::Value),
        bad("tcp_user_timeout empty", "tcp_user_timeout=''", Refusal::Value),
        good("wrong, but keepalives are off", "keepalives=0 keepalives_idle=x", "user=ann")
            .diverges("pghost tells of a wrong number also where it would not be used"),
    ]
}

/// Parameters that not every libpq knows.
fn newer() -> Vec<Case> {
    let one = |parameter, case: Case| case.since(parameter);
    vec![
        one("require_auth", good("require_auth=none", "require_auth=none", "user=ann")),
        one("require_auth", good("require_auth empty", "require_auth=''", "user=ann")),
        one("require_auth", bad("a method that is none", "require_auth=md4", Refusal::Value)),
        one("require_auth", bad("twice the same", "require_auth=md5,md5", Refusal::Value)),
        one("require_auth", bad("yes and no", "require_auth=md5,!none", Refusal::Value)),
        one("require_auth", bad("an empty method", "require_auth=none,", Refusal::Value)),
        one("sslcertmode", good("sslcertmode=allow", "sslcertmode=allow", "user=ann")),
        one("sslcertmode", bad("sslcertmode unknown", "sslcertmode=yes", Refusal::Value)),
        one("sslcertmode", bad("sslcertmode empty", "sslcertmode=''", Refusal::Value)),
        one(
            "sslcertmode",
            bad(
                "weak, with the system's roots",
                "sslrootcert=system sslmode=prefer",
                Refusal::Contradiction,
            ),
        ),
        one(
            "load_balance_hosts",
            good("load_balance_hosts=random", "load_balance_hosts=random", "user=ann"),
        ),
        one(
            "load_balance_hosts",
            bad("load_balance_hosts unknown", "load_balance_hosts=1", Refusal::Value),
        ),
        one(
            "sslnegotiation",
            good("sslnegotiation=postgres", "sslnegotiation=postgres", "user=ann"),
        ),
        one("sslnegotiation", bad("sslnegotiation unknown", "sslnegotiation=x", Refusal::Value)),
        one(
            "sslnegotiation",
            bad("direct and weak", "sslnegotiation=direct sslmode=prefer", Refusal::Contradiction),
        ),
        one("gssdelegation", good("gssdelegation", "gssdelegation=1", "user=ann")),
        one(
            "max_protocol_version",
            good("max_protocol_version", "max_protocol_version=3.0", "user=ann"),
        ),
        one(
            "max_protocol_version",
            bad("there is no 3.1", "max_protocol_version=3.1", Refusal::Value),
        ),
        one(
            "max_protocol_version",
            bad("max_protocol_version empty", "max_protocol_version=''", Refusal::Value),
        ),
    ]
}

fn kerberos() -> Vec<Case> {
    vec![
        good("gssencmode=disable", "gssencmode=disable", "user=ann"),
        good("gssencmode=prefer", "gssencmode=prefer krbsrvname=x gsslib=gssapi", "user=ann"),
        bad("gssencmode=require", "gssencmode=require", Refusal::CanNot),
        bad("gssencmode unknown", "gssencmode=yes", Refusal::Value),
        bad("gssencmode empty", "gssencmode=''", Refusal::Value),
    ]
}

/// TLS is not for them, however strictly it is asked for.
fn at_sockets() -> Vec<Case> {
    vec![
        good("sslmode=require", "sslmode=require", "at=socket"),
        good("sslmode=verify-full", "sslmode=verify-full sslrootcert=/none", "at=socket"),
        good("requiressl=1", "requiressl=1", "at=socket"),
        bad("a mode that is none, at a socket", "sslmode=strict", Refusal::Value),
    ]
}

fn declared() -> Vec<Case> {
    vec![
        good("keepalives at a socket", "keepalives=on", "at=socket").diverges(AT_ONCE),
        good("tcp_user_timeout at a socket", "tcp_user_timeout=x", "at=socket").diverges(AT_ONCE),
        good("client_encoding", "client_encoding=UTF8", "user=ann"),
        bad("client_encoding unknown", "client_encoding=nonsense", Refusal::Server)
            .diverges("pghost's sessions are UTF-8 whatever is asked for: it moves text as it is"),
        bad("replication unknown", "replication=nonsense", Refusal::Server)
            .diverges("pghost decides for each connection whether it is one for replication"),
        good("a list of revoked certificates", "sslcrl=/none", "user=ann")
            .diverges("pghost reads no such lists, and a revoked certificate must not pass"),
        good("a directory of them", "sslcrldir=/none", "user=ann")
            .diverges("pghost reads no such lists, and a revoked certificate must not pass"),
        good("a file for TLS's keys", "sslkeylogfile={home}/keys", "user=ann")
            .since("sslkeylogfile")
            .diverges("pghost does not write the keys of TLS sessions to files"),
    ]
}
