//! The roles that the guide makes suffice for the whole journey, and nothing of what they are given
//! is more than is needed: their statements are read from the guide itself.

use std::fs;

use pghost::{cluster::Binaries, config::Config};
use serde_json::Value;

use crate::support::{
    own_servers::{Own, Two},
    program::{Program, is, said},
    query, value, versions_to_test,
};

/// What belongs to the table of the guide: every kind of object whose making needs a right.
const TABLE: &str = "
CREATE TABLE customer (id integer PRIMARY KEY);
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer integer NOT NULL REFERENCES customer,
    code text NOT NULL UNIQUE,
    total numeric(12, 2) NOT NULL CHECK (total >= 0),
    changed timestamptz
);
CREATE INDEX orders_by_customer ON orders (customer);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN new.changed := now(); RETURN new; END $$;
CREATE TRIGGER orders_touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY orders_seen ON orders FOR SELECT TO reporting USING (total > 0);
COMMENT ON TABLE orders IS 'what was sold';
GRANT SELECT ON orders TO reporting;
GRANT SELECT ON customer TO reporting;
INSERT INTO customer SELECT generate_series(1, 50);
INSERT INTO orders (customer, code, total) SELECT 1 + i % 50, 'c' || i, i FROM generate_series(1, 3000) i;
ANALYZE";

/// What the guide takes for granted on each side.
const SOURCE: &str = "CREATE ROLE shop_owner; CREATE ROLE reporting";

/// The statements of the guide's SQL block that follows a sentence.
fn statements(after: &str) -> Vec<String> {
    let path = format!("{}/docs/guide.md", env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(path).unwrap();
    let block = guide.split_once(after).and_then(|(_, rest)| rest.split_once("```sql\n"));
    let (block, _) = block.and_then(|(_, rest)| rest.split_once("```")).unwrap();
    let uncommented: Vec<_> =
        block.lines().map(|line| line.split_once(" --").map_or(line, |(sql, _)| sql)).collect();
    let all = uncommented.join("\n");
    all.split(';').map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned).collect()
}

/// Two servers with a database `shop` on each, whose roles are those of the guide.
struct Shop {
    two: Two,
    major: u32,
    rights: [Vec<String>; 2],
}

impl Shop {
    async fn make(binaries: &Binaries) -> Self {
        let (two, major) = (Two::start(binaries), binaries.version.major());
        for server in [&two.source, &two.target] {
            server.sql("CREATE DATABASE shop").await;
        }
        let rights = [statements("The **source** needs"), statements("The **target** needs")];
        let rights = rights.map(|side| {
            // 14 has no such grant.
            side.into_iter().filter(|sql| major > 14 || !sql.contains("ON PARAMETER")).collect()
        });
        let shop = Self { two, major, rights };
        shop.on(0, SOURCE).await;
        let [source, target] = &shop.rights;
        // The roles first, then the table as its owner's, then what is granted on it.
        shop.on(
            0,
            &format!(
                "GRANT CREATE, USAGE ON SCHEMA public TO shop_owner; SET ROLE shop_owner; {TABLE}"
            ),
        )
        .await;
        shop.on(0, &source.join("; ")).await;
        shop.on(1, &target.join("; ")).await;
        // Of what the table speaks of, the target has what the guide says that it must have.
        shop.on(
            1,
            "SET ROLE shop_owner;
             CREATE TABLE customer (id integer PRIMARY KEY);
             INSERT INTO customer SELECT generate_series(1, 50);
             CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SET search_path = public
             AS $$ BEGIN new.changed := now(); RETURN new; END $$",
        )
        .await;
        shop
    }

    fn server(&self, side: usize) -> &Own {
        [&self.two.source, &self.two.target][side]
    }

    /// As the guide's role.
    fn dsn(&self, side: usize) -> String {
        format!("postgres://mover@127.0.0.1:{}/shop", self.server(side).port)
    }

    async fn on(&self, side: usize, sql: &str) {
        query(&self.as_postgres(side), sql).await;
    }

    async fn value(&self, side: usize, sql: &str) -> String {
        value(&self.as_postgres(side), sql).await
    }

    fn as_postgres(&self, side: usize) -> Config {
        Config { dbname: "shop".into(), ..self.server(side).config() }
    }

    /// Gives a command as the guide's roles, which must do it; gives what it has said.
    async fn does(&self, command: &str, args: &[&str]) -> String {
        let args = [&[command], args].concat();
        let (code, text) = said(&self.dsn(0), &self.dsn(1), &args).await;
        assert_eq!(code, Some(0), "{args:?}: {text}");
        text
    }

    /// The findings of a check, as severity and message.
    async fn check(&self) -> Vec<(String, String)> {
        let args = ["--table", "orders", "--target-owner", "shop_owner"];
        let ended = Program::run("check", &self.dsn(0), &self.dsn(1), &args).ended().await;
        let findings = ended.events.iter().filter(|event| is(event, "finding"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings.map(|event| (text(&event["severity"]), text(&event["message"]))).collect()
    }
}

/// A statement that takes back what another one gave.
fn taken_back(given: &str) -> Option<String> {
    if let Some(rest) = given.strip_prefix("GRANT ") {
        return Some(format!("REVOKE {}", rest.replacen(" TO ", " FROM ", 1)));
    }
    given.contains(" REPLICATION").then(|| "ALTER ROLE mover NOREPLICATION".to_owned())
}

fn what_is_wrong(findings: &[(String, String)]) -> Vec<&(String, String)> {
    findings.iter().filter(|(severity, _)| severity != "ok").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_roles_suffice_for_the_whole_journey() {
    for binaries in versions_to_test() {
        let shop = Shop::make(&binaries).await;
        let superuser =
            "SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname IN ('mover', 'shop_owner')";
        for side in 0..2 {
            assert_eq!(shop.value(side, superuser).await, "f");
        }
        let checked = shop.check().await;
        // Nobody but a superuser of 14 may keep triggers still there: pghost makes none then.
        if shop.major > 14 {
            assert!(what_is_wrong(&checked).is_empty(), "{checked:#?}");
        }
        let args = ["--table", "orders", "--target-owner", "shop_owner", "--page-rows", "300"];
        shop.does("migrate", &args).await;
        let changes = "UPDATE orders SET total = total + 1 WHERE id <= 200;
                       DELETE FROM orders WHERE id > 2900";
        shop.on(0, changes).await;
        shop.does("migrate", &["--name", "orders", "--verify"]).await;
        for command in ["verify", "status", "cutover-sequences", "cleanup"] {
            shop.does(command, &["--name", "orders"]).await;
        }

        let rows = "SELECT count(*) || ' ' || sum(total) FROM orders";
        assert_eq!(shop.value(0, rows).await, shop.value(1, rows).await);
        let owner = "SELECT relowner::regrole FROM pg_class WHERE oid = 'public.orders'::regclass";
        assert_eq!(shop.value(1, owner).await, "shop_owner");
        let left = "SELECT count(*) FROM pg_replication_slots";
        assert_eq!(shop.value(0, left).await, "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_what_the_guide_grants_could_be_left_out() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let shop = Shop::make(&binaries).await;
    for (side, all) in shop.rights.iter().enumerate() {
        for given in all {
            let Some(back) = taken_back(given) else { continue };
            shop.on(side, &back).await;
            let checked = shop.check().await;
            assert!(!what_is_wrong(&checked).is_empty(), "without {given:?}: {checked:#?}");
            let again = match given.contains(" REPLICATION") {
                true => "ALTER ROLE mover REPLICATION",
                false => given,
            };
            shop.on(side, again).await;
        }
    }
    let checked = shop.check().await;
    assert!(what_is_wrong(&checked).is_empty(), "{checked:#?}");
}
