//! What the reader returns: each filter alone and all together, page by page.

use jobtrack::job::{JobId, LocalOutcome, NewJob, ObservedState, State, StateFilter};
use jobtrack::store::{HistoryFilter, JobFilter, Store};

use crate::support::daemon::DaemonHome;
use crate::support::jobs::{
    self, add_batch, change_batch, change_from_local_outcome, change_from_observation, cursor,
    labels, new_job, observation, seq, utc, write_batch,
};

/// Six jobs, A to F, registered a minute apart, each in another state; E and F of the provider `other`.
async fn populated() -> (DaemonHome, Store) {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let minute = |number: usize| utc(&format!("2026-11-21 12:0{number}:00.000"));
    let names = ["A", "B", "C", "D", "E", "F"];
    let new = names.iter().enumerate().map(|(number, name)| NewJob {
        provider: if number < 4 { "dune" } else { "other" }.parse().expect("a name"),
        labels: match *name {
            "A" => labels([("team", "data"), ("env", "live")]),
            "B" | "F" => labels([("team", "data"), ("n", "7")]),
            _ => labels([]),
        },
        registered_at: minute(number),
        ..new_job(name)
    });
    let registered = write_batch(&mut store, &add_batch(new)).await.registered;
    let job = |number: usize| &registered[number].job;
    let end = utc("2026-11-21 13:00:00.000");
    let updates = [
        change_from_observation(
            job(1),
            &observation(ObservedState::Running, "EXECUTING"),
            minute(7),
        ),
        change_from_observation(job(2), &observation(ObservedState::Succeeded, "COMPLETED"), end),
        change_from_observation(job(3), &observation(ObservedState::Failed, "FAILED"), end),
        change_from_observation(
            job(4),
            &observation(ObservedState::Unknown, "DREAMING"),
            minute(8),
        ),
        change_from_local_outcome(job(5), LocalOutcome::Untracked, end),
    ];
    write_batch(&mut store, &change_batch(updates)).await;
    (home, store)
}

fn owned_pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn jobs_are_filtered_and_sorted_newest_first() {
    let (_home, store) = populated().await;
    let unfiltered = || JobFilter { limit: 100, ..JobFilter::default() };
    let in_states = |states: &[StateFilter]| JobFilter { states: states.to_vec(), ..unfiltered() };
    let labelled = |pairs| JobFilter { labels: owned_pairs(pairs), ..unfiltered() };
    let provider =
        |name: &str| JobFilter { provider: Some(name.parse().expect("a name")), ..unfiltered() };
    let cases = [
        ("all", unfiltered(), "FEDCBA"),
        ("active", in_states(&[StateFilter::Active]), "EBA"),
        ("terminal", in_states(&[StateFilter::Terminal]), "FDC"),
        ("unsuccessful", in_states(&[StateFilter::Unsuccessful]), "FD"),
        ("one state", in_states(&[StateFilter::Exactly(State::Running)]), "B"),
        ("a state of nobody", in_states(&[StateFilter::Exactly(State::Expired)]), ""),
        (
            "one state or another",
            in_states(&[
                StateFilter::Exactly(State::Failed),
                StateFilter::Exactly(State::Registered),
            ]),
            "DA",
        ),
        ("a provider", provider("other"), "FE"),
        ("an unknown provider", provider("nobody"), ""),
        ("an id", JobFilter { remote_id: Some("C".parse().expect("an id")), ..unfiltered() }, "C"),
        ("a label", labelled(&[("team", "data")]), "FBA"),
        ("two labels", labelled(&[("team", "data"), ("n", "7")]), "FB"),
        ("a label's other value", labelled(&[("team", "ops")]), ""),
        (
            "since",
            JobFilter { registered_since: Some(utc("2026-11-21 12:04:00.000")), ..unfiltered() },
            "FE",
        ),
        (
            "until",
            JobFilter { registered_before: Some(utc("2026-11-21 12:02:00.000")), ..unfiltered() },
            "BA",
        ),
        (
            "ended since",
            JobFilter { ended_since: Some(utc("2026-11-21 13:00:00.000")), ..unfiltered() },
            "FDC",
        ),
        (
            "ended after all",
            JobFilter { ended_since: Some(utc("2026-11-21 13:00:00.001")), ..unfiltered() },
            "",
        ),
        ("before", JobFilter { before_id: Some(JobId(3)), ..unfiltered() }, "BA"),
        ("limit", JobFilter { limit: 2, ..unfiltered() }, "FE"),
        ("a page", JobFilter { before_id: Some(JobId(5)), limit: 2, ..unfiltered() }, "DC"),
        (
            "all together",
            JobFilter {
                states: vec![StateFilter::Active],
                provider: Some("dune".parse().expect("a name")),
                labels: owned_pairs(&[("team", "data")]),
                registered_since: Some(utc("2026-11-21 12:01:00.000")),
                ..unfiltered()
            },
            "B",
        ),
    ];
    for (name, filter, expected) in cases {
        let rows = store.reader.jobs(&filter).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let found: String = rows.iter().map(|row| row.remote_id.as_str()).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn history_is_filtered_and_sorted_by_sequence_number() {
    let (_home, store) = populated().await;
    let unfiltered = || HistoryFilter { limit: 100, ..HistoryFilter::default() };
    let in_states =
        |states: &[StateFilter]| HistoryFilter { states: states.to_vec(), ..unfiltered() };
    let provider = "other".parse().expect("a name");
    // A lower-case letter is the registration of a job.
    let cases = [
        ("all", unfiltered(), "abcdefBCDEF"),
        ("a job", HistoryFilter { job: Some(JobId(3)), ..unfiltered() }, "cC"),
        ("no job", HistoryFilter { job: Some(JobId(99)), ..unfiltered() }, ""),
        ("after", HistoryFilter { after: Some(cursor(7)), ..unfiltered() }, "CDEF"),
        ("up to", HistoryFilter { up_to: Some(cursor(2)), ..unfiltered() }, "ab"),
        ("a page", HistoryFilter { after: Some(cursor(4)), limit: 3, ..unfiltered() }, "efB"),
        (
            "since",
            HistoryFilter { observed_since: Some(utc("2026-11-21 12:08:00.000")), ..unfiltered() },
            "CDEF",
        ),
        (
            "until",
            HistoryFilter { observed_before: Some(utc("2026-11-21 12:02:00.000")), ..unfiltered() },
            "ab",
        ),
        ("before", HistoryFilter { before: Some(cursor(3)), ..unfiltered() }, "ab"),
        (
            "newest first",
            HistoryFilter {
                before: Some(cursor(11)),
                newest_first: true,
                limit: 2,
                ..unfiltered()
            },
            "ED",
        ),
        (
            "a job since",
            HistoryFilter {
                job: Some(JobId(3)),
                observed_since: Some(utc("2026-11-21 12:05:00.000")),
                ..unfiltered()
            },
            "C",
        ),
        ("a provider", HistoryFilter { provider: Some(provider), ..unfiltered() }, "efEF"),
        ("into a terminal state", in_states(&[StateFilter::Terminal]), "CDF"),
        ("into active ones", in_states(&[StateFilter::Active]), "abcdefBE"),
        ("into one state", in_states(&[StateFilter::Exactly(State::Unknown)]), "E"),
        ("a label", HistoryFilter { labels: owned_pairs(&[("n", "7")]), ..unfiltered() }, "bfBF"),
        (
            "all together",
            HistoryFilter {
                labels: owned_pairs(&[("team", "data")]),
                states: vec![StateFilter::Terminal],
                after: Some(cursor(6)),
                ..unfiltered()
            },
            "F",
        ),
    ];
    for (name, filter, expected) in cases {
        let rows = store.reader.history(&filter).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let letter = |row: &jobtrack::store::TransitionRow| match row.from_state {
            None => row.remote_id.as_str().to_lowercase(),
            Some(_) => row.remote_id.as_str().to_owned(),
        };
        assert_eq!(rows.iter().map(letter).collect::<String>(), expected, "{name}");
        let is_ascending = rows.is_sorted_by_key(|row| seq(&row.cursor));
        assert!(is_ascending || filter.newest_first, "{name}");
    }
}

#[tokio::test]
async fn unfinished_jobs_are_paged_without_repeats() {
    let (_home, store) = populated().await;
    let mut after = JobId(0);
    let mut pages = Vec::new();
    loop {
        let page = store.reader.unfinished_jobs(after, 2).await.expect("it is read");
        let Some(last) = page.last() else { break };
        after = last.id;
        pages.push(page.iter().map(|job| job.remote_id.as_str()).collect::<String>());
    }
    assert_eq!(pages, ["AB", "E"]);
}

#[tokio::test]
async fn a_missing_job_is_none() {
    let (_home, store) = populated().await;
    assert!(store.reader.job(JobId(99)).await.expect("it is read").is_none());
    assert!(store.reader.stored_job(JobId(99)).await.expect("it is read").is_none());
    assert_eq!(store.reader.quick_check().await.expect("it is read"), None);
}
