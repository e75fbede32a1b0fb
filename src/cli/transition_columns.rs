//! The columns of transitions.

use anstyle::Style;

use super::cell::Cell;
use super::columns::ColumnKind::{FreeText, Identifier, Time, Word};
use super::columns::Shown::{Always, OnRequest, Wide};
use super::columns::{Column, ColumnKind, RowContext, Shown, TableRow};
use super::render;
use crate::api::TransitionEvent;
use crate::job::State;

impl TableRow for TransitionEvent {
    const COLUMNS: &'static [Column<Self>] = &[
        column("cursor", "CURSOR", Wide, Word, |event, _| Cell::Text(event.cursor.to_string())),
        column("observed_at", "OBSERVED", Always, Time, |event, _| Cell::Time(event.observed_at)),
        column("job_id", "JOB", Always, Word, |event, _| Cell::Integer(event.job_id.0)),
        column("name", "NAME", Always, Identifier, |event, _| Cell::Text(event.job_name())),
        column("provider", "PROVIDER", OnRequest, Word, |event, _| {
            Cell::Text(event.provider.to_string())
        }),
        column("remote_id", "REMOTE ID", OnRequest, Identifier, |event, _| {
            Cell::Text(event.remote_id.to_string())
        }),
        column("from_state", "FROM", Wide, Word, |event, _| {
            Cell::text(event.from_state.map(State::as_str))
        }),
        column("to_state", "STATE", Always, Word, |event, _| {
            Cell::Text(event.to_state.to_string())
        }),
        column("provider_state", "PROVIDER STATE", Always, Identifier, |event, _| {
            Cell::text(event.provider_state.clone())
        }),
        column("evidence", "EVIDENCE", Wide, Word, |event, _| {
            Cell::Text(event.evidence.as_str().to_owned())
        }),
        column("occurred_at", "OCCURRED", Wide, Time, |event, _| Cell::time(event.occurred_at)),
        column("earliest_at", "EARLIEST", OnRequest, Time, |event, _| {
            Cell::time(event.earliest_at)
        }),
        column("message", "MESSAGE", Always, FreeText, |event, _| {
            Cell::text(event.message.clone())
        }),
    ];

    fn job_name(&self) -> String {
        format!("{}/{}", self.provider, self.remote_id)
    }

    fn style(&self) -> Style {
        render::state_style(self.to_state)
    }
}

const fn column(
    name: &'static str,
    heading: &'static str,
    shown: Shown,
    kind: ColumnKind,
    cell: fn(&TransitionEvent, &RowContext) -> Cell,
) -> Column<TransitionEvent> {
    Column { name, heading, shown, kind, cell }
}
