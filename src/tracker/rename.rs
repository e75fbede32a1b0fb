//! A provider under a new name: its jobs, and the polls under way, go over to the lane of that name.
//! The lane of the former name stays, empty, for the answers that bear its number: they are its
//! heir's.

use crate::job::{Mono, ProviderName};

use super::Tracker;
use super::lane::{LaneId, Wait};
use super::stage::Stage;

impl Tracker {
    /// What the database had as jobs of `from` are jobs of `to` now.
    pub(super) fn rename(&mut self, from: &ProviderName, to: &ProviderName, now: Mono) {
        let Some(old_id) = self.lane_named(from) else { return };
        let new_id = self.lane_of(to, now);
        // What it has spent and what is under way counts where it goes.
        self.move_to(old_id, self.lanes[new_id.0].account, now);
        let Ok([old, new]) = self.lanes.get_disjoint_mut([old_id.0, new_id.0]) else { return };
        new.active_jobs += std::mem::take(&mut old.active_jobs);
        new.health.inherit(std::mem::take(&mut old.health));
        let by_hand = old.hand_over(new);
        for (id, record) in self.jobs.iter_mut().filter(|(_, record)| record.lane == old_id) {
            record.lane = new_id;
            if let Stage::Waiting(due) = record.stage
                && !by_hand.contains(id)
            {
                old.dequeue(*id, record.listed_at);
                let wait = if record.polls == 0 { Wait::First } else { Wait::Again };
                new.enqueue(*id, due, wait, record.place(), now);
            }
        }
        for id in by_hand {
            new.enqueue_by_hand(id);
        }
        self.renamed.insert(old_id, new_id);
    }

    /// The lane of this name, if there is one; a former name that is used anew begins a new lane.
    pub(super) fn lane_named(&self, name: &ProviderName) -> Option<LaneId> {
        let bears = |id: &LaneId| self.lanes[id.0].name == *name && !self.renamed.contains_key(id);
        (0..self.lanes.len()).map(LaneId).find(bears)
    }

    /// Where the answer to a question of this lane belongs now.
    pub(super) fn heir_of(&self, mut lane: LaneId) -> LaneId {
        while let Some(heir) = self.renamed.get(&lane) {
            lane = *heir;
        }
        lane
    }
}
