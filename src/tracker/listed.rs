//! What a page of a provider's list makes of the jobs that it was to show: those on it are heard as
//! if each had been asked, those that are not are asked by themselves. Absence says nothing.

use std::collections::HashMap;

use crate::job::{Answer, Asked, Listing, Moment, Mono, Pace};

use super::lane::Wait;
use super::shelf::Waiting;
use super::stage::Stage;
use super::{Action, PageQuestion, Tracker};

impl Tracker {
    pub(super) fn listed(
        &mut self,
        question: PageQuestion,
        asked: Asked,
        listing: Listing,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let PageQuestion { lane: lane_id, page, jobs: expected, .. } = question;
        let Some(lane) = self.lanes.get_mut(lane_id.0) else { return };
        let account = &mut self.accounts[lane.account];
        lane.learn_page(account, &expected, &listing, now, actions);
        let Ok(listed) = listing.result else {
            return self.put_back(&expected, false, now.mono);
        };
        let mut shown: HashMap<_, _> = listed.jobs.into_iter().collect();
        let mut missing = Vec::new();
        let count = expected.len();
        for (id, due) in expected {
            let seen = self.jobs.get(&id).and_then(|record| shown.remove(&record.remote_id));
            match seen {
                Some(seen) => {
                    let pace = Pace::default();
                    let answer =
                        Answer { result: Ok(seen), pace, server_date: listing.server_date };
                    self.heard(id, lane_id, asked, answer, now, actions);
                }
                None => missing.push((id, due)),
            }
        }
        if let Some(lane) = self.lanes.get_mut(lane_id.0) {
            let singly = lane.shelf.seen(page, listed.total, count, missing, now.mono);
            self.put_back(&singly, true, now.mono);
        }
    }

    /// Those that were to be on a page and have not been heard of wait as before.
    fn put_back(&mut self, jobs: &[Waiting], singly: bool, now: Mono) {
        for (id, due) in jobs {
            let Some(record) = self.jobs.get_mut(id) else { continue };
            let Stage::Asking { by_hand } = record.stage else { continue };
            if singly {
                record.was_missed();
            }
            record.stage = Stage::Waiting(*due);
            let lane = &mut self.lanes[record.lane.0];
            if by_hand {
                lane.enqueue_by_hand(*id);
            } else {
                lane.enqueue(*id, *due, Wait::Again, record.place(), now);
            }
        }
    }
}
