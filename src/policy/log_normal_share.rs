//! How well a log-normal distribution describes similar runs, next to a kernel for each run. `duration_history` records it.
//!
//! Some providers run queries whose durations scatter around one typical duration; with others a key has several typical
//! durations. The share is that of a mixture of the two estimates which makes the runs most likely, found by online
//! expectation-maximization: each run counts for both, in proportion to the densities that they gave it.

#[derive(Debug, Clone, Copy)]
pub(super) struct LogNormalShare {
    share: f64,
    /// The weight of the runs so far and of the prior.
    runs: f64,
}

impl Default for LogNormalShare {
    fn default() -> Self {
        Self { share: 0.5, runs: 20.0 }
    }
}

impl LogNormalShare {
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.999;
    const MIN: f64 = 0.03;
    /// A run of this density counts half, because neither estimate expected it.
    const OUTLIER_DENSITY: f64 = 0.05;

    /// The part of the weight of similar runs that the log-normal distribution has; the kernels have the rest.
    pub(super) fn get(self) -> f64 {
        self.share
    }

    /// Records a run that had these probability densities, each multiplied by its share.
    pub(super) fn record(&mut self, by_kernels: f64, by_log_normal: f64) {
        let density = by_kernels + by_log_normal;
        if density <= 0.0 {
            return;
        }
        let weight = density / (density + Self::OUTLIER_DENSITY);
        self.runs = (1.0 - (1.0 - Self::DECAY) * weight) * self.runs + weight;
        self.share += weight * (by_log_normal / density - self.share) / self.runs;
        self.share = self.share.clamp(Self::MIN, 1.0 - Self::MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share after runs that alternate between these densities of the kernels and of the log-normal distribution.
    fn learned_share(densities: [(f64, f64); 2]) -> f64 {
        let mut share = LogNormalShare::default();
        for (kernels, log_normal) in densities.into_iter().cycle().take(4000) {
            share.record((1.0 - share.get()) * kernels, share.get() * log_normal);
        }
        share.get()
    }

    #[test]
    fn the_estimate_that_expects_the_runs_gets_the_weight() {
        assert!(learned_share([(2.0, 0.5), (1.0, 0.5)]) < 0.05);
        assert!(learned_share([(0.5, 2.0), (0.0, 1.0)]) > 0.95);
        let equal = learned_share([(2.0, 1.0), (1.0, 2.0)]);
        assert!((0.4..0.6).contains(&equal), "{equal}");
    }

    #[test]
    fn runs_that_nothing_expected_do_not_count() {
        let share = learned_share([(0.0, 0.0), (1e-9, 0.0)]);
        assert!((share - 0.5).abs() < 1e-3, "{share}");
    }
}
