//! Carries out the commands of the [`super::SchedulerHandle`]s, in the order of their arrival.
//!
//! Called by the scheduler's loop. Nothing here waits: a command that needs a commit or a provider
//! leaves its reply with the committer or with the task of its request.

use crate::job::{ProviderName, StoredJob};
use crate::tracker::Input;

use super::check_reply::CheckReply;
use super::error::CommandError;
use super::event_loop::Scheduler;
use super::handle::{ReplySender, SchedulerCommand};
use super::providers::Providers;
use super::write::{PendingAdd, PendingAudit, PendingCommand, WriteRequest};

impl Scheduler {
    pub(super) fn handle_command(&mut self, command: SchedulerCommand) {
        match command {
            SchedulerCommand::Add(specs, reply) => {
                let now = self.tracker.record_time(self.clock.read());
                let jobs =
                    specs.into_iter().map(|spec| spec.into_checked_job(&self.providers, now));
                let add = PendingAdd { jobs: jobs.collect(), reply };
                self.committer.enqueue(WriteRequest::Add(add));
            }
            SchedulerCommand::PollOnDemand(job, reply) => self.poll_on_demand(job, reply),
            SchedulerCommand::Untrack(job, reason, audit, reply) => {
                let id = job.id;
                self.untrack_waiters.add(id, reply);
                self.untrack_audit.entry(id).or_default().extend(audit);
                // After a write error a job can be in the database without being tracked.
                self.feed_tracker(Input::Track(vec![*job]));
                self.feed_tracker(Input::Untrack(id, reason));
                // The job is not untracked before a change of it that is decided already is written.
                self.committer.hasten(id);
                self.notify_untracked();
            }
            SchedulerCommand::Cancel(job, reply) => self.cancel(&job, reply),
            SchedulerCommand::CheckConnection(name, reply) => self.check_connection(name, reply),
            SchedulerCommand::Store(command, reply) => {
                self.committer.enqueue(WriteRequest::Command(PendingCommand { command, reply }));
            }
            SchedulerCommand::RecordAudit(entry, reply) => {
                let audit = PendingAudit { entry, reply: Some(reply) };
                self.committer.enqueue(WriteRequest::Audit(audit));
            }
            SchedulerCommand::Forecast(job, reply) => {
                let _ = reply.send(self.tracker.forecast(job, self.clock.monotonic_now()));
            }
            SchedulerCommand::PublishSnapshot(reply) => self.status.request_snapshot(reply),
            SchedulerCommand::Configure(providers, reply) => {
                self.configure(providers);
                let _ = reply.send(());
            }
        }
    }

    fn poll_on_demand(&mut self, job: Box<StoredJob>, reply: ReplySender<()>) {
        let now = self.clock.monotonic_now();
        let refusal = self.tracker.poll_refusal(&job.provider, job.id, now);
        let configured = self.providers.get(&job.provider).map(drop);
        let refused = configured.and(refusal.map_or(Ok(()), |refusal| {
            Err(CommandError::from_refusal(&job.provider, &refusal, now))
        }));
        if let Err(error) = refused {
            let _ = reply.send(Err(error));
            return;
        }
        self.committer.add_waiter(job.id, reply);
        self.feed_tracker(Input::PollNow(job));
    }

    fn cancel(&mut self, job: &StoredJob, reply: ReplySender<()>) {
        let name = &job.provider;
        if let Err(error) = self.providers.get(name) {
            let _ = reply.send(Err(error));
            return;
        }
        self.cancel_and_check.add_cancel(job.id, job.remote_id.clone(), reply);
        self.feed_tracker(Input::Cancel(name.clone(), job.id));
    }

    fn check_connection(&mut self, name: ProviderName, reply: ReplySender<CheckReply>) {
        if let Err(error) = self.providers.get(&name) {
            let _ = reply.send(Err(error));
            return;
        }
        self.cancel_and_check.add_check(name.clone(), reply);
        self.feed_tracker(Input::CheckConnection(name));
    }

    pub(super) fn configure(&mut self, providers: Providers) {
        self.providers = providers;
        self.feed_tracker(Input::Configure(self.providers.settings()));
    }
}
