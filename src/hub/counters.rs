//! What has happened in the rooms.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::message::ServerMessage;
use crate::proto::room::{CloseReason, DropReason, Input, Output};

/// What has happened since the start; each only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that asked for a seat.
    pub joins: AtomicU64,
    /// Those that got none.
    pub refused: AtomicU64,
    /// Connections closed because a newer one of the same client took the seat.
    pub replaced: AtomicU64,
    /// Messages from members.
    pub messages: AtomicU64,
    /// Messages passed on to another member.
    pub relayed: AtomicU64,
    /// Rosters sent.
    pub infos: AtomicU64,
    /// Messages whose target was not there.
    pub dropped_no_target: AtomicU64,
    /// Renewals that were outdated or too many.
    pub dropped_renewals: AtomicU64,
    /// Messages for members that were away too long or missed too much.
    pub dropped_seat_queue: AtomicU64,
    /// Messages from connections without a seat, and of types that only the server speaks.
    pub dropped_invalid: AtomicU64,
    /// Members closed because they did not read.
    pub slow_closed: AtomicU64,
}

impl Counters {
    /// What came in.
    pub(super) fn input(&self, input: &Input) {
        match input {
            Input::Join(..) => count(&self.joins),
            Input::Message(..) => count(&self.messages),
            Input::Heard(_) | Input::Closed(_) | Input::Leave(_) | Input::Tick => {}
        }
    }

    /// What came of it.
    pub(super) fn output(&self, output: &Output) {
        match output {
            Output::Send(_, ServerMessage::Relay { .. }) => count(&self.relayed),
            Output::Send(_, ServerMessage::Info(_)) => count(&self.infos),
            Output::Close(_, CloseReason::Refused(_)) => count(&self.refused),
            Output::Close(_, CloseReason::Replaced) => count(&self.replaced),
            Output::Send(..) | Output::Close(..) => {}
            Output::Dropped(reason) => count(match reason {
                DropReason::NoSuchTarget => &self.dropped_no_target,
                DropReason::OutdatedRenewal | DropReason::TooManyRenewals => &self.dropped_renewals,
                DropReason::SeatQueueFull | DropReason::OutdatedMessage => &self.dropped_seat_queue,
                DropReason::NotAMember
                | DropReason::AlreadyAMember
                | DropReason::ReservedType
                | DropReason::BadStatus => &self.dropped_invalid,
            }),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
