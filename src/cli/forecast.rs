//! Describes a job's forecast in words: the next poll and its reason, the similar runs, the expected
//! end.
//!
//! Pure functions, used by `show` and `wait`.

use super::render::format_seconds;
use crate::api::{
    ForecastReasonResponse, ForecastResponse, NextPollResponse, PollDelayResponse,
    SimilarRunsResponse,
};
use crate::job::counted;

/// The rows of `show`: label and text.
pub(super) fn forecast_rows(
    forecast: &ForecastResponse,
    last_poll_failed: bool,
) -> Vec<(&'static str, String)> {
    let similar_runs = forecast.similar_runs.as_ref();
    let mut rows = vec![
        ("next poll", describe_next_poll(forecast, last_poll_failed)),
        ("similar runs", similar_runs.map_or_else(|| "none yet".to_owned(), describe_similar_runs)),
    ];
    let end = match (forecast.expected_remaining_s, similar_runs) {
        (Some(seconds), _) => Some(describe_remaining(seconds)),
        (None, Some(_)) => Some("unknown: the job has outlasted the similar runs".to_owned()),
        (None, None) => None,
    };
    rows.extend(end.map(|end| ("expected end", end)));
    rows
}

fn describe_next_poll(forecast: &ForecastResponse, last_poll_failed: bool) -> String {
    let reason = match &forecast.delay {
        Some(delay) => describe_delay(delay),
        None => describe_reason(forecast.reason, last_poll_failed),
    };
    match forecast.next_poll {
        NextPollResponse::NoTime {} => match forecast.delay {
            Some(_) => format!("none: {reason}"),
            None => "in progress".to_owned(),
        },
        NextPollResponse::In { next_poll_in_s } => {
            format!("in {}: {reason}", format_seconds(next_poll_in_s))
        }
        NextPollResponse::Overdue { overdue_s } => {
            let reason = match forecast.delay {
                Some(_) => reason,
                None => "waits for requests in flight".to_owned(),
            };
            format!("overdue by {}: {reason}", format_seconds(overdue_s))
        }
    }
}

fn describe_delay(delay: &PollDelayResponse) -> String {
    match delay {
        PollDelayResponse::ProviderNotConfigured => {
            "the provider is not configured any more".to_owned()
        }
        PollDelayResponse::Pause { pause_reason: Some(reason) } => {
            format!("the provider is paused: {reason}")
        }
        PollDelayResponse::Pause { pause_reason: None } => {
            "the rate limit that the provider reports is used up".to_owned()
        }
        PollDelayResponse::JobPause { pause_reason } => {
            let reason = pause_reason.as_deref().unwrap_or("unknown reason");
            format!("polling of this job is paused: {reason}")
        }
        PollDelayResponse::RateLimit => "the rate limit allows no earlier request".to_owned(),
        PollDelayResponse::OtherPolls { due_polls, requests_per_minute } => {
            let limit = counted(*requests_per_minute, "request");
            format!(
                "{} are due, and the rate limit is {limit} a minute",
                counted(*due_polls, "poll")
            )
        }
    }
}

fn describe_reason(reason: ForecastReasonResponse, last_poll_failed: bool) -> String {
    match reason {
        ForecastReasonResponse::FirstPoll => "first poll".to_owned(),
        ForecastReasonResponse::Backoff if last_poll_failed => {
            "backoff, while polls fail".to_owned()
        }
        ForecastReasonResponse::Backoff => "backoff, while the state does not change".to_owned(),
        ForecastReasonResponse::Spare => "the rate limit leaves a request for it".to_owned(),
        ForecastReasonResponse::Price { price_s } => format!(
            "by then the expected detection delay reaches the price of a request ({})",
            format_seconds(price_s)
        ),
        ForecastReasonResponse::MaxWait => "maximum wait for a job of this age".to_owned(),
    }
}

fn describe_similar_runs(runs: &SimilarRunsResponse) -> String {
    let (key, count) = (&runs.similarity_key, runs.similar_run_count);
    let median = format_seconds(runs.similar_median_s);
    format!("{count} of {key:?}, median duration {median}")
}

/// The expected end of several jobs: of the first one if `earliest`, else of all. None if no job has
/// an expected end.
pub(super) fn describe_expected_end(remaining_s: &[Option<f64>], earliest: bool) -> Option<String> {
    let known: Vec<_> = remaining_s.iter().copied().flatten().collect();
    let end = known.iter().copied().reduce(if earliest { f64::min } else { f64::max })?;
    let (known, total) = (known.len(), remaining_s.len());
    // A job without an expected end may end last, so the text says how many jobs it covers.
    let coverage = if earliest || known == total {
        String::new()
    } else {
        format!(" of {known} of {total} jobs")
    };
    Some(format!("expected end{coverage}: {}", describe_remaining(end)))
}

fn describe_remaining(seconds: f64) -> String {
    if seconds < 1.0 {
        "now".to_owned()
    } else {
        format!("in about {}", format_seconds(seconds.round()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_poll_is_described_with_its_reason() {
        let soon = NextPollResponse::In { next_poll_in_s: 41.2 };
        let due = NextPollResponse::Overdue { overdue_s: 12.0 };
        let price = ForecastReasonResponse::Price { price_s: 1.0 };
        let backoff = ForecastReasonResponse::Backoff;
        let cases = [
            (soon, ForecastReasonResponse::FirstPoll, false, "in 41 s: first poll"),
            (soon, backoff, false, "in 41 s: backoff, while the state does not change"),
            (soon, backoff, true, "in 41 s: backoff, while polls fail"),
            (
                soon,
                price,
                false,
                "in 41 s: by then the expected detection delay reaches the price of a request (1 s)",
            ),
            (
                soon,
                ForecastReasonResponse::MaxWait,
                false,
                "in 41 s: maximum wait for a job of this age",
            ),
            (
                soon,
                ForecastReasonResponse::Spare,
                false,
                "in 41 s: the rate limit leaves a request for it",
            ),
            (due, price, false, "overdue by 12 s: waits for requests in flight"),
            (NextPollResponse::NoTime {}, price, false, "in progress"),
        ];
        for (next_poll, reason, last_poll_failed, expected) in cases {
            let forecast = ForecastResponse {
                next_poll,
                reason,
                delay: None,
                similar_runs: None,
                expected_remaining_s: None,
            };
            let rows = forecast_rows(&forecast, last_poll_failed);
            assert_eq!(rows[0], ("next poll", expected.to_owned()));
        }
    }

    #[test]
    fn what_delays_the_next_poll_is_described_instead_of_its_reason() {
        let soon = NextPollResponse::In { next_poll_in_s: 55.0 };
        let due = NextPollResponse::Overdue { overdue_s: 12.0 };
        let reason = Some("HTTP 401: invalid API Key".to_owned());
        let job_reason = Some("HTTP 403: no permission".to_owned());
        let cases = [
            (
                NextPollResponse::NoTime {},
                PollDelayResponse::ProviderNotConfigured,
                "none: the provider is not configured any more",
            ),
            (
                soon,
                PollDelayResponse::Pause { pause_reason: reason },
                "in 55 s: the provider is paused: HTTP 401: invalid API Key",
            ),
            (
                soon,
                PollDelayResponse::JobPause { pause_reason: job_reason },
                "in 55 s: polling of this job is paused: HTTP 403: no permission",
            ),
            (
                soon,
                PollDelayResponse::Pause { pause_reason: None },
                "in 55 s: the rate limit that the provider reports is used up",
            ),
            (
                soon,
                PollDelayResponse::RateLimit,
                "in 55 s: the rate limit allows no earlier request",
            ),
            (
                due,
                PollDelayResponse::OtherPolls { due_polls: 90, requests_per_minute: 30 },
                "overdue by 12 s: 90 polls are due, and the rate limit is 30 requests a minute",
            ),
        ];
        for (next_poll, delay, expected) in cases {
            let forecast = ForecastResponse {
                next_poll,
                reason: ForecastReasonResponse::MaxWait,
                delay: Some(delay),
                similar_runs: None,
                expected_remaining_s: None,
            };
            assert_eq!(describe_next_poll(&forecast, false), expected);
        }
    }

    #[test]
    fn similar_runs_and_expected_end_are_described() {
        let similar_runs = |similar_run_count| SimilarRunsResponse {
            similarity_key: "query 980708".to_owned(),
            similar_run_count,
            similar_median_s: 192.0,
        };
        let cases = [
            (
                Some(similar_runs(8)),
                Some(130.0),
                "8 of \"query 980708\", median duration 3 min 12 s",
                Some("in about 2 min 10 s"),
            ),
            (
                Some(similar_runs(1)),
                Some(0.0),
                "1 of \"query 980708\", median duration 3 min 12 s",
                Some("now"),
            ),
            (
                Some(similar_runs(2)),
                None,
                "2 of \"query 980708\", median duration 3 min 12 s",
                Some("unknown: the job has outlasted the similar runs"),
            ),
            (None, None, "none yet", None),
        ];
        for (similar_runs, expected_remaining_s, runs_text, end_text) in cases {
            let forecast = ForecastResponse {
                next_poll: NextPollResponse::NoTime {},
                reason: ForecastReasonResponse::FirstPoll,
                delay: None,
                similar_runs,
                expected_remaining_s,
            };
            let rows = forecast_rows(&forecast, false);
            assert_eq!(rows[1], ("similar runs", runs_text.to_owned()));
            let end = rows.get(2).map(|(label, text)| (*label, text.as_str()));
            assert_eq!(end, end_text.map(|text| ("expected end", text)));
        }
    }

    #[test]
    fn expected_end_of_several_jobs_is_the_latest_or_the_earliest() {
        let cases = [
            (&[][..], false, None),
            (&[None, None], false, None),
            (&[Some(130.0)], false, Some("expected end: in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], false, Some("expected end: in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], true, Some("expected end: in about 4 s")),
            (&[Some(4.4), None], false, Some("expected end of 1 of 2 jobs: in about 4 s")),
            (&[Some(0.4), None], true, Some("expected end: now")),
        ];
        for (remaining, earliest, expected) in cases {
            let text = describe_expected_end(remaining, earliest);
            assert_eq!(text.as_deref(), expected, "{remaining:?} {earliest}");
        }
    }
}
