//! What the reader finds: each filter by itself and together, page by page.

use jobtrack::job::{JobId, NewJob, Ours, Said, State};
use jobtrack::store::{HistoryFilter, JobFilter, StateFilter, Store};

use crate::support::daemon::Home;
use crate::support::jobs::{self, adds, at, changes, ended, labels, new_job, seen, told, write};

/// Six jobs, A to F, registered a minute apart, each in another state; E and F at `other`.
async fn populated() -> (Home, Store) {
    let home = Home::bare();
    let mut store = jobs::open(&home.database()).await;
    let minute = |number: usize| at(&format!("2026-11-21 12:0{number}:00.000"));
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
    let entered = write(&mut store, &adds(new)).await.entered;
    let job = |number: usize| &entered[number].job;
    let end = at("2026-11-21 13:00:00.000");
    let moves = [
        told(job(1), &seen(Said::Running, "EXECUTING"), minute(7)),
        told(job(2), &seen(Said::Succeeded, "COMPLETED"), end),
        told(job(3), &seen(Said::Failed, "FAILED"), end),
        told(job(4), &seen(Said::Unknown, "DREAMING"), minute(8)),
        ended(job(5), Ours::Untracked, end),
    ];
    write(&mut store, &changes(moves)).await;
    (home, store)
}

fn text(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn jobs_are_filtered_and_come_newest_first() {
    let (_home, store) = populated().await;
    let all = || JobFilter { limit: 100, ..JobFilter::default() };
    let of = |states: &[StateFilter]| JobFilter { states: states.to_vec(), ..all() };
    let labelled = |pairs| JobFilter { labels: text(pairs), ..all() };
    let provider =
        |name: &str| JobFilter { provider: Some(name.parse().expect("a name")), ..all() };
    let cases = [
        ("all", all(), "FEDCBA"),
        ("active", of(&[StateFilter::Active]), "EBA"),
        ("terminal", of(&[StateFilter::Terminal]), "FDC"),
        ("unsuccessful", of(&[StateFilter::Unsuccessful]), "FD"),
        ("one state", of(&[StateFilter::Is(State::Running)]), "B"),
        ("a state of nobody", of(&[StateFilter::Is(State::Expired)]), ""),
        (
            "one state or another",
            of(&[StateFilter::Is(State::Failed), StateFilter::Is(State::Registered)]),
            "DA",
        ),
        ("a provider", provider("other"), "FE"),
        ("an unknown provider", provider("nobody"), ""),
        ("an id", JobFilter { remote_id: Some("C".parse().expect("an id")), ..all() }, "C"),
        ("a label", labelled(&[("team", "data")]), "FBA"),
        ("two labels", labelled(&[("team", "data"), ("n", "7")]), "FB"),
        ("a label's other value", labelled(&[("team", "ops")]), ""),
        ("since", JobFilter { since: Some(at("2026-11-21 12:04:00.000")), ..all() }, "FE"),
        ("before", JobFilter { before: Some(JobId(3)), ..all() }, "BA"),
        ("limit", JobFilter { limit: 2, ..all() }, "FE"),
        ("a page", JobFilter { before: Some(JobId(5)), limit: 2, ..all() }, "DC"),
        (
            "all together",
            JobFilter {
                states: vec![StateFilter::Active],
                provider: Some("dune".parse().expect("a name")),
                labels: text(&[("team", "data")]),
                since: Some(at("2026-11-21 12:01:00.000")),
                ..all()
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
async fn history_is_filtered_and_comes_by_number() {
    let (_home, store) = populated().await;
    let all = || HistoryFilter { limit: 100, ..HistoryFilter::default() };
    let of = |states: &[StateFilter]| HistoryFilter { states: states.to_vec(), ..all() };
    let provider = "other".parse().expect("a name");
    // Small letters are registrations.
    let cases = [
        ("all", all(), "abcdefBCDEF"),
        ("a job", HistoryFilter { job: Some(JobId(3)), ..all() }, "cC"),
        ("no job", HistoryFilter { job: Some(JobId(99)), ..all() }, ""),
        ("after", HistoryFilter { after: 7, ..all() }, "CDEF"),
        ("up to", HistoryFilter { up_to: Some(2), ..all() }, "ab"),
        ("a page", HistoryFilter { after: 4, limit: 3, ..all() }, "efB"),
        ("since", HistoryFilter { since: Some(at("2026-11-21 12:08:00.000")), ..all() }, "CDEF"),
        ("a provider", HistoryFilter { provider: Some(provider), ..all() }, "efEF"),
        ("into a terminal state", of(&[StateFilter::Terminal]), "CDF"),
        ("into active ones", of(&[StateFilter::Active]), "abcdefBE"),
        ("into one state", of(&[StateFilter::Is(State::Unknown)]), "E"),
        ("a label", HistoryFilter { labels: text(&[("n", "7")]), ..all() }, "bfBF"),
        (
            "all together",
            HistoryFilter {
                labels: text(&[("team", "data")]),
                states: vec![StateFilter::Terminal],
                after: 6,
                ..all()
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
        assert!(rows.is_sorted_by_key(|row| row.seq), "{name}");
    }
}

#[tokio::test]
async fn active_jobs_come_page_by_page_each_once() {
    let (_home, store) = populated().await;
    let mut after = JobId(0);
    let mut pages = Vec::new();
    loop {
        let page = store.reader.active(after, 2).await.expect("it is read");
        let Some(last) = page.last() else { break };
        after = last.id;
        pages.push(page.iter().map(|job| job.remote_id.as_str()).collect::<String>());
    }
    assert_eq!(pages, ["AB", "E"]);
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let (_home, store) = populated().await;
    assert!(store.reader.job(JobId(99)).await.expect("it is read").is_none());
    assert!(store.reader.tracked(JobId(99)).await.expect("it is read").is_none());
    assert_eq!(store.reader.quick_check().await.expect("it is read"), None);
}
