//! What lately became of the cameras, for who looks after them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::State;
use crate::proto::ids::Name;

/// How many are kept: a day's worth for a camera that comes and goes every ten minutes.
const KEPT: usize = 200;

/// A camera changed its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The camera.
    pub name: Name,
    /// Unix time in milliseconds.
    pub at: u64,
    /// The state it came to.
    pub state: State,
    /// Why, where that needs saying.
    pub reason: Option<String>,
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Events(Mutex<VecDeque<Event>>);

impl Events {
    /// The latest first; at most 200.
    #[must_use]
    pub fn list(&self) -> Vec<Event> {
        self.lock().iter().rev().cloned().collect()
    }

    pub(super) fn add(&self, event: Event) {
        let mut events = self.lock();
        if events.len() >= KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Between two statements it is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let events = Events::default();
        for at in 0..KEPT as u64 + 5 {
            events.add(Event { name: Name::new("a").unwrap(), at, state: State::Live, reason: None });
        }
        let list = events.list();
        assert_eq!(list.len(), KEPT);
        assert_eq!(list.first().unwrap().at, KEPT as u64 + 4);
        assert_eq!(list.last().unwrap().at, 5);
    }
}
