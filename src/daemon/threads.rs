//! The threads of the process: whether the system permits as many as the daemon needs, and the runtime.
//!
//! One thread runs the scheduler's loop, the requests to providers and the control socket, because each hand-over
//! to another thread costs more than the work of a poll. What blocks runs elsewhere: SQLite in the threads of
//! sqlx, look-ups of names and reads of files in threads that may block.
//!
//! Used once, at the start, because most libraries end the process or wait forever if they get no thread. The
//! threads that block, for look-ups of names and for files, are never given back: while the system permits
//! no other, their work waits for one of them.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;

/// Those that may block and exist from the start on.
const BLOCKING_THREADS: usize = 4;
/// One for each connection of SQLite, the log and the notifications to systemd, and some to spare.
const OTHER_THREADS: usize = 16;
const FOREVER: Duration = Duration::from_hours(10 * 365 * 24);

/// Starts the runtime.
///
/// # Errors
/// If the system does not permit the threads.
pub(super) fn start_runtime() -> anyhow::Result<Runtime> {
    let needed = BLOCKING_THREADS + OTHER_THREADS;
    try_threads(needed).with_context(|| {
        format!(
            "cannot create the {needed} threads that jobtrackd needs; raise the limit of its service \
             (TasksMax=), its user (`ulimit -u`) or its container"
        )
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .thread_keep_alive(FOREVER)
        .enable_all()
        .build()
        .context("cannot start the threads of the runtime")?;
    start_blocking_threads(&runtime);
    Ok(runtime)
}

/// Creates `count` threads at the same time and ends them.
fn try_threads(count: usize) -> io::Result<()> {
    let gate = RwLock::new(());
    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let created: io::Result<Vec<_>> = (0..count)
            .map(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.read())))
            .collect();
        drop(closed);
        // A thread counts until it has ended as a whole.
        for thread in created? {
            let _ = thread.join();
        }
        Ok(())
    })
}

/// Makes the runtime create the threads by tasks that occupy them at the same time.
fn start_blocking_threads(runtime: &Runtime) {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..BLOCKING_THREADS {
        let gate = Arc::clone(&gate);
        runtime.spawn_blocking(move || drop(gate.read()));
    }
    drop(closed);
}
