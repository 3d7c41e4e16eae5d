//! Which connection sits where, and which seats wait for their holder.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::super::ids::{ConnId, MemberId, Name};
use super::seat::Holder;
use super::{CloseReason, Output};

/// Where a seat is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) room: Name,
    pub(super) id: MemberId,
}

/// The way from connections and from time to seats: each seat is found by exactly one of the two.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: HashMap<ConnId, Place>,
    kept: BTreeSet<(Instant, Place)>,
}

impl Places {
    /// Where `conn` sits.
    pub(super) fn of(&self, conn: ConnId) -> Option<&Place> {
        self.taken.get(&conn)
    }

    /// `conn` sits down.
    pub(super) fn occupy(&mut self, conn: ConnId, place: Place) {
        self.taken.insert(conn, place);
    }

    /// `conn` goes for good.
    pub(super) fn empty(&mut self, conn: ConnId) -> Option<Place> {
        self.taken.remove(&conn)
    }

    /// `conn` goes; its seat waits for it.
    pub(super) fn keep(&mut self, conn: ConnId, until: Instant) {
        self.kept.extend(self.taken.remove(&conn).map(|place| (until, place)));
    }

    /// Forgets who held a seat that somebody else now takes, or that is no more; tells a connection that still thinks
    /// it does.
    pub(super) fn release(&mut self, holder: &Holder, place: &Place, why: CloseReason) -> Option<Output> {
        match holder {
            Holder::Here(conn) => {
                self.taken.remove(conn);
                Some(Output::Close(*conn, why))
            }
            Holder::Away(away) => {
                self.kept.remove(&(away.until, place.clone()));
                None
            }
        }
    }

    /// When the first kept seat is given up.
    pub(super) fn first_to_expire(&self) -> Option<Instant> {
        self.kept.first().map(|(until, _)| *until)
    }

    /// A kept seat whose time is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Place> {
        if self.first_to_expire()? > now {
            return None;
        }
        self.kept.pop_first().map(|(_, place)| place)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.kept.is_empty()
    }
}
