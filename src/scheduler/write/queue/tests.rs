//! What may wait in the queue, which entries the queue records, and whom it answers.

use tokio::sync::oneshot::{self, Receiver};

use super::*;
use crate::job::{
    AuditEntry, AuditTarget, AuditedCommand, CurrentState, LocalOutcome, Requester, UtcTime,
    local_end_transition,
};
use crate::store::{ForgetDurations, StoreCommand};

fn entry(command: AuditedCommand) -> AuditEntry {
    let requester = Requester::Client { uid: Some(1), user: None, pid: Some(1) };
    AuditEntry::new(UtcTime::from_millis(0), requester, command, AuditTarget::Daemon)
}

fn push_forget(queue: &mut WriteQueue) -> Receiver<Result<u64, CommandError>> {
    let (reply, receiver) = oneshot::channel();
    let forget = ForgetDurations {
        provider: "dune".parse().expect("a name"),
        similarity_key: None,
        audit: Some(entry(AuditedCommand::Forget)),
    };
    let command = StoreCommand::ForgetDurations(forget);
    queue.push(WriteRequest::Command(PendingCommand { command, reply }));
    receiver
}

#[test]
fn a_command_is_recorded_as_failed_only_if_it_is_not_carried_out() {
    let failures = |batch: &Batch| {
        let outcomes = batch.audit.iter().map(|entry| (entry.command, entry.outcome));
        outcomes.filter(|one| *one == (AuditedCommand::Forget, AuditOutcome::Failed)).count()
    };
    let mut queue = WriteQueue::default();
    // Its caller has stopped waiting before it was written.
    drop(push_forget(&mut queue));
    let in_flight = push_forget(&mut queue);
    let (batch, replies) = queue.next_batch(true);
    assert_eq!((batch.commands.len(), failures(&batch)), (1, 1));
    // Its caller has stopped waiting while it was written, and it was.
    drop(in_flight);
    drop((batch, replies));
    assert_eq!(failures(&queue.next_batch(true).0), 0);
    // It was not written.
    for rejection in [None, Some(CommandError::Storage("the disk is full".to_owned()))] {
        drop(push_forget(&mut queue));
        let mut waiting = push_forget(&mut queue);
        let (batch, replies) = queue.next_batch(true);
        assert_eq!((batch.commands.len(), failures(&batch)), (1, 1));
        queue.requeue(batch, replies, rejection.as_ref());
        assert_eq!(waiting.try_recv().is_ok(), rejection.is_some());
        drop(waiting);
        let (batch, _) = queue.next_batch(true);
        assert_eq!((batch.commands.len(), failures(&batch)), (0, 2), "{rejection:?}");
    }
}

fn push_entry(queue: &mut WriteQueue) -> Receiver<Result<(), CommandError>> {
    let (reply, receiver) = oneshot::channel();
    let entry = entry(AuditedCommand::Check);
    queue.push(WriteRequest::Audit(PendingAudit { entry, reply: Some(reply) }));
    receiver
}

fn is_storage_error(receiver: &mut Receiver<Result<(), CommandError>>) -> bool {
    matches!(receiver.try_recv(), Ok(Err(CommandError::Storage(_))))
}

#[test]
fn the_caller_of_an_audit_entry_that_is_not_written_learns_the_reason() {
    let mut queue = WriteQueue::default();
    let mut rejected = push_entry(&mut queue);
    let (batch, replies) = queue.next_batch(true);
    assert!(queue.isolate_rejected(batch, replies, "a constraint").is_none());
    assert!(is_storage_error(&mut rejected) && queue.is_empty());

    let mut delayed = push_entry(&mut queue);
    let (batch, replies) = queue.next_batch(true);
    queue.requeue(batch, replies, Some(&CommandError::Storage("the disk is full".to_owned())));
    assert!(is_storage_error(&mut delayed));
    assert_eq!(queue.next_batch(true).0.audit.len(), 1, "the entry is written later");

    let mut receivers: Vec<_> =
        (0..=WriteQueue::MAX_AUDIT_ENTRIES).map(|_| push_entry(&mut queue)).collect();
    let mut last = receivers.pop().expect("one");
    assert!(is_storage_error(&mut last), "one more than may wait");
    assert!(receivers.iter_mut().all(|waiting| waiting.try_recv().is_err()));
}

/// A change that no command caused.
fn change(job: JobId) -> Change {
    let now = UtcTime::from_millis(0);
    let mut new_state = CurrentState::registered(now);
    let expected_state = new_state.state();
    let end = local_end_transition(&new_state, LocalOutcome::Lost, now, "gone".to_owned());
    let end = end.expect("the job is unfinished");
    new_state.apply(&end);
    Change {
        job,
        expected_state,
        expected_provider_state: None,
        transitions: vec![end],
        new_state,
        poll_record: None,
        duration_sample: None,
        audit: Vec::new(),
    }
}

fn record(job: JobId) -> PollRecord {
    PollRecord {
        job,
        expected_state: CurrentState::registered(UtcTime::from_millis(0)).state(),
        last_polled_at: UtcTime::from_millis(0),
        next_poll_at: None,
        last_success_sent_at: None,
        polls: 1,
        failed_polls: 0,
        last_poll_error: None,
        metadata: None,
    }
}

fn push_record(queue: &mut WriteQueue, job: JobId, urgent: bool) {
    queue.push(WriteRequest::PollRecord { record: record(job), urgent });
}

#[test]
fn a_change_waits_for_others_unless_a_caller_waits_for_it() {
    let mut queue = WriteQueue::default();
    queue.push(WriteRequest::Change(change(JobId(1))));
    assert_eq!(queue.urgency(), Some(Urgency::History));
    queue.add_waiter(JobId(2), oneshot::channel().0);
    assert_eq!(queue.urgency(), Some(Urgency::History), "nothing of job 2 is decided");
    queue.push(WriteRequest::Change(change(JobId(2))));
    assert_eq!(queue.urgency(), Some(Urgency::Immediate));
    queue.next_batch(false);
    assert_eq!(queue.urgency(), None);

    queue.push(WriteRequest::Change(change(JobId(3))));
    queue.add_waiter(JobId(3), oneshot::channel().0);
    assert_eq!(queue.urgency(), Some(Urgency::Immediate), "a caller that comes later");
    queue.next_batch(false);
    queue.push(WriteRequest::Change(change(JobId(5))));
    queue.hasten(JobId(6));
    assert_eq!(queue.urgency(), Some(Urgency::History), "nothing of job 6 is queued");
    queue.hasten(JobId(5));
    assert_eq!(queue.urgency(), Some(Urgency::Immediate), "another change of job 5 must follow");
    queue.next_batch(false);
    let by_command = Change { audit: vec![entry(AuditedCommand::Untrack)], ..change(JobId(4)) };
    queue.push(WriteRequest::Change(by_command));
    assert_eq!(queue.urgency(), Some(Urgency::Immediate));
}

#[test]
fn bookkeeping_stays_behind_unless_it_is_asked_for_or_a_caller_waits() {
    let mut queue = WriteQueue::default();
    push_record(&mut queue, JobId(1), false);
    assert_eq!(queue.urgency(), Some(Urgency::Bookkeeping));
    queue.push(WriteRequest::Change(change(JobId(2))));
    let (batch, _) = queue.next_batch(false);
    assert_eq!((batch.changes.len(), batch.poll_records.len()), (1, 0));
    push_record(&mut queue, JobId(3), true);
    assert_eq!(queue.urgency(), Some(Urgency::Immediate));
    assert_eq!(queue.next_batch(false).0.poll_records.len(), 2);
    push_record(&mut queue, JobId(4), false);
    assert_eq!(queue.next_batch(true).0.poll_records.len(), 1);
    assert!(queue.is_empty());
}

#[test]
fn a_batch_has_no_poll_record_of_a_job_that_it_changes() {
    let mut queue = WriteQueue::default();
    queue.push(WriteRequest::Change(change(JobId(1))));
    push_record(&mut queue, JobId(1), true);
    let (batch, _) = queue.next_batch(true);
    assert_eq!((batch.changes.len(), batch.poll_records.len()), (1, 0));
    assert_eq!(queue.next_batch(true).0.poll_records.len(), 1);
}

#[test]
fn a_new_time_of_the_next_poll_replaces_older_ones_and_no_newer_one() {
    let mut queue = WriteQueue::default();
    let at = UtcTime::from_millis;
    let next_poll = |job, ms| WriteRequest::NextPolls(vec![(JobId(job), at(ms))]);
    push_record(&mut queue, JobId(1), false);
    queue.push(next_poll(1, 1));
    queue.push(next_poll(2, 2));
    queue.push(next_poll(3, 3));
    push_record(&mut queue, JobId(3), false);
    queue.push(next_poll(4, 4));
    queue.push(WriteRequest::Change(change(JobId(4))));
    queue.push(WriteRequest::Change(change(JobId(5))));
    queue.push(next_poll(5, 5));
    let (batch, replies) = queue.next_batch(true);
    let records: Vec<_> =
        batch.poll_records.iter().map(|one| (one.job, one.next_poll_at)).collect();
    assert_eq!(records, [(JobId(1), Some(at(1))), (JobId(3), None)]);
    assert_eq!(batch.next_polls, [(JobId(2), at(2)), (JobId(5), at(5))]);

    // The batch fails. Meanwhile job 2 was polled, and job 5 got another time.
    push_record(&mut queue, JobId(2), false);
    queue.push(next_poll(5, 6));
    queue.requeue(batch, replies, None);
    let (batch, _) = queue.next_batch(true);
    assert_eq!(batch.next_polls, [(JobId(5), at(6))]);
    assert!(queue.is_empty());
    queue.push(next_poll(6, 6));
    assert_eq!(queue.urgency(), Some(Urgency::Bookkeeping));
}
