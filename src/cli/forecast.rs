//! When and why a job is asked next and when it should be over, in plain words. Pure; used by `show`
//! and `wait`.

use super::render::format_seconds;
use crate::api::{ForecastReasonResponse, ForecastResponse, NextPollResponse, SimilarRunsResponse};
use crate::job::SimilarityKeys;

/// What `show` tells, in two columns. `failing`: the last poll gave no answer.
pub(super) fn forecast_rows(
    forecast: &ForecastResponse,
    likeness: &SimilarityKeys,
    last_poll_failed: bool,
) -> Vec<(&'static str, String)> {
    let mut rows = vec![("next poll", describe_next_poll(forecast, last_poll_failed))];
    rows.push(("compared", describe_similar_runs(forecast.similar_runs.as_ref(), likeness)));
    let end = match (forecast.expected_remaining_s, &forecast.similar_runs) {
        (Some(seconds), _) => Some(format!("end {}", describe_remaining(seconds))),
        (None, Some(_)) => Some("nothing: it takes longer than those runs did".to_owned()),
        (None, None) => None,
    };
    rows.extend(end.map(|end| ("expected", end)));
    rows
}

fn describe_next_poll(forecast: &ForecastResponse, last_poll_failed: bool) -> String {
    let wait = match forecast.next_poll {
        NextPollResponse::InFlight {} => return "now".to_owned(),
        NextPollResponse::Due { overdue_s: due_for_s } => {
            return format!("due for {}: waits for its turn", format_seconds(due_for_s));
        }
        NextPollResponse::In { next_poll_in_s } => format_seconds(next_poll_in_s),
    };
    let reason = match forecast.reason {
        ForecastReasonResponse::FirstPoll => "its first poll".to_owned(),
        ForecastReasonResponse::Backoff if last_poll_failed => {
            "the pause grows while polls fail".to_owned()
        }
        ForecastReasonResponse::Backoff => "the pause grows while nothing changes".to_owned(),
        ForecastReasonResponse::Price { price_s } => format!(
            "by then it may be over for as long as a request may cost ({})",
            format_seconds(price_s)
        ),
        ForecastReasonResponse::MaxWait => {
            "no later than after half of its age, or 10 s, whatever the past says".to_owned()
        }
    };
    format!("in {wait}: {reason}")
}

fn describe_similar_runs(past: Option<&SimilarRunsResponse>, likeness: &SimilarityKeys) -> String {
    let Some(past) = past else {
        return "with nothing: no past run is like it".to_owned();
    };
    let runs = if past.similar_run_count == 1 { "run" } else { "runs" };
    let preposition = match likeness {
        SimilarityKeys::UserProvided(_) => "like",
        SimilarityKeys::ProviderReported(_) | SimilarityKeys::Unknown => "of",
    };
    let median = format_seconds(past.similar_median_s);
    format!(
        "with {} past {runs} {preposition} {}, median {median}",
        past.similar_run_count, past.similarity_key
    )
}

/// When the first, or else the last, of several jobs should be over, of which the past tells this;
/// none if it tells nothing.
pub(super) fn describe_expected_end(ends_in_s: &[Option<f64>], earliest: bool) -> Option<String> {
    let known_ends: Vec<_> = ends_in_s.iter().copied().flatten().collect();
    let end = known_ends.iter().copied().reduce(if earliest { f64::min } else { f64::max })?;
    let (known, total) = (known_ends.len(), ends_in_s.len());
    // One that cannot be told might be the last one.
    let coverage =
        if earliest || known == total { String::new() } else { format!(" of {known} of {total}") };
    Some(format!("expected end{coverage} {}", describe_remaining(end)))
}

fn describe_remaining(seconds: f64) -> String {
    if seconds < 1.0 {
        "any moment now".to_owned()
    } else {
        format!("in about {}", format_seconds(seconds.round()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider_keys() -> SimilarityKeys {
        SimilarityKeys::from_provider(["query 980708".to_owned()])
    }

    #[test]
    fn next_poll_is_described_with_its_reason() {
        let soon = NextPollResponse::In { next_poll_in_s: 41.2 };
        let due = NextPollResponse::Due { overdue_s: 12.0 };
        let price = ForecastReasonResponse::Price { price_s: 1.0 };
        let cases = [
            (soon, ForecastReasonResponse::FirstPoll, false, "in 41 s: its first poll"),
            (
                soon,
                ForecastReasonResponse::Backoff,
                false,
                "in 41 s: the pause grows while nothing changes",
            ),
            (
                soon,
                ForecastReasonResponse::Backoff,
                true,
                "in 41 s: the pause grows while polls fail",
            ),
            (
                soon,
                price,
                false,
                "in 41 s: by then it may be over for as long as a request may cost (1 s)",
            ),
            (
                soon,
                ForecastReasonResponse::MaxWait,
                false,
                "in 41 s: no later than after half of its age, or 10 s, whatever the past says",
            ),
            (due, price, false, "due for 12 s: waits for its turn"),
            (NextPollResponse::InFlight {}, price, false, "now"),
        ];
        for (next, reason, failing, expected) in cases {
            let outlook = ForecastResponse {
                next_poll: next,
                reason,
                similar_runs: None,
                expected_remaining_s: None,
            };
            assert_eq!(
                forecast_rows(&outlook, &provider_keys(), failing)[0],
                ("next poll", expected.to_owned())
            );
        }
    }

    #[test]
    fn similar_runs_and_expected_end_are_described() {
        let past = |like: &str, past_runs| {
            Some(SimilarRunsResponse {
                similarity_key: like.to_owned(),
                similar_run_count: past_runs,
                similar_median_s: 192.0,
            })
        };
        let given = SimilarityKeys::from_user("nightly").expect("a name");
        let dli = "queue default, SQL, statement 3f2a";
        let none = "with nothing: no past run is like it";
        let past_median_exceeded = "nothing: it takes longer than those runs did";
        let cases = [
            (
                past("query 980708", 8),
                provider_keys(),
                Some(130.0),
                "with 8 past runs of query 980708, median 3 min 12 s",
                Some("end in about 2 min 10 s"),
            ),
            (
                past("nightly", 1),
                given,
                Some(0.0),
                "with 1 past run like nightly, median 3 min 12 s",
                Some("end any moment now"),
            ),
            (
                past(dli, 2),
                SimilarityKeys::from_provider([dli.to_owned()]),
                None,
                "with 2 past runs of queue default, SQL, statement 3f2a, median 3 min 12 s",
                Some(past_median_exceeded),
            ),
            (None, SimilarityKeys::Unknown, None, none, None),
        ];
        for (past, likeness, ends_in_s, compared, expected) in cases {
            let outlook = ForecastResponse {
                next_poll: NextPollResponse::InFlight {},
                reason: ForecastReasonResponse::FirstPoll,
                similar_runs: past,
                expected_remaining_s: ends_in_s,
            };
            let rows = forecast_rows(&outlook, &likeness, false);
            assert_eq!(rows[1], ("compared", compared.to_owned()));
            let end = rows.get(2).map(|(key, text)| (*key, text.as_str()));
            assert_eq!(end, expected.map(|text| ("expected", text)));
        }
    }

    #[test]
    fn expected_end_of_several_jobs_is_the_latest_or_the_earliest() {
        let cases = [
            (&[][..], false, None),
            (&[None, None], false, None),
            (&[Some(130.0)], false, Some("expected end in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], false, Some("expected end in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], true, Some("expected end in about 4 s")),
            (&[Some(4.4), None], false, Some("expected end of 1 of 2 in about 4 s")),
            (&[Some(0.4), None], true, Some("expected end any moment now")),
        ];
        for (ends, first, expected) in cases {
            assert_eq!(describe_expected_end(ends, first).as_deref(), expected, "{ends:?} {first}");
        }
    }

    #[test]
    fn forecast_serializes_as_one_flat_object() {
        let past = SimilarRunsResponse {
            similarity_key: "query 7".to_owned(),
            similar_run_count: 8,
            similar_median_s: 192.0,
        };
        let full = ForecastResponse {
            next_poll: NextPollResponse::In { next_poll_in_s: 41.0 },
            reason: ForecastReasonResponse::Price { price_s: 1.0 },
            similar_runs: Some(past),
            expected_remaining_s: Some(130.0),
        };
        let bare = ForecastResponse {
            next_poll: NextPollResponse::InFlight {},
            reason: ForecastReasonResponse::MaxWait,
            similar_runs: None,
            expected_remaining_s: None,
        };
        let due = ForecastResponse {
            next_poll: NextPollResponse::Due { overdue_s: 2.0 },
            reason: ForecastReasonResponse::FirstPoll,
            ..bare.clone()
        };
        let cases = [
            (
                full,
                r#"{"next_poll_in_s":41.0,"reason":"price","price_s":1.0,"similarity_key":"query 7","similar_run_count":8,"similar_median_s":192.0,"expected_remaining_s":130.0}"#,
            ),
            (due, r#"{"overdue_s":2.0,"reason":"first_poll","expected_remaining_s":null}"#),
            (bare, r#"{"reason":"max_wait","expected_remaining_s":null}"#),
        ];
        for (outlook, json) in cases {
            assert_eq!(serde_json::to_string(&outlook).expect("JSON"), json);
            assert_eq!(
                serde_json::from_str::<ForecastResponse>(json).expect("an outlook"),
                outlook
            );
        }
    }
}
