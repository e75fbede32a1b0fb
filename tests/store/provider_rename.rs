//! A provider under a new name: its jobs and outages are found under it, all or none.

use jobtrack::job::{NewJob, Ours, Outage, OutageEdge, ProviderName, Said};
use jobtrack::store::{Batch, Committed, NameConflict, Renamed, Renaming, Store};

use crate::support::daemon::Home;
use crate::support::jobs::{adds, at, changes, ended, new_job, seen, told, write};
use crate::support::{db, jobs};

const LATER: &str = "2026-11-21 12:05:00.250";

async fn fresh() -> (Home, Store) {
    let home = Home::bare();
    let store = jobs::open(&home.database()).await;
    (home, store)
}

fn name(text: &str) -> ProviderName {
    text.parse().expect("a name")
}

fn job(provider: &str, id: &str) -> NewJob {
    NewJob { provider: name(provider), ..new_job(id) }
}

fn renaming(to: &str, from: &[&str]) -> Renaming {
    Renaming { to: name(to), kind: "dune", from: from.iter().map(|from| name(from)).collect() }
}

async fn rename(store: &mut Store, renamings: impl IntoIterator<Item = Renaming>) -> Committed {
    let renamings = renamings.into_iter().collect();
    write(store, &Batch { renamings, at: Some(at(LATER)), ..Batch::default() }).await
}

fn began(provider: &str, when: &str) -> Outage {
    let edge = OutageEdge::Began { at: at(when), reason: "HTTP 503".to_owned() };
    Outage { provider: name(provider), edge }
}

/// Everything that bears a provider's name.
fn names(home: &Home) -> Vec<String> {
    db::query(
        &home.database(),
        "SELECT 'job', id, provider FROM jobs
         UNION ALL SELECT 'history', seq, provider FROM history
         UNION ALL SELECT 'event', id, provider FROM provider_event WHERE provider IS NOT NULL",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_history_and_outages_go_to_the_new_name() {
    let (home, mut store) = fresh().await;
    let jobs = [job("old", "A"), job("older", "B"), job("other", "C"), job("old", "D")];
    let entered = write(&mut store, &adds(jobs)).await.entered;
    let done = told(&entered[3].job, &seen(Said::Succeeded, "DONE"), at(LATER));
    let outages = vec![began("old", LATER)];
    write(&mut store, &Batch { outages, ..changes([done]) }).await;

    let committed = rename(&mut store, [renaming("new", &["old", "older", "never"])]).await;
    assert_eq!(committed.conflict, None);
    let renamed = |from, jobs| Renamed { from: name(from), to: name("new"), jobs };
    assert_eq!(committed.renamed, [renamed("old", 2), renamed("older", 1)]);
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
    assert_eq!(names(&home), expected);

    let again = write(&mut store, &adds([job("new", "A"), job("new", "D")])).await.entered;
    let known: Vec<_> = again.iter().map(|one| (one.job.id.0, one.is_new)).collect();
    assert_eq!(known, [(1, false), (4, false)], "they are known by the new name");
    let provider =
        &store.reader.active(jobtrack::job::JobId(0), 9).await.expect("jobs")[0].provider;
    assert_eq!(*provider, name("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anything_to_rename_nothing_is_written() {
    let (home, mut store) = fresh().await;
    write(&mut store, &adds([job("new", "A")])).await;
    let written = || std::fs::metadata(home.path("state/jobtrack.db-wal")).expect("a WAL").len();
    let before = written();
    let committed = rename(&mut store, [renaming("new", &["old"])]).await;
    assert_eq!((committed.renamed, committed.conflict), (Vec::new(), None));
    assert_eq!(written(), before);
    write(&mut store, &adds([job("old", "B")])).await;
    rename(&mut store, [renaming("new", &["old"])]).await;
    assert!(written() > before, "what is written would be seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_tracked_under_two_names_is_named_and_nothing_is_renamed() {
    let (home, mut store) = fresh().await;
    let ids = ["A", "B", "C", "D", "E"];
    let both = ids.into_iter().flat_map(|id| [job("old", id), job("new", id)]);
    let both = both.chain([job("elder", "F"), job("older", "F"), job("bygone", "G")]);
    write(&mut store, &adds(both)).await;
    let before = names(&home);

    let free = renaming("fresh", &["bygone"]);
    let committed = rename(&mut store, [free.clone(), renaming("new", &["old"])]).await;
    assert_eq!((committed.renamed, names(&home)), (Vec::new(), before.clone()));
    let why = committed.conflict.expect("a conflict").to_string();
    for words in ["provider new", "A (jobs 1 and 2)", "C (jobs 5 and 6), others", "untrack"] {
        assert!(why.contains(words), "{words}: {why}");
    }
    assert!(!why.contains("D (jobs"), "a few are enough: {why}");

    let former = rename(&mut store, [renaming("new", &["elder", "older"])]).await;
    let why = former.conflict.expect("two former names clash as well").to_string();
    assert!(why.contains("F (jobs 11 and 12)"), "{why}");
    assert_eq!(names(&home), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_untracked_or_lost_stands_in_nobodys_way() {
    let (home, mut store) = fresh().await;
    let jobs = [job("old", "A"), job("new", "A"), job("old", "B"), job("new", "B")];
    let entered = write(&mut store, &adds(jobs)).await.entered;
    let untracked = ended(&entered[0].job, Ours::Untracked, at(LATER));
    let lost = ended(&entered[3].job, Ours::Lost, at(LATER));
    write(&mut store, &changes([untracked, lost])).await;
    let committed = rename(&mut store, [renaming("new", &["old"])]).await;
    assert_eq!((committed.conflict, committed.renamed[0].jobs), (None, 2));
    assert!(names(&home).iter().all(|line| line.ends_with("|new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_over_under_both_names_is_a_conflict_too() {
    let (_home, mut store) = fresh().await;
    let entered = write(&mut store, &adds([job("old", "A"), job("new", "A")])).await.entered;
    let done = seen(Said::Succeeded, "DONE");
    write(&mut store, &changes(entered.iter().map(|one| told(&one.job, &done, at(LATER))))).await;
    let why = rename(&mut store, [renaming("new", &["old"])]).await.conflict.expect("a conflict");
    assert!(why.to_string().contains("providers.new.formerly"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_another_kind_are_not_renamed() {
    let (home, mut store) = fresh().await;
    write(&mut store, &adds([job("old", "A"), NewJob { kind: "dli", ..job("old", "B") }])).await;
    let before = names(&home);
    let committed = rename(&mut store, [renaming("new", &["older", "old"])]).await;
    let conflict = committed.conflict.expect("a conflict");
    let NameConflict::Kind { ref from, job, ref found, .. } = conflict else {
        panic!("{conflict}");
    };
    assert_eq!((from.as_str(), job.0, found.as_str()), ("old", 2, "dli"));
    assert_eq!(names(&home), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lasting_outage_goes_on_under_the_new_name() {
    let outages = "SELECT provider, began_at, ended_at FROM outages ORDER BY began_at";
    let (first, second, third) =
        ("2026-11-21 10:00:00.000", "2026-11-21 10:01:00.000", "2026-11-21 10:02:00.000");
    // (who is out since the first, second and third of these times, whose outage goes on)
    for (out, lasting) in [(["old", "new", "older"], second), (["old", "other", "older"], first)] {
        let (home, mut store) = fresh().await;
        let began = [first, second, third].into_iter().zip(out).map(|(at, who)| began(who, at));
        write(&mut store, &Batch { outages: began.collect(), ..Batch::default() }).await;
        let committed = rename(&mut store, [renaming("new", &["old", "older"])]).await;
        assert_eq!(committed.conflict, None);
        let expected = [first, second, third].into_iter().zip(out).map(|(at, who)| {
            let who = if who == "other" { who } else { "new" };
            let ended = if at == lasting || who == "other" { "" } else { LATER };
            format!("{who}|{at}|{ended}")
        });
        assert_eq!(db::query(&home.database(), outages), expected.collect::<Vec<_>>());
        let edge = OutageEdge::Ended { at: at("2026-11-21 13:00:00.000"), failed_polls: 3 };
        let ended = vec![Outage { provider: name("new"), edge }];
        write(&mut store, &Batch { outages: ended, ..Batch::default() }).await;
        let open = "SELECT count(*) FROM outages WHERE provider = 'new' AND ended_at IS NULL";
        assert_eq!(db::value(&home.database(), open), "0");
    }
}
