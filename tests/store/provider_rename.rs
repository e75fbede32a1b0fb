//! Renaming a provider: all of its jobs, outages and samples get the new name, or none.

use jobtrack::job::{
    LocalOutcome, NewJob, ObservedState, OutageBoundary, OutageEvent, ProviderName,
};
use jobtrack::store::{AppliedRename, Batch, ProviderRename, RenameConflict, Store};

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::jobs::{
    add_batch, change_batch, change_from_local_outcome, change_from_observation, empty_store,
    new_job, observation, utc, write_batch,
};

const LATER: &str = "2026-11-21 12:05:00.250";

fn name(text: &str) -> ProviderName {
    text.parse().expect("a name")
}

fn job(provider: &str, id: &str) -> NewJob {
    NewJob { provider: name(provider), ..new_job(id) }
}

fn provider_rename(to: &str, from: &[&str]) -> ProviderRename {
    ProviderRename {
        to: name(to),
        kind: "dune",
        from: from.iter().map(|from| name(from)).collect(),
    }
}

async fn rename_providers(
    store: &mut Store,
    renames: impl IntoIterator<Item = ProviderRename>,
) -> Result<Vec<AppliedRename>, RenameConflict> {
    let renames: Vec<_> = renames.into_iter().collect();
    store.writer.rename_providers(&renames, utc(LATER)).await.expect("the database can be written")
}

fn outage_began(provider: &str, began_at: &str) -> OutageEvent {
    let boundary = OutageBoundary::Began { at: utc(began_at), reason: "HTTP 503".to_owned() };
    OutageEvent { provider: name(provider), boundary }
}

/// All rows that have a provider's name.
fn rows_by_provider(home: &DaemonHome) -> Vec<String> {
    db::query_rows(
        &home.database(),
        "SELECT 'job', id, provider FROM jobs
         UNION ALL SELECT 'history', seq, provider FROM history
         UNION ALL SELECT 'event', id, provider FROM provider_event WHERE provider IS NOT NULL",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_history_and_outages_are_moved_to_the_new_name() {
    let (home, mut store) = empty_store().await;
    let jobs = [job("old", "A"), job("older", "B"), job("other", "C"), job("old", "D")];
    let registered = write_batch(&mut store, &add_batch(jobs)).await.registered;
    let done = change_from_observation(
        &registered[3].job,
        &observation(ObservedState::Succeeded, "DONE"),
        utc(LATER),
    );
    let outages = vec![outage_began("old", LATER)];
    write_batch(&mut store, &Batch { outages, ..change_batch([done]) }).await;

    let renamed =
        rename_providers(&mut store, [provider_rename("new", &["old", "older", "never"])]).await;
    let applied = |from, jobs| AppliedRename { from: name(from), to: name("new"), jobs };
    assert_eq!(renamed, Ok(vec![applied("old", 2), applied("older", 1)]));
    let expected = [
        "job|1|new",
        "job|2|new",
        "job|3|other",
        "job|4|new",
        "history|1|new",
        "history|2|new",
        "history|3|other",
        "history|4|new",
        "history|5|new",
        "event|1|new",
    ];
    assert_eq!(rows_by_provider(&home), expected);

    let registered_again =
        write_batch(&mut store, &add_batch([job("new", "A"), job("new", "D")])).await.registered;
    let known: Vec<_> = registered_again.iter().map(|one| (one.job.id.0, one.is_new)).collect();
    assert_eq!(known, [(1, false), (4, false)], "they are known by the new name");
    let provider =
        &store.reader.unfinished_jobs(jobtrack::job::JobId(0), 9).await.expect("jobs")[0].provider;
    assert_eq!(*provider, name("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_if_there_is_nothing_to_rename() {
    let (home, mut store) = empty_store().await;
    write_batch(&mut store, &add_batch([job("new", "A")])).await;
    let wal = || std::fs::read(home.path("state/jobtrack.db-wal")).expect("a WAL");
    let before = wal();
    let renamed = rename_providers(&mut store, [provider_rename("new", &["old"])]).await;
    assert_eq!(renamed, Ok(Vec::new()));
    assert!(wal() == before);
    write_batch(&mut store, &add_batch([job("old", "B")])).await;
    let before = wal();
    let renamed = rename_providers(&mut store, [provider_rename("new", &["old"])]).await;
    assert_eq!(renamed.expect("no conflict").len(), 1);
    assert!(wal() != before, "what is written would be seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_tracked_under_two_names_is_reported_and_nothing_is_renamed() {
    let (home, mut store) = empty_store().await;
    let ids = ["A", "B", "C", "D", "E"];
    let both = ids.into_iter().flat_map(|id| [job("old", id), job("new", id)]);
    let both = both.chain([job("elder", "F"), job("older", "F"), job("bygone", "G")]);
    write_batch(&mut store, &add_batch(both)).await;
    let before = rows_by_provider(&home);

    let conflict_free = provider_rename("fresh", &["bygone"]);
    let renamed =
        rename_providers(&mut store, [conflict_free.clone(), provider_rename("new", &["old"])])
            .await;
    assert_eq!(rows_by_provider(&home), before);
    let message = renamed.expect_err("a conflict").to_string();
    for words in ["provider new", "A (jobs 1 and 2)", "C (jobs 5 and 6), others", "untrack"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(!message.contains("D (jobs"), "a few are enough: {message}");

    let renamed = rename_providers(&mut store, [provider_rename("new", &["elder", "older"])]).await;
    let message = renamed.expect_err("two previous names have the same id").to_string();
    assert!(message.contains("F (jobs 11 and 12)"), "{message}");
    assert_eq!(rows_by_provider(&home), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn untracked_and_lost_jobs_cause_no_conflict() {
    let (home, mut store) = empty_store().await;
    let jobs = [job("old", "A"), job("new", "A"), job("old", "B"), job("new", "B")];
    let registered = write_batch(&mut store, &add_batch(jobs)).await.registered;
    let untracked =
        change_from_local_outcome(&registered[0].job, LocalOutcome::Untracked, utc(LATER));
    let lost = change_from_local_outcome(&registered[3].job, LocalOutcome::Lost, utc(LATER));
    write_batch(&mut store, &change_batch([untracked, lost])).await;
    let renamed = rename_providers(&mut store, [provider_rename("new", &["old"])]).await;
    assert_eq!(renamed.expect("no conflict")[0].jobs, 2);
    assert!(rows_by_provider(&home).iter().all(|line| line.ends_with("|new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_finished_under_both_names_is_a_conflict_too() {
    let (_home, mut store) = empty_store().await;
    let registered =
        write_batch(&mut store, &add_batch([job("old", "A"), job("new", "A")])).await.registered;
    let done = observation(ObservedState::Succeeded, "DONE");
    write_batch(
        &mut store,
        &change_batch(
            registered.iter().map(|one| change_from_observation(&one.job, &done, utc(LATER))),
        ),
    )
    .await;
    let conflict = rename_providers(&mut store, [provider_rename("new", &["old"])])
        .await
        .expect_err("a conflict");
    assert!(conflict.to_string().contains("providers.new.previous_names"), "{conflict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_another_kind_are_not_renamed() {
    let (home, mut store) = empty_store().await;
    write_batch(
        &mut store,
        &add_batch([job("old", "A"), NewJob { kind: "dli", ..job("old", "B") }]),
    )
    .await;
    let before = rows_by_provider(&home);
    let renamed = rename_providers(&mut store, [provider_rename("new", &["older", "old"])]).await;
    let conflict = renamed.expect_err("a conflict");
    let RenameConflict::KindMismatch { ref from, job, ref job_kind, .. } = conflict else {
        panic!("{conflict}");
    };
    assert_eq!((from.as_str(), job.0, job_kind.as_str()), ("old", 2, "dli"));
    assert_eq!(rows_by_provider(&home), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_open_outage_continues_under_the_new_name() {
    let outages = "SELECT provider, began_at, ended_at FROM outages ORDER BY began_at";
    let (first, second, third) =
        ("2026-11-21 10:00:00.000", "2026-11-21 10:01:00.000", "2026-11-21 10:02:00.000");
    // The providers whose outages began at these times, and the outage that continues.
    for (providers_in_outage, kept_open) in
        [(["old", "new", "older"], second), (["old", "other", "older"], first)]
    {
        let (home, mut store) = empty_store().await;
        let began = [first, second, third]
            .into_iter()
            .zip(providers_in_outage)
            .map(|(at, who)| outage_began(who, at));
        write_batch(&mut store, &Batch { outages: began.collect(), ..Batch::default() }).await;
        let renamed =
            rename_providers(&mut store, [provider_rename("new", &["old", "older"])]).await;
        assert!(renamed.is_ok(), "{renamed:?}");
        let expected =
            [first, second, third].into_iter().zip(providers_in_outage).map(|(at, who)| {
                let who = if who == "other" { who } else { "new" };
                let ended = if at == kept_open || who == "other" { "" } else { LATER };
                format!("{who}|{at}|{ended}")
            });
        assert_eq!(db::query_rows(&home.database(), outages), expected.collect::<Vec<_>>());
        let boundary =
            OutageBoundary::Ended { at: utc("2026-11-21 13:00:00.000"), failed_polls: 3 };
        let ended = vec![OutageEvent { provider: name("new"), boundary }];
        write_batch(&mut store, &Batch { outages: ended, ..Batch::default() }).await;
        let open = "SELECT count(*) FROM outages WHERE provider = 'new' AND ended_at IS NULL";
        assert_eq!(db::query_value(&home.database(), open), "0");
    }
}
