//! What the stand-in knows: jobs, faults, limit, record; and the one place that decides what a
//! request gets.
//!
//! Apart are IAM, and running a query of Dune's, which has a budget of its own there: limit, faults
//! and record are of looking. Order: the limit, then faults, then the service's own answer, in the
//! words of the kind whose endpoint was asked.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::delivery::Manner;
use super::faults::Faults;
use super::http::{Answer, Head};
use super::iam::{self, Iam};
use super::rate_limit::{Verdict, Window};
use super::request_log::{Now, Record, Request};
use super::script::{Begin, Life, Snapshot, after};
use super::service::{Kind, Refusal};
use super::{dataarts, dli, dune};

/// All that a connection asks.
pub struct World {
    pub key: String,
    /// With which requests to Huawei Cloud may be signed instead.
    pub sk: String,
    pub iam: Iam,
    pub faults: Faults,
    pub limit: Option<Window>,
    pub record: Record,
    jobs: HashMap<String, Job>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            key: super::KEY.to_owned(),
            sk: super::SK.to_owned(),
            iam: Iam::default(),
            faults: Faults::default(),
            limit: None,
            record: Record::default(),
            jobs: HashMap::new(),
        }
    }
}

struct Job {
    kind: Kind,
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
    pub fn put(&mut self, kind: Kind, id: &str, life: Life, now: Timestamp) {
        let submitted = match life.begin {
            Begin::WhenPut => Some(now),
            Begin::FirstRequest => None,
            Begin::At(at) => Some(at),
        };
        self.jobs.insert(id.to_owned(), Job { kind, life, submitted });
    }

    pub fn forget(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    pub fn truth(&self, id: &str) -> Option<Truth> {
        let Job { kind, life, submitted } = self.jobs.get(id)?;
        let submitted = (*submitted)?;
        let end = life.at(Duration::MAX);
        let at = |span| after(submitted, span);
        let word = |(begins, _, phase)| (at(begins), kind.word(phase));
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
        let date = now.wall.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if head.path() == iam::PATH {
            let answer = self.iam.answer(head, now.wall).header("date", date);
            return (answer, Manner::Well);
        }
        if let Some(query) = dune::runs(head) {
            return (self.run(query, head, now.wall).header("date", date), Manner::Well);
        }
        let kind = Kind::of(head.path());
        let list = kind.is_list(head.path());
        let stops = kind.stops(head);
        let job = stops.clone().or_else(|| kind.job_of(head.path()));
        self.record.violations.extend(kind.violations(head));
        self.record.keys.extend(kind.key_of(head).map(str::to_owned));

        let verdict =
            self.limit.as_mut().map(|window| window.take(now.mono, kind.tells_its_limit()));
        let refused = verdict.as_ref().filter(|verdict| verdict.refused);
        let (mut answer, manner) = if let Some(Verdict { limit, retry_after, .. }) = refused {
            let why = Refusal::TooMany { limit: *limit, retry_after: retry_after.clone() };
            (kind.refuse(&why), Manner::Well)
        } else {
            let fault = self.faults.take(job.as_deref(), list);
            let good = match &stops {
                // What meets a fault does not reach the job.
                Some(id) if fault.is_none() => self.stop(kind, head, id, now.wall),
                Some(_) | None => self.good(kind, head, now.wall),
            };
            match fault {
                Some(fault) => fault.apply(kind, good),
                None => (good, Manner::Well),
            }
        };
        let told = verdict.filter(|_| kind.tells_its_limit());
        for (name, value) in told.into_iter().flat_map(|verdict| verdict.headers) {
            answer = answer.header(name, value);
        }
        let answer = answer.header("date", date);
        self.record.add(Request {
            at: now,
            method: head.method.clone(),
            kind,
            path: head.path().to_owned(),
            workspace: head.header("workspace").map(str::to_owned),
            job,
            list,
            status: manner.tells_status().then_some(answer.status),
            target: head.target.clone(),
            user_agent: head.header("user-agent").map(str::to_owned),
        });
        (answer, manner)
    }

    /// The service's own answer.
    fn good(&mut self, kind: Kind, head: &Head, now: Timestamp) -> Answer {
        if head.method != "GET" {
            return kind.refuse(&Refusal::Method);
        }
        if let Some(id) = dune::fetched(head.path()).filter(|_| kind == Kind::Dune) {
            return self.result(head, &id, now);
        }
        let job = kind.job_of(head.path());
        if job.is_none() && !kind.is_list(head.path()) {
            return kind.refuse(&Refusal::Path);
        }
        if let Some(why) = kind.stranger(head, &self.key, &self.sk, &self.iam) {
            return kind.refuse(&why);
        }
        let Some(id) = job else {
            return match dli::Page::of(head.query()) {
                Some(page) => self.list(page, now),
                None => kind.refuse(&Refusal::Parameter),
            };
        };
        let job = self.jobs.get_mut(&id).filter(|job| job.kind == kind);
        match job.and_then(|job| job.stands(now)) {
            Some((submitted, snapshot)) => Answer::json(200, &kind.body(&id, submitted, &snapshot)),
            None => kind.refuse(&Refusal::NoJob(&id, self.knows_script_of(&id))),
        }
    }

    /// All jobs, ours and others'. One that waits for its first request is not there yet.
    fn list(&self, page: dli::Page, now: Timestamp) -> Answer {
        let jobs = self.jobs.iter().filter(|(_, job)| job.kind == Kind::Dli);
        let begun = jobs.filter_map(|(id, job)| Some((id, job.at(job.submitted?, now)?)));
        let bodies = begun.map(|(id, (submitted, now))| Kind::Dli.body(id, submitted, &now));
        Answer::json(200, &page.body(bodies))
    }

    /// Begins the execution that waits for its query to be run.
    fn run(&mut self, query: u64, head: &Head, now: Timestamp) -> Answer {
        if let Some(why) = Kind::Dune.stranger(head, &self.key, &self.sk, &self.iam) {
            return dune::refuse(&why);
        }
        let waits = |job: &Job| job.submitted.is_none() && job.life.query() == Some(query);
        let Some((id, job)) = self.jobs.iter_mut().find(|(_, job)| waits(job)) else {
            return dune::refuse(&Refusal::Path);
        };
        job.submitted = Some(now);
        dune::running(id)
    }

    /// The result of an execution of Dune's.
    fn result(&mut self, head: &Head, id: &str, now: Timestamp) -> Answer {
        if let Some(why) = Kind::Dune.stranger(head, &self.key, &self.sk, &self.iam) {
            return dune::refuse(&why);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.life.query().is_some());
        match job.and_then(|job| job.stands(now)) {
            Some((submitted, now)) => {
                Answer::json(200, &dune::with_result(dune::body(id, submitted, &now)))
            }
            None => dune::refuse(&Refusal::Path),
        }
    }

    /// Stops a job.
    fn stop(&mut self, kind: Kind, head: &Head, id: &str, now: Timestamp) -> Answer {
        if let Some(why) = kind.stranger(head, &self.key, &self.sk, &self.iam) {
            return kind.refuse(&why);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.kind == kind);
        let stood = job.and_then(|job| Some((job.stands(now)?.1.elapsed, job)));
        let Some((elapsed, job)) = stood else {
            return kind.refuse(&Refusal::NoJob(id, self.knows_script_of(id)));
        };
        let (end, answer) = kind.stopped(id);
        job.life = job.life.clone().stopped(elapsed, end);
        answer
    }

    fn knows_script_of(&self, id: &str) -> bool {
        self.jobs.keys().any(|known| dataarts::script(known) == dataarts::script(id))
    }
}

impl Job {
    /// Its submission and where it stands; none before it.
    fn stands(&mut self, now: Timestamp) -> Option<(Timestamp, Snapshot)> {
        let submitted = *self.submitted.get_or_insert(now);
        self.at(submitted, now)
    }

    fn at(&self, submitted: Timestamp, now: Timestamp) -> Option<(Timestamp, Snapshot)> {
        let elapsed = Duration::try_from(now.duration_since(submitted)).ok()?;
        Some((submitted, self.life.at(elapsed)))
    }
}
