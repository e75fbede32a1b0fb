//! A world for the tracker: a provider that a closure plays, a store that commits when it is told
//! to, two clocks, and a loop that wakes for nothing but `wakes_at`, answers and commits.
//!
//! Every step is checked: no poll too early, one in flight a job and none over an unwritten change,
//! legal histories, a report that counts right, and no job that nothing will ever wake.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jobtrack::job::{
    Answer, Change, ClockReading, CurrentState, DurationSample, JobId, ListAnswer, ListPage,
    ListWindow, MonotonicTime, OutageEdge, PollRecord, ProviderError, ProviderName, RateLimitInfo,
    RequestTimes, State, StoredJob, UtcTime, registration_transition,
};
use jobtrack::policy::PollRule;
use jobtrack::tracker::{
    Action, Input, ListRequest, Notice, PollPolicy, PollRequest, ProviderIndex, ProviderReport,
    ProviderSettings, Tracker,
};

use super::fixtures::{DAY, Fate, MINUTE, Reply, Request, Row, settings};

/// How long a write takes, and what becomes of it.
type Decide = dyn FnMut(&Change) -> (u64, Fate);

#[derive(Debug)]
enum Event {
    Answer(JobId, ProviderIndex, UtcTime, Box<Answer>),
    Listing(ListRequest, usize, UtcTime, Box<ListAnswer>),
    Commit(Box<Change>, Fate),
}

pub(super) struct Sim {
    pub(super) tracker: Tracker,
    pub(super) now: u64,
    /// How far the wall clock is off, in milliseconds.
    pub(super) wall_offset: i64,
    pub(super) store: BTreeMap<JobId, Row>,
    pub(super) requests: Vec<Request>,
    /// When pages were asked for, and whom they were to show.
    paged: Vec<(u64, Vec<JobId>)>,
    /// How many of the requests were for pages.
    pub(super) pages: usize,
    /// Rows of others for each row of ours on a page; a list that fails, if it does.
    pub(super) strangers: u64,
    pub(super) list_error: Option<ProviderError>,
    pub(super) tells: Vec<(u64, Notice)>,
    pub(super) outages: Vec<OutageEdge>,
    pub(super) chance: fastrand::Rng,
    /// Every so many steps the report is checked, which costs time in proportion to all jobs.
    pub(super) check_every: u64,
    provider: Box<dyn FnMut(JobId, u64) -> Reply>,
    fate: Box<Decide>,
    settings: Vec<ProviderSettings>,
    /// The longest pause that a stored time is believed for.
    longest: Duration,
    /// What ended jobs taught, as the store keeps it.
    lessons: Vec<(ProviderName, DurationSample)>,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// The request of each job that is under way.
    asking: BTreeMap<JobId, usize>,
    unwritten: BTreeSet<JobId>,
    due: HashMap<JobId, u64>,
    by_hand: BTreeSet<JobId>,
}

impl Sim {
    /// A world with the provider `dune`, whose answers `provider` gives.
    pub(super) fn new(provider: impl FnMut(JobId, u64) -> Reply + 'static) -> Self {
        Self::with(vec![settings("dune")], provider)
    }

    pub(super) fn with(
        settings: Vec<ProviderSettings>,
        provider: impl FnMut(JobId, u64) -> Reply + 'static,
    ) -> Self {
        let mut sim = Self {
            tracker: Tracker::default(),
            now: 0,
            wall_offset: 0,
            store: BTreeMap::new(),
            requests: Vec::new(),
            paged: Vec::new(),
            pages: 0,
            strangers: 0,
            list_error: None,
            tells: Vec::new(),
            outages: Vec::new(),
            chance: fastrand::Rng::with_seed(7),
            check_every: 1,
            provider: Box::new(provider),
            fate: Box::new(|_| (5, Fate::Commit)),
            settings: Vec::new(),
            longest: Duration::ZERO,
            lessons: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            asking: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            due: HashMap::new(),
            by_hand: BTreeSet::new(),
        };
        sim.configure(settings);
        sim
    }

    /// Says how long each write takes from now on, and what becomes of it.
    pub(super) fn writes(&mut self, fate: impl FnMut(&Change) -> (u64, Fate) + 'static) {
        self.fate = Box::new(fate);
    }

    pub(super) fn configure(&mut self, settings: Vec<ProviderSettings>) {
        self.settings.clone_from(&settings);
        let longest = settings.iter().map(|own| match own.policy {
            PollPolicy::Learned(_) => PollRule::MAX_INTERVAL,
            PollPolicy::Backoff => own.backoff.max,
        });
        self.longest = longest.max().unwrap_or_default();
        // Nobody waits for longer than the rule of now has it.
        let latest = MonotonicTime::from_millis(self.now).plus(self.longest).as_millis();
        self.due.retain(|_, due| *due <= latest);
        // A word that was not known may be known now: such jobs may be asked at once.
        for row in self.store.values().filter(|row| row.job.current_state.state == State::Unknown) {
            self.due.remove(&row.job.id);
        }
        self.step(Input::Configure(settings));
    }

    /// The provider `from` bears the name `to` from now on; the service sees no difference.
    pub(super) fn rename(&mut self, from: &str, to: &str, settings: Vec<ProviderSettings>) {
        self.configure(settings);
        let [from, to] = [from, to].map(|name| name.parse::<ProviderName>().expect("a name"));
        for row in self.store.values_mut().filter(|row| row.job.provider == from) {
            row.job.provider = to.clone();
        }
        for request in self.requests.iter_mut().filter(|own| own.provider == from.as_str()) {
            request.provider = to.to_string();
        }
        self.step(Input::ProviderRenamed { from, to });
    }

    pub(super) fn wall(&self) -> UtcTime {
        let ms = i64::try_from(self.now).expect("a short simulation");
        UtcTime::from_millis(1_800_000_000_000 + ms + self.wall_offset)
    }

    /// Registers a job of `provider` and has it tracked.
    pub(super) fn add(&mut self, provider: &str) -> JobId {
        self.add_with(provider, None)
    }

    pub(super) fn add_with(&mut self, provider: &str, give_up_after: Option<Duration>) -> JobId {
        let id = JobId(i64::try_from(self.store.len()).expect("few jobs") + 1);
        let registered_at = self.wall();
        let job = StoredJob {
            similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
            times: jobtrack::job::ProviderTimes::default(),
            id,
            provider: provider.parse().expect("a name"),
            remote_id: format!("remote-{id}").parse().expect("an id"),
            current_state: CurrentState::registered(registered_at),
            registered_at,
            give_up_after,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
        };
        let history = vec![registration_transition(registered_at)];
        let row = Row { job: job.clone(), history, anomalies: Vec::new(), last_poll_error: None };
        self.store.insert(id, row);
        self.track(vec![job]);
        id
    }

    fn track(&mut self, jobs: Vec<StoredJob>) {
        for job in &jobs {
            let wait = job.next_poll_at.map_or(Duration::ZERO, |at| at.duration_since(self.wall()));
            let wait = wait.min(self.longest);
            self.due.insert(job.id, self.now + u64::try_from(wait.as_millis()).expect("short"));
        }
        self.step(Input::Track(jobs));
    }

    /// Asks for `job` by hand, as it stands in the store.
    pub(super) fn poll_by_hand(&mut self, job: JobId) {
        self.by_hand.insert(job);
        self.step(Input::PollNow(Box::new(self.store[&job].job.clone())));
    }

    /// Forgets what was learned, as the store does.
    pub(super) fn forget(&mut self, provider: &str, name: Option<&str>) {
        let provider: ProviderName = provider.parse().expect("a name");
        let like = |lesson: &DurationSample| {
            name.is_none_or(|name| lesson.similarity_keys.keys().iter().any(|own| **own == *name))
        };
        self.lessons.retain(|(of, lesson)| *of != provider || !like(lesson));
        self.step(Input::ForgetDurations(provider, name.map(str::to_owned)));
    }

    pub(super) fn untrack(&mut self, job: JobId) {
        self.step(Input::Untrack(job, "by request".into()));
    }

    /// Kills the daemon and starts it again: answers and writes under way are lost.
    pub(super) fn restart(&mut self) {
        self.tracker = Tracker::default();
        self.events.clear();
        for request in self.requests.iter_mut().filter(|request| request.answered.is_none()) {
            request.answered = Some(self.now);
        }
        self.asking.clear();
        self.unwritten.clear();
        self.by_hand.clear();
        self.due.clear();
        let settings = std::mem::take(&mut self.settings);
        self.configure(settings);
        self.step(Input::LoadDurationSamples(self.lessons.clone()));
        let active: Vec<_> = self.active().map(|row| row.job.clone()).collect();
        self.track(active);
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Row> {
        self.store.values().filter(|row| !row.job.current_state.state.is_terminal())
    }

    pub(super) fn state(&self, job: JobId) -> State {
        self.store[&job].job.current_state.state
    }

    /// The states of a job's history, by name.
    pub(super) fn states(&self, job: JobId) -> Vec<&'static str> {
        self.store[&job].history.iter().map(|row| row.to.as_str()).collect()
    }

    /// When `job` was asked.
    pub(super) fn asked_at(&self, job: JobId) -> Vec<u64> {
        self.requests.iter().filter(|asked| asked.job == job).map(|asked| asked.sent).collect()
    }

    /// When a page was asked for that was to show `job`.
    pub(super) fn pages_at(&self, job: JobId) -> impl Iterator<Item = u64> {
        self.paged.iter().filter(move |(_, jobs)| jobs.contains(&job)).map(|(sent, _)| *sent)
    }

    pub(super) fn report(&self, provider: &str) -> ProviderReport {
        let reports = self.tracker.report(MonotonicTime::from_millis(self.now));
        reports.into_iter().find(|lane| lane.provider.as_str() == provider).expect("a lane")
    }

    /// Lives until `until`, exactly.
    pub(super) fn run_until(&mut self, until: u64) {
        while self.next_at().is_some_and(|at| at <= until) {
            self.advance();
        }
        self.now = until;
    }

    /// Lives until no job is held any more.
    pub(super) fn run_to_the_end(&mut self) {
        while self.store.keys().any(|job| self.tracker.contains(*job)) {
            assert!(self.next_at().is_some(), "nothing will ever wake the jobs that are left");
            assert!(self.now < 40 * DAY, "jobs are left long after all was given up");
            assert!(self.requests.len() < 1_000_000, "jobs are asked for ever");
            for _ in 0..1000 {
                if self.next_at().is_some() {
                    self.advance();
                }
            }
        }
    }

    fn next_at(&self) -> Option<u64> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let wake = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
        event.into_iter().chain(wake).min()
    }

    fn advance(&mut self) {
        let at = self.next_at().expect("something to wait for");
        assert!(at >= self.now, "time runs forward");
        self.now = at;
        let first = self.events.first_entry().filter(|entry| entry.key().0 <= at);
        match first.map(std::collections::btree_map::OccupiedEntry::remove) {
            Some(Event::Answer(job, lane, sent_at, answer)) => {
                let request = self.asking.remove(&job).expect("it was asked");
                self.requests[request].answered = Some(at);
                let asked = RequestTimes { sent_at, received_at: self.wall() };
                self.step(Input::PollAnswered(job, lane, asked, answer));
            }
            Some(Event::Listing(question, request, sent_at, listing)) => {
                self.asking.retain(|_, asked| *asked != request);
                self.requests[request].answered = Some(at);
                let asked = RequestTimes { sent_at, received_at: self.wall() };
                self.step(Input::ListAnswered(question, asked, listing));
            }
            Some(Event::Commit(change, fate)) => self.commit(&change, fate),
            None => self.step(Input::Tick),
        }
    }

    fn commit(&mut self, change: &Change, fate: Fate) {
        let job = change.job;
        let found = self.store.get_mut(&job);
        self.unwritten.remove(&job);
        let written = found.is_some_and(|row| {
            row.job.current_state.state == change.expected_state && {
                row.move_along(change);
                let provider = row.job.provider.clone();
                self.lessons
                    .extend(change.duration_sample.clone().map(|lesson| (provider, lesson)));
                true
            }
        });
        if written {
            if let Some(note) = &change.poll_record {
                let note = PollRecord { expected_state: change.new_state.state, ..note.clone() };
                self.keep(&note);
            }
            if fate == Fate::Commit {
                return self.step(Input::ChangeCommitted(job));
            }
        }
        self.due.remove(&job);
        let found = self.store.get(&job).map(|row| Box::new(row.job.clone()));
        self.step(Input::ChangeRejected(job, found));
    }

    fn keep(&mut self, note: &PollRecord) {
        let Some(row) = self.store.get_mut(&note.job) else { return };
        if row.job.current_state.state != note.expected_state {
            return;
        }
        row.job.next_poll_at = note.next_poll_at;
        if let Some(told) = &note.metadata {
            row.job.list_time = told.list_time.or(row.job.list_time);
            row.job.similarity_keys.update_from_provider(&told.similarity_keys);
            row.job.times = told.times;
        }
        row.job.polls = note.polls;
        row.job.failed_polls = note.failed_polls;
        row.job.current_state.last_success_sent_at =
            note.last_success_sent_at.or(row.job.current_state.last_success_sent_at);
        row.last_poll_error.clone_from(&note.last_poll_error);
    }

    /// Hands `input` in and does what is asked for, as the scheduler does.
    pub(super) fn step(&mut self, input: Input) {
        let now = ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.wall(),
            jitter: self.chance.f64(),
        };
        self.count += 1;
        for action in self.tracker.handle(input, now) {
            match action {
                Action::Poll(question) => self.ask(&question),
                Action::List(question) => self.list(question),
                Action::Commit(change) => self.write(change),
                Action::RecordPoll { poll_record: note, .. } => {
                    self.plan_next(&note);
                    self.keep(&note);
                }
                Action::RecordAnomaly(anomaly) => {
                    self.store.get_mut(&anomaly.job).expect("a job").anomalies.push(anomaly);
                }
                Action::RecordOutage(outage) => self.outages.push(outage.edge),
                Action::Notify(tell) => self.tells.push((self.now, tell)),
            }
        }
        self.check();
    }

    fn ask(&mut self, question: &PollRequest) {
        let job = question.job;
        let before = self.asking.insert(job, self.requests.len());
        assert_eq!(before, None, "job {job} is asked twice at once");
        assert!(!self.unwritten.contains(&job), "job {job} is asked over an unwritten change");
        let early = self.due.get(&job).is_some_and(|due| *due > self.now);
        assert!(!early || self.by_hand.contains(&job), "job {job} is asked before it is due");
        self.by_hand.remove(&job);
        self.due.remove(&job);
        let (latency, answer) = (self.provider)(job, self.now);
        let provider = question.provider.to_string();
        self.requests.push(Request { job, provider, sent: self.now, answered: None });
        let event = Event::Answer(job, question.provider_index, self.wall(), Box::new(answer));
        self.schedule(latency, event);
    }

    /// A page in the order of the jobs' places, as a provider has it: strangers stand between.
    fn list(&mut self, question: ListRequest) {
        for (job, _) in &question.jobs {
            let before = self.asking.insert(*job, self.requests.len());
            assert_eq!(before, None, "job {job} is asked twice at once");
            assert!(!self.unwritten.contains(job), "job {job} is asked over an unwritten change");
            self.by_hand.remove(job);
            self.due.remove(job);
        }
        self.pages += 1;
        self.paged.push((self.now, question.jobs.iter().map(|(job, _)| *job).collect()));
        let ListWindow { from, to, page: number } = question.window;
        let known = self.store.values().filter(|row| row.job.provider == question.provider);
        let mut rows: Vec<_> = known
            .filter_map(|row| Some((row.job.list_time?, row.job.id)))
            .filter(|(place, _)| (from..=to).contains(place))
            .collect();
        rows.sort_unstable();
        let step = self.strangers + 1;
        let shown = u64::from(number - 1) * 100..u64::from(number) * 100;
        let total = rows.len() as u64 * step;
        let rows = (0u64..).step_by(usize::try_from(step).expect("few")).zip(rows);
        let mut jobs = Vec::new();
        for (_, (_, job)) in rows.filter(|(at, _)| shown.contains(at)) {
            let (_, answer) = (self.provider)(job, self.now);
            if let Ok(seen) = answer.result {
                jobs.push((self.store[&job].job.remote_id.clone(), seen));
            }
        }
        let result = self.list_error.clone().map_or(Ok(ListPage { jobs, total_count: total }), Err);
        let listing = Box::new(ListAnswer {
            result,
            rate_limit: RateLimitInfo::default(),
            server_date: None,
        });
        let (provider, request) = (question.provider.to_string(), self.requests.len());
        let job = JobId(0);
        self.requests.push(Request { job, provider, sent: self.now, answered: None });
        let event = Event::Listing(question, request, self.wall(), listing);
        self.schedule(200, event);
    }

    fn write(&mut self, change: Change) {
        let fresh = self.unwritten.insert(change.job);
        assert!(fresh, "job {} has two changes under way", change.job);
        if let Some(note) = &change.poll_record {
            self.plan_next(note);
        }
        let (delay, fate) = (self.fate)(&change);
        self.schedule(delay, Event::Commit(Box::new(change), fate));
    }

    /// The time that the tracker writes down is the one that it must keep.
    fn plan_next(&mut self, note: &PollRecord) {
        self.due.remove(&note.job);
        if let Some(at) = note.next_poll_at {
            let wait = u64::try_from(at.duration_since(self.wall()).as_millis()).expect("short");
            self.due.insert(note.job, self.now + wait);
        }
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    fn check(&self) {
        let wakes_at = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
        assert!(wakes_at.is_none_or(|at| at > self.now), "something due was left undone");
        if !self.count.is_multiple_of(self.check_every) {
            return;
        }
        for settings in &self.settings {
            let name = settings.name.as_str();
            let report = self.report(name);
            let rows = || self.store.values().filter(|row| row.job.provider == settings.name);
            let held = rows().filter(|row| self.tracker.contains(row.job.id)).count();
            let under_way: BTreeSet<_> = self.asking.values().copied().collect();
            let under_way = under_way.into_iter().map(|request| &self.requests[request]);
            let in_flight = under_way.filter(|request| request.provider == name).count();
            let unwritten = rows().filter(|row| self.unwritten.contains(&row.job.id)).count();
            assert_eq!(report.active_jobs, held as u64, "{name}");
            assert_eq!(report.in_flight as usize, in_flight, "{name}");
            assert!(report.in_flight <= settings.max_in_flight, "{name}: {in_flight} in flight");
            let waiting = held.saturating_sub(unwritten) as u64;
            assert!(report.due_polls <= waiting, "{name}: {} due", report.due_polls);
            assert!(report.requests_last_minute <= settings.requests_per_minute, "{name}");
            assert!(!report.has_stuck_poll, "{name}");
            let idle = self.asking.is_empty() && self.unwritten.is_empty();
            assert!(held == 0 || !idle || wakes_at.is_some(), "{name}: nothing wakes its jobs");
        }
    }

    /// Panics if a provider can have seen more than `limit` requests in some half-open minute:
    /// each may have reached it at any time from its sending to its answer.
    pub(super) fn assert_no_minute_exceeds(&self, provider: &str, limit: usize) {
        let of = self.requests.iter().filter(|request| request.provider == provider);
        let spans: Vec<_> =
            of.map(|request| (request.sent, request.answered.unwrap_or(self.now))).collect();
        let sent: Vec<_> = spans.iter().map(|(sent, _)| *sent).collect();
        let mut ended: Vec<_> = spans.iter().map(|(_, ended)| *ended).collect();
        ended.sort_unstable();
        // The fullest minutes begin with the end of a request.
        for (index, from) in ended.iter().enumerate() {
            let begun = sent.partition_point(|sent| *sent < from + MINUTE);
            let first = ended[..index].partition_point(|ended| ended < from);
            let seen = begun - first;
            assert!(seen <= limit, "{seen} requests of {limit} in the minute from {from} ms");
        }
    }
}
