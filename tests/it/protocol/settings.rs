//! Every setting that a server knows and a role can be given: judged in `settings.txt`, and pinned
//! where it says so. What that prevents: definitions that another side reads otherwise.

use std::{collections::BTreeSet, fmt::Write as _};

use pghost::{
    config::Config,
    conn::{Connection, SessionKind, parse_dsn},
};

use crate::support::{Database, bed::Bed, migrate, oldest_and_newest, server, versions_to_test};

const LINES: &str = include_str!("settings.txt");

/// A line of the file.
struct Judged {
    pattern: &'static str,
    /// What a role may have that must not matter.
    other: Option<&'static str>,
}

impl Judged {
    fn all() -> Vec<Self> {
        let lines = LINES.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| {
                let (line, why) = line.split_once(" # ").unwrap_or_else(|| panic!("why {line}?"));
                assert!(!why.trim().is_empty(), "{line}");
                let (pattern, how) = line.split_once(' ').unwrap();
                let how = how.trim();
                let other = how.strip_prefix("pinned ");
                assert!(other.is_some() || ["kind", "left"].contains(&how), "{line}");
                Self { pattern, other }
            })
            .collect()
    }

    fn fits(&self, name: &str) -> bool {
        match (self.pattern.strip_prefix('*'), self.pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(start)) => name.starts_with(start),
            _ => name == self.pattern,
        }
    }
}

/// What a server has, less what extensions bring along. Two are kept out of the view.
async fn settings(database: &Database) -> Vec<String> {
    let sql = "SELECT name FROM pg_settings
                WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')
                  AND name NOT LIKE '%.%'";
    let mut names: Vec<_> =
        database.sql(sql).await.rows().iter().map(|row| row.get("name").unwrap()).collect();
    names.extend(["role".to_owned(), "session_authorization".to_owned()]);
    names
}

async fn values(config: &Config, kind: SessionKind, names: &[&str]) -> Vec<String> {
    let mut connection = Connection::connect(config, kind).await.unwrap();
    let each: Vec<_> = names.iter().map(|name| format!("current_setting('{name}')")).collect();
    let result = connection.query(&format!("SELECT {}", each.join(", "))).await.unwrap();
    let values = result.row().unwrap().texts(0).unwrap();
    connection.close().await;
    values
}

#[tokio::test]
async fn every_setting_is_judged_and_those_that_matter_are_pinned() {
    let judged = Judged::all();
    let (mut met, mut releases) = (BTreeSet::new(), 0);
    for binaries in versions_to_test() {
        releases += 1;
        let database = Database::create(&server(&binaries), "judged").await;
        let names = settings(&database).await;
        let role = format!("{}_role", database.name);
        let mut sql = format!("CREATE ROLE {role} SUPERUSER LOGIN;");
        let mut pinned = Vec::new();
        for name in &names {
            let fits = |judged: &&Judged| judged.fits(name);
            // One line for itself goes before one for many.
            let own = judged.iter().find(|judged| judged.pattern == name);
            let Some(found) = own.or_else(|| judged.iter().find(fits)) else {
                panic!("{name} of {} is in no line of settings.txt", binaries.version);
            };
            met.insert(found.pattern);
            if let Some(other) = found.other {
                pinned.push((name.as_str(), other));
                let _ = write!(sql, "ALTER ROLE {role} SET {name} = {other};");
            }
        }
        database.sql(&sql).await;
        assert!(pinned.len() > 25, "{pinned:?}");
        // Over a unix socket keepalives are not shown.
        let config = |user: &str| {
            let mut config = parse_dsn(&database.server.tcp_dsn(&database.name)).unwrap();
            config.user = user.to_owned();
            config
        };
        let names: Vec<_> = pinned.iter().map(|(name, _)| *name).collect();
        for kind in [SessionKind::Sql, SessionKind::Replication] {
            let ours = values(&config("postgres"), kind, &names).await;
            let theirs = values(&config(&role), kind, &names).await;
            for ((name, other), (ours, theirs)) in pinned.iter().zip(ours.iter().zip(&theirs)) {
                assert_eq!(ours, theirs, "{name} in a session of {kind:?}");
                assert_ne!(theirs, other.trim_matches('\''), "{name} can't be told");
            }
        }
    }
    if releases == 5 {
        let unmet: Vec<_> = judged.iter().filter(|j| !met.contains(j.pattern)).collect();
        let unmet: Vec<_> = unmet.iter().map(|judged| judged.pattern).collect();
        assert_eq!(unmet, Vec::<&str>::new(), "no release has them");
    }
}

/// A setting that only a superuser may change, and that another role has by its database.
#[tokio::test]
async fn what_a_role_may_not_set_is_told_before_anything_is_done() {
    for binaries in oldest_and_newest() {
        let database = Database::create(&server(&binaries), "forbidden").await;
        let (name, role) = (&database.name, format!("{}_role", database.name));
        database
            .sql(&format!(
                "CREATE ROLE {role} LOGIN;
                 ALTER DATABASE \"{name}\" SET session_replication_role = replica"
            ))
            .await;
        let mut config = database.config();
        config.user = role;
        let error = Connection::connect(&config, SessionKind::Sql).await.unwrap_err().to_string();
        assert!(error.contains("session_replication_role is 'replica'"), "{error}");
        // Whoever may sets it back.
        let config = database.config();
        let role = values(&config, SessionKind::Sql, &["session_replication_role"]).await;
        assert_eq!(role, ["origin"]);
    }
}

/// Literals with backslashes wherever a definition can have one.
const BACKSLASHES: &str = r"
    SET standard_conforming_strings = on;
    CREATE TABLE source (id int PRIMARY KEY, a text, path text DEFAULT 'C:\new',
        d text GENERATED ALWAYS AS (regexp_replace(a, '\d+', '#')) STORED,
        CONSTRAINT word CHECK (a ~ '^\w'));
    CREATE INDEX ends ON source (a) WHERE a ~ '\.com$';
    CREATE INDEX parts ON source (regexp_replace(a, '\s', E'\t', 'g'));
    CREATE STATISTICS words ON (regexp_replace(a, '\W', '')), id FROM source;
    CREATE POLICY words ON source USING (a ~ '^\w') WITH CHECK (a <> '\');
    ALTER TABLE source ADD CONSTRAINT odd CHECK (a <> E'\\''\n');
    COMMENT ON COLUMN source.a IS 'a\nb ''c''';
    INSERT INTO source (id, a) SELECT g, 'w' || g FROM generate_series(1, 500) g";

const DEFINITIONS: &str = r"
    SELECT string_agg(line, E'\n' ORDER BY line) FROM (
        SELECT attname || ' ' || pg_get_expr(adbin, adrelid) AS line FROM pg_attrdef
          JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
         WHERE adrelid = 'TABLE'::regclass
        UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
         WHERE conrelid = 'TABLE'::regclass AND contype = 'c'
        UNION ALL SELECT replace(indexdef, 'TABLE', 't') FROM pg_indexes
         WHERE tablename = 'TABLE' AND indexname NOT LIKE '%pkey'
        UNION ALL SELECT replace(pg_get_statisticsobjdef(oid), 'TABLE', 't')
          FROM pg_statistic_ext WHERE stxrelid = 'TABLE'::regclass
        UNION ALL SELECT concat_ws(' ', polname, pg_get_expr(polqual, polrelid),
                                   pg_get_expr(polwithcheck, polrelid))
          FROM pg_policy WHERE polrelid = 'TABLE'::regclass
        UNION ALL SELECT 'comment ' || description FROM pg_description
         WHERE objoid = 'TABLE'::regclass
        UNION ALL SELECT DISTINCT 'd ' || d FROM TABLE) l";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn literals_of_definitions_are_the_same_whatever_either_side_takes_a_backslash_for() {
    for binaries in oldest_and_newest() {
        for (source, target) in [("off", "on"), ("on", "off"), ("off", "off")] {
            let mut bed = Bed::make(&binaries, "backslash", BACKSLASHES).await;
            for (database, value) in [(&bed.from, source), (&bed.to, target)] {
                let name = &database.name;
                let set = "SET standard_conforming_strings";
                database.sql(&format!("ALTER DATABASE \"{name}\" {set} = {value}")).await;
            }
            bed.spec.verify = true;
            migrate(&bed.spec).await.unwrap();
            let asked = |table: &str| DEFINITIONS.replace("TABLE", table);
            let before = bed.from.value(&asked("source")).await;
            assert!(before.contains(r"'\d+'") && before.contains(r"C:\new"), "{before}");
            let case = format!("{} {source} {target}", binaries.version);
            assert_eq!(bed.to.value(&asked("target")).await, before, "{case}");
            bed.ends().await;
        }
    }
}
