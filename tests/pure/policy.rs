//! Learned durations and the polls planned from them: the formulas compared with numeric integrals, the
//! bounds of the next poll, and forgetting.

use std::time::Duration;

use jobtrack::job::{DurationKind, DurationSample, DurationStart, SimilarityKeys, UtcTime};
use jobtrack::policy::{
    Distribution, DurationHistory, Histogram, KernelEstimate, LearnedPolicySettings, PollPrice,
    PollReason, Prediction, staleness_index,
};
use proptest::prelude::*;

/// Durations of similar runs and of all runs, in seconds.
#[derive(Debug)]
struct ObservedRuns {
    similar: Vec<f64>,
    all: Vec<f64>,
}

impl ObservedRuns {
    fn history(&self) -> DurationHistory {
        let mut history = DurationHistory::default();
        self.all.iter().for_each(|seconds| history.record(&duration_sample("other", *seconds)));
        self.similar
            .iter()
            .for_each(|seconds| history.record(&duration_sample("similar", *seconds)));
        history
    }

    /// Calls `check` with F and A of each kind of distribution learned from these runs.
    fn for_each_estimate(&self, check: impl Fn(&dyn Fn(f64) -> (f64, f64))) {
        fn at(distribution: &impl Distribution) -> impl Fn(f64) -> (f64, f64) + '_ {
            |t| {
                let over = distribution.cdf_at(t);
                (over.probability, over.integral)
            }
        }
        let history = self.history();
        let prediction = predict(&history, "similar");
        check(&at(&similar_only(&prediction)));
        check(&at(prediction.overall));
        check(&at(&prediction));
        check(&at(&predict(&history, "never seen")));
    }
}

fn started_at(second: i32) -> DurationStart {
    DurationStart { kind: DurationKind::Total, at: UtcTime::from_millis(i64::from(second) * 1000) }
}

fn predict<'a>(history: &'a DurationHistory, key: &str) -> Prediction<'a> {
    history.predict(&similarity_keys(key), started_at(0))
}

fn similar_only(prediction: &Prediction<'_>) -> KernelEstimate {
    prediction.similar.clone().expect("there are similar runs")
}

fn runs() -> impl Strategy<Value = ObservedRuns> {
    let seconds = || (-7.0..10.0f64).prop_map(f64::exp);
    let lists = (prop::collection::vec(seconds(), 1..30), prop::collection::vec(seconds(), 0..100));
    lists.prop_map(|(alike, all)| ObservedRuns { similar: alike, all })
}

/// ∫ f over `from..to`, by Simpson's rule in equal steps of the logarithm.
fn integrate(f: impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    const STEPS: u32 = 2_000;
    let step = (to / from).ln() / f64::from(STEPS);
    let value = |place: f64| {
        let t = from * (step * place).exp();
        f(t) * t
    };
    let slice = |n: u32| {
        let n = f64::from(n);
        step / 6.0 * (value(n) + 4.0 * value(n + 0.5) + value(n + 1.0))
    };
    (0..STEPS).map(slice).sum()
}

/// Far below the duration of every run.
const SHORT_SECONDS: f64 = 0.001;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_cdf_grows_from_zero_to_one(runs in runs()) {
        runs.for_each_estimate(|at| {
            let mut before = (0.0, 0.0);
            for step in 0..400 {
                let t = SHORT_SECONDS * (f64::from(step) * 0.07).exp();
                let (chance, area) = at(t);
                assert!((before.0..=1.0).contains(&chance), "F({t}) = {chance} after {}", before.0);
                // The rounding error of the difference is far below a nanosecond.
                assert!(area >= before.1 - 1e-12, "A({t}) = {area:e} after {:e}", before.1);
                before = (chance, area);
            }
            // A job that outlives all observed runs may never end.
            assert!(before.0 > 0.98, "the last value is {}", before.0);
        });
    }

    #[test]
    fn the_area_is_the_integral_of_the_cdf(runs in runs(), t in (-1.0..11.0f64).prop_map(f64::exp)) {
        runs.for_each_estimate(|at| {
            let (found, expected) = (integrate(|u| at(u).0, SHORT_SECONDS, t), at(t).1);
            assert!((found - expected).abs() < 0.002 * t, "A({t}) = {found}, not {expected}");
        });
    }

    /// Compares with the definition: ∫ (t − u) dF(u) from x to t, divided by S(t).
    #[test]
    fn the_index_is_expected_delay_per_probability_of_running(
        runs in runs(), x in 0.5..1000.0f64, wait in 0.1..500.0f64,
    ) {
        let history = runs.history();
        let estimate = similar_only(&predict(&history, "similar"));
        let (t, steps) = (x + wait, 4000);
        let at = |step: i32| x + wait * f64::from(step) / f64::from(steps);
        let sum: f64 = (0..steps)
            .map(|step| {
                let (from, to) = (at(step), at(step + 1));
                (t - f64::midpoint(from, to)) * (estimate.cdf_at(to).probability - estimate.cdf_at(from).probability)
            })
            .sum();
        let left = 1.0 - estimate.cdf_at(t).probability;
        // Below this the rounding error of the integral is too large.
        prop_assume!(left > 1e-5 && sum > 1e-6 * wait);
        let (expected, found) = (sum / left, staleness_index(&estimate, x, t));
        prop_assert!((found / expected - 1.0).abs() < 0.01, "{found}, not {expected}");
    }

    #[test]
    fn the_index_grows_with_time(runs in runs(), x in 0.0..5000.0f64) {
        let history = runs.history();
        let distribution = predict(&history, "similar");
        // Near the end of the histogram the tail is hardly known.
        prop_assume!(distribution.cdf_at(20_000.0).probability < 0.999);
        let mut before = 0.0;
        for step in 0..200 {
            let now = staleness_index(&distribution, x, x + 0.1 * (f64::from(step) * 0.06).exp());
            prop_assert!(now >= before * (1.0 - 1e-6) - 1e-6, "{now} after {before}");
            before = now;
        }
    }

    #[test]
    fn the_next_poll_is_within_its_bounds(
        runs in runs(),
        alive in prop_oneof![Just(0.0), 0.0..100.0f64, 100.0..1e6f64],
        price in 0.01..1e4f64,
        least in 1u64..60,
        enforce_max_wait in any::<bool>(),
    ) {
        let history = runs.history();
        let distribution = predict(&history, "similar");
        let min_interval = Duration::from_secs(least);
        let rule = LearnedPolicySettings { price: PollPrice::Fixed(Duration::from_secs_f64(price)), min_interval, enforce_max_wait };
        let planned = rule.plan_next_poll(&distribution, alive, alive);
        let wait = planned.age - alive;
        let six_hours = 6.0 * 3600.0;
        let most = if enforce_max_wait { (0.5 * alive).clamp(30.0, six_hours) } else { six_hours };
        let least = min_interval.as_secs_f64();
        let tolerance = 1e-6 * planned.age.max(1.0);
        prop_assert!(wait >= least - tolerance && wait <= most.max(least) + tolerance, "{wait} s");
        if planned.reason == PollReason::Price && wait > least + tolerance {
            let reached = staleness_index(&distribution, alive, planned.age);
            let fair = staleness_index(&distribution, alive, alive + wait * 0.99 - 0.002);
            prop_assert!(reached >= price * (1.0 - 1e-9), "{reached} s of {price} s");
            prop_assert!(fair <= price, "{fair} s of {price} s shortly before");
        }
    }
}

fn duration_sample(name: &str, seconds: f64) -> DurationSample {
    let took = Some(Duration::from_secs_f64(seconds));
    DurationSample {
        similarity_keys: SimilarityKeys::UserProvided(name.into()),
        total: took,
        run: took,
        ..DurationSample::default()
    }
}

fn similarity_keys(name: &str) -> SimilarityKeys {
    SimilarityKeys::UserProvided(name.into())
}

#[test]
fn old_durations_are_forgotten_after_a_change() {
    let mut history = DurationHistory::default();
    let mut record = |seconds, runs| {
        (0..runs).for_each(|_| history.record(&duration_sample("nightly", seconds)));
        let similar = history.similar_runs(&similarity_keys("nightly"), DurationKind::Total);
        let median = similar.and_then(|similar| similar.runs.median()).expect("runs");
        (median, predict(&history, "nightly").cdf_at(60.0).probability)
    };
    let (_, over) = record(30.0, 200);
    assert!(over > 0.95, "{over}");
    // One outlier has little influence; the runs after a change soon outweigh those before.
    let (median, over) = record(600.0, 1);
    assert!(median < 31.0 && over > 0.75, "{median} {over}");
    let (median, over) = record(600.0, 10);
    assert!(median > 590.0 && over < 0.4, "{median} {over}");
    let (_, over) = record(600.0, 9);
    assert!(over < 0.1, "{over}");
}

#[test]
fn several_typical_durations_stay_apart() {
    let mut history = DurationHistory::default();
    for run in 0..20 {
        let seconds = if run % 3 == 0 { 2.0 } else { 120.0 };
        history.record(&duration_sample("cached or not", seconds));
    }
    let prediction = similar_only(&predict(&history, "cached or not"));
    let between =
        |from, to| prediction.cdf_at(to).probability - prediction.cdf_at(from).probability;
    assert!(between(1.0, 4.0) > 0.25 && between(60.0, 240.0) > 0.5);
    assert!(between(8.0, 30.0) < 0.1, "{}", between(8.0, 30.0));
}

#[test]
fn provider_wide_durations_are_forgotten_after_a_change() {
    let mut all = Histogram::default();
    (0..100_000).for_each(|_| all.record(30.0));
    (0..20_000).for_each(|_| all.record(600.0));
    assert!(all.cdf_at(60.0).probability < 0.1, "{}", all.cdf_at(60.0).probability);
}

#[test]
fn one_run_gives_no_certainty() {
    let mut history = DurationHistory::default();
    history.record(&duration_sample("nightly", 100.0));
    let over = |t| predict(&history, "nightly").cdf_at(t).probability;
    assert!((0.02..0.4).contains(&over(60.0)) && (0.6..0.98).contains(&over(170.0)));
}

#[test]
fn an_unseen_similarity_key_falls_back_to_all_runs() {
    let mut history = DurationHistory::default();
    (0..500).for_each(|_| history.record(&duration_sample("known", 100.0)));
    assert!(history.similar_runs(&similarity_keys("new"), DurationKind::Total).is_none());
    let over = |t| predict(&history, "new").cdf_at(t).probability;
    assert!(over(80.0) < 0.1 && over(125.0) > 0.8, "{} {}", over(80.0), over(125.0));
}

/// A run of "q" with its start.
fn run_from(start: i32, seconds: f64) -> DurationSample {
    DurationSample { total_from: Some(started_at(start).at), ..duration_sample("q", seconds) }
}

/// The probability that the job of "q" that started at this second lasts longer than this.
fn lasts_longer(history: &DurationHistory, start: i32, seconds: f64) -> f64 {
    1.0 - history.predict(&similarity_keys("q"), started_at(start)).cdf_at(seconds).probability
}

#[test]
fn jobs_that_run_longer_than_the_runs_before_show_a_change_before_they_end() {
    let mut history = DurationHistory::default();
    // The durations of this key change now and then.
    for run in 0..220 {
        let typical: f64 = [60.0, 300.0, 90.0, 20.0][run / 20 % 4];
        let run = i32::try_from(run).expect("few runs");
        let deviation = (f64::from(run) * 0.618).fract() - 0.5;
        history.record(&run_from(10 * run, typical * deviation.exp()));
    }
    let before = lasts_longer(&history, 3000, 200.0);
    assert!(before < 0.2, "{before}");
    for job in 0..12 {
        history.record_unfinished(&similarity_keys("q"), started_at(2900 + job), 40.0);
    }
    // At 40 s the others could still end as the runs before.
    let young = lasts_longer(&history, 3000, 200.0);
    assert!((young - before).abs() < 0.1, "{young} and {before}");
    for job in 0..12 {
        history.record_unfinished(&similarity_keys("q"), started_at(2900 + job), 300.0);
    }
    let changed = lasts_longer(&history, 3000, 200.0);
    assert!(changed > before + 0.2, "{changed} and {before}");
    for job in 0..12 {
        history.forget_unfinished(&similarity_keys("q"), started_at(2900 + job));
    }
    let forgotten = lasts_longer(&history, 3000, 200.0);
    assert!((forgotten - before).abs() < 1e-9, "{forgotten} and {before}");
}

#[test]
fn a_job_is_compared_with_the_runs_that_started_near_it() {
    let mut history = DurationHistory::default();
    history.record(&run_from(0, 3000.0));
    for start in 100..110 {
        history.record_unfinished(&similarity_keys("q"), started_at(start), 1.0);
    }
    // Nine of ten last about 3000 s. Those that started later have become short.
    for start in (100..109).chain(2000..2011) {
        let is_long = start < 2000;
        let seconds = f64::from(if is_long { 3000 + start } else { 10 + start % 3 });
        history.forget_unfinished(&similarity_keys("q"), started_at(start));
        history.record(&run_from(start, seconds));
    }
    let (old, new) = (lasts_longer(&history, 109, 1000.0), lasts_longer(&history, 4000, 1000.0));
    assert!(old > new + 0.1, "{old} for the old job, {new} for a new one");
}

#[test]
fn the_closest_similarity_key_with_history_is_used() {
    let mut history = DurationHistory::default();
    let reported =
        |names: &[&str]| SimilarityKeys::from_provider(names.iter().map(|name| (*name).to_owned()));
    let took = Some(Duration::from_mins(1));
    let keys = reported(&["statement 1", "queue a"]);
    history.record(&DurationSample {
        similarity_keys: keys.clone(),
        total: took,
        ..DurationSample::default()
    });
    let name = |keys: &SimilarityKeys| {
        history.similar_runs(keys, DurationKind::Total).map(|past| past.similarity_key)
    };
    assert_eq!(name(&keys), Some("statement 1"));
    assert_eq!(name(&reported(&["statement 2", "queue a"])), Some("queue a"));
    assert_eq!(name(&reported(&["statement 2", "queue b"])), None);
    assert!(history.similar_runs(&keys, DurationKind::Run).is_none(), "no run was recorded");
}

#[test]
fn similarity_keys_are_bounded_and_the_latest_kept() {
    let mut history = DurationHistory::default();
    let count = 50_000;
    for number in 0..count {
        history.record(&duration_sample("often", 30.0));
        history.record(&duration_sample(&number.to_string(), 30.0));
    }
    let is_known = |number: i32| {
        history.similar_runs(&similarity_keys(&number.to_string()), DurationKind::Total).is_some()
    };
    let known = (0..count).filter(|number| is_known(*number)).count();
    assert!((9_000..=20_000).contains(&known), "{known}");
    assert!((count - 5_000..count).all(is_known), "the latest are known");
    assert!(history.similar_runs(&similarity_keys("often"), DurationKind::Total).is_some());
}

#[test]
fn forget_removes_durations() {
    let mut history = DurationHistory::default();
    history.record(&duration_sample("a", 30.0));
    history.record(&duration_sample("b", 30.0));
    history.forget(Some("a"));
    let is_known = |history: &DurationHistory, name| {
        history.similar_runs(&similarity_keys(name), DurationKind::Total).is_some()
    };
    assert!(!is_known(&history, "a") && is_known(&history, "b"));
    history.forget(None);
    assert!(!is_known(&history, "b"));
}
