//! Messages of `pg_logical_emit_message`, which any role can write, of any length.

use crate::support::{bed::Bed, migrate, oldest_and_newest};

/// They are long ones, within a transaction and outside of any, with long prefixes, and between rows
/// that must not get lost. (`tests/script/memory.rs` measures what they take.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_strangers_pass_without_a_trace() {
    let table = "CREATE TABLE source (id int PRIMARY KEY, a text);
                 INSERT INTO source SELECT g, 'a' FROM generate_series(1, 100) g";
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "emitted", table).await;
        migrate(&bed.spec).await.unwrap();
        bed.from.sql(&format!("CREATE ROLE {} LOGIN", bed.from.name)).await;
        for (row, is_transactional) in [(1, true), (2, false)] {
            bed.from
                .sql(&format!(
                    "BEGIN; UPDATE source SET a = 'b' WHERE id = {row};
                     SET LOCAL ROLE {};
                     SELECT 1 FROM pg_logical_emit_message({is_transactional}, 'pghost', repeat('x', 9000000));
                     SELECT 1 FROM pg_logical_emit_message({is_transactional}, repeat('p', 9000000), 'x');
                     SELECT 1 FROM pg_logical_emit_message({is_transactional}, '', '');
                     RESET ROLE; DELETE FROM source WHERE id = 10 + {row}; COMMIT",
                    bed.from.name
                ))
                .await;
        }
        migrate(&bed.spec).await.unwrap();
        assert_eq!(bed.to.value("SELECT count(*) FROM target WHERE a = 'b'").await, "2");
        bed.ends().await;
    }
}
