//! The names of the users at the other end of connections.
//!
//! Used for the audit and for whoever adds jobs. A look-up may ask a directory service that does not
//! answer: the number of threads that wait for it is limited, and nobody waits for longer than
//! [`LOOKUP_TIMEOUT`]. Without an answer the name stays unknown; the uid is known anyway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::job::MonotonicTime;

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a name, or that there is none, is remembered.
const MAX_AGE: Duration = Duration::from_mins(1);
/// How long a look-up without an answer is not repeated.
const RETRY_DELAY: Duration = Duration::from_secs(10);
const MAX_THREADS: usize = 4;
const MAX_REMEMBERED: usize = 1024;

type Lookup = fn(u32) -> Option<String>;

#[derive(Debug)]
pub(super) struct UserNames {
    lookup: Lookup,
    threads: Arc<Semaphore>,
    /// By uid: the name, and until when it is valid.
    remembered: Mutex<HashMap<u32, (Option<String>, MonotonicTime)>>,
}

impl Default for UserNames {
    fn default() -> Self {
        Self::new(|uid| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
    }
}

impl UserNames {
    fn new(lookup: Lookup) -> Self {
        Self {
            lookup,
            threads: Arc::new(Semaphore::new(MAX_THREADS)),
            remembered: Mutex::default(),
        }
    }

    /// `None` if the user database does not have the uid, or does not answer.
    pub(super) async fn name(&self, uid: u32, now: MonotonicTime) -> Option<String> {
        if let Some((name, valid_until)) = self.remembered().get(&uid)
            && now < *valid_until
        {
            return name.clone();
        }
        let (name, age) = match timeout(LOOKUP_TIMEOUT, self.look_up(uid)).await {
            Ok(name) => (name, MAX_AGE),
            Err(_) => (None, RETRY_DELAY),
        };
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(uid, (name.clone(), now.plus(age)));
        name
    }

    async fn look_up(&self, uid: u32) -> Option<String> {
        // The thread holds the permit until the look-up returns, although nobody waits for it any more.
        let permit = self.threads.clone().acquire_owned().await.ok()?;
        let lookup = self.lookup;
        let found = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            lookup(uid)
        });
        found.await.ok().flatten()
    }

    /// No code panics while it holds the lock.
    fn remembered(&self) -> MutexGuard<'_, HashMap<u32, (Option<String>, MonotonicTime)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use crate::clock::Clock;

    use super::*;

    #[tokio::test]
    async fn a_user_database_that_hangs_holds_few_threads_and_delays_nobody_for_long() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        static HANGING: Mutex<Vec<mpsc::Sender<()>>> = Mutex::new(Vec::new());
        let names = Arc::new(UserNames::new(|_| {
            STARTED.fetch_add(1, Ordering::SeqCst);
            let (sender, receiver) = mpsc::channel();
            HANGING.lock().expect("the lock").push(sender);
            let _ = receiver.recv();
            None
        }));
        let clock = Clock::start();
        let begin = clock.monotonic_now();
        let lookups: Vec<_> = (0..20)
            .map(|uid| {
                let names = names.clone();
                tokio::spawn(async move { names.name(uid, begin).await })
            })
            .collect();
        for lookup in lookups {
            assert_eq!(lookup.await.expect("no panic"), None);
        }
        let waited = clock.monotonic_now().duration_since(begin);
        assert!(waited < 5 * LOOKUP_TIMEOUT, "{waited:?}");
        assert_eq!(STARTED.load(Ordering::SeqCst), MAX_THREADS);
        // The second time nobody waits at all.
        let known = timeout(LOOKUP_TIMEOUT / 2, names.name(3, begin)).await;
        assert_eq!(known, Ok(None));
        HANGING.lock().expect("the lock").clear();
    }

    #[tokio::test]
    async fn the_name_of_root_is_known_and_that_of_nobody_is_not() {
        let names = UserNames::default();
        let now = Clock::start().monotonic_now();
        assert_eq!(names.name(0, now).await.as_deref(), Some("root"));
        assert_eq!(names.name(0, now).await.as_deref(), Some("root"));
        assert_eq!(names.name(4_000_000_000, now).await, None);
    }
}
