//! What is refused: with exit code 2, the thing by its name, and nothing left behind.

use pghost::{
    cluster::Server,
    conn::parse_dsn,
    migrate::{Exit, MigrationSpec, TableSpec},
    pg::QualifiedName,
};

use crate::support::{Database, migrate, moments::drop_slot, server, some_releases, spec};

/// Everything that a database has and its slots, as one text.
pub(crate) async fn inventory(database: &Database) -> String {
    let sql = "SELECT string_agg(what, ', ' ORDER BY what) FROM (
        SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp' UNION ALL
        SELECT 'relation ' || oid || relname FROM pg_class WHERE oid >= 16384 UNION ALL
        SELECT 'type ' || oid || typname FROM pg_type WHERE oid >= 16384 UNION ALL
        SELECT 'publication ' || pubname FROM pg_publication UNION ALL
        SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
        ) w (what)";
    database.value(sql).await
}

/// Runs a migration that must be refused, in words that hold all of `words`.
pub(crate) async fn refused(from: &Database, to: &Database, spec: &MigrationSpec, words: &[&str]) {
    let before = (inventory(from).await, inventory(to).await);
    let major = from.server.version().major();
    let Err(failure) = migrate(spec).await else {
        panic!("{major}: not refused, of {words:?}");
    };
    assert_eq!(failure.exit, Exit::Refused, "{major}: {failure}");
    for word in words {
        let said = failure.message.contains(word) || failure.hint.contains(word);
        assert!(said, "{major}: no {word:?} in {failure}");
    }
    assert!(!failure.hint.is_empty() && !failure.state.is_empty());
    let after = (inventory(from).await, inventory(to).await);
    assert_eq!(before, after, "{major}: {failure}");
}

/// A source table that can't be moved: its name, what makes it, and words of the refusal.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("nothing", "", &["public.nothing"]),
    ("Upper", "CREATE TABLE upper (id integer PRIMARY KEY)", &["public.Upper"]),
    ("keyless", "CREATE TABLE keyless (a integer)", &["public.keyless", "no primary key"]),
    (
        "unserved",
        "CREATE TABLE unserved (a integer NOT NULL, n integer, g integer NOT NULL GENERATED ALWAYS AS (a) STORED);
         ALTER TABLE unserved ADD CONSTRAINT deferred PRIMARY KEY (a) DEFERRABLE;
         CREATE UNIQUE INDEX partial ON unserved (a) WHERE a > 0;
         CREATE UNIQUE INDEX nullable ON unserved (n);
         CREATE UNIQUE INDEX expressed ON unserved ((a + 1));
         CREATE UNIQUE INDEX downward ON unserved (a DESC);
         CREATE UNIQUE INDEX generated ON unserved (g);
         ALTER TABLE unserved REPLICA IDENTITY FULL",
        &[
            "public.unserved", "deferred (it is deferrable)", "partial (it has a WHERE clause)",
            "nullable (a column of it can be NULL)", "expressed (it is on an expression)",
            "downward (", "generated (a column of it is generated",
        ],
    ),
    (
        "collated",
        "CREATE TABLE collated (a text NOT NULL COLLATE \"C\");
         CREATE UNIQUE INDEX otherwise ON collated (a COLLATE \"POSIX\");
         CREATE UNIQUE INDEX by_pattern ON collated (a text_pattern_ops);
         ALTER TABLE collated REPLICA IDENTITY FULL",
        &["public.collated", "otherwise (", "by_pattern ("],
    ),
    (
        "unnamed",
        "CREATE TABLE unnamed (a integer NOT NULL); CREATE UNIQUE INDEX only_unique ON unnamed (a)",
        &["public.unnamed", "only_unique (", "replica identity"],
    ),
    (
        "untold",
        "CREATE TABLE untold (a integer PRIMARY KEY); ALTER TABLE untold REPLICA IDENTITY NOTHING",
        &["public.untold", "NOTHING"],
    ),
    ("unlogged", "CREATE UNLOGGED TABLE unlogged (a integer PRIMARY KEY)", &["public.unlogged", "unlogged"]),
    (
        "far",
        "CREATE TABLE far (a integer PRIMARY KEY) PARTITION BY LIST (a);
         CREATE UNLOGGED TABLE near PARTITION OF far FOR VALUES IN (1)",
        &["public.far", "public.near", "unlogged"],
    ),
    (
        "elsewhere",
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
         CREATE TABLE elsewhere (a integer) PARTITION BY LIST (a);
         CREATE FOREIGN TABLE abroad PARTITION OF elsewhere FOR VALUES IN (1) SERVER s",
        &["public.elsewhere", "public.abroad", "foreign table"],
    ),
    ("seen", "CREATE VIEW seen AS SELECT 1 AS a", &["public.seen", "not a table"]),
    ("kept", "CREATE MATERIALIZED VIEW kept AS SELECT 1 AS a", &["public.kept", "not a table"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_rows_cannot_be_followed_is_refused() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "sources").await;
        let to = Database::create(&server, "sources").await;
        for (name, tables, words) in SOURCES {
            db.sql(tables).await;
            refused(&db, &to, &spec(&db, &to, name, name), words).await;
        }
    }
}

/// Moving two tables that can't be told apart on the target, or one table twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_not_named_twice() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "twice").await;
        db.sql("CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY)")
            .await;
        let table = |source: &str, target: &str| TableSpec {
            source: QualifiedName::new("public", source),
            target: QualifiedName::new("public", target),
        };
        let mut spec = spec(&db, &db, "a", "c");
        for other in [table("a", "d"), table("b", "c")] {
            spec.tables.truncate(1);
            spec.tables.push(other);
            refused(&db, &db, &spec, &["twice"]).await;
        }
        spec.tables.clear();
        refused(&db, &db, &spec, &["--table"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_leaves_something_out_is_refused() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "publications").await;
        db.sql(
            "CREATE TABLE source (id integer PRIMARY KEY, n integer);
             CREATE TABLE other (id integer PRIMARY KEY);
             CREATE PUBLICATION others FOR TABLE other;
             CREATE PUBLICATION \"Only inserts\" FOR TABLE source WITH (publish = 'insert');
             CREATE PUBLICATION untruncated FOR TABLE source WITH (publish = 'insert, update, delete')",
        )
        .await;
        let mut cases = vec![
            ("missing", vec!["missing"]),
            ("others", vec!["public.source", "others"]),
            ("Only inserts", vec!["Only inserts", "every kind"]),
            ("untruncated", vec!["untruncated", "truncate"]),
        ];
        if server.version().major() >= 15 {
            db.sql(
                "CREATE PUBLICATION filtered FOR TABLE source WHERE (id > 5);
                 CREATE PUBLICATION listed FOR TABLE source (id)",
            )
            .await;
            cases.push(("filtered", vec!["filtered", "public.source", "filter"]));
            cases.push(("listed", vec!["listed", "public.source", "column list"]));
        }
        for (publication, words) in cases {
            let mut spec = spec(&db, &db, "source", "target");
            spec.publication = Some(publication.into());
            refused(&db, &db, &spec, &words).await;
        }
        let spec = spec(&db, &db, "source", "target");
        let own = format!("pghost_{}", db.name);
        db.sql(&format!("CREATE PUBLICATION {own} FOR TABLE source")).await;
        refused(&db, &db, &spec, &[&own]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_taken_or_cannot_be_is_refused() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "slots").await;
        db.sql("CREATE TABLE source (id integer PRIMARY KEY)").await;
        let taken = format!("{}_taken", db.name);
        let mut spec = spec(&db, &db, "source", "target");
        for (slot, words) in [
            ("Upper", "Upper"),
            ("with-dash", "with-dash"),
            ("", "name of a slot"),
            (&"x".repeat(64), "63"),
        ] {
            spec.slot = Some(slot.into());
            refused(&db, &db, &spec, &[words]).await;
        }
        spec.slot = Some(taken.clone());
        db.sql(&format!("SELECT pg_create_physical_replication_slot('{taken}')")).await;
        refused(&db, &db, &spec, &[&taken]).await;
        drop_slot(&db, &spec).await;
        // Of a migration's name only the slot's is checked by the server.
        spec.slot = None;
        spec.name = Some("It's a name".into());
        refused(&db, &db, &spec, &["It's a name"]).await;
    }
}

/// A target that can't take the rows: what makes it, and words of the refusal. The source is
/// `(id integer PRIMARY KEY, t text, v varchar(20))`.
const TARGETS: &[(&str, &[&str])] = &[
    (
        "CREATE TABLE target (LIKE source INCLUDING ALL); INSERT INTO target VALUES (1)",
        &["public.target", "not empty"],
    ),
    ("CREATE TABLE target (id integer PRIMARY KEY, t text)", &["public.target", "no column", "v"]),
    (
        "CREATE TABLE target (id bigint PRIMARY KEY, t text, v varchar(20))",
        &["id", "bigint", "integer"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, t text, v varchar(10))",
        &["character varying(10)"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, t text, v varchar(20) UNIQUE)",
        &["target_v_key"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, t text, v varchar(20)); CREATE UNIQUE INDEX fold ON target (lower(t))",
        &["fold"],
    ),
    (
        "CREATE TABLE target (id integer, t text, v varchar(20))",
        &["public.target", "unique index", "id"],
    ),
    (
        "CREATE TABLE target (id integer, t text, v varchar(20), PRIMARY KEY (id, v))",
        &["public.target", "unique index"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY DEFERRABLE, t text, v varchar(20))",
        &["public.target", "unique index"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY REFERENCES source, t text, v varchar(20))",
        &["target_id_fkey"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, t text, v varchar(20), r int4range,
             CONSTRAINT apart EXCLUDE USING gist (r WITH &&))",
        &["apart"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, t text, v varchar(20), must integer NOT NULL)",
        &["must", "NOT NULL"],
    ),
    (
        "CREATE TABLE target (id integer PRIMARY KEY, v varchar(20), t text GENERATED ALWAYS AS ('x') STORED)",
        &["t", "generated"],
    ),
    ("CREATE VIEW target AS SELECT * FROM source", &["public.target", "not a table"]),
    (
        "CREATE TABLE target (LIKE source INCLUDING ALL) PARTITION BY HASH (id);
         CREATE TABLE part PARTITION OF target FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE UNIQUE INDEX part_t ON part (t)",
        &["public.target", "part_t of public.part"],
    ),
    (
        "CREATE TABLE target (LIKE source) PARTITION BY LIST (id);
         CREATE TABLE part PARTITION OF target DEFAULT; ALTER TABLE part ADD PRIMARY KEY (id)",
        &["public.target", "unique index"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_cannot_take_the_rows_is_refused() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "targets").await;
        db.sql("CREATE TABLE source (id integer PRIMARY KEY, t text, v varchar(20))").await;
        let to_target = spec(&db, &db, "source", "target");
        for (target, words) in TARGETS {
            db.sql(target).await;
            refused(&db, &db, &to_target, words).await;
            let kind = if target.contains("VIEW") { "VIEW" } else { "TABLE" };
            db.sql(&format!("DROP {kind} target")).await;
        }
        // Nowhere to make it, and itself: also over another way to the same server.
        let mut spec = spec(&db, &db, "source", "source");
        refused(&db, &db, &spec, &["public.source", "both"]).await;
        spec.target = parse_dsn(&server.tcp_dsn(&db.name)).unwrap();
        refused(&db, &db, &spec, &["public.source", "both"]).await;
        spec.tables[0].target = QualifiedName::new("no'where", "target");
        refused(&db, &db, &spec, &["no'where"]).await;
    }
}

/// The target is made in the same transaction as it is noted, so what it lacks undoes all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_made_on_the_target_leaves_nothing_behind() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "unmade").await;
        let to = Database::create(&server, "unmade").await;
        db.sql(
            "CREATE TYPE pair AS (a integer, b text); CREATE SEQUENCE loose;
             CREATE FUNCTION f(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT $1';
             CREATE TABLE pairs (id integer PRIMARY KEY, p pair);
             CREATE TABLE loosely (id integer PRIMARY KEY DEFAULT nextval('loose'));
             CREATE TABLE computed (id integer PRIMARY KEY, n integer GENERATED ALWAYS AS (f(id)) STORED);
             CREATE TABLE fine (id serial PRIMARY KEY)",
        )
        .await;
        for (table, word) in
            [("pairs", "public.pair"), ("loosely", "loose"), ("computed", "public.f")]
        {
            refused(&db, &to, &spec(&db, &to, table, table), &[table, word]).await;
        }
        // The second of two tables: the first one, which was made, goes too.
        let mut spec = spec(&db, &to, "fine", "fine");
        spec.tables.push(TableSpec {
            source: QualifiedName::new("public", "pairs"),
            target: QualifiedName::new("public", "pairs"),
        });
        refused(&db, &to, &spec, &["public.pair"]).await;
    }
}

/// What a role may not do: its name's ending, what it is given, and words of the refusal.
const ROLES: &[(&str, &str, &[&str])] = &[
    ("plain", "LOGIN", &["REPLICATION"]),
    ("unread", "LOGIN REPLICATION", &["public.source", "GRANT SELECT"]),
    ("unowned", "LOGIN REPLICATION IN ROLE pg_read_all_data", &["publication"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_is_told_what_it_needs() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "roles").await;
        let to = Database::create(&server, "roles").await;
        db.sql("CREATE TABLE source (id integer PRIMARY KEY)").await;
        for (name, given, words) in ROLES {
            let role = format!("{}_{name}", db.name);
            db.sql(&format!("CREATE ROLE {role} {given}")).await;
            let mut spec = spec(&db, &to, "source", "target");
            spec.source.user = role;
            refused(&db, &to, &spec, words).await;
        }
        // Rows that a policy hides.
        let role = format!("{}_hidden", db.name);
        db.sql(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION IN ROLE pg_read_all_data;
             CREATE TABLE hidden (id integer PRIMARY KEY);
             ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             CREATE POLICY few ON hidden USING (id > 5)"
        ))
        .await;
        let mut hidden = spec(&db, &to, "hidden", "target");
        hidden.source.user = role;
        refused(&db, &to, &hidden, &["public.hidden", "BYPASSRLS"]).await;
        // The target's side: no schema for the ledger, no table, no peace from triggers.
        let role = format!("{}_writer", db.name);
        let mut spec = spec(&db, &to, "source", "target");
        spec.target.user.clone_from(&role);
        to.sql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public"))
            .await;
        refused(&db, &to, &spec, &["pghost", "GRANT CREATE ON DATABASE"]).await;
        to.sql(&format!("GRANT CREATE ON DATABASE {} TO {role}", to.name)).await;
        refused(&db, &to, &spec, &["public.target", "GRANT USAGE, CREATE ON SCHEMA"]).await;
        to.sql(&format!(
            "CREATE TABLE target (id integer PRIMARY KEY); ALTER TABLE target OWNER TO {role};
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER t BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f()"
        ))
        .await;
        refused(&db, &to, &spec, &["public.target", "session_replication_role"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_used_is_refused() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "servers").await;
        db.sql("CREATE TABLE source (id integer PRIMARY KEY)").await;
        // The port is reserved, and nobody has it.
        let nobody = 1;
        let mut spec = spec(&db, &db, "source", "target");
        let nowhere = format!("host=127.0.0.1 port={nobody} user=postgres dbname=x");
        spec.target = parse_dsn(&nowhere).unwrap();
        refused(&db, &db, &spec, &["target", &format!("127.0.0.1:{nobody}")]).await;
        spec.target = db.config();
        spec.source = parse_dsn(&nowhere).unwrap();
        refused(&db, &db, &spec, &["source", &format!("127.0.0.1:{nobody}")]).await;
        spec.source = db.config();
        spec.source.dbname = "not there".into();
        refused(&db, &db, &spec, &["source", "not there"]).await;

        let other = Server::start(&binaries, &[("wal_level", "replica")]).unwrap();
        let other = std::sync::Arc::new(other);
        let beyond = Database::create(&other, "servers").await;
        beyond.sql("CREATE TABLE source (id integer PRIMARY KEY)").await;
        spec.source = beyond.config();
        refused(&beyond, &db, &spec, &["wal_level", "replica"]).await;

        beyond
            .sql("SET password_encryption = 'scram-sha-256'; ALTER ROLE postgres PASSWORD 'right'")
            .await;
        other.set_hba("local all all trust\nhost all all all scram-sha-256").unwrap();
        let at = |password: &str| {
            format!(
                "host=127.0.0.1 port={} user=postgres dbname={} password={password}",
                other.port(),
                beyond.name
            )
        };
        spec.source = parse_dsn(&at("wr0ng")).unwrap();
        refused(&beyond, &db, &spec, &["source", "password"]).await;
        let failure = migrate(&spec).await.unwrap_err();
        assert!(!failure.to_string().contains("wr0ng"), "{failure}");
        spec.source = parse_dsn(&at("right")).unwrap();
        refused(&beyond, &db, &spec, &["wal_level"]).await;
    }
}
