//! Word → meaning, the one place where any kind looks its words up: those that the kind knows, and
//! those that the user's `states` adds. What is known is not up to the user: nobody turns a failure
//! into a success by a line of config.

use std::collections::BTreeMap;

use crate::config::MappedState;
use crate::job::ObservedState;

/// The words that a kind knows.
pub(super) type BuiltinStates = &'static [(&'static str, ObservedState)];

/// The words of one configured provider.
#[derive(Debug)]
pub(super) struct StateMap {
    /// May stand before any word, and adds nothing to it.
    prefix: &'static str,
    builtin: BuiltinStates,
    user_defined: BTreeMap<String, ObservedState>,
}

impl StateMap {
    /// Those of a kind, and those of the user.
    pub(super) fn new(
        prefix: &'static str,
        builtin: BuiltinStates,
        user_states: &BTreeMap<String, MappedState>,
    ) -> Result<Self, String> {
        let mut state_map = Self { prefix, builtin, user_defined: BTreeMap::new() };
        for (provider_state, state) in user_states {
            if let Some(observed_state) = state_map.lookup(provider_state) {
                return Err(format!(
                    "state_map: {provider_state} cannot be set, it is known already: {}",
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

    /// What a word means, if anybody knows.
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
