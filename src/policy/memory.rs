//! What is remembered of one provider's past runs, and what it predicts of a job.

use std::collections::HashMap;

use crate::job::{Lesson, Likeness, Phase};

use super::curve::{Histogram, Mixed, Sketch};

/// The learned durations of one provider.
#[derive(Debug, Default)]
pub struct Memory {
    alike: HashMap<Box<str>, Alike>,
    all: Phases<Histogram>,
    /// How many it has taken in.
    lessons: u64,
}

/// One for each [`Phase`].
#[derive(Debug, Default)]
struct Phases<T> {
    whole: T,
    running: T,
}

impl<T> Phases<T> {
    fn of(&self, phase: Phase) -> &T {
        match phase {
            Phase::Whole => &self.whole,
            Phase::Running => &self.running,
        }
    }

    fn of_mut(&mut self, phase: Phase) -> &mut T {
        match phase {
            Phase::Whole => &mut self.whole,
            Phase::Running => &mut self.running,
        }
    }
}

/// What is remembered under one name.
#[derive(Debug, Default)]
struct Alike {
    sketches: Phases<Sketch>,
    /// The number of its last lesson: who was not heard of for longest is forgotten first.
    taught: u64,
}

/// The past that a job is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The name that it goes by.
    pub name: &'a str,
    /// Its runs.
    pub sketch: &'a Sketch,
}

impl Memory {
    /// Names that are remembered, at least; no more than twice as many.
    const NAMES: usize = 10_000;

    /// Takes in a run that is over.
    pub fn learn(&mut self, lesson: &Lesson) {
        self.lessons += 1;
        let durations = [(Phase::Whole, lesson.whole), (Phase::Running, lesson.running)];
        for (phase, took) in durations.into_iter().filter_map(|(phase, took)| Some((phase, took?)))
        {
            let seconds = took.as_secs_f64();
            self.all.of_mut(phase).learn(seconds);
            for name in lesson.likeness.names() {
                let alike = self.alike.entry(name.clone()).or_default();
                alike.sketches.of_mut(phase).learn(seconds);
                alike.taught = self.lessons;
            }
        }
        if self.alike.len() > 2 * Self::NAMES {
            let mut taught: Vec<_> = self.alike.values().map(|alike| alike.taught).collect();
            let (_, newest, _) = taught.select_nth_unstable(Self::NAMES);
            let newest = *newest;
            self.alike.retain(|_, alike| alike.taught > newest);
        }
    }

    /// What another provider learned that was the same: what is known here stays as it is.
    pub fn inherit(&mut self, other: Self) {
        for (name, alike) in other.alike {
            self.alike.entry(name).or_insert(alike);
        }
        self.lessons = self.lessons.max(other.lessons);
        if !self.all.whole.is_known() && !self.all.running.is_known() {
            self.all = other.all;
        }
    }

    /// Forgets the runs of this name, or all.
    pub fn forget(&mut self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.alike.remove(name)),
            None => *self = Self::default(),
        }
    }

    /// The closest past of a job.
    #[must_use]
    pub fn past(&self, likeness: &Likeness, phase: Phase) -> Option<Past<'_>> {
        likeness.names().iter().find_map(|name| {
            let (name, alike) = self.alike.get_key_value(name)?;
            let sketch = alike.sketches.of(phase);
            (sketch.runs() > 0).then_some(Past { name, sketch })
        })
    }

    /// What is predicted of a job.
    #[must_use]
    pub fn predict(&self, likeness: &Likeness, phase: Phase) -> Mixed<'_> {
        let alike = self.past(likeness, phase).map(|past| past.sketch);
        Mixed { alike, all: self.all.of(phase) }
    }
}
