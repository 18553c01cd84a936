//! Where settings come from: strings, services, environment, password files; and the hosts.

use super::machine;
use crate::config::RootCert;

#[test]
fn hosts_and_ports_are_brought_together() {
    let cases = [
        ("one", "host=a", "a:5432"),
        ("one port for all", "host=a,b port=1", "a:1, b:1"),
        ("one each", "host=a,b port=1,2", "a:1, b:2"),
        ("an empty port is the default", "host=a,b port=,2", "a:5432, b:2"),
        ("an empty host is the default", "host=a,,b", "a:5432, /var/run/postgresql:5432, b:5432"),
        ("an address", "hostaddr=::1", "[::1]:5432"),
        ("a name and its address", "host=a hostaddr=10.0.0.1", "a (10.0.0.1):5432"),
        ("addresses for some", "host=a,b hostaddr=,::1", "a:5432, b (::1):5432"),
        ("names for some", "host=a, hostaddr=10.0.0.1,::1", "a (10.0.0.1):5432, [::1]:5432"),
        ("an address as a name", "host=::1", "[::1]:5432"),
        ("a socket", "host=/run/pg port=6432", "/run/pg:6432"),
        ("an abstract socket", "host=@pg", "@pg:5432"),
        ("a socket's address goes over TCP", "host=/x hostaddr=::1", "/x (::1):5432"),
        ("spaces around a port", "host=a port=' 1 '", "a:1"),
    ];
    for (name, dsn, expected) in cases {
        let described = machine().describe(dsn);
        assert_eq!(described, format!("os at {expected} as os"), "{name}");
    }
}

#[test]
fn lists_that_do_not_match_are_refused() {
    let cases = [
        ("host=a,b port=1,2,3", "3 values of 'port' do not match 2 hosts"),
        ("host=a port=1,2", "2 values of 'port' do not match 1 hosts"),
        ("port=1,2", "2 values of 'port' do not match 1 hosts"),
        ("host=a,b hostaddr=::1", "1 values of 'hostaddr' do not match 2 hosts"),
        ("host=a hostaddr=::1,::2", "2 values of 'hostaddr' do not match 1 hosts"),
    ];
    for (dsn, expected) in cases {
        assert_eq!(machine().error(dsn), expected, "{dsn}");
    }
}

#[test]
fn the_socket_directory_is_the_one_that_is_there() {
    let mut machine = machine();
    assert_eq!(machine.describe(""), "os at /var/run/postgresql:5432 as os");
    machine.directories = vec!["/tmp".into()];
    assert_eq!(machine.describe(""), "os at /tmp:5432 as os");
    machine.directories = Vec::new();
    assert_eq!(machine.describe(""), "os at localhost:5432 as os");
    let host = &machine.config("host=/run/pg port=6432").hosts[0];
    assert_eq!(host.socket_path(), Some("/run/pg/.s.PGSQL.6432".into()));
    assert_eq!(machine.config("").hosts[0].socket_path(), None);
}

#[test]
fn the_string_goes_before_the_service_and_the_service_before_the_environment() {
    let machine = machine()
        .env("PGHOST", "from-env")
        .env("PGPORT", "1")
        .env("PGDATABASE", "env_db")
        .env("PGUSER", "env_user")
        .env("PGAPPNAME", "env-app")
        .file(
            "/home/os/.pg_service.conf",
            "[other]\nhost=x\n[shop]\n# note\nhost=from-service\n port=2 \nhost=ignored\n\
             [later]\nuser=x",
        );
    assert_eq!(machine.describe(""), "env_db at from-env:1 as env_user");
    assert_eq!(machine.config("").application_name, "env-app");
    assert_eq!(machine.describe("service=shop"), "env_db at from-service:2 as env_user");
    let dsn = "postgres://from-string/db?service=shop&user=me";
    assert_eq!(machine.describe(dsn), "db at from-string:2 as me");
    let machine = machine.env("PGSERVICE", "shop");
    assert_eq!(machine.describe("user=me"), "env_db at from-service:2 as me");
    assert_eq!(machine.describe("service=other"), "env_db at x:1 as env_user");
}

#[test]
fn service_files_are_searched_in_libpqs_order() {
    let home = machine().file("/home/os/.pg_service.conf", "[a]\nhost=home");
    let both =
        home.clone().file("/etc/postgresql-common/pg_service.conf", "[a]\nhost=x\n[b]\nhost=etc");
    assert_eq!(both.describe("service=a"), "os at home:5432 as os");
    assert_eq!(both.describe("service=b"), "os at etc:5432 as os");
    let named = both.env("PGSERVICEFILE", "/named").file("/named", "[a]\nhost=named");
    assert_eq!(named.describe("service=a"), "os at named:5432 as os");
    assert_eq!(named.describe("service=b"), "os at etc:5432 as os");
    let moved = named.env("PGSYSCONFDIR", "/sys").file("/sys/pg_service.conf", "[c]\nhost=sys");
    assert_eq!(moved.describe("service=c"), "os at sys:5432 as os");
    assert_eq!(moved.error("service=b"), "the service 'b' is in no service file");
    let root = moved.env("PGSYSCONFDIR", "").file("/pg_service.conf", "[d]\nhost=root");
    assert_eq!(root.describe("service=d"), "os at root:5432 as os");
    let missing = machine().env("PGSERVICEFILE", "/none");
    assert_eq!(
        missing.error("service=a"),
        "the service file /none can't be read: entity not found"
    );
}

#[test]
fn an_empty_name_of_a_service_or_of_its_file_counts() {
    let machine = machine().file("/home/os/.pg_service.conf", "[a]\nhost=home");
    let none = "the service '' is in no service file";
    assert_eq!(machine.error("service=''"), none);
    assert_eq!(machine.clone().env("PGSERVICE", "a").error("service=''"), none);
    assert_eq!(machine.clone().env("PGSERVICE", "").error(""), none);
    let machine = machine.env("PGSERVICEFILE", "");
    assert_eq!(machine.error("service=a"), "the service file  can't be read: entity not found");
}

#[test]
fn malformed_services_are_refused_with_their_line() {
    let cases = [
        ("host", "line 2 of the service file /f is malformed: an '=' is missing"),
        (
            "\nservice=b",
            "line 3 of the service file /f is malformed: a service can't name another service",
        ),
        (
            "ldap://x",
            "line 2 of the service file /f is malformed: pghost does not look services up by LDAP",
        ),
        ("uzer=a", "line 2 of the service file /f has the unknown parameter 'uzer'"),
        ("host = a", "line 2 of the service file /f has the unknown parameter 'host '"),
        (
            "port=x",
            "'port' in line 2 of the service file /f is not valid: a port is a number \
            from 1 to 65535 (in a URI, '/' and '@' in a password must be written %2F and %40)",
        ),
    ];
    for (line, expected) in cases {
        let machine = machine().env("PGSERVICEFILE", "/f").file("/f", &format!("[a]\n{line}\n"));
        assert_eq!(machine.error("service=a"), expected, "{line}");
    }
}

#[test]
fn each_host_gets_its_own_line_of_the_password_file() {
    let file = "a:1:*:*:one\nb:*:db:*:two\nlocalhost:*:*:*:local\n10.0.0.1:*:*:*:address\n\
                /run/pg:*:*:*:socket\nempty:*:*:*:\n";
    let machine = machine().file("/home/os/.pgpass", file);
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        ("two hosts", "host=a,b port=1,2 dbname=db", vec![some("one"), some("two")]),
        ("one without", "host=a,b", vec![None, None]),
        ("the default socket is localhost", "", vec![some("local")]),
        ("so it is when named", "host=/var/run/postgresql", vec![some("local")]),
        ("a slash more makes it another", "host=/var/run/postgresql/", vec![None]),
        ("another socket is itself", "host=/run/pg", vec![some("socket")]),
        ("an address alone", "hostaddr=10.0.0.1", vec![some("address")]),
        ("a directory's address", "host=/var/run/postgresql hostaddr=::1", vec![some("local")]),
        ("a name goes before it", "host=a port=1 hostaddr=10.0.0.1", vec![some("one")]),
        ("an empty password is none", "host=empty", vec![None]),
        ("the string's goes before the file's", "host=a port=1 password=x", vec![some("x")]),
        ("an empty one does not", "host=a port=1 password=''", vec![some("one")]),
    ];
    for (name, dsn, expected) in cases {
        assert_eq!(machine.passwords(dsn), expected, "{name}");
    }
}

#[test]
fn the_password_file_can_be_named() {
    let machine = machine()
        .file("/home/os/.pgpass", "*:*:*:*:home")
        .file("/env", "*:*:*:*:env")
        .file("/dsn", "*:*:*:*:dsn");
    assert_eq!(machine.passwords("")[0].as_deref(), Some("home"));
    let machine = machine.env("PGPASSFILE", "/env");
    assert_eq!(machine.passwords("")[0].as_deref(), Some("env"));
    assert_eq!(machine.passwords("passfile=/dsn")[0].as_deref(), Some("dsn"));
    assert_eq!(machine.passwords("passfile=/none")[0], None);
    let machine = machine.env("PGPASSWORD", "word");
    assert_eq!(machine.passwords("")[0].as_deref(), Some("word"));
}

#[test]
fn a_password_file_that_others_may_read_is_a_warning() {
    let machine = machine().file_with_mode("/home/os/.pgpass", "*:*:*:*:pw", 0o100_644);
    let config = machine.config("");
    assert_eq!(machine.passwords(""), [None]);
    assert_eq!(
        config.warnings[0].to_string(),
        "the password file /home/os/.pgpass is ignored: \
         others may read it; make its permissions 0600"
    );
    assert_eq!(machine.config("password=x").warnings, []);
}

#[test]
fn a_user_is_needed_and_the_database_is_named_like_it() {
    let mut machine = machine();
    assert_eq!(machine.describe("user=ann"), "ann at /var/run/postgresql:5432 as ann");
    assert_eq!(machine.describe("user='' dbname=''"), "os at /var/run/postgresql:5432 as os");
    machine.user = None;
    machine.home = None;
    let nobody = "no user is given, and the name of the operating system's user is not known";
    assert_eq!(machine.error(""), nobody);
    let config = machine.config("user=ann");
    assert_eq!((config.sslcert, config.sslrootcert), (None, RootCert::None));
}

#[test]
fn a_zero_byte_is_refused_wherever_it_comes_from() {
    let machine = machine().file("/home/os/.pg_service.conf", "[s]\nuser=a\0b");
    assert_eq!(
        machine.error("service=s"),
        "'user' in line 2 of the service file /home/os/.pg_service.conf is not valid: \
         it holds a zero byte"
    );
}
