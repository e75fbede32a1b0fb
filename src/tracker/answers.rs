//! Applies the answers to polls and list requests to providers, accounts and jobs.
//!
//! A job on a list page is treated as if it had been polled. A job that the page does not show is
//! polled individually: absence from a list proves nothing. A request whose credential was rejected and has been
//! replaced is sent again, once: if that is rejected too, the rejection counts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::job::{Answer, ClockReading, JobId, ListPage, MonotonicTime, RequestTimes};

use super::breaker::JobStanding;
use super::message::{Action, ExpectedJob, ListRequest, ProviderIndex};
use super::phase::AnswerUse;
use super::provider_queue::FirstOrRepeat;
use super::rare_state::RareState;
use super::registry::Tracker;

impl Tracker {
    pub(super) fn handle_answer(
        &mut self,
        id: JobId,
        provider_index: ProviderIndex,
        request_times: RequestTimes,
        answer: Answer,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let is_tracked = self.job(id).is_some();
        let repeated = [ExpectedJob { job: id, due: now.monotonic }];
        let is_repeated = answer.credential_replaced && self.may_repeat(&repeated);
        let Some(queue) = self.queues.get_mut(provider_index.position()) else { return };
        let account = &mut self.accounts[queue.account_index.0];
        if is_repeated {
            queue.record_repeated_request(account, id, &answer, now.monotonic);
            return self.requeue(&repeated, false, now.monotonic);
        }
        queue.record_answer(account, id, &answer, now, actions);
        if !is_tracked {
            // Nobody asks for this job again.
            queue.set_standing(id, JobStanding::Regular);
        }
        self.apply_answer(id, provider_index, request_times, answer, now, actions);
    }

    /// Whether a request about these jobs, whose credential has been replaced, is sent again. No job takes part
    /// in two such requests in a row: other requests may succeed with each credential that this one wears out.
    fn may_repeat(&mut self, jobs: &[ExpectedJob]) -> bool {
        let mut is_first = true;
        for ExpectedJob { job, .. } in jobs {
            if let Some(tracked) = self.jobs.get_mut(*job) {
                let was_replaced =
                    |rare: &mut RareState| std::mem::replace(&mut rare.credential_replaced, true);
                is_first &= !tracked.rare.update(was_replaced);
            }
        }
        is_first
    }

    /// Applies an answer about one job, from a poll or from a list page.
    fn apply_answer(
        &mut self,
        id: JobId,
        provider_index: ProviderIndex,
        request_times: RequestTimes,
        answer: Answer,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let queue = &mut self.queues[provider_index.position()];
        if let Ok(observation) = &answer.result {
            actions.extend(queue.update_unknown_states(observation).map(Action::Notify));
            queue.last_answered_at = Some(now.monotonic);
            queue.set_standing(id, JobStanding::Regular);
        }
        let Some(on_demand) = self.end_poll(id, now.monotonic) else { return };
        let Some(tracked) = self.jobs.get_mut(id) else { return };
        let certain_time = self.trusted_clock.certain_time(now);
        let queue = &self.queues[provider_index.position()];
        let account = &self.accounts[queue.account_index.0];
        let policy = queue.job_policy().at(certain_time);
        let policy =
            policy.with_spare_budget(tracked.own_price(), || account.spare_budget(now.monotonic));
        let before = (Arc::clone(&tracked.similarity_keys), tracked.age.start());
        let mut is_unfinished = None;
        if let Ok(observation) = &answer.result {
            tracked.update_keys(&observation.similarity_keys, &mut self.shared_values);
            is_unfinished = Some(!observation.state.to_state().is_terminal());
        }
        let effects = tracked.apply_answer(answer, request_times, policy, now);
        if let Some(is_unfinished) = is_unfinished.filter(|_| !tracked.is_terminal()) {
            let queue = &mut self.queues[provider_index.position()];
            let (keys, start) = before;
            if !is_unfinished || start != tracked.age.start() || keys != tracked.similarity_keys {
                queue.forget_age(&keys, start);
            }
            if is_unfinished {
                queue.record_age(tracked);
            }
        }
        self.apply_effects(id, effects, on_demand, now, actions);
    }

    /// Ends the poll of a job. Returns whether a person waits for the result; none if the answer must
    /// be ignored.
    fn end_poll(&mut self, id: JobId, now: MonotonicTime) -> Option<bool> {
        match self.jobs.get_mut(id)?.end_poll(now) {
            AnswerUse::Apply { on_demand } => Some(on_demand),
            AnswerUse::Ignore => None,
            AnswerUse::RemoveJob => {
                self.remove_job(id);
                None
            }
        }
    }

    pub(super) fn handle_list_answer(
        &mut self,
        request: ListRequest,
        request_times: RequestTimes,
        answer: Answer<ListPage>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let ListRequest { provider_index, query, jobs: expected_jobs, .. } = request;
        let is_repeated = answer.credential_replaced && self.may_repeat(&expected_jobs);
        let Some(queue) = self.queues.get_mut(provider_index.position()) else { return };
        let account = &mut self.accounts[queue.account_index.0];
        if is_repeated && let Some(first) = expected_jobs.first() {
            queue.record_repeated_request(account, first.job, &answer, now.monotonic);
            return self.requeue(&expected_jobs, false, now.monotonic);
        }
        queue.record_list_answer(account, &expected_jobs, &answer, now, actions);
        let Ok(list_page) = answer.result else {
            return self.requeue(&expected_jobs, false, now.monotonic);
        };
        let mut listed_jobs: HashMap<_, _> = list_page
            .jobs
            .into_iter()
            .map(|(id, observation)| (id.canonical_form().into_owned(), observation))
            .collect();
        let mut missing = Vec::new();
        let expected_count = expected_jobs.len();
        for expected in expected_jobs {
            let id = expected.job;
            let observation = self
                .jobs
                .get(id)
                .and_then(|tracked| listed_jobs.remove(&*tracked.remote_id().canonical_form()));
            let Some(observation) = observation else {
                missing.push(expected);
                continue;
            };
            // The limits were recorded once, for the list request.
            let poll_answer =
                Answer { server_date: answer.server_date, ..Answer::from_result(Ok(observation)) };
            self.apply_answer(id, provider_index, request_times, poll_answer, now, actions);
        }
        let individual = self.queues[provider_index.position()].list_batcher.record_page(
            query,
            list_page.total_count,
            expected_count,
            missing,
            now.monotonic,
        );
        self.requeue(&individual, true, now.monotonic);
    }

    /// Queues jobs about which a request gave no answer.
    fn requeue(&mut self, jobs: &[ExpectedJob], poll_individually: bool, now: MonotonicTime) {
        for ExpectedJob { job: id, due } in jobs {
            let Some(on_demand) = self.end_poll(*id, now) else { continue };
            let Some(tracked) = self.jobs.get_mut(*id) else { continue };
            tracked.rare.update(|rare| rare.poll_individually |= poll_individually);
            tracked.wait_until(*due);
            let queue = &mut self.queues[tracked.provider_index.position()];
            if on_demand {
                queue.enqueue_on_demand(*id);
            } else {
                queue.enqueue(*id, *due, FirstOrRepeat::Repeat, tracked.batchable_list_time(), now);
                queue.enqueue_spare(tracked, *due);
            }
        }
    }
}
