//! A condition on a job's state, used by lists and event streams.
//!
//! The command line and the API parse a filter with this module, and the store converts it to SQL.

use std::fmt;
use std::str::FromStr;

use super::id::InvalidText;
use super::state::State;

/// The states that a list is restricted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    /// Every state that is not terminal.
    Active,
    /// Every terminal state.
    Terminal,
    /// Every terminal state but `succeeded`.
    Unsuccessful,
    Exactly(State),
}

impl StateFilter {
    /// Whether a job in this state passes.
    #[must_use]
    pub fn matches(self, state: State) -> bool {
        match self {
            Self::Active => !state.is_terminal(),
            Self::Terminal => state.is_terminal(),
            Self::Unsuccessful => state.is_terminal() && state != State::Succeeded,
            Self::Exactly(one) => state == one,
        }
    }
}

impl fmt::Display for StateFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Terminal => "terminal",
            Self::Unsuccessful => "unsuccessful",
            Self::Exactly(state) => state.as_str(),
        })
    }
}

impl FromStr for StateFilter {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            "active" => Ok(Self::Active),
            "terminal" => Ok(Self::Terminal),
            "unsuccessful" => Ok(Self::Unsuccessful),
            name => name.parse().map(Self::Exactly).map_err(|_| {
                let states = State::ALL.map(State::as_str).join(", ");
                InvalidText::new(format!(
                    "unknown state {text:?}; use {states}, or active, terminal or unsuccessful"
                ))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_parsed_from_its_own_text() {
        let states = State::ALL.map(StateFilter::Exactly);
        let groups = [StateFilter::Active, StateFilter::Terminal, StateFilter::Unsuccessful];
        for filter in states.into_iter().chain(groups) {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
        assert!("sleeping".parse::<StateFilter>().is_err());
    }

    #[test]
    fn groups_of_states_are_disjoint_or_nested() {
        for state in State::ALL {
            let terminal = StateFilter::Terminal.matches(state);
            assert_ne!(StateFilter::Active.matches(state), terminal, "{state}");
            let unsuccessful = terminal && state != State::Succeeded;
            assert_eq!(StateFilter::Unsuccessful.matches(state), unsuccessful, "{state}");
        }
    }
}
