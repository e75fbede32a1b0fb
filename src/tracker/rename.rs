//! A provider under a new name: its jobs, and the polls under way, go over to the lane of that name.
//! The lane of the former name stays, empty, for the answers that bear its number: they are its
//! heir's.

use crate::job::{MonotonicTime, ProviderName};

use super::Tracker;
use super::phase::PollPhase;
use super::provider_queue::{PollClass, ProviderIndex};

impl Tracker {
    /// What the database had as jobs of `from` are jobs of `to` now.
    pub(super) fn rename_provider(
        &mut self,
        from: &ProviderName,
        to: &ProviderName,
        now: MonotonicTime,
    ) {
        let Some(old_index) = self.find_provider(from) else { return };
        let new_index = self.find_or_add_provider(to, now);
        // What it has spent and what is under way counts where it goes.
        self.move_to_account(old_index, self.queues[new_index.0].account_index, now);
        let Ok([old_queue, new_queue]) = self.queues.get_disjoint_mut([old_index.0, new_index.0])
        else {
            return;
        };
        new_queue.active_jobs += std::mem::take(&mut old_queue.active_jobs);
        new_queue.health.absorb(std::mem::take(&mut old_queue.health));
        let on_demand = old_queue.transfer(new_queue);
        for (id, tracked) in
            self.jobs.iter_mut().filter(|(_, tracked)| tracked.provider_index == old_index)
        {
            tracked.provider_index = new_index;
            if let PollPhase::Waiting(due) = tracked.phase
                && !on_demand.contains(id)
            {
                old_queue.dequeue(*id, tracked.listed_at);
                let class = if tracked.polls == 0 { PollClass::First } else { PollClass::Repeat };
                new_queue.enqueue(*id, due, class, tracked.list_position(), now);
            }
        }
        for id in on_demand {
            new_queue.enqueue_on_demand(id);
        }
        self.successors.insert(old_index, new_index);
    }

    /// The lane of this name, if there is one; a former name that is used anew begins a new lane.
    pub(super) fn find_provider(&self, name: &ProviderName) -> Option<ProviderIndex> {
        let has_name = |index: &ProviderIndex| {
            self.queues[index.0].name == *name && !self.successors.contains_key(index)
        };
        (0..self.queues.len()).map(ProviderIndex).find(has_name)
    }

    /// Where the answer to a question of this lane belongs now.
    pub(super) fn successor_of(&self, mut index: ProviderIndex) -> ProviderIndex {
        while let Some(successor) = self.successors.get(&index) {
            index = *successor;
        }
        index
    }
}
