//! How long jobs took: learned with the change that ends them and not otherwise, kept within bounds,
//! forgotten on request; and which past runs a job is like.

use std::time::Duration;

use jobtrack::job::{Change, JobId, Lesson, Likeness, NewJob, Note, Said, Times, Told, Tracked};
use jobtrack::store::{Batch, Forget, Store};

use crate::support::daemon::Home;
use crate::support::jobs::{adds, at, changes, new_job, note, register, seen, told, write};
use crate::support::{db, jobs};

const LATER: &str = "2026-11-21 12:05:00.250";
const ROWS: &str = "SELECT provider, likeness, whole_ms, running_ms FROM lesson ORDER BY id";

async fn fresh() -> (Home, Store) {
    let home = Home::bare();
    let store = jobs::open(&home.database()).await;
    (home, store)
}

fn given(name: &str) -> Likeness {
    Likeness::Given(name.into())
}

fn names(names: &[&str]) -> Likeness {
    Likeness::told(names.iter().map(|name| (*name).to_owned()))
}

fn lesson(likeness: Likeness, whole_ms: Option<u64>, running_ms: Option<u64>) -> Lesson {
    let took = |ms: Option<u64>| ms.map(Duration::from_millis);
    Lesson { likeness, whole: took(whole_ms), running: took(running_ms) }
}

/// The end of a job, which teaches this.
fn end(job: &Tracked, lesson: Lesson) -> Change {
    let done = seen(Said::Succeeded, "QUERY_STATE_COMPLETED");
    Change { lesson: Some(lesson), ..told(job, &done, at(LATER)) }
}

/// Bookkeeping that says which past runs the job is like.
fn saying(job: &Tracked, likeness: Likeness) -> Note {
    let news = Told {
        times: Times { submitted_at: Some(at("2026-11-21 11:59:00.000")), ..Times::default() },
        message: None,
        listed_at: None,
        likeness,
        detail: "{}".to_owned(),
    };
    Note { told: Some(news), ..note(job, at(LATER)) }
}

async fn likeness(store: &Store, job: JobId) -> Likeness {
    store.reader.tracked(job).await.expect("it is read").expect("it is there").likeness
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_teaches_once_and_is_read_again_as_it_was() {
    let (home, mut store) = fresh().await;
    let lessons = [
        lesson(names(&["query 7"]), Some(5000), Some(4000)),
        lesson(given("nightly"), Some(60_000), None),
        lesson(names(&["closest, \"quoted\"", "wider"]), None, Some(1)),
        lesson(Likeness::Unknown, Some(9), Some(8)),
    ];
    let mut ends = Vec::new();
    for (number, lesson) in lessons.iter().enumerate() {
        let job = register(&mut store, &format!("J{number}")).await;
        ends.push(end(&job, lesson.clone()));
    }
    let committed = write(&mut store, &changes(ends.clone())).await;
    assert!(committed.refused.is_empty());
    let expected = [
        "dune|[\"query 7\"]|5000|4000",
        "dune|\"nightly\"|60000|",
        "dune|[\"closest, \\\"quoted\\\"\",\"wider\"]||1",
        "dune||9|8",
    ];
    assert_eq!(db::query(&home.database(), ROWS), expected);

    // A change whose commit was not heard of comes again, and is refused.
    let again = write(&mut store, &changes(ends)).await;
    assert_eq!(again.refused.len(), lessons.len());
    assert_eq!(db::query(&home.database(), ROWS), expected, "a refused change teaches nothing");

    let mut read = Vec::new();
    let mut after = 0;
    loop {
        let page = store.reader.lessons(after, 3).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = last.id;
        assert!(page.len() <= 3 && page.iter().all(|one| one.provider.as_str() == "dune"));
        read.extend(page.into_iter().map(|one| one.lesson));
    }
    assert_eq!(read, lessons);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_less_than_a_millisecond_took_one() {
    let (home, mut store) = fresh().await;
    let job = register(&mut store, "A").await;
    let short =
        Lesson { running: Some(Duration::from_nanos(5)), ..lesson(names(&["q"]), Some(1), None) };
    write(&mut store, &changes([end(&job, short)])).await;
    assert_eq!(db::query(&home.database(), ROWS), ["dune|[\"q\"]|1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_written_teaches_nothing() {
    let (home, mut store) = fresh().await;
    let job = register(&mut store, "A").await;
    let mut batch = changes([end(&job, lesson(names(&["q"]), Some(5), None))]);
    // The batch's last statement fails.
    db::execute(
        &home.database(),
        "CREATE TRIGGER no BEFORE INSERT ON milestone BEGIN SELECT raise(ABORT, 'no'); END",
    );
    batch.at = Some(at(LATER));
    store.writer.write(&batch).await.expect_err("the last statement fails");
    let both = "SELECT (SELECT count(*) FROM lesson), (SELECT state FROM job)";
    assert_eq!(db::value(&home.database(), both), "0|registered");
    db::execute(&home.database(), "DROP TRIGGER no");
    write(&mut store, &batch).await;
    assert_eq!(db::value(&home.database(), both), "1|succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_alike_the_newest_64_are_kept_and_of_all_200_000() {
    let (home, mut store) = fresh().await;
    let runs = |count: u64| (1..=count).map(|ms| lesson(names(&["often"]), Some(ms), None));
    let rare = [names(&["rare"]), Likeness::Unknown, given("often")];
    let rare = rare.map(|likeness| lesson(likeness, Some(1), None));
    let mut ends = Vec::new();
    for (number, lesson) in rare.into_iter().chain(runs(70)).enumerate() {
        let job = register(&mut store, &format!("J{number}")).await;
        ends.push(end(&job, lesson));
    }
    write(&mut store, &changes(ends)).await;
    let kept = "SELECT likeness, count(*), min(whole_ms), max(whole_ms) FROM lesson
                GROUP BY likeness ORDER BY likeness";
    let expected = ["|1|1|1", "\"often\"|1|1|1", "[\"often\"]|64|7|70", "[\"rare\"]|1|1|1"];
    assert_eq!(db::query(&home.database(), kept), expected, "one by another name is another");

    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 202500)
                INSERT INTO lesson (provider, likeness, whole_ms)
                SELECT 'dune', json_array('query ' || i), i FROM n";
    db::execute(&home.database(), many);
    let all = "SELECT count(*) BETWEEN 200000 AND 201000, max(whole_ms) FROM lesson";
    assert_eq!(db::value(&home.database(), all), "1|202500", "the newest");
    let oldest = "SELECT count(*) FROM lesson WHERE likeness = '[\"rare\"]'";
    assert_eq!(db::value(&home.database(), oldest), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_a_provider_is_forgotten_and_nothing_else() {
    let (home, mut store) = fresh().await;
    let teach = [
        ("dune", names(&["closest", "wider"])),
        ("dune", names(&["wider"])),
        ("dune", given("wider")),
        ("dune", names(&["wider still"])),
        ("dune", Likeness::Unknown),
        ("other", names(&["wider"])),
    ];
    let mut ends = Vec::new();
    for (number, (provider, likeness)) in teach.into_iter().enumerate() {
        let provider = provider.parse().expect("a name");
        let job = NewJob { provider, ..new_job(&format!("J{number}")) };
        let entered = write(&mut store, &adds([job])).await.entered.remove(0);
        ends.push(end(&entered.job, lesson(likeness, Some(5), None)));
    }
    write(&mut store, &changes(ends)).await;
    let forget = |provider: &str, name: Option<&str>| Forget {
        provider: provider.parse().expect("a name"),
        name: name.map(str::to_owned),
    };
    let batch = |forgets: Vec<Forget>| Batch { forgets, ..Batch::default() };
    let left = || db::query(&home.database(), "SELECT id FROM lesson ORDER BY id").join(" ");

    let first = batch(vec![forget("dune", Some("wider")), forget("nobody", None)]);
    assert_eq!(write(&mut store, &first).await.forgotten, [3, 0]);
    assert_eq!(left(), "1 4 5 6");
    let kept = db::value(&home.database(), "SELECT likeness FROM lesson WHERE id = 1");
    assert_eq!(kept, r#"["closest"]"#, "it goes by another name as well");
    let second = batch(vec![forget("dune", None), forget("dune", Some("wider still"))]);
    assert_eq!(write(&mut store, &second).await.forgotten, [3, 0]);
    assert_eq!(left(), "6", "the other provider's");

    // What is written in the same transaction is learned after that.
    let job = register(&mut store, "last").await;
    let both = Batch {
        forgets: vec![forget("dune", None)],
        ..changes([end(&job, lesson(names(&["wider"]), Some(5), None))])
    };
    assert_eq!(write(&mut store, &both).await.forgotten, [0]);
    assert_eq!(left(), "6 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_like_what_its_user_says_else_what_its_provider_tells() {
    let (home, mut store) = fresh().await;
    let job = register(&mut store, "A").await;
    assert_eq!(job.likeness, Likeness::Unknown);
    let notes = |note: Note| Batch { notes: vec![note], ..Batch::default() };
    write(&mut store, &notes(saying(&job, names(&["query 7"])))).await;
    assert_eq!(likeness(&store, job.id).await, names(&["query 7"]));
    write(&mut store, &notes(saying(&job, Likeness::Unknown))).await;
    assert_eq!(likeness(&store, job.id).await, names(&["query 7"]), "silence is no news");
    write(&mut store, &notes(saying(&job, names(&["query 8"])))).await;
    assert_eq!(likeness(&store, job.id).await, names(&["query 8"]));

    let like = |name: &str| NewJob { likeness: given(name), ..new_job("A") };
    let entered = write(&mut store, &adds([like("weekly"), like("nightly"), new_job("A")])).await;
    let told: Vec<_> = entered.entered.iter().map(|one| one.job.likeness.clone()).collect();
    assert_eq!(told, [given("nightly"), given("nightly"), given("nightly")], "the last word");
    let again = Change { note: Some(saying(&job, names(&["query 9"]))), ..told_running(&job) };
    write(&mut store, &changes([again])).await;
    assert_eq!(likeness(&store, job.id).await, given("nightly"), "its user knows better");
    let view = "SELECT likeness FROM jobs";
    assert_eq!(db::value(&home.database(), view), "\"nightly\"");

    let new = NewJob { likeness: given("other"), ..new_job("B") };
    let entered = write(&mut store, &adds([new])).await.entered.remove(0);
    assert_eq!((entered.is_new, entered.job.likeness), (true, given("other")));
    let others = "SELECT likeness FROM jobs ORDER BY id";
    assert_eq!(db::query(&home.database(), others), ["\"nightly\"", "\"other\""]);
}

fn told_running(job: &Tracked) -> Change {
    told(job, &seen(Said::Running, "QUERY_STATE_EXECUTING"), at(LATER))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_loaded_with_its_likeness_and_the_providers_times() {
    let (_home, mut store) = fresh().await;
    let job = register(&mut store, "A").await;
    assert_eq!(job.times, Times::default());
    let mut saying = saying(&job, names(&["query 7"]));
    let times = Times {
        submitted_at: Some(at("2026-11-21 11:59:00.000")),
        started_at: Some(at("2026-11-21 11:59:30.125")),
        ended_at: Some(at("2026-11-21 12:01:00.000")),
        expires_at: Some(at("2027-02-19 12:01:00.000")),
    };
    saying.told.as_mut().expect("something is told").times = times;
    write(&mut store, &Batch { notes: vec![saying], ..Batch::default() }).await;
    let active = store.reader.active(JobId(0), 10).await.expect("it is read");
    let [loaded] = &active[..] else { panic!("one job: {active:?}") };
    assert_eq!((loaded.times, &loaded.likeness), (times, &names(&["query 7"])));
}
