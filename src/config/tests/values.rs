//! What each setting may be, what it is when nobody gives it, and what can't be honoured.

use std::path::Path;
use std::time::Duration;

use super::machine;
use crate::config::*;

#[test]
fn an_empty_string_takes_every_default() {
    let config = machine().config("");
    assert_eq!(config.describe(), "os at /var/run/postgresql:5432 as os");
    assert_eq!(config.application_name, "pghost");
    assert_eq!(config.sslmode, SslMode::Prefer);
    assert_eq!(config.sslnegotiation, SslNegotiation::Postgres);
    assert_eq!(config.sslcertmode, SslCertMode::Allow);
    assert!(config.sslsni);
    let directory = Path::new("/home/os/.postgresql");
    assert_eq!(config.sslrootcert, RootCert::File(directory.join("root.crt")));
    assert_eq!(config.sslcert, Some(directory.join("postgresql.crt")));
    assert_eq!(config.sslkey, Some(directory.join("postgresql.key")));
    assert_eq!((config.tls_min, config.tls_max), (TlsVersion::V1_2, None));
    assert_eq!(config.protocol_min, ProtocolVersion::V3_0);
    assert_eq!(config.protocol_max, ProtocolVersion::V3_0);
    assert_eq!(config.channel_binding, ChannelBinding::Prefer);
    assert_eq!(config.require_auth, RequireAuth::default());
    assert_eq!(config.target_session_attrs, TargetSessionAttrs::Any);
    assert_eq!(config.load_balance_hosts, LoadBalanceHosts::Disable);
    assert_eq!(config.connect_timeout, None);
    assert_eq!(config.tcp_user_timeout, None);
    let keepalives = Keepalives { enabled: true, idle: None, interval: None, count: None };
    assert_eq!(config.keepalives, keepalives);
    assert_eq!((config.password, config.options), (None, None));
    assert_eq!(config.warnings, []);
}

#[test]
fn every_setting_can_be_given() {
    let config = machine().config(
        "application_name=nightly options='-c work_mem=1MB' sslmode=verify-full \
         sslnegotiation=direct sslrootcert=/ca sslcert=/c sslkey=/k sslcertmode=disable sslsni=0 \
         ssl_min_protocol_version=tlsv1.3 ssl_max_protocol_version=TLSv1.3 \
         min_protocol_version=3.0 max_protocol_version=latest channel_binding=require \
         require_auth=scram-sha-256 target_session_attrs=prefer-standby \
         load_balance_hosts=random connect_timeout=' 7 ' keepalives=0 keepalives_idle=10 \
         keepalives_interval=+5 keepalives_count=3 tcp_user_timeout=1500",
    );
    assert_eq!(config.application_name, "nightly");
    assert_eq!(config.options.as_deref(), Some("-c work_mem=1MB"));
    assert_eq!(config.sslmode, SslMode::VerifyFull);
    assert_eq!(config.sslnegotiation, SslNegotiation::Direct);
    assert_eq!(config.sslrootcert, RootCert::File("/ca".into()));
    assert_eq!(config.sslcert, Some("/c".into()));
    assert_eq!(config.sslkey, Some("/k".into()));
    assert_eq!(config.sslcertmode, SslCertMode::Disable);
    assert!(!config.sslsni);
    assert_eq!(config.tls_min, TlsVersion::V1_3);
    assert_eq!(config.tls_max, Some(TlsVersion::V1_3));
    assert_eq!(config.protocol_max, ProtocolVersion::V3_2);
    assert_eq!(config.channel_binding, ChannelBinding::Require);
    assert!(config.require_auth.names(AuthMethod::ScramSha256));
    assert_eq!(config.target_session_attrs, TargetSessionAttrs::PreferStandby);
    assert_eq!(config.load_balance_hosts, LoadBalanceHosts::Random);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(config.tcp_user_timeout, Some(Duration::from_millis(1500)));
    let keepalives = Keepalives {
        enabled: false,
        idle: Some(Duration::from_secs(10)),
        interval: Some(Duration::from_secs(5)),
        count: Some(3),
    };
    assert_eq!(config.keepalives, keepalives);
}

#[test]
fn the_application_is_never_nameless() {
    let cases = [
        ("application_name=a fallback_application_name=b", "a"),
        ("fallback_application_name=b", "b"),
        ("application_name=''", "pghost"),
    ];
    for (dsn, expected) in cases {
        assert_eq!(machine().config(dsn).application_name, expected, "{dsn}");
    }
}

#[test]
fn system_roots_force_the_strictest_mode() {
    assert_eq!(machine().config("sslrootcert=system").sslmode, SslMode::VerifyFull);
    let weak = "sslmode=require is too weak for sslrootcert=system; use sslmode=verify-full";
    assert_eq!(machine().error("sslrootcert=system sslmode=require"), weak);
    let machine = machine().env("PGSSLROOTCERT", "system").env("PGSSLMODE", "require");
    assert_eq!(machine.error(""), weak);
    assert_eq!(machine.config("sslmode=verify-full").sslrootcert, RootCert::System);
}

#[test]
fn direct_tls_needs_a_mode_without_a_way_back() {
    for mode in ["require", "verify-ca", "verify-full"] {
        machine().config(&format!("sslnegotiation=direct sslmode={mode}"));
    }
    for mode in ["disable", "allow", "prefer"] {
        let error = machine().error(&format!("sslnegotiation=direct sslmode={mode}"));
        assert!(error.contains("is too weak for sslnegotiation=direct"), "{error}");
    }
    assert!(machine().parse("sslnegotiation=direct sslrootcert=system").is_ok());
}

#[test]
fn the_old_way_to_ask_for_tls_still_works() {
    let machine = machine().env("PGREQUIRESSL", "1");
    assert_eq!(machine.config("").sslmode, SslMode::Require);
    assert_eq!(machine.config("sslmode=disable").sslmode, SslMode::Disable);
    let machine = machine.env("PGSSLMODE", "allow");
    assert_eq!(machine.config("").sslmode, SslMode::Allow);
}

#[test]
fn wrong_values_say_where_they_stand_and_what_is_allowed() {
    let cases = [
        (
            "sslmode=strict",
            "it takes one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("sslmode=''", "it takes one of disable, allow"),
        ("sslnegotiation=Direct", "it takes one of postgres, direct"),
        ("channel_binding=yes", "it takes one of disable, prefer, require"),
        ("target_session_attrs=master", "it takes one of any, read-write"),
        ("load_balance_hosts=1", "it takes one of disable, random"),
        ("gssencmode=maybe", "it takes one of disable, prefer, require"),
        ("require_auth=md5,!gss", "methods with and without '!' can't be mixed"),
        ("require_auth=md4", "'md4' is no method"),
        ("connect_timeout=soon", "it takes a whole number"),
        ("connect_timeout=1.5", "it takes a whole number"),
        ("connect_timeout=''", "it takes a whole number"),
        ("keepalives_idle=''", "it takes a whole number"),
        ("keepalives=\u{a0}1", "it takes a whole number"),
        ("port=\u{a0}1", "a port is a number from 1 to 65535"),
        ("keepalives=on", "it takes a whole number"),
        ("tcp_user_timeout=99999999999", "it takes a whole number"),
        ("port=0", "a port is a number from 1 to 65535"),
        ("port=65536", "a port is a number from 1 to 65535"),
        ("port=-1", "a port is a number from 1 to 65535"),
        ("hostaddr=db", "it takes IPv4 and IPv6 addresses"),
        ("hostaddr=fe80::1%lo", "it takes IPv4 and IPv6 addresses"),
        ("ssl_min_protocol_version=2", "it takes TLSv1.2 or TLSv1.3"),
        ("ssl_max_protocol_version=TLSv1.1", "it takes TLSv1.2 or TLSv1.3"),
        ("max_protocol_version=3.1", "it takes one of 3.0, 3.2, latest"),
        ("max_protocol_version=''", "it takes one of 3.0, 3.2, latest"),
        ("sslcertmode=require", "pghost can't insist"),
        ("sslcertmode=''", "it takes one of disable, allow"),
        ("user='a\0b'", "it holds a zero byte"),
    ];
    for (dsn, reason) in cases {
        let name = dsn.split_once('=').unwrap().0;
        let expected = format!("'{name}' in the connection string is not valid: {reason}");
        let error = machine().error(dsn);
        assert!(error.starts_with(&expected), "{dsn}: {error}");
    }
    let machine = machine().env("PGSSLMODE", "strict");
    assert!(machine.error("").starts_with("'sslmode' in the environment variable PGSSLMODE"));
}

#[test]
fn zero_seconds_are_no_limit_and_versions_may_not_cross() {
    assert_eq!(machine().config("connect_timeout=0").connect_timeout, None);
    assert_eq!(machine().config("connect_timeout=-5").connect_timeout, None);
    let crossed = "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2";
    assert!(machine().error(crossed).contains("is above"));
    let crossed = "min_protocol_version=3.2 max_protocol_version=3.0";
    assert!(machine().error(crossed).contains("is above"));
    let raised = machine().config("min_protocol_version=3.2");
    assert_eq!(raised.protocol_max, ProtocolVersion::V3_2);
    let old = machine().config("ssl_min_protocol_version=TLSv1");
    assert_eq!(old.tls_min, TlsVersion::V1_2);
}

#[test]
fn the_servers_name_is_sent_unless_something_other_than_1_is_said() {
    assert!(machine().config("sslsni=1").sslsni);
    for dsn in ["sslsni=0", "sslsni=''", "sslsni=no"] {
        assert!(!machine().config(dsn).sslsni, "{dsn}");
    }
}

#[test]
fn what_changes_nothing_is_ignored() {
    for dsn in [
        "gssencmode=disable",
        "gssencmode=prefer krbsrvname=pg gsslib=gssapi gssdelegation=1",
        "oauth_issuer=a oauth_client_id=b oauth_client_secret=c oauth_scope=d",
        "sslcompression=1 sslpassword=x",
        "client_encoding=latin1 replication=database",
        "sslcrl='' sslcrldir='' sslkeylogfile='' requirepeer='' scram_client_key=''",
        "host=db requirepeer=postgres",
    ] {
        assert!(machine().parse(dsn).is_ok(), "{dsn}");
    }
}

#[test]
fn what_must_not_be_ignored_is_refused() {
    let cases = [
        ("gssencmode=require", "pghost does not encrypt by GSSAPI; use TLS, by sslmode"),
        ("sslcrl=/crl", "pghost does not read revocation lists"),
        ("sslcrldir=/crl", "pghost does not read revocation lists"),
        ("sslkeylogfile=/keys", "pghost does not write the keys"),
        ("requirepeer=postgres", "pghost does not check who runs"),
        ("scram_client_key=x", "pghost logs in with passwords only"),
        ("scram_server_key=x", "pghost logs in with passwords only"),
    ];
    for (dsn, reason) in cases {
        let name = dsn.split_once('=').unwrap().0;
        let expected = format!("'{name}' in the connection string can't be honoured: {reason}");
        let error = machine().error(dsn);
        assert!(error.starts_with(&expected), "{dsn}: {error}");
    }
}

#[test]
fn a_revocation_list_that_libpq_would_read_stops_us() {
    let machine = machine()
        .file("/home/os/.postgresql/root.crt", "")
        .file("/home/os/.postgresql/root.crl", "");
    let error = machine.error("host=db sslmode=verify-full");
    assert!(error.starts_with("there is a revocation list, /home/os/.postgresql/root.crl"));
    for dsn in ["host=db sslmode=prefer", "sslmode=require", "host=db sslrootcert=system"] {
        assert!(machine.parse(dsn).is_ok(), "{dsn}");
    }
    assert!(machine.parse("host=db sslmode=verify-ca sslrootcert=/none").is_ok());
}

/// Whoever spells it as ADO.NET does gives the password away with the first message that names the
/// host. Whatever is refused, no text shows it.
#[test]
fn settings_parted_by_semicolons_are_refused_and_not_shown() {
    for dsn in [
        "host=h;password=hunter2secret",
        "host=h;password=hunter2secret dbname=d",
        "host='h; password=hunter2secret'",
        "host=good,h;password=hunter2secret",
        "host=/run/postgresql;password=hunter2secret",
        "host=h hostaddr=127.0.0.1;password=hunter2secret",
        "host=h port=5432;password=hunter2secret",
        "user=u;password=hunter2secret",
        "dbname=d;Pwd=hunter2secret",
        "host=h dbname='d ; Password = hunter2secret'",
        "application_name=a;password=hunter2secret",
        "service=s;password=hunter2secret",
        "sslrootcert=/ca;password=hunter2secret host=h",
        "Server=h;Password=hunter2secret;Database=d",
        "Host=h;Username=u;Password=hunter2secret",
        "server=h;uid=u;pwd=hunter2secret",
        "postgresql://h;password=hunter2secret/d",
        "postgresql://h:5432;password=hunter2secret/d",
        "postgresql://u@h/d;password=hunter2secret",
        "postgresql://u@h/d?sslmode=require;password=hunter2secret",
        "jdbc:postgresql://h/d?user=u&password=hunter2secret",
    ] {
        let error = machine().error(dsn);
        assert!(!error.contains("hunter2"), "{dsn}: {error}");
        let debug = format!("{:?}", machine().parse(dsn).unwrap_err());
        assert!(!debug.contains("hunter2"), "{dsn}: {debug}");
    }
    for variable in ["PGHOST", "PGUSER", "PGDATABASE", "PGSERVICE", "PGSSLROOTCERT", "PGPORT"] {
        let error = machine().env(variable, "h;password=hunter2secret").error("");
        assert!(!error.contains("hunter2") && error.contains(variable), "{variable}: {error}");
    }
    let service = "[s]\nhost=h;password=hunter2secret\n";
    let error = machine().file("/home/os/.pg_service.conf", service).error("service=s");
    assert!(!error.contains("hunter2") && error.contains("line 2"), "{error}");
    // Names may have what a host's can't; and what is a password is shown nowhere.
    let config = machine().config("host=h user='a;b=c' dbname='x=1;y' password='p;password=q'");
    assert_eq!((&*config.user, &*config.dbname), ("a;b=c", "x=1;y"));
    let config = machine().config("host='/tmp/a=b;c'");
    assert_eq!(config.describe(), "os at /tmp/a=b;c:5432 as os");
}
