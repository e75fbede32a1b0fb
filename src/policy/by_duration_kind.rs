//! A value for each kind of duration.

use crate::job::DurationKind;

/// A value for each [`DurationKind`].
#[derive(Debug, Default)]
pub(super) struct ByDurationKind<T> {
    pub(super) total: T,
    pub(super) run: T,
}

impl<T> ByDurationKind<T> {
    pub(super) fn get(&self, kind: DurationKind) -> &T {
        match kind {
            DurationKind::Total => &self.total,
            DurationKind::Run => &self.run,
        }
    }

    pub(super) fn get_mut(&mut self, kind: DurationKind) -> &mut T {
        match kind {
            DurationKind::Total => &mut self.total,
            DurationKind::Run => &mut self.run,
        }
    }
}
