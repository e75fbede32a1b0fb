//! Which connections are open, what each is doing, and which one is closed when another needs its place.
//!
//! Used by [`ConnectionLimiter`](super::connection_limiter::ConnectionLimiter), which adds the lock and
//! the waiting; there is no I/O here. Places are shared out by uid: a connection is closed only for
//! another one, which belongs to the same user or to one who has fewer. Invariant: a request that has
//! arrived as a whole is not interrupted, except for one that waits for its turn, and one that the client repeats.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::job::MonotonicTime;

use super::activity::Activity;

/// The user at the other end; `None` if the kernel does not tell.
pub(super) type PeerUid = Option<u32>;

#[derive(Debug)]
struct Entry {
    uid: PeerUid,
    activity: Activity,
    /// Since when a request has memory reserved.
    memory_since: Option<MonotonicTime>,
    close: CancellationToken,
}

impl Entry {
    /// Whether the client has not sent or not read for long what it could have.
    fn is_stalled(&self, now: MonotonicTime) -> bool {
        let since = match self.activity {
            Activity::SendingResponse { since } => Some(since),
            Activity::Idle
            | Activity::ReceivingBody
            | Activity::Handling
            | Activity::WaitingForTurn
            | Activity::OnDemand
            | Activity::Following => self.memory_since,
        };
        self.activity.is_interruptible(now)
            && since.is_some_and(|since| {
                now.duration_since(since) >= ConnectionRegistry::MAX_STALLED_TIME
            })
    }
}

/// The open connections, by order of arrival.
#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    max_open: usize,
    next_id: u64,
    open: BTreeMap<u64, Entry>,
}

impl ConnectionRegistry {
    /// How long an incomplete request may keep memory for which others wait.
    const MAX_STALLED_TIME: Duration = Duration::from_secs(2);

    pub(super) fn new(max_open: usize) -> Self {
        Self { max_open, next_id: 0, open: BTreeMap::new() }
    }

    /// How many requests of one user are handled at once: with all requests that wait for jobs or
    /// providers, they leave places for others.
    pub(super) fn max_handled_per_user(&self) -> usize {
        (self.max_open / 8).max(2)
    }

    /// Registers a connection. If no place is left, another of the same user is closed for it, or one of a
    /// user who has at least two more; `None` if none can be closed at `now`. A few closed
    /// connections may still be ending while new ones take their places.
    pub(super) fn admit(
        &mut self,
        uid: PeerUid,
        now: MonotonicTime,
    ) -> Option<(u64, CancellationToken)> {
        let open = self.remaining().count();
        if open >= self.max_open {
            let closing = self.open.len() - open;
            if closing >= self.max_closing() {
                return None;
            }
            let weights = self.weights(|_| 1);
            self.close_oldest(now, &weights, |owner| {
                owner == uid || weight_of(&weights, owner) > weight_of(&weights, uid) + 1
            })?;
        }
        let (id, close) = (self.next_id, CancellationToken::new());
        self.next_id += 1;
        let entry =
            Entry { uid, activity: Activity::Idle, memory_since: None, close: close.clone() };
        self.open.insert(id, entry);
        Some((id, close))
    }

    /// Closes the oldest connection that can be interrupted, of the user with the most connections; `None`
    /// if none can be.
    pub(super) fn close_one(&self, now: MonotonicTime) -> Option<()> {
        self.close_oldest(now, &self.weights(|_| 1), |_| true)
    }

    fn close_oldest(
        &self,
        now: MonotonicTime,
        weights: &HashMap<PeerUid, usize>,
        is_candidate: impl Fn(PeerUid) -> bool,
    ) -> Option<()> {
        let interruptible = self
            .remaining()
            .filter(|(_, entry)| entry.activity.is_interruptible(now) && is_candidate(entry.uid));
        let victim = heaviest_user(interruptible, weights).min_by_key(|(id, _)| *id)?;
        victim.1.close.cancel();
        Some(())
    }

    pub(super) fn activity(&self, id: u64) -> Option<Activity> {
        self.open.get(&id).map(|entry| entry.activity)
    }

    pub(super) fn set_activity(&mut self, id: u64, activity: Activity) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.activity = activity;
            if activity == Activity::Idle {
                entry.memory_since = None;
            }
        }
    }

    /// Marks a request as one that may last long; returns whether there is a place for it. If all are
    /// taken, a request that follows jobs gives way, as for [`Self::begin_following`].
    pub(super) fn begin_on_demand(&mut self, id: u64) -> bool {
        let Some(uid) = self.open.get(&id).map(|entry| entry.uid) else { return false };
        let of_user = self.remaining().filter(|(_, entry)| entry.uid == uid);
        let of_user = of_user.filter(|(_, entry)| entry.activity == Activity::OnDemand).count();
        of_user < self.max_waiting().div_ceil(4) && self.begin_waiting(id, uid, Activity::OnDemand)
    }

    /// Marks a request as one that follows jobs. If no place is left, the newest such request of a user
    /// who has at least two more is closed; returns whether there is a place.
    pub(super) fn begin_following(&mut self, id: u64) -> bool {
        let Some(uid) = self.open.get(&id).map(|entry| entry.uid) else { return false };
        self.begin_waiting(id, uid, Activity::Following)
    }

    fn begin_waiting(&mut self, id: u64, uid: PeerUid, activity: Activity) -> bool {
        if self.waiting().count() >= self.max_waiting() {
            let weights = self.weights(|entry| usize::from(entry.activity.is_waiting()));
            let following = self.waiting().filter(|(_, entry)| {
                entry.activity == Activity::Following
                    && weight_of(&weights, entry.uid) > weight_of(&weights, uid) + 1
            });
            let victim = heaviest_user(following, &weights).max_by_key(|(id, _)| *id);
            let Some((_, victim)) = victim else { return false };
            victim.close.cancel();
        }
        self.set_activity(id, activity);
        true
    }

    /// A request has its memory from `now` on, until its connection is idle again.
    pub(super) fn set_memory_reserved(&mut self, id: u64, now: MonotonicTime) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.memory_since = Some(now);
        }
    }

    /// Closes a connection that keeps memory while its request does not arrive or its response is not
    /// read: the one that has kept it longest. Closes none before the last one has released its memory.
    pub(super) fn close_stalled(&self, now: MonotonicTime) {
        let with_memory = self.open.values().filter(|entry| entry.memory_since.is_some());
        if with_memory.clone().any(|entry| entry.close.is_cancelled()) {
            return;
        }
        let stalled = with_memory.filter(|entry| entry.is_stalled(now));
        if let Some(victim) = stalled.min_by_key(|entry| entry.memory_since) {
            victim.close.cancel();
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// How many requests may wait for jobs or providers: a quarter of the places is left for others.
    fn max_waiting(&self) -> usize {
        self.max_open - self.max_open.div_ceil(4)
    }

    /// How many connections may be closing while new ones take their places.
    fn max_closing(&self) -> usize {
        (self.max_open / 8).clamp(1, 16)
    }

    /// The connections that are not being closed.
    fn remaining(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let open = self.open.iter().filter(|(_, entry)| !entry.close.is_cancelled());
        open.map(|(id, entry)| (*id, entry))
    }

    fn waiting(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.remaining().filter(|(_, entry)| entry.activity.is_waiting())
    }

    /// The sum of `weight` over the connections of each user.
    fn weights(&self, weight: impl Fn(&Entry) -> usize) -> HashMap<PeerUid, usize> {
        let mut sums = HashMap::new();
        for (_, entry) in self.remaining() {
            *sums.entry(entry.uid).or_default() += weight(entry);
        }
        sums
    }
}

fn weight_of(weights: &HashMap<PeerUid, usize>, uid: PeerUid) -> usize {
    weights.get(&uid).copied().unwrap_or(0)
}

/// Those of `entries` that belong to the user with the greatest weight.
fn heaviest_user<'a>(
    entries: impl Iterator<Item = (u64, &'a Entry)>,
    weights: &HashMap<PeerUid, usize>,
) -> impl Iterator<Item = (u64, &'a Entry)> {
    let weight = |entry: &Entry| weight_of(weights, entry.uid);
    let entries: Vec<_> = entries.collect();
    // The uid as the second key: of two users with the same weight only one is meant.
    let heaviest = entries.iter().map(|(_, entry)| (weight(entry), entry.uid)).max();
    entries.into_iter().filter(move |(_, entry)| heaviest.is_some_and(|(_, uid)| uid == entry.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> MonotonicTime {
        MonotonicTime::from_millis(10_000)
    }

    const ALICE: PeerUid = Some(1000);
    const BOB: PeerUid = Some(1001);

    fn admitted(registry: &mut ConnectionRegistry, uid: PeerUid, activity: Activity) -> u64 {
        let (id, _) = registry.admit(uid, now()).expect("a place");
        registry.set_activity(id, activity);
        id
    }

    fn closed(registry: &ConnectionRegistry) -> Vec<u64> {
        let closed = registry.open.iter().filter(|(_, entry)| entry.close.is_cancelled());
        closed.map(|(id, _)| *id).collect()
    }

    #[test]
    fn the_oldest_incomplete_request_of_the_user_with_the_most_gives_way() {
        let mut registry = ConnectionRegistry::new(8);
        let bobs = admitted(&mut registry, BOB, Activity::Idle);
        admitted(&mut registry, ALICE, Activity::Handling);
        let half_bodies: Vec<_> =
            (0..6).map(|_| admitted(&mut registry, ALICE, Activity::ReceivingBody)).collect();
        assert_eq!(closed(&registry), [0; 0]);
        admitted(&mut registry, BOB, Activity::Idle);
        assert_eq!(closed(&registry), half_bodies[..1]);
        assert!(registry.admit(BOB, now()).is_none(), "the first must be closed before the second");
        registry.remove(half_bodies[0]);
        admitted(&mut registry, ALICE, Activity::Idle);
        assert_eq!(closed(&registry), half_bodies[1..2]);
        assert!(!closed(&registry).contains(&bobs));
    }

    #[test]
    fn a_response_that_nobody_reads_gives_way_and_a_request_in_progress_does_not() {
        let mut registry = ConnectionRegistry::new(4);
        for activity in [Activity::Handling, Activity::OnDemand, Activity::Following] {
            admitted(&mut registry, ALICE, activity);
        }
        let sending = admitted(&mut registry, ALICE, Activity::SendingResponse { since: now() });
        assert!(registry.admit(BOB, now()).is_none());
        assert!(registry.admit(BOB, now().plus(Activity::MIN_SENDING_TIME)).is_some());
        assert_eq!(closed(&registry), [sending]);
    }

    #[test]
    fn event_streams_are_shared_out_by_user_and_leave_places_for_short_requests() {
        let mut registry = ConnectionRegistry::new(16);
        let follow = |registry: &mut ConnectionRegistry, uid| {
            let id = admitted(registry, uid, Activity::Handling);
            (id, registry.begin_following(id))
        };
        let alices: Vec<_> = (0..12).map(|_| follow(&mut registry, ALICE)).collect();
        assert!(alices.iter().all(|(_, followed)| *followed));
        let (refused, followed) = follow(&mut registry, ALICE);
        assert!(!followed && closed(&registry).is_empty());
        registry.remove(refused);
        let mut bobs = 0;
        loop {
            let (id, followed) = follow(&mut registry, BOB);
            if !followed {
                registry.remove(id);
                break;
            }
            bobs += 1;
            for id in closed(&registry) {
                assert!(alices.iter().any(|(of_alice, _)| *of_alice == id));
                registry.remove(id);
            }
        }
        assert_eq!(bobs, 6, "half of the places for streams");
        let on_demand = admitted(&mut registry, BOB, Activity::Handling);
        assert!(!registry.begin_on_demand(on_demand));
        let of_another = admitted(&mut registry, Some(1002), Activity::Handling);
        assert!(registry.begin_on_demand(of_another), "a stream gives way to a command");
        assert_eq!(closed(&registry).len(), 1);
    }

    #[test]
    fn a_new_connection_closes_none_of_a_user_who_has_fewer() {
        let mut registry = ConnectionRegistry::new(16);
        let bobs: Vec<_> = (0..4).map(|_| admitted(&mut registry, BOB, Activity::Idle)).collect();
        let alices: Vec<_> =
            (0..12).map(|_| admitted(&mut registry, ALICE, Activity::Handling)).collect();
        assert!(registry.admit(ALICE, now()).is_none());
        for id in &alices[2..] {
            registry.set_activity(*id, Activity::WaitingForTurn);
        }
        admitted(&mut registry, ALICE, Activity::Handling);
        assert_eq!(closed(&registry), alices[2..3], "Alice's own, which waits for its turn");
        registry.remove(alices[2]);
        admitted(&mut registry, BOB, Activity::Idle);
        assert_eq!(closed(&registry), alices[3..4]);
        assert!(bobs.iter().all(|id| !closed(&registry).contains(id)));
    }

    #[test]
    fn one_user_cannot_take_all_places_of_requests_that_wait_for_a_provider() {
        let mut registry = ConnectionRegistry::new(16);
        for expected in [true, true, true, false] {
            let id = admitted(&mut registry, ALICE, Activity::Handling);
            assert_eq!(registry.begin_on_demand(id), expected);
        }
        let id = admitted(&mut registry, BOB, Activity::Handling);
        assert!(registry.begin_on_demand(id));
    }

    #[test]
    fn fault_68_memory_for_which_others_wait_is_taken_from_a_request_that_does_not_arrive() {
        let mut registry = ConnectionRegistry::new(16);
        let later = |time: MonotonicTime| time.plus(ConnectionRegistry::MAX_STALLED_TIME);
        let [handled, first, second] =
            [Activity::Handling, Activity::ReceivingBody, Activity::ReceivingBody]
                .map(|activity| admitted(&mut registry, ALICE, activity));
        let waiting = admitted(&mut registry, BOB, Activity::ReceivingBody);
        for id in [handled, first, second] {
            registry.set_memory_reserved(id, now());
        }
        registry.close_stalled(now());
        assert_eq!(closed(&registry), [0; 0], "a body that is arriving");
        registry.close_stalled(later(now()));
        assert_eq!(closed(&registry), [first]);
        registry.close_stalled(later(now()));
        assert_eq!(closed(&registry), [first], "one at a time");
        registry.remove(first);
        registry.set_activity(second, Activity::SendingResponse { since: later(now()) });
        registry.close_stalled(later(now()));
        assert_eq!(closed(&registry), [0; 0], "a response that has just begun");
        registry.close_stalled(later(later(now())));
        assert_eq!(closed(&registry), [second]);
        registry.remove(second);
        registry.close_stalled(later(later(now())));
        assert!(!closed(&registry).contains(&handled) && !closed(&registry).contains(&waiting));
    }
}
