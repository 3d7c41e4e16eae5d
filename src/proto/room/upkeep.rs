//! What the server itself changes: rooms, limits, and members that are its own.

use super::places::Place;
use super::seat::Seat;
use super::{CloseReason, DropReason, Limits, Output, Room, RoomError, Rooms, seat_of};
use crate::proto::ids::{ConnId, MemberId, Name, RoomMode};

impl Rooms {
    /// Opens a room.
    ///
    /// # Errors
    /// [`RoomError`] when the name is taken or there are too many.
    pub fn add_room(&mut self, name: Name, mode: RoomMode) -> Result<(), RoomError> {
        if self.rooms.contains_key(&name) {
            return Err(RoomError::Exists(name));
        }
        if self.rooms.len() >= self.limits.rooms {
            return Err(RoomError::TooMany(self.rooms.len()));
        }
        self.rooms.insert(name, Room::new(mode));
        Ok(())
    }

    /// Takes a room away: everyone in it is to be closed, and who is away finds it gone. `None`: there is none.
    #[must_use]
    pub fn remove_room(&mut self, name: &Name) -> Option<Vec<Output>> {
        let room = self.rooms.remove(name)?;
        let close = |seat: &Seat| {
            let place = Place { room: name.clone(), id: seat.id.clone() };
            self.places.release(seat.holder(), &place, CloseReason::RoomGone)
        };
        Some(room.seats().filter_map(close).collect())
    }

    /// The member at `conn` is called otherwise, which the others hear at once; nothing else changes for those that keep
    /// their connections.
    #[must_use]
    pub fn retitle(&mut self, conn: ConnId, title: String) -> Vec<Output> {
        match seat_of(&mut self.rooms, &self.places, conn) {
            Some((room, id)) => room.retitle(id, title, &mut self.numbers),
            None => vec![Output::Dropped(DropReason::NotAMember)],
        }
    }

    /// Takes a member out of a room, kept seat and all; nothing happens when there is none.
    #[must_use]
    pub fn remove_member(&mut self, name: &Name, id: &MemberId) -> Vec<Output> {
        let Some(room) = self.rooms.get_mut(name) else {
            return Vec::new();
        };
        let Some(seat) = room.remove(id) else {
            return Vec::new();
        };
        let place = Place { room: name.clone(), id: id.clone() };
        let closed = self.places.release(seat.holder(), &place, CloseReason::Replaced);
        closed.into_iter().chain(room.settle(&mut self.numbers)).collect()
    }

    /// Keeps to other limits from now on. Who is in stays in.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proto::ids::Kind;
    use crate::proto::message::{Info, ServerMessage};
    use crate::proto::room::{Input, Join};

    fn rooms() -> Rooms {
        let mut rooms = Rooms::new(Limits::default());
        rooms.add_room(Name::new("home").unwrap(), RoomMode::Wall).unwrap();
        rooms
    }

    fn join(rooms: &mut Rooms, conn: u64, id: &str, kind: Kind, sessions: bool) -> Vec<Output> {
        let join = Join {
            room: Some("home".into()),
            id: Some(id.into()),
            key: None,
            sessions,
            kind,
            title: Some("Door".into()),
            address: None,
            fresh_id: MemberId::new(format!("fresh-{conn}")).unwrap(),
            fresh_key: format!("key-{conn}"),
        };
        rooms.handle(Instant::now(), Input::Join(ConnId(conn), join))
    }

    /// The rosters that `outputs` tell, by connection.
    fn infos(outputs: Vec<Output>) -> Vec<(u64, Info)> {
        let info = |output| match output {
            Output::Send(ConnId(conn), ServerMessage::Info(info)) => Some((conn, info)),
            _ => None,
        };
        outputs.into_iter().filter_map(info).collect()
    }

    #[test]
    fn a_new_title_is_told_and_nobody_gets_another_number() {
        let mut rooms = rooms();
        let _ = join(&mut rooms, 1, "!door", Kind::Camera, true);
        let before = infos(join(&mut rooms, 2, "ann", Kind::Peer, true)).pop().unwrap();
        let told = infos(rooms.retitle(ConnId(1), "Gate".into()));
        let [(2, after)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(after.members[0].title.as_deref(), Some("Gate"));
        assert_eq!(after.members[0].session, before.1.members[0].session);
        assert!(rooms.retitle(ConnId(1), "Gate".into()).is_empty(), "it is called so already");
        // One that builds all anew when told gets a new number, and the camera with it.
        let stock = infos(join(&mut rooms, 3, "bob", Kind::Peer, false));
        let of =
            |told: &[(u64, Info)]| told.iter().find(|(conn, _)| *conn == 3).unwrap().1.members[0].session;
        let told = infos(rooms.retitle(ConnId(1), "Door".into()));
        assert_ne!(of(&told), of(&stock));
        assert!(told.iter().any(|(conn, _)| *conn == 1), "{told:?}");
    }

    #[test]
    fn a_member_that_is_taken_out_leaves_no_seat_behind() {
        let (mut rooms, home) = (rooms(), Name::new("home").unwrap());
        let door = MemberId::new("!door").unwrap();
        let _ = join(&mut rooms, 1, "!door", Kind::Camera, true);
        let _ = join(&mut rooms, 2, "ann", Kind::Peer, true);
        let _ = rooms.handle(Instant::now(), Input::Closed(ConnId(1)));
        assert_eq!(rooms.len(), 2, "its seat is kept");
        let told = infos(rooms.remove_member(&home, &door));
        assert!(matches!(&told[..], [(2, info)] if info.members.is_empty()), "{told:?}");
        assert_eq!((rooms.len(), rooms.poll_timeout()), (1, None));
        assert!(rooms.remove_member(&home, &door).is_empty());
        // One that is there is closed, and may come again.
        let _ = join(&mut rooms, 4, "!door", Kind::Camera, true);
        let outputs = rooms.remove_member(&home, &door);
        assert!(outputs.iter().any(|output| matches!(output, Output::Close(ConnId(4), _))), "{outputs:?}");
        assert!(infos(join(&mut rooms, 5, "!door", Kind::Camera, true)).len() == 2);
    }

    #[test]
    fn tighter_limits_put_nobody_out() {
        let mut rooms = rooms();
        let _ = join(&mut rooms, 1, "ann", Kind::Peer, true);
        let _ = join(&mut rooms, 2, "bob", Kind::Peer, true);
        rooms.set_limits(Limits { members_per_room: 1, rooms: 1, ..Limits::default() });
        assert_eq!(rooms.len(), 2);
        let refused = join(&mut rooms, 3, "eve", Kind::Peer, true);
        assert!(matches!(refused.last(), Some(Output::Close(ConnId(3), CloseReason::Refused(_)))));
        assert!(rooms.add_room(Name::new("attic").unwrap(), RoomMode::Wall).is_err());
    }
}
