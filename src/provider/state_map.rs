//! Maps a provider state to a state of jobtrack: first by the kind's own table, then by `state_map` of the
//! configuration.
//!
//! Used by every kind. A state that the kind knows cannot be mapped anew, so that no setting turns a
//! failure into a success.

use std::collections::BTreeMap;

use crate::config::MappedState;
use crate::job::ObservedState;

/// The provider states that a kind knows.
pub(super) type BuiltinStates = &'static [(&'static str, ObservedState)];

/// The provider states that one provider knows.
#[derive(Debug)]
pub(super) struct StateMap {
    /// A prefix of provider states that is ignored. May be empty.
    prefix: &'static str,
    builtin: BuiltinStates,
    user_defined: BTreeMap<String, ObservedState>,
}

impl StateMap {
    pub(super) fn new(
        prefix: &'static str,
        builtin: BuiltinStates,
        user_states: &BTreeMap<String, MappedState>,
    ) -> Result<Self, String> {
        let mut state_map = Self { prefix, builtin, user_defined: BTreeMap::new() };
        for (provider_state, state) in user_states {
            if let Some(observed_state) = state_map.lookup(provider_state) {
                return Err(format!(
                    "state_map: {provider_state} is built in as {} and cannot be mapped; remove it",
                    observed_state.to_state()
                ));
            }
            state_map.user_defined.insert(
                state_map.strip_state_prefix(provider_state).to_owned(),
                observed_state_from(*state),
            );
        }
        Ok(state_map)
    }

    /// The meaning of a provider state; `None` if it is unknown.
    pub(super) fn lookup(&self, provider_state: &str) -> Option<ObservedState> {
        let bare_state = self.strip_state_prefix(provider_state);
        let builtin =
            self.builtin.iter().find(|(state, _)| *state == bare_state).map(|(_, mapped)| *mapped);
        builtin.or_else(|| self.user_defined.get(bare_state).copied())
    }

    fn strip_state_prefix<'a>(&self, provider_state: &'a str) -> &'a str {
        provider_state.strip_prefix(self.prefix).unwrap_or(provider_state)
    }
}

fn observed_state_from(state: MappedState) -> ObservedState {
    match state {
        MappedState::Pending => ObservedState::Pending,
        MappedState::Running => ObservedState::Running,
        MappedState::Succeeded => ObservedState::Succeeded,
        MappedState::Failed => ObservedState::Failed,
        MappedState::Cancelled => ObservedState::Cancelled,
        MappedState::Expired => ObservedState::Expired,
    }
}
