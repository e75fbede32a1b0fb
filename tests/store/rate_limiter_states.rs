//! What the rate limiters leave to the next process: only the first start after a clean shutdown reads it.

use std::time::Duration;

use jobtrack::job::UtcTime;
use jobtrack::policy::{RateLimiterState, RateLimiterStates};
use jobtrack::store::{FileSystemPolicy, Store, TrackerStateReader, restore};

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::jobs::{empty_store, open_store, register_job};

fn states() -> RateLimiterStates {
    let busy = RateLimiterState {
        next_slot: Duration::from_millis(61_500),
        completed: [12, 59_000, 60_000].map(Duration::from_millis).to_vec(),
    };
    let idle = RateLimiterState { next_slot: Duration::ZERO, completed: Vec::new() };
    [("dune".to_owned(), busy), ("lake, scripts".to_owned(), idle)].into()
}

/// A stopped daemon's database with these states.
async fn stopped() -> DaemonHome {
    let (home, store) = empty_store().await;
    close(store).await;
    home
}

async fn close(store: Store) {
    store.reader.close().await;
    store.writer.close(states()).await;
}

async fn read(store: &Store) -> RateLimiterStates {
    TrackerStateReader::rate_limiter_states(&store.reader).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_shutdown_leaves_the_states_to_the_next_start_alone() {
    let home = stopped().await;
    let mut store = open_store(&home.database()).await;
    assert_eq!(read(&store).await, states());
    register_job(&mut store, "A").await;
    assert_eq!(read(&store).await, states(), "until the end of this process");
    // It ends without a clean shutdown.
    store.reader.close().await;
    drop(store);
    let store = open_store(&home.database()).await;
    assert_eq!(read(&store).await, RateLimiterStates::new());
    close(store).await;
    let store = open_store(&home.database()).await;
    assert_eq!(read(&store).await, states());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_knows_no_states() {
    let home = stopped().await;
    let backup = home.path("backup.db");
    std::fs::copy(home.database(), &backup).expect("a copy");
    for replaced in [false, true] {
        if replaced {
            // The wall clock may be wrong.
            let now = UtcTime::from_millis(1_000);
            restore(&backup, &home.database(), FileSystemPolicy::default(), now)
                .await
                .expect("restored");
        }
        let stored = "SELECT count(*) FROM rate_limiter_state WHERE NOT taken_over";
        let count = if replaced { "0" } else { "2" };
        assert_eq!(db::query_value(&home.database(), stored), count);
        let store = open_store(&home.database()).await;
        assert_eq!(read(&store).await.is_empty(), replaced);
        close(store).await;
    }
}
