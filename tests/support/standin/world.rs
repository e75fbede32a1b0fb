//! What the stand-in knows: jobs, faults, limit, record; and the one place that decides what a
//! request gets.
//!
//! Order: the limit, then faults, then the provider's own answer. Dune is the kind that is played
//! here; another would be chosen here and nowhere else.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::dune;
use super::fault::Faults;
use super::http::{Answer, Head};
use super::life::{Begin, Life, Snapshot};
use super::limit::Window;
use super::raw::Manner;
use super::record::{Now, Record, Request};

/// All that a connection asks.
pub struct World {
    pub key: String,
    pub faults: Faults,
    pub limit: Option<Window>,
    pub record: Record,
    jobs: HashMap<String, Job>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            key: super::KEY.to_owned(),
            faults: Faults::default(),
            limit: None,
            record: Record::default(),
            jobs: HashMap::new(),
        }
    }
}

struct Job {
    life: Life,
    /// None until the first request, if it waits for that.
    submitted: Option<Timestamp>,
}

/// A job's whole life, as it truly is, past and to come.
#[derive(Clone, Debug)]
pub struct Truth {
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Each word that the provider says of it, and from when.
    pub words: Vec<(Timestamp, String)>,
}

impl World {
    pub fn put(&mut self, id: &str, life: Life, now: Timestamp) {
        let submitted = match life.begin {
            Begin::WhenPut => Some(now),
            Begin::FirstRequest => None,
            Begin::At(at) => Some(at),
        };
        let life = life.read_with(dune::phase);
        self.jobs.insert(id.to_owned(), Job { life, submitted });
    }

    pub fn forget(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    pub fn truth(&self, id: &str) -> Option<Truth> {
        let Job { life, submitted } = self.jobs.get(id)?;
        let submitted = (*submitted)?;
        let end = life.at(Duration::MAX);
        let at = |span| dune::after(submitted, span);
        let word = |(begins, _, phase)| (at(begins), dune::word(phase));
        Some(Truth {
            submitted_at: submitted,
            started_at: end.started.map(at),
            ended_at: end.ended.map(at),
            words: life.timeline().map(word).collect(),
        })
    }

    /// Decides what a request gets, and records it. The clock is read here, with the world in
    /// hand, so that records lie in the order of their times.
    pub fn take(&mut self, head: &Head, clock: impl FnOnce() -> Now) -> (Answer, Manner) {
        let now = clock();
        let job = dune::job_of(head.path());
        self.record.violations.extend(dune::violations(head));
        self.record.keys.extend(head.header(dune::KEY_HEADER).map(str::to_owned));

        let verdict = self.limit.as_mut().map(|window| window.take(now.mono));
        let (mut answer, manner) = match &verdict {
            Some(verdict) if verdict.refused => {
                (dune::rate_limited(verdict.retry_after.clone()), Manner::Well)
            }
            Some(_) | None => {
                let good = self.good(head, now.wall);
                match self.faults.take(job) {
                    Some(fault) => fault.apply(good),
                    None => (good, Manner::Well),
                }
            }
        };
        for (name, value) in verdict.into_iter().flat_map(|verdict| verdict.headers) {
            answer = answer.header(name, value);
        }
        let date = now.wall.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let answer = answer.header("date", date);
        let status = manner.tells_status().then_some(answer.status);
        self.record.add(Request {
            at: now,
            job: job.map(str::to_owned),
            status,
            target: head.target.clone(),
            user_agent: head.header("user-agent").map(str::to_owned),
        });
        (answer, manner)
    }

    /// The provider's own answer.
    fn good(&mut self, head: &Head, now: Timestamp) -> Answer {
        let jobs = &mut self.jobs;
        dune::answer(head, &self.key, |id| {
            let job = jobs.get_mut(id)?;
            let submitted = *job.submitted.get_or_insert(now);
            job.stands(submitted, now).map(|snapshot| (submitted, snapshot))
        })
    }
}

impl Job {
    /// Where it stands; none before its submission.
    fn stands(&self, submitted: Timestamp, now: Timestamp) -> Option<Snapshot> {
        let elapsed = Duration::try_from(now.duration_since(submitted)).ok()?;
        Some(self.life.at(elapsed))
    }
}
