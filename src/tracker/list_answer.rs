//! What a page of a provider's list makes of the jobs that it was to show: those on it are heard as
//! if each had been asked, those that are not are asked by themselves. Absence says nothing.

use std::collections::HashMap;

use crate::job::{Answer, ClockReading, ListPage, MonotonicTime, RateLimitInfo, RequestTimes};

use super::list_batch::WaitingJob;
use super::phase::PollPhase;
use super::provider_queue::PollClass;
use super::{Action, ListRequest, Tracker};

impl Tracker {
    pub(super) fn handle_list_answer(
        &mut self,
        request: ListRequest,
        request_times: RequestTimes,
        answer: Answer<ListPage>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let ListRequest { provider_index, window, jobs: expected, .. } = request;
        let Some(queue) = self.queues.get_mut(provider_index.0) else { return };
        let account = &mut self.accounts[queue.account_index];
        queue.record_list_answer(account, &expected, &answer, now, actions);
        let Ok(list_page) = answer.result else {
            return self.requeue(&expected, false, now.monotonic);
        };
        let mut listed_jobs: HashMap<_, _> = list_page.jobs.into_iter().collect();
        let mut missing = Vec::new();
        let count = expected.len();
        for (id, due) in expected {
            let observation =
                self.jobs.get(&id).and_then(|tracked| listed_jobs.remove(&tracked.remote_id));
            match observation {
                Some(observation) => {
                    let rate_limit = RateLimitInfo::default();
                    let poll_answer = Answer {
                        result: Ok(observation),
                        rate_limit,
                        server_date: answer.server_date,
                    };
                    self.apply_answer(id, provider_index, request_times, poll_answer, now, actions);
                }
                None => missing.push((id, due)),
            }
        }
        if let Some(queue) = self.queues.get_mut(provider_index.0) {
            let individual = queue.list_batcher.record_page(
                window,
                list_page.total_count,
                count,
                missing,
                now.monotonic,
            );
            self.requeue(&individual, true, now.monotonic);
        }
    }

    /// Those that were to be on a page and have not been heard of wait as before.
    fn requeue(&mut self, jobs: &[WaitingJob], poll_individually: bool, now: MonotonicTime) {
        for (id, due) in jobs {
            let Some(tracked) = self.jobs.get_mut(id) else { continue };
            let PollPhase::Polling { on_demand } = tracked.phase else { continue };
            if poll_individually {
                tracked.mark_missing_from_list();
            }
            tracked.phase = PollPhase::Waiting(*due);
            let queue = &mut self.queues[tracked.provider_index.0];
            if on_demand {
                queue.enqueue_on_demand(*id);
            } else {
                queue.enqueue(*id, *due, PollClass::Repeat, tracked.list_position(), now);
            }
        }
    }
}
