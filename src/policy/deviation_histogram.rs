//! How the runs of all keys of a provider deviate from the center of their key: what a key with few runs may yet do, and
//! what any key does now and then. A run counts only in so far as the estimates of its key did not expect it. Recorded and
//! read through `prediction`.

use super::distribution::CdfPoint;
use super::histogram::Histogram;

/// The durations that the runs would have if the center of each key were one minute.
#[derive(Debug, Clone, Default)]
pub(super) struct DeviationHistogram(Histogram);

impl DeviationHistogram {
    /// The logarithm of one minute in seconds.
    const LOG_CENTER: f64 = 4.094_344_562_222_1;

    /// The logarithms of a duration and of the center of its key, in seconds.
    fn relative(ln: f64, log_center: f64) -> f64 {
        ln - log_center + Self::LOG_CENTER
    }

    /// Records the part, between 0 and 1, of a run that this histogram is to explain.
    pub(super) fn record(&mut self, ln: f64, log_center: f64, part: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a few digits suffice")]
        self.0.record_part(libm::exp(Self::relative(ln, log_center)), part as f32);
    }

    /// The probability density of the logarithm of a duration of a key with this center.
    pub(super) fn log_density(&self, ln: f64, log_center: f64) -> f64 {
        self.0.log_density(Self::relative(ln, log_center))
    }

    /// F and A at `t`, of logarithm `ln`, for a key with this center.
    pub(super) fn cdf(&self, t: f64, ln: f64, log_center: f64) -> CdfPoint {
        let scale = libm::exp(log_center - Self::LOG_CENTER);
        let CdfPoint { probability, integral } =
            self.0.cdf(t / scale, Self::relative(ln, log_center));
        CdfPoint { probability, integral: integral * scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_apply_to_keys_of_any_duration() {
        let mut deviations = DeviationHistogram::default();
        for run in 0..2000 {
            let center = f64::from(run % 5).mul_add(2.0, 1.0);
            let deviation = if run % 10 == 0 { -2.0 } else { 0.0 };
            deviations.record(center + deviation, center, 1.0);
        }
        for center in [0.0, 3.0, 9.0] {
            let between = deviations.cdf(libm::exp(center - 1.0), center - 1.0, center);
            assert!((0.08..0.13).contains(&between.probability), "{between:?}");
            let short = deviations.log_density(center - 2.0, center);
            let usual = deviations.log_density(center, center);
            assert!(usual > 5.0 * short && short > 0.1, "{usual} {short}");
        }
    }
}
