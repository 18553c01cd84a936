//! What an operator wishes is kept with who made it, shown, and taken back.

use pghost::ledger::{Cutover, Ledger, LedgerSchema, MigrationName, WishName};

use super::{Stage, migrated};
use crate::support::{connect, oldest_and_newest, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_are_kept_with_who_made_them() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        migrated(&stage).await;
        let name = MigrationName::new(&LedgerSchema::default(), stage.name());
        let mut session = connect(&stage.to.config()).await;
        let mut ledger = Ledger::of(&mut session, &name);
        assert!(ledger.wishes().await.unwrap().0.is_empty());
        ledger.wish(WishName::Rate, Some("10MB/s")).await.unwrap();
        ledger.wish(WishName::Rate, Some("it's 20MB/s")).await.unwrap();
        ledger.wish(WishName::Cutover, Some("when-ready")).await.unwrap();
        ledger.wish(WishName::Pause, None).await.unwrap();
        let wishes = ledger.wishes().await.unwrap();
        assert!(wishes.paused() && !wishes.stop());
        assert_eq!(wishes.value(WishName::Rate), Some("it's 20MB/s"));
        assert_eq!(wishes.cutover(), Some(Cutover::WhenReady));
        let found = status(&stage.to.config(), Some(stage.name())).await.unwrap().remove(0);
        let told: Vec<_> =
            found.wishes.iter().map(|w| format!("{} {} {:?}", w.wish, w.role, w.value)).collect();
        let rate = "rate postgres Some(\"it's 20MB/s\")";
        assert_eq!(told, ["cutover postgres Some(\"when-ready\")", "pause postgres None", rate]);
        assert!(found.wishes.iter().all(|wish| wish.at.ends_with('Z')));
        ledger.take_back(&[WishName::Pause, WishName::Rate, WishName::Stop]).await.unwrap();
        assert_eq!(ledger.wishes().await.unwrap().0.len(), 1);
        // Of a migration that is not there nothing can be wished.
        let nobody = MigrationName::new(&LedgerSchema::default(), "nobody");
        let failed = Ledger::of(&mut session, &nobody).wish(WishName::Stop, None).await;
        assert!(failed.unwrap_err().to_string().contains("line is gone"));
        session.close().await;
        // They go with the migration.
        let removed = stage.run(&["cleanup", "--name", stage.name()]);
        assert!(removed.status.success(), "{removed:?}");
    }
}
