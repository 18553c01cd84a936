//! A target whose disk is really full: the table stands in a tablespace on a small file system of
//! its own. Who may not mount one (who is not root, in most places) skips this loudly.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use pghost::{
    cluster::Binaries,
    migrate::{
        Event, Exit, Failure, MigrationSpec,
        verdict::{Sign, rule_of},
    },
};

use crate::support::{
    moments::{migrate_with, now, sums},
    oldest_and_newest,
    own_servers::Two,
};

/// About as much as the small file system holds when it has ten megabytes.
const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n int NOT NULL, v text);
    INSERT INTO source SELECT i, 0, repeat('v', 1000) FROM generate_series(1, 6000) i";

/// A file system in memory, gone with the test.
struct Small(PathBuf);

impl Small {
    /// Mounts one that the server's user may write to; `None`, said loudly, if that may not be.
    fn mount(server_dir: &Path, megabytes: u32) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("pghost-full-{}-{number}", process::id()));
        fs::create_dir(&dir).unwrap();
        let size = format!("size={megabytes}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir).output();
        match mount {
            Ok(output) if output.status.success() => {}
            other => {
                eprintln!(
                    "\n=== SKIPPED: no disk was filled, since none could be mounted: {other:?} ===\n"
                );
                fs::remove_dir(&dir).unwrap();
                return None;
            }
        }
        let small = Self(dir);
        let owner = fs::metadata(server_dir).unwrap();
        chown(&small.0, Some(owner.uid()), Some(owner.gid())).unwrap();
        Some(small)
    }

    /// Makes room.
    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Files of it may still be open in a server that is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// Two servers, of which the target has a tablespace on a small disk for what pghost makes.
struct Bed {
    two: Two,
    spec: MigrationSpec,
    // Gone after the servers.
    disk: Small,
}

impl Bed {
    async fn make(binaries: &Binaries, megabytes: u32) -> Option<Self> {
        let two = Two::start(binaries);
        let data = two.target.server(|server| server.data_dir().to_owned());
        let disk = Small::mount(&data, megabytes)?;
        let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display());
        two.target.sql(&tablespace).await;
        two.source.sql(TABLE).await;
        let spec = MigrationSpec {
            target_tablespace: Some("small".into()),
            page_rows: Some(200),
            ..two.spec()
        };
        Some(Self { two, spec, disk })
    }

    /// A run that ends because the disk is full, as the table of verdicts says.
    async fn is_full(&self, ended: Result<Vec<Event>, Failure>) {
        let failure = ended.map(|_| "it ended well").unwrap_err();
        let rule = rule_of(Sign::State("53100"));
        assert_eq!(failure.sqlstate.map(|code| code.to_string()).as_deref(), Some("53100"));
        assert_eq!((failure.exit, failure.hint.as_str()), (Exit::Stopped, rule.next), "{failure}");
        assert!(failure.message.contains("No space left on device"), "{failure}");
        assert!(failure.state.contains("committed stay"), "{failure}");
        self.two.nothing_is_left_open().await;
    }

    /// With room, the same command goes on, and copies no page again.
    async fn goes_on(self) {
        let pages =
            "SELECT string_agg(concat_ws(' ', number, xmin), ',' ORDER BY number) FROM pghost.page
            WHERE xmin::text::bigint < ";
        let now: String = self.two.target.value("SELECT txid_current()").await;
        let before = self.two.target.value(&format!("{pages} {now}")).await;
        self.disk.grow(200);
        sums(&migrate_with(&self.spec, |_| {}).await.unwrap());
        assert_eq!(self.two.target.value(&format!("{pages} {now}")).await, before);
        // What came after the checkpoint.
        migrate_with(&self.spec, |_| {}).await.unwrap();
        self.two.are_equal().await;
        self.two.nothing_is_left_open().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_in_the_backfill_stops_the_run_and_room_mends_it() {
    for binaries in oldest_and_newest() {
        let Some(bed) = Bed::make(&binaries, 4).await else { return };
        let ended = migrate_with(&bed.spec, |_| {}).await;
        bed.is_full(ended).await;
        let copied = "SELECT count(*) BETWEEN 1 AND 29 FROM pghost.page";
        assert_eq!(bed.two.target.value(copied).await, "t");
        bed.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_in_the_catch_up_stops_the_run_and_room_mends_it() {
    for binaries in oldest_and_newest() {
        let Some(bed) = Bed::make(&binaries, 10).await else { return };
        // All pages fit; another version of every row does not.
        let (mut pages, more) = (0, "UPDATE source SET n = n + 1");
        let ended = migrate_with(&bed.spec, |event| {
            if let Event::Progress { .. } = event {
                pages += 1;
                if pages == 25 {
                    now(bed.two.source.sql(more));
                }
            }
        })
        .await;
        bed.is_full(ended).await;
        assert_eq!(bed.two.target.value("SELECT phase FROM pghost.migration").await, "catch_up");
        bed.goes_on().await;
    }
}
