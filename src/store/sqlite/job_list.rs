//! A page of a list of jobs: which index finds its rows, and its SQL. Called by the reader.
//!
//! Invariant: the rows are found in the order of their ids, whatever the filter, so that a page costs what it
//! reads and nothing is sorted. Only a list by remote id, which has few rows, is sorted.

use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Sqlite};

use crate::job::{RemoteId, State, StateFilter};
use crate::store::JobFilter;

use super::rows::JobRow;

/// Where the ids of the rows come from; every other condition of the filter is checked row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowSource {
    AllJobs,
    RemoteId,
    /// The jobs of each state, merged.
    States,
    /// The label at this position of the filter.
    Label(usize),
}

/// How many rows of each source are read at most to find the sparsest one: some 0.2 ms.
const SAMPLE_ROWS: i64 = 1_000;

/// A page of jobs, newest first.
pub(super) async fn read_page(
    pool: &SqlitePool,
    filter: &JobFilter,
) -> Result<Vec<JobRow>, sqlx::Error> {
    let states = restricting_states(&filter.states);
    let sources = possible_sources(filter, states.as_deref());
    let source = if let [source] = sources[..] {
        source
    } else {
        let mut query = sample_query(filter, states.as_deref(), &sources);
        let samples: Vec<(i64, i64)> = query.build_query_as().fetch_all(pool).await?;
        sparsest(&sources, &samples)
    };
    page_query(filter, states.as_deref(), source).build_query_as().fetch_all(pool).await
}

/// The states that pass; `None` if all do.
pub(super) fn restricting_states(filters: &[StateFilter]) -> Option<Vec<State>> {
    let passes = |state: &State| filters.iter().any(|filter| filter.matches(*state));
    let states: Vec<_> = State::ALL.into_iter().filter(passes).collect();
    (!filters.is_empty() && states.len() < State::ALL.len()).then_some(states)
}

/// At least one.
fn possible_sources(filter: &JobFilter, states: Option<&[State]>) -> Vec<RowSource> {
    if filter.remote_id.is_some() {
        return vec![RowSource::RemoteId];
    }
    let labels = (0..filter.labels.len()).map(RowSource::Label);
    let sources: Vec<_> = labels.chain(states.map(|_| RowSource::States)).collect();
    if sources.is_empty() { vec![RowSource::AllJobs] } else { sources }
}

/// The source that has the fewest rows among the jobs that are read next: of equally many rows, its rows reach back
/// furthest.
fn sparsest(sources: &[RowSource], samples: &[(i64, i64)]) -> RowSource {
    let sparsest = sources.iter().zip(samples).min_by_key(|(_, sample)| *sample);
    sparsest.map_or(RowSource::AllJobs, |(source, _)| *source)
}

/// A row for each source, about the rows of the page and those after it: the id down to which
/// [`SAMPLE_ROWS`] of them reach, 0 if there are fewer, and how many they are.
fn sample_query(
    filter: &JobFilter,
    states: Option<&[State]>,
    sources: &[RowSource],
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::default();
    for (position, source) in sources.iter().enumerate() {
        query.push(if position == 0 { "" } else { " UNION ALL " });
        query.push("SELECT CASE WHEN count(*) < ").push_bind(SAMPLE_ROWS);
        query.push(" THEN 0 ELSE min(id) END, count(*) FROM (");
        match source {
            RowSource::AllJobs | RowSource::RemoteId => push_ids(&mut query, filter, None),
            RowSource::States => {
                for (position, state) in states.unwrap_or_default().iter().enumerate() {
                    query.push(if position == 0 { "" } else { " UNION ALL " });
                    push_ids(&mut query, filter, Some(*state));
                }
            }
            RowSource::Label(label) => {
                query.push("SELECT job_id AS id FROM job_label WHERE ");
                push_label(&mut query, &filter.labels[*label]);
                push_id_range(&mut query, "job_id", filter);
            }
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(SAMPLE_ROWS).push(")");
    }
    query
}

/// Adds a SELECT of the ids of the jobs, or of those in one state.
fn push_ids(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter, state: Option<State>) {
    query.push("SELECT id FROM job WHERE ");
    match state {
        Some(state) => query.push("state = ").push_bind(state.as_str()),
        None => query.push("true"),
    };
    push_id_range(query, "id", filter);
}

fn push_id_range(query: &mut QueryBuilder<Sqlite>, id: &str, filter: &JobFilter) {
    if let Some(before) = filter.before_id {
        query.push(format!(" AND {id} < ")).push_bind(before.0);
    }
    if let Some(from) = filter.from_id {
        query.push(format!(" AND {id} >= ")).push_bind(from.0);
    }
}

fn page_query(
    filter: &JobFilter,
    states: Option<&[State]>,
    source: RowSource,
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::default();
    let order = match source {
        RowSource::AllJobs | RowSource::RemoteId => {
            push_select(&mut query, filter, states, source, None);
            "j.id"
        }
        RowSource::Label(_) => {
            push_select(&mut query, filter, states, source, None);
            "l.job_id"
        }
        // Each SELECT is in the order of the ids, and SQLite merges them.
        RowSource::States => {
            for (position, state) in states.unwrap_or_default().iter().enumerate() {
                query.push(if position == 0 { "" } else { " UNION ALL " });
                push_select(&mut query, filter, states, source, Some(*state));
            }
            "id"
        }
    };
    query.push(" ORDER BY ").push(order).push(" DESC LIMIT ").push_bind(filter.limit);
    query
}

/// Adds a SELECT of the rows that pass the filter, from the source, or from one of its states.
fn push_select(
    query: &mut QueryBuilder<Sqlite>,
    filter: &JobFilter,
    states: Option<&[State]>,
    source: RowSource,
    state: Option<State>,
) {
    query.push("SELECT j.* FROM ");
    let id = match source {
        RowSource::Label(label) => {
            query.push("job_label AS l CROSS JOIN jobs AS j ON j.id = l.job_id WHERE ");
            push_label(query, &filter.labels[label]);
            "l.job_id"
        }
        RowSource::AllJobs | RowSource::RemoteId | RowSource::States => {
            query.push("jobs AS j WHERE ");
            match state {
                Some(state) => query.push("j.state = ").push_bind(state.as_str()),
                None => query.push("true"),
            };
            "j.id"
        }
    };
    push_id_range(query, id, filter);
    if let Some(remote_id) = &filter.remote_id {
        push_remote_id(query, remote_id);
    }
    if let (Some(states), None) = (states, state) {
        query.push(" AND ");
        // The sign keeps SQLite from using the index of the states.
        push_states(query, "+j.state", states);
    }
    let of_source = |position| source == RowSource::Label(position);
    for (_, label) in filter.labels.iter().enumerate().filter(|(at, _)| !of_source(*at)) {
        push_label_condition(query, "j.id", label);
    }
    if let Some(provider) = &filter.provider {
        query.push(" AND j.provider = ").push_bind(provider.as_str().to_owned());
    }
    if let Some(since) = filter.registered_since {
        query.push(" AND +j.registered_at >= ").push_bind(since);
    }
    if let Some(before) = filter.registered_before {
        query.push(" AND +j.registered_at < ").push_bind(before);
    }
    if let Some(since) = filter.ended_since {
        query.push(" AND +j.terminal_at >= ").push_bind(since);
    }
}

/// Adds the condition that the job whose id is in the column `id` has the label.
pub(super) fn push_label_condition(
    query: &mut QueryBuilder<Sqlite>,
    id: &str,
    label: &(String, String),
) {
    query.push(" AND EXISTS (SELECT 1 FROM job_label WHERE ");
    push_label(query, label);
    query.push(format!(" AND job_id = {id})"));
}

fn push_label(query: &mut QueryBuilder<Sqlite>, (key, value): &(String, String)) {
    query.push("key = ").push_bind(key.clone()).push(" AND value = ").push_bind(value.clone());
}

pub(super) fn push_states(query: &mut QueryBuilder<Sqlite>, column: &str, states: &[State]) {
    query.push(column).push(" IN (");
    let mut list = query.separated(", ");
    for state in states {
        list.push_bind(state.as_str());
    }
    query.push(")");
}

fn push_remote_id(query: &mut QueryBuilder<Sqlite>, remote_id: &RemoteId) {
    let spellings = remote_id.spellings();
    if spellings.is_empty() {
        query.push(" AND j.remote_id = ").push_bind(remote_id.as_str().to_owned());
        return;
    }
    query.push(" AND j.remote_id COLLATE NOCASE IN (");
    let mut list = query.separated(", ");
    for spelling in spellings {
        list.push_bind(spelling);
    }
    query.push(")");
}

#[cfg(test)]
mod tests;
