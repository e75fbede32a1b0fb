//! Adds through the socket, beside the same rows in raw SQLite: one connection with prepared statements, the same
//! schema, WAL, FULL.

use std::path::Path;
use std::time::{Duration, Instant};

use jobtrack::api::{AddRequest, AddRequestEntry, Client};
use rusqlite::{Connection, Statement, params};

use super::daemon::DaemonProgram;
use super::database::create;
use super::report::{Table, median, milliseconds, with_spread};
use super::support::daemon::DaemonHome;

/// As many as one request may add.
const BATCH: usize = 1000;
const BATCHES_A_ROUND: usize = 20;
const SINGLE_ADDS: usize = 500;
const NOW: &str = "2026-11-26 12:00:00.000";

pub async fn measure(program: &DaemonProgram, rounds: usize) -> Table {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let (daemon, _) = program.start(&home);
    let client = Client::open(Some(&home.socket())).expect("a client");
    let raw_path = home.path("raw.db");
    create(&raw_path).await;
    let connection = open_raw(&raw_path);
    let mut raw = RawSqlite::new(&connection);
    let mut numbers = 0..;
    let (mut bulk, mut raw_bulk, mut by_client, mut ratios) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        let batches: Vec<_> =
            (0..BATCHES_A_ROUND).map(|_| request(numbers.by_ref().take(BATCH))).collect();
        let mut round = (Duration::ZERO, Duration::ZERO);
        // Alternately, because the disk and the machine change.
        for batch in &batches {
            let started = Instant::now();
            client.add(batch).await.expect("they are added");
            round.0 += started.elapsed();
            let started = Instant::now();
            raw.insert(batch);
            round.1 += started.elapsed();
        }
        let a_second = |took: Duration| (BATCH * BATCHES_A_ROUND) as f64 / took.as_secs_f64();
        bulk.push(a_second(round.0));
        raw_bulk.push(a_second(round.1));
        ratios.push(round.1.as_secs_f64() / round.0.as_secs_f64());
        let lines: Vec<_> = numbers.by_ref().take(BATCH * BATCHES_A_ROUND).map(remote_id).collect();
        by_client.push(a_second(add_by_client(program, &home, &lines)));
    }
    let (mut single, mut raw_single) = (vec![], vec![]);
    for _ in 0..SINGLE_ADDS {
        let batch = request(numbers.by_ref().take(1));
        let started = Instant::now();
        client.add(&batch).await.expect("it is added");
        single.push(started.elapsed());
        let started = Instant::now();
        raw.insert(&batch);
        raw_single.push(started.elapsed());
    }
    assert!(daemon.stop().success());
    let (single, raw_single) = (median(&milliseconds(&single)), median(&milliseconds(&raw_single)));
    let mut table = Table::new("adds");
    table.add_column("jobtrackd");
    table.add("adds a second, 1,000 a request", with_spread(&bulk, 0));
    table.add("adds a second by `jobtrack add dune -`", with_spread(&by_client, 0));
    table.add("one add, p50, ms", format!("{single:.2}"));
    table.add_column("raw SQLite");
    table.add("adds a second, 1,000 a request", with_spread(&raw_bulk, 0));
    table.add("one add, p50, ms", format!("{raw_single:.2}"));
    table.add_column("jobtrackd ÷ raw");
    table.add("adds a second, 1,000 a request", with_spread(&ratios, 2));
    table.add("one add, p50, ms", format!("{:.2}", single / raw_single));
    table
}

/// In the form of Dune's execution ids; not in the order of the numbers.
fn remote_id(number: u64) -> String {
    format!("01{:08}{number:016}", number.wrapping_mul(2_654_435_761) % 100_000_000)
}

fn request(numbers: impl Iterator<Item = u64>) -> AddRequest {
    let entries = numbers.map(|number| AddRequestEntry {
        provider: "dune".to_owned(),
        remote_id: remote_id(number),
        labels: [("batch", number / 1000), ("team", number % 7)]
            .map(|(key, value)| (key.to_owned(), value.to_string()))
            .into(),
        give_up_after: None,
        price: None,
        similar_to: None,
        again: false,
    });
    AddRequest { jobs: entries.collect() }
}

fn add_by_client(program: &DaemonProgram, home: &DaemonHome, ids: &[String]) -> Duration {
    let list = home.path("ids");
    std::fs::write(&list, ids.join("\n")).expect("a file");
    let mut command = std::process::Command::new(program.client());
    command.arg("--socket").arg(home.socket()).args(["add", "dune", "-"]);
    command
        .stdin(std::fs::File::open(&list).expect("the file"))
        .stdout(std::process::Stdio::null());
    let started = Instant::now();
    assert!(command.status().is_ok_and(|status| status.success()), "they are added");
    started.elapsed()
}

fn open_raw(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("the database");
    let pragmas = "PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA foreign_keys = on;
                   PRAGMA temp_store = memory; PRAGMA wal_autocheckpoint = 1000";
    connection.execute_batch(pragmas).expect("pragmas");
    connection
}

/// Inserts the rows that the daemon writes for new jobs.
struct RawSqlite<'c> {
    connection: &'c Connection,
    job: Statement<'c>,
    transition: Statement<'c>,
}

impl<'c> RawSqlite<'c> {
    fn new(connection: &'c Connection) -> Self {
        let job = connection.prepare(
            "INSERT INTO job (provider, kind, remote_id, state, labels, added_by_uid, added_by_user,
                              registered_at, last_transition_at, furthest_step)
             VALUES (?1, 'dune', ?2, 'registered', ?3, 0, 'root', ?4, ?4, 'registered')",
        );
        let transition = connection.prepare(
            "INSERT INTO transition (job_id, to_state, evidence, observed_at)
             VALUES (?1, 'registered', 'local', ?2)",
        );
        Self {
            connection,
            job: job.expect("a statement"),
            transition: transition.expect("a statement"),
        }
    }

    fn insert(&mut self, request: &AddRequest) {
        self.connection.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
        for entry in &request.jobs {
            let labels = serde_json::to_string(&entry.labels).expect("JSON");
            let row = params![entry.provider, entry.remote_id, labels, NOW];
            let id = self.job.insert(row).expect("a job");
            self.transition.execute(params![id, NOW]).expect("a transition");
        }
        self.connection.execute_batch("COMMIT").expect("a commit");
    }
}
