//! A hundred random damages of single rows: each is found, and nothing else.

use std::collections::BTreeMap;

use fastrand::Rng;
use pghost::{cluster::Binaries, conn::Connection, verify::Kind};

use super::{Seen, compare};
use crate::support::{Database, server};

/// Rows of a table before it is damaged.
const ROWS: u32 = 300;
const PAGE_ROWS: u64 = 40;
const DAMAGES_EACH: usize = 9;
/// Chosen at random, once.
const SEED: u64 = 0x5EED_0800;

/// A kind of key: the types of its columns, and their values as expressions of `i`.
#[derive(Clone, Default)]
struct Keys {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    /// The types on the target, where they are others.
    on_target: Option<&'static [&'static str]>,
    /// The target's key, where its columns stand in another order.
    target_key: Option<&'static str>,
    before_source: &'static str,
    before_target: &'static str,
}

fn kinds() -> Vec<Keys> {
    const MIXED: &str =
        "(CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a' ELSE 'B' END) || (i * 7919 % 1000)";
    let keys = |name, columns| Keys { name, columns, ..Keys::default() };
    vec![
        keys("big", &[("bigint", "i")]),
        keys("negative", &[("integer", "i * 7919 % 100003 - 50000")]),
        Keys { on_target: Some(&["bigint"]), ..keys("widened", &[("integer", "i * 31")]) },
        keys("uuid", &[("uuid", "md5(i::text)::uuid")]),
        keys("words", &[("text", r#"E'it''s \\ ' || i || E'\n,{"}'"#)]),
        keys("pair", &[("integer", "i % 7"), ("varchar(20)", "'r' || i")]),
        Keys {
            target_key: Some("k1, k0"),
            ..keys("turned", &[("integer", "i % 7"), ("text", "'r' || i")])
        },
        keys("numbers", &[("numeric", "i / 8.0")]),
        keys("moments", &[("timestamptz", "'2020-01-01Z'::timestamptz + i * interval '1 hour'")]),
        keys("bytes", &[("bytea", "decode(md5(i::text), 'hex')")]),
        Keys {
            on_target: Some(&["text COLLATE public.german"]),
            before_target: "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk')",
            ..keys("elsewhere", &[("text", MIXED)])
        },
        Keys {
            before_source: "CREATE TYPE mood AS ENUM ('low', 'fair', 'high')",
            before_target: "CREATE TYPE mood AS ENUM ('high', 'low', 'fair')",
            ..keys(
                "moods",
                &[
                    ("public.mood", "(ARRAY['low', 'fair', 'high'])[i % 3 + 1]::public.mood"),
                    ("integer", "i"),
                ],
            )
        },
    ]
}

impl Keys {
    fn names(&self) -> String {
        (0..self.columns.len()).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ")
    }

    /// `k0 = ..` for the row of `i`.
    fn is(&self, i: u32) -> String {
        let is = |(n, (_, value)): (usize, &(&str, &str))| format!("k{n} = {}", at(value, i));
        self.columns.iter().enumerate().map(is).collect::<Vec<_>>().join(" AND ")
    }

    async fn make(&self, source: &Database, target: &Database) {
        let typed = |types: Vec<&str>| {
            let typed = types.iter().enumerate().map(|(n, of)| format!("k{n} {of} NOT NULL"));
            typed.collect::<Vec<_>>().join(", ")
        };
        let types: Vec<_> = self.columns.iter().map(|(of, _)| *of).collect();
        let (name, key) = (self.name, self.names());
        let values: Vec<_> = self.columns.iter().map(|(_, value)| *value).collect();
        let values = values.join(", ");
        let columns =
            "a text, b text, none text, n numeric, f float8, j jsonb, at interval, l int[]";
        let rows = format!(
            "INSERT INTO {name} SELECT {values}, 'a' || i, 'b' || i, NULL, i / 2.0, i / 3.0,
                    jsonb_build_object('i', i), i * interval '1 day', ARRAY[i, NULL]
               FROM generate_series(1, {ROWS}) i"
        );
        let of_source = typed(types.clone());
        source
            .sql(&format!(
                "{};CREATE TABLE {name} ({of_source}, {columns}, PRIMARY KEY ({key})); {rows}",
                self.before_source
            ))
            .await;
        let of_target = typed(self.on_target.map_or(types, <[&str]>::to_vec));
        // Columns stand elsewhere, and there are more of them.
        target.sql(&format!(
            "{};CREATE TABLE {name} (more int DEFAULT 7, l int[], at interval, j jsonb, f float8, n numeric,
                 none text, b text, a text, {of_target}, PRIMARY KEY ({}))",
            self.before_target,
            self.target_key.unwrap_or(&key)
        ))
        .await;
        let into = format!("INSERT INTO {name} ({key}, a, b, none, n, f, j, at, l)");
        target.sql(&rows.replace(&format!("INSERT INTO {name}"), &into)).await;
    }

    /// Does something to the row of `i` on the target, and tells what of it must be found.
    async fn damage(
        &self,
        target: &mut Connection,
        rng: &mut Rng,
        i: u32,
    ) -> (Kind, Vec<&'static str>) {
        let (name, is) = (self.name, self.is(i));
        let set = |set: &str| format!("UPDATE {name} SET {set} WHERE {is}");
        let (sql, kind, columns) = match rng.u32(0..11) {
            0 => (set("a = a || 'x'"), Kind::Different, vec!["a"]),
            1 => (set("b = NULL"), Kind::Different, vec!["b"]),
            2 => (set("none = ''"), Kind::Different, vec!["none"]),
            3 => (set("a = b, b = a"), Kind::Different, vec!["a", "b"]),
            4 => (set("n = n::numeric(20, 6)"), Kind::Different, vec!["n"]),
            5 => (set("f = f + 1e-13"), Kind::Different, vec!["f"]),
            6 => (set("j = '{\"i\": null}'"), Kind::Different, vec!["j"]),
            7 => (
                set("at = at + interval '24 hours' - interval '1 day'"),
                Kind::Different,
                vec!["at"],
            ),
            8 => (set("l = NULL"), Kind::Different, vec!["l"]),
            9 => (format!("DELETE FROM {name} WHERE {is}"), Kind::MissingOnTarget, vec![]),
            _ => {
                let key: Vec<_> = self.columns.iter().map(|(_, v)| at(v, i + ROWS)).collect();
                let sql = format!(
                    "INSERT INTO {name} ({}, a) VALUES ({}, 'new')",
                    self.names(),
                    key.join(", ")
                );
                (sql, Kind::ExtraOnTarget, vec![])
            }
        };
        let done = target.query(&sql).await.unwrap();
        assert_eq!(done.statements[0].affected, 1, "{sql}");
        (kind, columns)
    }

    /// The key of the row of `i` as it is told.
    async fn told(&self, source: &mut Connection, i: u32) -> Vec<(String, String)> {
        let values =
            self.columns.iter().map(|(of, value)| format!("(({})::{of})::text", at(value, i)));
        let values: Vec<_> = values.collect();
        let found = source.query(&format!("SELECT {}", values.join(", "))).await.unwrap();
        let values = found.row().unwrap().texts(0).unwrap();
        (0..).map(|n| format!("k{n}")).zip(values).collect()
    }
}

/// An expression of `i` for one `i`.
fn at(value: &str, i: u32) -> String {
    // `i` by itself, not within a word.
    let mut text = String::new();
    let letters: Vec<_> = value.chars().collect();
    for (place, letter) in letters.iter().enumerate() {
        let is_word =
            |at: Option<&char>| at.is_some_and(|c| c.is_alphanumeric() || *c == '\'' || *c == '_');
        let alone = !is_word(place.checked_sub(1).and_then(|p| letters.get(p)))
            && !is_word(letters.get(place + 1));
        match letter {
            'i' if alone => text.push_str(&i.to_string()),
            other => text.push(*other),
        }
    }
    text
}

async fn every_damage_is_found(from: &Binaries, to: &Binaries) {
    let source = Database::create(&server(from), "damage_from").await;
    let target = Database::create(&server(to), "damage_to").await;
    let mut rng = Rng::with_seed(SEED);
    let (mut asked, mut damaged) = (source.connect().await, target.connect().await);
    let mut all = 0;
    for keys in kinds() {
        keys.make(&source, &target).await;
        let table = |seen: &Seen| (seen.rows, seen.different, seen.moving);
        let before = compare(&source, &target, keys.name, PAGE_ROWS).await;
        assert_eq!(table(&before), (u64::from(ROWS), 0, 0), "{}", keys.name);
        assert!(before.pages >= u64::from(ROWS) / PAGE_ROWS && before.failure.is_none());
        let mut places: Vec<_> = (1..=ROWS).collect();
        rng.shuffle(&mut places);
        let mut expected = BTreeMap::new();
        for &i in places.iter().take(DAMAGES_EACH) {
            let (kind, columns) = keys.damage(&mut damaged, &mut rng, i).await;
            let i = if kind == Kind::ExtraOnTarget { i + ROWS } else { i };
            expected.insert(keys.told(&mut asked, i).await, (kind, columns));
        }
        let seen = compare(&source, &target, keys.name, PAGE_ROWS).await;
        let found: BTreeMap<_, _> = (seen.rows_told.iter())
            .map(|(key, kind, columns)| {
                (key.clone(), (*kind, columns.iter().map(String::as_str).collect()))
            })
            .collect();
        assert_eq!(found, expected, "{} from {} to {}", keys.name, from.version, to.version);
        assert_eq!(table(&seen), (u64::from(ROWS), DAMAGES_EACH as u64, 0), "{}", keys.name);
        assert_eq!(seen.failure.map(|failure| failure.exit.code()), Some(3));
        all += DAMAGES_EACH;
    }
    assert!(all >= 100, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_hundred_damages_is_found_and_nothing_else() {
    for (from, to) in &super::pairs() {
        every_damage_is_found(from, to).await;
    }
}
