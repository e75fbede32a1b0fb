//! Requests through the socket, and the queries of docs/sql.md with `sqlite3`.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jobtrack::api::{Client, ListParams};
use jobtrack::job::{JobId, State, StateFilter};

use super::report::{Table, median, milliseconds};

const REQUESTS: usize = 20;

/// Times each kind of request on one connection that is kept open.
pub async fn measure_requests(client: &Client, jobs: u64, table: &mut Table) {
    let page = || ListParams { limit: Some(100), ..ListParams::default() };
    let state = |state| ListParams { states: vec![state], ..page() };
    let label =
        |key: &str, value: String| ListParams { labels: vec![(key.to_owned(), value)], ..page() };
    let active_label = ListParams {
        states: vec![StateFilter::Active],
        labels: vec![("team".to_owned(), "t1".to_owned())],
        ..page()
    };
    let lists = [
        ("list", page()),
        ("list, active", state(StateFilter::Active)),
        ("list, one state", state(StateFilter::Exactly(State::Pending))),
        ("list, a rare state", state(StateFilter::Exactly(State::Failed))),
        ("list, a state of no job", state(StateFilter::Exactly(State::Expired))),
        ("list, a label of many jobs", label("team", "t1".to_owned())),
        ("list, a label of few jobs", label("batch", format!("b{}", jobs / 2000))),
        ("list, a label of no job", label("team", "nobody".to_owned())),
        ("list, a label, active", active_label),
    ];
    for (name, params) in lists {
        let request = async || client.jobs(&params).await.expect(name).jobs.len();
        let time = median_milliseconds(request).await;
        table.add(&format!("{name}, ms"), format!("{time:.2}"));
    }
    let id = JobId(i64::try_from(jobs / 2).expect("a number"));
    let time = median_milliseconds(async || client.job(id).await.expect("the job")).await;
    table.add("show, ms", format!("{time:.2}"));
    let time = median_milliseconds(async || client.status().await.expect("the status")).await;
    table.add("status, ms", format!("{time:.2}"));
}

async fn median_milliseconds<T, F: Future<Output = T>>(mut request: impl FnMut() -> F) -> f64 {
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let started = Instant::now();
        request().await;
        times.push(started.elapsed());
    }
    median(&milliseconds(&times))
}

/// Times each query of docs/sql.md once, as an operator runs it.
pub fn measure_sql(database: &Path, table: &mut Table) {
    let document = include_str!("../../docs/sql.md");
    let queries = document.split("\n## Queries\n").nth(1).expect("the section");
    let mut title = "";
    for part in queries.split("```") {
        let Some(query) = part.strip_prefix("sql\n") else {
            let last = part.trim().lines().last().unwrap_or_default();
            title = last.trim_end_matches(':');
            continue;
        };
        let started = Instant::now();
        let status = Command::new("sqlite3")
            .args(["-readonly", "-batch"])
            .arg(database)
            .arg(query)
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{query}");
        table.add(&format!("SQL: {title}, s"), format!("{:.3}", started.elapsed().as_secs_f64()));
    }
}
