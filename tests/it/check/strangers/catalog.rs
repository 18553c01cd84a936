//! Every kind of thing that can hold an expression, with one that makes its owner a superuser as
//! soon as anybody powerful evaluates it: on the source, on the target, and on the target under the
//! name that a table to be made looks for. No command ever does.

use pghost::{
    migrate::{self, CleanupSpec, Exit, MigrationSpec, Severity, StatusSpec, TableSpec, Then},
    pg::QualifiedName,
};

use super::attacker::{Attacker, verify};
use crate::support::{Database, migrate as run, server, spec, versions_to_test};

/// Kinds, each with the statements that make a superuser's table `public.h_KIND` of what is
/// somebody else's.
const KINDS: [(&str, &str); 16] = [
    ("check", "CREATE TABLE h_check (id int PRIMARY KEY, v int CHECK (m.evil_check(v)))"),
    ("domain", "CREATE TABLE h_domain (id int PRIMARY KEY, v m.dom)"),
    ("composite", "CREATE TABLE h_composite (id int PRIMARY KEY, v m.comp)"),
    ("array", "CREATE TABLE h_array (id int PRIMARY KEY, v m.dom[])"),
    (
        "index",
        "CREATE TABLE h_index (id int PRIMARY KEY, v int); CREATE INDEX ON h_index (m.evil_index(v))",
    ),
    (
        "predicate",
        "CREATE TABLE h_predicate (id int PRIMARY KEY, v int);
         CREATE INDEX ON h_predicate (v) WHERE m.evil_predicate(v)",
    ),
    (
        "default",
        "CREATE TABLE h_default (id int PRIMARY KEY, v int, d bool DEFAULT m.evil_default(1))",
    ),
    (
        "generated",
        "CREATE TABLE h_generated (id int PRIMARY KEY, v int,
             g bool GENERATED ALWAYS AS (m.evil_generated(v)) STORED)",
    ),
    (
        "statistics",
        "CREATE TABLE h_statistics (id int PRIMARY KEY, v int);
         CREATE STATISTICS h_s ON id, (m.evil_statistics(v)) FROM h_statistics",
    ),
    (
        "policy",
        "CREATE TABLE h_policy (id int PRIMARY KEY, v int);
         CREATE POLICY p ON h_policy USING (m.evil_policy(v));
         ALTER TABLE h_policy ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    ),
    (
        "operator",
        "CREATE TABLE h_operator (id int PRIMARY KEY, v int, CHECK (v OPERATOR(m.===) 1))",
    ),
    ("cast", "CREATE TABLE h_cast (id int PRIMARY KEY, v m.mood)"),
    ("range", "CREATE TABLE h_range (id int PRIMARY KEY, v m.span)"),
    ("sequence", "CREATE TABLE h_sequence (id int PRIMARY KEY, v int DEFAULT nextval('m.seq'))"),
    (
        "trigger",
        "CREATE TABLE h_trigger (id int PRIMARY KEY, v int);
         CREATE TRIGGER t BEFORE INSERT ON h_trigger FOR EACH ROW EXECUTE FUNCTION m.evil_fires();
         ALTER TABLE h_trigger ENABLE ALWAYS TRIGGER t",
    ),
    (
        "rule",
        "CREATE TABLE h_rule (id int PRIMARY KEY, v int);
         CREATE RULE r AS ON INSERT TO h_rule DO ALSO SELECT m.evil_rule(1);
         ALTER TABLE h_rule ENABLE ALWAYS RULE r",
    ),
];

/// What is somebody else's altogether, of these names.
const OTHERS: [(&str, &str); 4] = [
    ("m.whole", "CREATE TABLE m.whole (id int PRIMARY KEY, v int CHECK (m.evil_whole(v)))"),
    ("m.seen", "CREATE VIEW m.seen AS SELECT 1 AS id, 1 AS v WHERE m.evil_seen(1)"),
    (
        "public.parted",
        "CREATE TABLE m.part (id int NOT NULL, v int CHECK (m.evil_part(v)));
         ALTER TABLE public.parted ATTACH PARTITION m.part FOR VALUES FROM (0) TO (1000)",
    ),
    ("m.placed", "SELECT 1"),
];

/// Makes all of it. `mallory` owns it, or nobody: then it does no harm.
async fn make(db: &Database, mallory: Option<&Attacker>) {
    let body = async |kind: &str, returns: &str| match mallory {
        Some(mallory) => mallory.body(db, kind, returns).await,
        None => format!("BEGIN RETURN {returns}; END"),
    };
    let mut all = String::new();
    let kinds = KINDS.iter().map(|(kind, _)| *kind).chain(["whole", "seen", "part"]);
    for kind in kinds {
        all += &format!(
            "CREATE FUNCTION m.evil_{kind}(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$ {} $f$;",
            body(kind, "true").await
        );
    }
    for (function, kind, returns, type_name) in [
        ("equals(integer, integer)", "operator", "true", "boolean"),
        ("fires()", "trigger", "NEW", "trigger"),
        ("difference(integer, integer)", "range", "1", "float8"),
    ] {
        all += &format!(
            "CREATE FUNCTION m.evil_{function} RETURNS {type_name} LANGUAGE plpgsql IMMUTABLE AS $f$ {} $f$;",
            body(kind, returns).await
        );
    }
    all += &format!(
        "CREATE DOMAIN m.dom AS integer CHECK (m.evil_domain(VALUE)); CREATE TYPE m.comp AS (a m.dom);
         CREATE OPERATOR m.=== (FUNCTION = m.evil_equals, LEFTARG = integer, RIGHTARG = integer);
         CREATE TYPE m.mood AS ENUM ('good'); CREATE SEQUENCE m.seq;
         CREATE FUNCTION m.evil_spells(m.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $f$ {} $f$;
         CREATE CAST (m.mood AS text) WITH FUNCTION m.evil_spells(m.mood);
         CREATE TYPE m.span AS RANGE (SUBTYPE = integer, SUBTYPE_DIFF = m.evil_difference);
         GRANT USAGE ON SCHEMA m TO PUBLIC;",
        body("cast", "'good'").await
    );
    match mallory {
        Some(mallory) => {
            mallory.sql(db, &all).await;
            // The superuser's, with nothing in it that would be evaluated now.
            let grant = "CREATE TABLE parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
                         CREATE TABLE m.placed (id int PRIMARY KEY, v int)";
            db.sql(&format!("{grant}; GRANT CREATE ON SCHEMA public TO {}", mallory.name)).await;
            db.sql(&format!("ALTER TABLE parted OWNER TO {}", mallory.name)).await;
            for (_, sql) in OTHERS {
                mallory.sql(db, sql).await;
            }
            db.sql("ALTER TABLE parted OWNER TO CURRENT_USER").await;
        }
        None => {
            db.sql(&format!("CREATE SCHEMA m; {all}")).await;
        }
    }
    for (_, sql) in KINDS {
        db.sql(sql).await;
    }
}

/// Checks, runs, hands over and compares, and is refused each time because of owners.
async fn is_refused(mallory: &Attacker, spec: &MigrationSpec, kind: &str) {
    let handing_over = MigrationSpec { then: Then::Handoff, ..spec.clone() };
    let checked = migrate::check(&handing_over).await.unwrap();
    let refused = |f: &&migrate::Finding| f.severity == Severity::Refused && f.about == "owners";
    let mut refused = checked.findings.iter().filter(refused);
    let names_it = refused.any(|f| f.message.contains(&mallory.name));
    assert!(names_it, "{kind}: {:#?}", checked.findings);
    let failure = run(spec).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Refused, "{kind}: {failure}");
    assert_eq!(mallory.has_run().await, Vec::<String>::new(), "{kind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_ever_evaluates_what_strangers_have_written() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "hostile").await;
        let to = Database::create(&server, "hostile").await;
        let calm = Database::create(&server, "calm").await;
        let mallory = Attacker::make(&from, &to).await;
        make(&from, Some(&mallory)).await;
        make(&to, Some(&mallory)).await;
        make(&calm, None).await;
        let plain =
            "CREATE TABLE plain (id int PRIMARY KEY, v int); INSERT INTO plain VALUES (1, 1)";
        from.sql(plain).await;
        calm.sql("ALTER TABLE h_policy NO FORCE ROW LEVEL SECURITY").await;

        // What goes well, so that the commands have something to look at.
        let mut well = spec(&from, &to, "plain", "plain");
        run(&well).await.unwrap();

        let table = |name: &str| match name.split_once('.') {
            Some((schema, name)) => QualifiedName::new(schema, name),
            None => QualifiedName::new("public", name),
        };
        let mut count = 0;
        let mut of = |source: &str, target: &str| {
            // A run that was refused may still be there for a moment.
            count += 1;
            MigrationSpec {
                tables: vec![TableSpec { source: table(source), target: table(target) }],
                name: Some(format!("{}_{count}", well.name.as_ref().unwrap())),
                ..well.clone()
            }
        };
        let own = KINDS.map(|(kind, _)| format!("h_{kind}"));
        let all = own.iter().map(String::as_str).chain(OTHERS.map(|(name, _)| name));
        for name in all {
            // On the source; on the target, where it is, and where it is looked for by name.
            is_refused(&mallory, &of(name, "new"), name).await;
            is_refused(&mallory, &of("plain", name), name).await;
            let compared = verify(&of("plain", name)).await.unwrap_err();
            assert_eq!(compared.exit, Exit::Refused, "{name}: {compared}");
            let compared = verify(&of(name, "plain")).await.unwrap_err();
            assert_eq!(compared.exit, Exit::Refused, "{name}: {compared}");
            let is_made = own.iter().any(|own| own == name);
            if is_made && !["h_trigger", "h_rule"].contains(&name) {
                let made = MigrationSpec { source: calm.config(), ..of(name, "new") };
                is_refused(&mallory, &made, name).await;
            }
            mallory.assert_is_nobody().await;
        }

        let status = StatusSpec {
            target: to.config(),
            source: Some(from.config()),
            name: None,
            ledger: well.ledger.clone(),
        };
        migrate::status(&status).await.unwrap();
        well.verify = true;
        run(&well).await.unwrap();
        for dry_run in [true, false] {
            let name = well.name.clone().unwrap();
            let cleanup =
                CleanupSpec { dry_run, ..CleanupSpec::new(from.config(), to.config(), name) };
            migrate::cleanup(&cleanup).await.unwrap();
        }
        mallory.assert_is_nobody().await;
    }
}
