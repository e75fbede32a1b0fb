//! The settings of a provider for benches that drive the tracker: the learned policy with a price of a second.

use std::time::Duration;

use jobtrack::job::{NotFoundTimeout, ProviderName};
use jobtrack::policy::{Backoff, LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{PollPolicy, ProviderSettings};

pub fn provider_settings(
    name: ProviderName,
    requests_per_minute: u32,
    max_in_flight: u32,
) -> ProviderSettings {
    let second = Duration::from_secs(1);
    ProviderSettings {
        name,
        account: None,
        requests_per_minute,
        max_in_flight,
        policy: PollPolicy::Learned(LearnedPolicySettings {
            price: PollPrice::Fixed(second),
            min_interval: second,
            enforce_max_wait: true,
        }),
        backoff: Backoff { min: second, max: Duration::from_mins(5) },
        give_up_after: Duration::from_hours(30 * 24),
        lost_after: NotFoundTimeout {
            previously_seen: Duration::from_mins(15),
            never_seen: Duration::from_hours(1),
        },
        request_timeout: Duration::from_secs(30),
        supports_list: false,
        connection_fingerprint: 0,
    }
}
