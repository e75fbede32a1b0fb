//! How long jobs take, as it is learned, and what follows for the next look: the formulas against
//! numeric integrals, the bounds, and what is forgotten.

use std::time::Duration;

use jobtrack::job::{DurationKind, DurationSample, SimilarityKeys};
use jobtrack::policy::{
    Distribution, DurationHistory, Histogram, LogNormalEstimate, Mixture, PollReason, PollRule,
    staleness_index,
};
use proptest::prelude::*;

/// Runs of a likeness, and those of all.
#[derive(Debug)]
struct ObservedRuns {
    similar: Vec<f64>,
    all: Vec<f64>,
}

impl ObservedRuns {
    fn log_normal_estimate(&self) -> LogNormalEstimate {
        let mut sketch = LogNormalEstimate::default();
        self.similar.iter().for_each(|seconds| sketch.record(*seconds));
        sketch
    }

    fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        self.all.iter().for_each(|seconds| histogram.record(*seconds));
        histogram
    }

    /// What follows from `check` for each kind of curve that these runs teach.
    fn for_each_estimate(&self, check: impl Fn(&dyn Fn(f64) -> (f64, f64))) {
        fn at(curve: &impl Distribution) -> impl Fn(f64) -> (f64, f64) + '_ {
            |t| {
                let over = curve.cdf_at(t);
                (over.probability, over.integral)
            }
        }
        let (sketch, all) = (self.log_normal_estimate(), self.histogram());
        check(&at(&sketch));
        check(&at(&all));
        check(&at(&Mixture { similar: Some(&sketch), overall: &all }));
        check(&at(&Mixture { similar: None, overall: &all }));
    }
}

fn runs() -> impl Strategy<Value = ObservedRuns> {
    let seconds = || (-1.0..10.0f64).prop_map(f64::exp);
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

/// Far below every run.
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
                // A difference of like terms: what is lost is far below a nanosecond.
                assert!(area >= before.1 - 1e-12, "A({t}) = {area:e} after {:e}", before.1);
                before = (chance, area);
            }
            // What has outlived all that was seen may go on for ever.
            assert!(before.0 > 0.98, "at last {}", before.0);
        });
    }

    #[test]
    fn the_area_is_the_integral_of_the_cdf(runs in runs(), t in (-1.0..11.0f64).prop_map(f64::exp)) {
        runs.for_each_estimate(|at| {
            let (found, told) = (integrate(|u| at(u).0, SHORT_SECONDS, t), at(t).1);
            assert!((found - told).abs() < 0.002 * t, "A({t}) = {told}, not {found}");
        });
    }

    /// The expected unseen staleness, by the book: ∫ (t − u) dF(u) from x to t, per chance of S(t).
    #[test]
    fn the_index_is_expected_delay_per_probability_of_running(
        runs in runs(), x in 0.5..1000.0f64, wait in 0.1..500.0f64,
    ) {
        let sketch = runs.log_normal_estimate();
        let (t, steps) = (x + wait, 4000);
        let at = |step: i32| x + wait * f64::from(step) / f64::from(steps);
        let sum: f64 = (0..steps)
            .map(|step| {
                let (from, to) = (at(step), at(step + 1));
                (t - f64::midpoint(from, to)) * (sketch.cdf_at(to).probability - sketch.cdf_at(from).probability)
            })
            .sum();
        let left = 1.0 - sketch.cdf_at(t).probability;
        // Of less than this the integral's own rounding is too large a part.
        prop_assume!(left > 1e-5 && sum > 1e-6 * wait);
        let (expected, found) = (sum / left, staleness_index(&sketch, x, t));
        prop_assert!((found / expected - 1.0).abs() < 0.01, "{found}, not {expected}");
    }

    #[test]
    fn the_index_grows_with_time(runs in runs(), x in 0.0..5000.0f64) {
        let (sketch, all) = (runs.log_normal_estimate(), runs.histogram());
        let curve = Mixture { similar: Some(&sketch), overall: &all };
        // Near the table's end next to nothing is known of what is left.
        prop_assume!(curve.cdf_at(20_000.0).probability < 0.999);
        let mut before = 0.0;
        for step in 0..200 {
            let now = staleness_index(&curve, x, x + 0.1 * (f64::from(step) * 0.06).exp());
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
        promises in any::<bool>(),
    ) {
        let (sketch, all) = (runs.log_normal_estimate(), runs.histogram());
        let curve = Mixture { similar: Some(&sketch), overall: &all };
        let min_interval = Duration::from_secs(least);
        let rule = PollRule { price: Duration::from_secs_f64(price), min_interval, enforce_max_wait: promises };
        let look = rule.plan_next_poll(&curve, alive, alive);
        let wait = look.at - alive;
        let six_hours = 6.0 * 3600.0;
        let most = if promises { (0.5 * alive).clamp(10.0, six_hours) } else { six_hours };
        let least = min_interval.as_secs_f64();
        let tolerance = 1e-6 * look.at.max(1.0);
        prop_assert!(wait >= least - tolerance && wait <= most.max(least) + tolerance, "{wait} s");
        if look.reason == PollReason::Price && wait > least + tolerance {
            let reached = staleness_index(&curve, alive, look.at);
            let fair = staleness_index(&curve, alive, alive + wait * 0.99 - 0.002);
            prop_assert!(reached >= price * (1.0 - 1e-9), "{reached} s of {price} s");
            prop_assert!(fair <= price, "{fair} s of {price} s a little before");
        }
    }
}

fn duration_sample(name: &str, seconds: f64) -> DurationSample {
    let took = Some(Duration::from_secs_f64(seconds));
    DurationSample {
        similarity_keys: SimilarityKeys::UserProvided(name.into()),
        total: took,
        run: took,
    }
}

fn similarity_keys(name: &str) -> SimilarityKeys {
    SimilarityKeys::UserProvided(name.into())
}

#[test]
fn old_durations_are_forgotten_after_a_change() {
    let mut sketch = LogNormalEstimate::default();
    (0..200).for_each(|_| sketch.record(30.0));
    let over = |sketch: &LogNormalEstimate| sketch.cdf_at(60.0).probability;
    assert!(over(&sketch) > 0.99, "{}", over(&sketch));
    // One that is far off says little, two in a row are the beginning of another regime.
    sketch.record(600.0);
    assert!(sketch.median() < 40.0, "{}", sketch.median());
    (0..11).for_each(|_| sketch.record(600.0));
    assert!((500.0..650.0).contains(&sketch.median()), "{}", sketch.median());
    assert!(over(&sketch) < 0.05, "{}", over(&sketch));
    assert_eq!(sketch.runs(), 12);
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
    let mut memory = DurationHistory::default();
    memory.record(&duration_sample("nightly", 100.0));
    let over =
        |t| memory.predict(&similarity_keys("nightly"), DurationKind::Total).cdf_at(t).probability;
    assert!((0.02..0.4).contains(&over(60.0)) && (0.6..0.98).contains(&over(170.0)));
}

#[test]
fn an_unseen_similarity_key_falls_back_to_all_runs() {
    let mut memory = DurationHistory::default();
    (0..500).for_each(|_| memory.record(&duration_sample("known", 100.0)));
    assert!(memory.similar_runs(&similarity_keys("new"), DurationKind::Total).is_none());
    let over =
        |t| memory.predict(&similarity_keys("new"), DurationKind::Total).cdf_at(t).probability;
    assert!(over(80.0) < 0.1 && over(125.0) > 0.8, "{} {}", over(80.0), over(125.0));
}

#[test]
fn the_closest_similarity_key_with_history_is_used() {
    let mut memory = DurationHistory::default();
    let told =
        |names: &[&str]| SimilarityKeys::from_provider(names.iter().map(|name| (*name).to_owned()));
    let took = Some(Duration::from_mins(1));
    let likeness = told(&["statement 1", "queue a"]);
    memory.record(&DurationSample { similarity_keys: likeness.clone(), total: took, run: None });
    let name = |likeness: &SimilarityKeys| {
        memory.similar_runs(likeness, DurationKind::Total).map(|past| past.similarity_key)
    };
    assert_eq!(name(&likeness), Some("statement 1"));
    assert_eq!(name(&told(&["statement 2", "queue a"])), Some("queue a"));
    assert_eq!(name(&told(&["statement 2", "queue b"])), None);
    assert!(memory.similar_runs(&likeness, DurationKind::Run).is_none(), "that was not told");
}

#[test]
fn similarity_keys_are_bounded_and_the_latest_kept() {
    let mut memory = DurationHistory::default();
    let count = 50_000;
    for number in 0..count {
        memory.record(&duration_sample("often", 30.0));
        memory.record(&duration_sample(&number.to_string(), 30.0));
    }
    let is_known = |number: i32| {
        memory.similar_runs(&similarity_keys(&number.to_string()), DurationKind::Total).is_some()
    };
    let known = (0..count).filter(|number| is_known(*number)).count();
    assert!((9_000..=20_000).contains(&known), "{known}");
    assert!((count - 5_000..count).all(is_known), "the latest are known");
    assert!(memory.similar_runs(&similarity_keys("often"), DurationKind::Total).is_some());
}

#[test]
fn forget_removes_durations() {
    let mut memory = DurationHistory::default();
    memory.record(&duration_sample("a", 30.0));
    memory.record(&duration_sample("b", 30.0));
    memory.forget(Some("a"));
    let is_known = |memory: &DurationHistory, name| {
        memory.similar_runs(&similarity_keys(name), DurationKind::Total).is_some()
    };
    assert!(!is_known(&memory, "a") && is_known(&memory, "b"));
    memory.forget(None);
    assert!(!is_known(&memory, "b"));
}
