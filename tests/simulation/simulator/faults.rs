//! The faults of a simulation: services, commits, crashes, clocks. [`Operations`] causes them in stormy hours.

use std::time::Duration;

use super::daemon::RunningDaemon;
use super::operations::{HOUR, Operations, Step};
use super::run::Simulation;
use super::services::Condition;
use super::store::{CommitFault, CrashPoint};
use crate::fake_server::ServiceKind;

/// A kind of fault; each may be left out by a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Service,
    Commit,
    Crash,
    Kill,
    Suspend,
    WallClock,
    Job,
    Restart,
    Read,
}

impl FaultKind {
    pub(super) const ALL: [Self; 9] = [
        Self::Service,
        Self::Commit,
        Self::Crash,
        Self::Kill,
        Self::Suspend,
        Self::WallClock,
        Self::Job,
        Self::Restart,
        Self::Read,
    ];
}

impl Operations {
    pub(super) fn cause_fault(&mut self, world: &Simulation, daemon: &RunningDaemon) -> Step {
        let kind = self.fault_kinds[self.random.usize(..self.fault_kinds.len())];
        world.disturb_all();
        match kind {
            FaultKind::Service => self.change_service(world),
            FaultKind::Commit => {
                let faults = [
                    CommitFault::None,
                    CommitFault::Busy,
                    CommitFault::NoSpace,
                    CommitFault::IoError,
                    CommitFault::UnconfirmedCommit,
                    CommitFault::Stall(Duration::from_secs(self.random.u64(1..200))),
                ];
                let fault = faults[self.random.usize(..faults.len())];
                count_fault(world, fault != CommitFault::None);
                world.log.event(format_args!("commits: {fault:?}"));
                world.faults.set_commit_fault(fault);
            }
            FaultKind::Crash => {
                let points = [CrashPoint::Before, CrashPoint::During, CrashPoint::After];
                let point = points[self.random.usize(..3)];
                count_fault(world, true);
                world.log.event(format_args!("crash at the next commit: {point:?}"));
                world.faults.state.lock().expect("not poisoned").crash_at = Some(point);
            }
            FaultKind::Kill => {
                count_fault(world, true);
                return Step::Kill { downtime: self.downtime() };
            }
            FaultKind::Restart => {
                count_fault(world, true);
                return Step::Restart { downtime: self.downtime() };
            }
            FaultKind::Suspend => {
                let span = Duration::from_secs(self.random.u64(5..10 * HOUR));
                count_fault(world, true);
                world.log.event(format_args!("suspend for {span:?}"));
                world.time.suspend(span);
                world.disturb_all();
            }
            FaultKind::WallClock => self.set_wall_clock(world),
            FaultKind::Job => self.change_job(world, daemon),
            FaultKind::Read => {
                let mut faults = world.faults.state.lock().expect("not poisoned");
                faults.fail_reads = self.random.bool();
                count_fault(world, faults.fail_reads);
                world.log.event(format_args!("reads fail: {}", faults.fail_reads));
            }
        }
        Step::Continue
    }

    fn change_service(&mut self, world: &Simulation) {
        let forbidden = "{\"error_code\":\"APIGW.0301\",\"error_msg\":\"Incorrect IAM\"}";
        let conditions = [
            Condition::Healthy,
            Condition::Down,
            Condition::Silent,
            Condition::Status(401, forbidden),
            Condition::Status(403, "{\"error\":\"forbidden\"}"),
            Condition::Status(402, "{\"error\":\"payment required\"}"),
            Condition::Status(500, "{}"),
            Condition::Status(503, "<html>Service Unavailable</html>"),
            Condition::Status(302, ""),
            Condition::Status(200, "<html>maintenance</html>"),
            Condition::RateLimited(None),
            Condition::RateLimited(Some("120")),
            Condition::RateLimited(Some("Fri, 01 Jan 2100 00:00:00 GMT")),
            Condition::RateLimited(Some("soon")),
            Condition::Flaky(20),
            Condition::Flaky(70),
        ];
        let condition = conditions[self.random.usize(..conditions.len())].clone();
        let kind = ServiceKind::ALL[self.random.usize(..3)];
        count_fault(world, condition != Condition::Healthy);
        world.services.set_condition(kind, condition);
    }

    fn set_wall_clock(&mut self, world: &Simulation) {
        const DAY_MS: i64 = 86_400_000;
        let offsets = [
            0,
            self.random.i64(-600_000..600_000),
            self.random.i64(-DAY_MS..DAY_MS),
            40 * DAY_MS,
            -400 * DAY_MS,
            // 1970, and the year 2327.
            -1_800_000_000_000,
            300 * 365 * DAY_MS,
        ];
        let offset = offsets[self.random.usize(..offsets.len())];
        count_fault(world, offset != 0);
        world.log.event(format_args!("the wall clock is wrong by {offset} ms"));
        world.note_active_faults();
        world.time.set_wall_offset(offset);
    }

    /// The service loses a job, or refuses it.
    fn change_job(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let Some(job) = self.any_job(world, daemon) else { return };
        count_fault(world, true);
        let id = job.remote_id.as_str();
        let vanishes = self.random.u32(0..3) > 0;
        let truth = world.services.true_history(id);
        let now = world.time.elapsed();
        world.log.event(format_args!("job {} vanishes: {vanishes}; else it is refused", job.id));
        Self::with_known_job(world, &job, |known| match truth {
            Some(truth) if vanishes => {
                known.vanished = Some((now, truth));
                world.services.with_service(|service| service.remove_job(id));
            }
            Some(_) | None => known.is_refused = true,
        });
    }
}

/// Counts a fault, unless the draw restored the normal state.
fn count_fault(world: &Simulation, is_fault: bool) {
    world.model.lock().expect("not poisoned").fault_count += u64::from(is_fault);
}
