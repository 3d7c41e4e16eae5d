//! The rules as scenarios.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::value::RawValue;

use super::super::message::{ErrorCode, Info, Member, RESERVED};
use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

// Rosters

#[test]
fn on_a_wall_browsers_see_cameras_and_cameras_see_browsers() {
    let mut house = House::wall();
    let [front, back] = [house.join(camera("front")), house.join(camera("back"))];
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    for browser in [ann, bob] {
        assert_eq!(house.sees(browser), ["!back", "!front"]);
    }
    for camera in [front, back] {
        assert_eq!(house.sees(camera), ["ann", "bob"]);
    }
}

#[test]
fn in_a_mesh_everyone_sees_everyone_but_cameras_each_other() {
    let mut house = House::mesh();
    let [front, back] = [house.join(camera("front")), house.join(camera("back"))];
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    assert_eq!(house.sees(ann), ["!back", "!front", "bob"]);
    assert_eq!(house.sees(bob), ["!back", "!front", "ann"]);
    assert_eq!(house.sees(front), ["ann", "bob"]);
    assert_eq!(house.sees(back), ["ann", "bob"]);
}

#[test]
fn rooms_do_not_mix() {
    let mut house = House::wall();
    house.rooms.add_room(name("garage"), RoomMode::Wall).unwrap();
    house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let elsewhere = house.join(Join { room: Some("garage".into()), ..camera("front") });
    assert_eq!(house.told(), [elsewhere]);
    let stranger = house.join(Join { room: Some("garage".into()), ..viewer("ann") });
    assert_eq!(house.sees(stranger), ["!front"]);
    house.say(ann, "description", "!front");
    assert!(house.relayed().iter().all(|(to, ..)| *to != elsewhere));
}

#[test]
fn of_two_the_greater_id_is_polite() {
    let mut house = House::mesh();
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    assert!(!house.entry(ann, "bob").polite);
    assert!(house.entry(bob, "ann").polite);
}

#[test]
fn browsers_are_polite_to_cameras_whatever_the_ids() {
    let mut house = House::mesh();
    let [front, odd] =
        [house.join(camera("front")), house.join(Join { id: Some("zzz".into()), ..camera("odd") })];
    let ann = house.join(viewer("ann"));
    assert!(house.entry(ann, "!front").polite && house.entry(ann, "zzz").polite);
    assert!(!house.entry(front, "ann").polite && !house.entry(odd, "ann").polite);
}

#[test]
fn rosters_say_what_and_how_called() {
    let mut house = House::wall();
    house.join(Join { title: Some("Front door".into()), ..camera("front") });
    let ann = house.join(Join { title: Some("x".repeat(300)), ..viewer("ann") });
    let front = house.entry(ann, "!front");
    assert_eq!((front.kind, front.title.as_deref()), (Some(Kind::Camera), Some("Front door")));
    let view = house.rooms.view();
    assert_eq!(view[0].members[1].title.as_ref().unwrap().len(), 200);
    let json = serde_json::to_string(&view).unwrap();
    assert!(json.starts_with(
        r#"[{"name":"home","mode":"wall","members":[{"id":"!front","kind":"camera","title":"Front door","remote":false,"away":false}"#
    ));
}

// Sessions

#[test]
fn viewers_coming_and_going_disturb_no_viewer() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    let sessions = [house.session(ann, "!front"), house.session(bob, "!front")];
    let cid = house.join(stock("cid"));
    assert_eq!(house.told(), [front, cid]);
    house.handle(Input::Closed(cid));
    assert_eq!(house.told(), [front]);
    assert_eq!([house.session(ann, "!front"), house.session(bob, "!front")], sessions);
    assert_eq!([house.session(front, "ann"), house.session(front, "bob")], sessions);
}

#[test]
fn a_new_camera_leaves_session_clients_the_connections_they_have() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let session = house.session(ann, "!front");
    let back = house.join(camera("back"));
    assert_eq!(house.told(), [ann, back]);
    assert_eq!((house.session(ann, "!front"), house.session(front, "ann")), (session, session));
}

#[test]
fn telling_a_stock_client_renews_its_pairs_and_tells_the_others_once() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    let (anns, bobs) = (house.session(ann, "!front"), house.session(bob, "!front"));
    let back = house.join(camera("back"));
    assert_eq!(house.told(), [front, ann, bob, back]);
    assert_ne!(house.session(bob, "!front"), bobs);
    assert_eq!(house.session(front, "bob"), house.session(bob, "!front"));
    assert_eq!(house.session(ann, "!front"), anns);
}

#[test]
fn rebuilding_spreads_through_stock_clients_of_a_mesh_and_no_further() {
    let mut house = House::mesh();
    let [ann, bea] = [house.join(viewer("ann")), house.join(viewer("bea"))];
    let [sam, sue] = [house.join(stock("sam")), house.join(stock("sue"))];
    let before = [(ann, "bea"), (ann, "sam"), (sam, "sue")].map(|(conn, peer)| house.session(conn, peer));
    let cid = house.join(viewer("cid"));
    assert_eq!(house.told(), [ann, bea, sam, sue, cid]);
    let after = [(ann, "bea"), (ann, "sam"), (sam, "sue")].map(|(conn, peer)| house.session(conn, peer));
    assert_eq!(after[0], before[0]);
    assert!(after[1] != before[1] && after[2] != before[2]);
    assert_eq!(house.session(sam, "sue"), house.session(sue, "sam"));
}

#[test]
fn renewing_gives_the_two_a_new_number_and_tells_only_them() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let [ann, bob] = [house.join(viewer("ann")), house.join(viewer("bob"))];
    let (old, bobs) = (house.session(front, "ann"), house.session(bob, "!front"));
    house.renew(front, "ann", old);
    assert_eq!(house.told(), [front, ann]);
    assert_ne!(house.session(front, "ann"), old);
    assert_eq!(house.session(front, "ann"), house.session(ann, "!front"));
    assert_eq!(house.session(front, "bob"), bobs);
}

#[test]
fn renewing_a_stock_client_renews_all_of_its_pairs() {
    let mut house = House::wall();
    let [front, back] = [house.join(camera("front")), house.join(camera("back"))];
    let bob = house.join(stock("bob"));
    let old = house.session(back, "bob");
    house.renew(front, "bob", house.session(front, "bob"));
    assert_eq!(house.told(), [front, back, bob]);
    assert_ne!(house.session(back, "bob"), old);
    assert_eq!(house.session(back, "bob"), house.session(bob, "!back"));
}

#[test]
fn an_outdated_or_blind_renewal_is_dropped() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    house.join(viewer("bob"));
    let old = house.session(front, "ann");
    house.renew(front, "ann", old);
    house.renew(ann, "!front", old);
    assert_eq!(house.dropped(), [DropReason::OutdatedRenewal]);
    for target in ["bob", "ann", "nobody"] {
        house.renew(ann, target, old);
        assert_eq!(house.dropped(), [DropReason::NoSuchTarget], "{target}");
    }
}

#[test]
fn renewals_are_limited_to_forty_and_one_more_each_second() {
    let mut house = House::wall();
    house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let renew = |house: &mut House| {
        house.renew(ann, "!front", house.session(ann, "!front"));
        house.dropped()
    };
    for _ in 0..40 {
        assert_eq!(renew(&mut house), []);
    }
    assert_eq!(renew(&mut house), [DropReason::TooManyRenewals]);
    house.wait(1.0);
    assert_eq!(renew(&mut house), []);
    assert_eq!(renew(&mut house), [DropReason::TooManyRenewals]);
    house.wait(3600.0);
    for _ in 0..40 {
        assert_eq!(renew(&mut house), []);
    }
    assert_eq!(renew(&mut house), [DropReason::TooManyRenewals]);
}

// Relaying

#[test]
fn a_message_reaches_whom_the_sender_sees_and_says_who_sent_it() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let [ann, _bob] = [house.join(viewer("ann")), house.join(viewer("bob"))];
    house.say(ann, "chat", "!front");
    assert_eq!(house.relayed(), [(front, "chat".into(), "ann".into())]);
    // The reference server does this, too: the sender is a member of its room.
    house.say(ann, "chat", "ann");
    assert_eq!(house.relayed(), [(ann, "chat".into(), "ann".into())]);
    for target in ["bob", "nobody"] {
        house.say(ann, "chat", target);
        assert_eq!(house.dropped(), [DropReason::NoSuchTarget], "{target}");
        assert_eq!(house.outputs.len(), 1);
    }
    house.message(ann, ClientMessage::Relay { kind: "chat".into(), payload: null().into(), target: None });
    assert_eq!(house.dropped(), [DropReason::NoSuchTarget]);
}

#[test]
fn what_only_the_server_says_cannot_be_forged() {
    let mut house = House::mesh();
    let ann = house.join(viewer("ann"));
    house.join(viewer("bob"));
    for kind in RESERVED {
        house.say(ann, kind, "bob");
        assert_eq!(house.dropped(), [DropReason::ReservedType], "{kind}");
        assert_eq!(house.outputs.len(), 1);
    }
}

#[test]
fn a_ping_comes_back_to_its_sender() {
    let mut house = House::wall();
    let ann = house.join(viewer("ann"));
    house.message(ann, ClientMessage::parse(r#"{"type":"ping","ping":7}"#).unwrap());
    assert!(matches!(&house.outputs[..],
        [Output::Send(to, ServerMessage::Pong(number))] if *to == ann && number.get() == "7"));
}

#[test]
fn who_has_no_seat_is_not_heard() {
    let mut house = House::wall();
    house.join(camera("front"));
    house.say(ConnId(99), "chat", "!front");
    assert_eq!(house.dropped(), [DropReason::NotAMember]);
    house.handle(Input::Heard(ConnId(99)));
    house.handle(Input::Closed(ConnId(99)));
    house.handle(Input::Leave(ConnId(99)));
    assert_eq!((house.outputs.len(), house.rooms.len()), (0, 1));
}

#[test]
fn a_connection_sits_in_one_place() {
    let mut house = House::wall();
    let ann = house.join(viewer("ann"));
    house.handle(Input::Join(ann, viewer("bob")));
    assert_eq!(house.dropped(), [DropReason::AlreadyAMember]);
    assert_eq!(house.rooms.len(), 1);
}

// Refusals

#[test]
fn refusals_say_why_and_close() {
    let mut house = House::wall();
    house.rooms.limits.members_per_room = 1;
    house.join(viewer("ann"));
    let long = "x".repeat(5000);
    let cases = [
        (None, ErrorCode::RoomNotSet),
        (Some(""), ErrorCode::RoomNotSet),
        (Some("attic"), ErrorCode::RoomNotFound),
        (Some("../etc"), ErrorCode::RoomNotFound),
        (Some(&long), ErrorCode::RoomNotFound),
        (Some("home"), ErrorCode::RoomFull),
    ];
    for (room, code) in cases {
        let bob = house.join(Join { room: room.map(str::to_owned), ..viewer("bob") });
        let [Output::Send(to, ServerMessage::Error(sent, Some(why))), Output::Close(closed, reason)] =
            &house.outputs[..]
        else {
            panic!("{:?}", house.outputs)
        };
        assert_eq!((*to, *closed, *sent, *reason), (bob, bob, code, CloseReason::Refused(code)));
        assert!(why.len() < 200, "{why}");
        house.handle(Input::Closed(bob));
        assert!(house.outputs.is_empty());
    }
    assert_eq!(house.rooms.len(), 1);
}

#[test]
fn a_full_room_still_takes_its_members_back_and_its_cameras_in() {
    let mut house = House::wall();
    house.rooms.limits.members_per_room = 1;
    let ann = house.join(viewer("ann"));
    let key = house.key(ann);
    house.handle(Input::Closed(ann));
    house.join(viewer("bob"));
    assert!(house.refused());
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.id(ann), "ann");
    let front = house.join(camera("front"));
    assert_eq!(house.id(front), "!front");
}

#[test]
fn rooms_are_limited_and_have_names_of_their_own() {
    let mut rooms = Rooms::new(Limits { rooms: 1, ..Limits::default() });
    rooms.add_room(name("home"), RoomMode::Wall).unwrap();
    assert_eq!(rooms.add_room(name("home"), RoomMode::Mesh), Err(RoomError::Exists(name("home"))));
    assert_eq!(rooms.add_room(name("attic"), RoomMode::Mesh), Err(RoomError::TooMany(1)));
}

#[test]
fn a_room_that_is_removed_closes_everyone_and_leaves_nothing_behind() {
    let mut house = House::mesh();
    house.rooms.add_room(name("garage"), RoomMode::Wall).unwrap();
    let [front, ann, bob] =
        [house.join(camera("front")), house.join(viewer("ann")), house.join(stock("bob"))];
    let elsewhere = house.join(Join { room: Some("garage".into()), ..viewer("cid") });
    // Her seat is kept.
    house.handle(Input::Closed(ann));
    house.outputs = house.rooms.remove_room(&name("home")).unwrap();
    assert_eq!(house.closed(), [(front, CloseReason::RoomGone), (bob, CloseReason::RoomGone)]);
    assert_eq!((house.rooms.len(), house.rooms.poll_timeout()), (1, None));
    // What they still say, and their going, means nothing.
    house.say(bob, "chat", "!front");
    assert_eq!(house.dropped(), [DropReason::NotAMember]);
    house.handle(Input::Closed(bob));
    assert!(house.outputs.is_empty());
    assert!(house.rooms.remove_room(&name("home")).is_none());
    // Another room of the name is another room: her key opens nothing there.
    house.rooms.add_room(name("home"), RoomMode::Mesh).unwrap();
    let again = house.join(with_key("ann", "key-2"));
    assert!(house.sees(again).is_empty() && house.last[&again].key.as_deref() != Some("key-2"));
    assert_eq!(house.told(), [again], "and nobody of {elsewhere:?}");
}

// Ids and seats

#[test]
fn a_free_valid_id_is_granted_and_any_other_wish_gets_a_fresh_one() {
    let mut house = House::wall();
    let ann = house.join(viewer("ann"));
    assert_eq!(house.id(ann), "ann");
    for wish in [None, Some(""), Some("a b"), Some("!front"), Some("!"), Some("ann")] {
        let other = house.join(Join { id: wish.map(str::to_owned), ..viewer("") });
        assert!(house.id(other).starts_with("fresh-"), "{wish:?}");
    }
    let front = house.join(camera("front"));
    assert_eq!(house.id(front), "!front");
}

#[test]
fn a_fresh_id_that_is_not_fresh_takes_nobodys_seat() {
    let mut house = House::wall();
    let ann = house.join(viewer("ann"));
    house.join(Join { id: None, fresh_id: id("ann"), ..viewer("") });
    assert!(house.refused());
    house.handle(Input::Heard(ann));
    assert_eq!(house.rooms.len(), 1);
}

#[test]
fn the_key_is_told_once_and_only_to_session_clients() {
    let mut house = House::wall();
    let [ann, bob] = [house.join(viewer("ann")), house.join(stock("bob"))];
    assert!(house.last[&ann].key.is_some() && house.last[&bob].key.is_none());
    house.join(camera("front"));
    assert_eq!(house.told().len(), 3);
    assert!(house.last[&ann].key.is_none());
}

#[test]
fn keys_show_in_no_debug_output() {
    let mut house = House::wall();
    let join = Join { key: Some("secret-1".into()), fresh_key: "secret-2".into(), ..viewer("ann") };
    assert!(!format!("{join:?}").contains("secret"));
    house.join(join);
    assert!(!format!("{:?}", house.rooms).contains("secret"));
}

#[test]
fn a_seat_is_kept_and_taken_again_with_its_key() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let (key, session) = (house.key(ann), house.session(ann, "!front"));
    house.handle(Input::Closed(ann));
    assert!(house.outputs.is_empty());
    house.say(front, "description", "ann");
    house.say(front, "candidate", "ann");
    assert!(house.outputs.is_empty());
    house.wait(9.0);
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.told(), [ann]);
    assert!(matches!(house.outputs[0], Output::Send(_, ServerMessage::Info(_))));
    let from_front = |kind: &str| (ann, kind.to_owned(), "!front".to_owned());
    assert_eq!(house.relayed(), [from_front("description"), from_front("candidate")]);
    assert_eq!((house.id(ann), house.session(ann, "!front")), ("ann".into(), session));
    assert!(house.last[&ann].key.is_none());
    // The key still opens it the next time.
    house.handle(Input::Closed(ann));
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.session(ann, "!front"), session);
    assert_eq!(house.rooms.poll_timeout(), None);
}

#[test]
fn a_kept_seat_expires() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let (key, session) = (house.key(ann), house.session(ann, "!front"));
    house.handle(Input::Closed(ann));
    assert_eq!(house.rooms.poll_timeout(), Some(house.now + Duration::from_secs(10)));
    house.wait(9.9);
    assert!(house.outputs.is_empty());
    house.wait(0.1);
    assert_eq!(house.told(), [front]);
    assert_eq!(house.sees(front), [""; 0]);
    assert_eq!(house.rooms.poll_timeout(), None);
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.id(ann), "ann");
    assert_ne!(house.session(ann, "!front"), session);
    assert_ne!(house.key(ann), key);
}

#[test]
fn seats_that_expire_together_are_told_of_together() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    for viewer in [house.join(viewer("ann")), house.join(viewer("bob"))] {
        house.handle(Input::Closed(viewer));
    }
    house.wait(10.0);
    assert_eq!(house.told(), [front]);
}

#[test]
fn a_kept_seat_opens_to_its_key_only() {
    let mut house = House::wall();
    house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let key = house.key(ann);
    house.handle(Input::Closed(ann));
    house.wait(9.0);
    for thief in [viewer("ann"), stock("ann"), with_key("ann", "wrong"), with_key("ann", "")] {
        let thief = house.join(thief);
        assert!(house.id(thief).starts_with("fresh-"));
    }
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.id(ann), "ann");
}

#[test]
fn more_than_a_seat_keeps_renews_its_sessions() {
    let mut house = House::wall();
    house.rooms.limits.seat_queue = 2;
    let [front, back] = [house.join(camera("front")), house.join(camera("back"))];
    let ann = house.join(viewer("ann"));
    let (key, session) = (house.key(ann), house.session(ann, "!back"));
    house.handle(Input::Closed(ann));
    for _ in 0..2 {
        house.say(front, "candidate", "ann");
        assert_eq!(house.dropped(), []);
    }
    for _ in 0..2 {
        house.say(front, "candidate", "ann");
        assert_eq!(house.dropped(), [DropReason::SeatQueueFull]);
    }
    let ann = house.join(with_key("ann", &key));
    assert_eq!(house.told(), [front, back, ann]);
    assert_eq!(house.relayed(), []);
    assert_ne!(house.session(ann, "!back"), session);
    assert_eq!(house.session(ann, "!back"), house.session(back, "ann"));
}

#[test]
fn a_seat_keeps_so_many_bytes() {
    let mut house = House::wall();
    house.rooms.limits.seat_bytes = 20;
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    house.handle(Input::Closed(ann));
    house.say(front, "candidate", "ann");
    assert_eq!(house.dropped(), []);
    house.say(front, "candidate", "ann");
    assert_eq!(house.dropped(), [DropReason::SeatQueueFull]);
}

#[test]
fn what_was_said_over_a_renewed_connection_is_not_replayed() {
    let mut house = House::wall();
    let [front, back] = [house.join(camera("front")), house.join(camera("back"))];
    let ann = house.join(viewer("ann"));
    let (key, session) = (house.key(ann), house.session(ann, "!front"));
    house.handle(Input::Closed(ann));
    house.say(front, "old", "ann");
    house.say(back, "kept", "ann");
    house.renew(front, "ann", session);
    assert_eq!(house.told(), [front]);
    house.say(front, "new", "ann");
    let ann = house.join(with_key("ann", &key));
    let relay = |kind: &str, from: &str| (ann, kind.to_owned(), from.to_owned());
    assert_eq!(house.relayed(), [relay("kept", "!back"), relay("new", "!front")]);
    assert_eq!(house.dropped(), [DropReason::OutdatedMessage]);
    assert_eq!(house.session(ann, "!front"), house.session(front, "ann"));
}

#[test]
fn a_newer_socket_takes_over_and_the_older_ones_close_harms_nothing() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let old = house.join(viewer("ann"));
    let (key, session) = (house.key(old), house.session(old, "!front"));
    let new = house.join(with_key("ann", &key));
    assert_eq!(house.closed(), [(old, CloseReason::Replaced)]);
    assert_eq!(house.told(), [new]);
    assert_eq!(house.session(new, "!front"), session);
    house.say(old, "chat", "!front");
    assert_eq!(house.dropped(), [DropReason::NotAMember]);
    for late in [Input::Closed(old), Input::Leave(old)] {
        house.handle(late);
        assert!(house.outputs.is_empty());
    }
    house.say(front, "chat", "ann");
    assert_eq!(house.relayed(), [(new, "chat".into(), "!front".into())]);
}

#[test]
fn an_id_in_use_is_not_given_away() {
    let mut house = House::wall();
    let ann = house.join(stock("ann"));
    house.wait(5.9);
    let thief = house.join(stock("ann"));
    assert!(house.id(thief).starts_with("fresh-"));
    house.handle(Input::Heard(ann));
    house.wait(5.9);
    let thief = house.join(stock("ann"));
    assert!(house.id(thief).starts_with("fresh-"));
    house.say(ann, "chat", "x");
    house.wait(5.9);
    let thief = house.join(viewer("ann"));
    assert!(house.id(thief).starts_with("fresh-"));
    assert_eq!(house.closed(), []);
}

#[test]
fn a_silent_holder_yields_to_its_own_address_only() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let old = house.join(stock("ann"));
    let session = house.session(front, "ann");
    house.wait(6.0);
    for elsewhere in [None, Some("192.168.1.8".parse().unwrap())] {
        let thief = house.join(Join { address: elsewhere, ..stock("ann") });
        assert!(house.id(thief).starts_with("fresh-"));
    }
    let new = house.join(stock("ann"));
    assert_eq!(house.closed(), [(old, CloseReason::Replaced)]);
    assert_eq!(house.told(), [front, new]);
    assert_eq!(house.id(new), "ann");
    assert_ne!(house.session(front, "ann"), session);
    house.handle(Input::Closed(old));
    assert!(house.outputs.is_empty());
    assert_eq!(house.session(front, "ann"), house.session(new, "!front"));
}

#[test]
fn a_silent_members_seat_taken_without_its_key_has_a_new_one() {
    let mut house = House::wall();
    let old = house.join(viewer("ann"));
    let key = house.key(old);
    house.wait(6.0);
    let new = house.join(viewer("ann"));
    assert_eq!(house.id(new), "ann");
    assert_ne!(house.key(new), key);
    let late = house.join(with_key("ann", &key));
    assert!(house.id(late).starts_with("fresh-"));
}

#[test]
fn members_without_an_address_yield_to_nobody() {
    let mut house = House::wall();
    house.join(Join { address: None, ..stock("ann") });
    house.wait(60.0);
    let other = house.join(Join { address: None, ..stock("ann") });
    assert!(house.id(other).starts_with("fresh-"));
}

#[test]
fn a_camera_always_gets_its_own_id() {
    let mut house = House::wall();
    let old = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let session = house.session(ann, "!front");
    let new = house.join(camera("front"));
    assert_eq!(house.closed(), [(old, CloseReason::Replaced)]);
    assert_eq!(house.id(new), "!front");
    assert_eq!(house.told(), [ann, new]);
    assert_ne!(house.session(ann, "!front"), session);
    house.handle(Input::Closed(new));
    let newest = house.join(camera("front"));
    assert_eq!(house.id(newest), "!front");
    assert_eq!(house.rooms.poll_timeout(), None);
}

#[test]
fn a_camera_of_another_box_has_a_dot_in_its_id_and_yields_it_to_its_key_only() {
    let mut house = House::wall();
    for bad in [None, Some("!front"), Some("barn.door"), Some("ann"), Some("!barn.front.door")] {
        house.join(Join { id: bad.map(Into::into), ..remote("!barn.door") });
        assert!(
            matches!(house.closed()[..], [(_, CloseReason::Refused(ErrorCode::Unauthorized))]),
            "{bad:?}"
        );
    }
    let ann = house.join(viewer("ann"));
    let door = house.join(remote("!barn.door"));
    assert_eq!((house.sees(ann), house.sees(door)), (vec!["!barn.door"], vec!["ann"]));
    let (key, session) = (house.key(door), house.session(ann, "!barn.door"));
    house.wait(60.0);
    house.join(remote("!barn.door"));
    assert!(matches!(house.closed()[..], [(_, CloseReason::Refused(ErrorCode::IdTaken))]));
    house.handle(Input::Closed(door));
    house.join(remote("!barn.door"));
    assert!(matches!(house.closed()[..], [(_, CloseReason::Refused(ErrorCode::IdTaken))]));
    let back = house.join(Join { key: Some(key), ..remote("!barn.door") });
    assert_eq!(house.session(ann, "!barn.door"), session, "nothing is rebuilt");
    house.handle(Input::Leave(back));
    assert_eq!(house.sees(ann), [""; 0]);
    let newest = house.join(remote("!barn.door"));
    assert_eq!(house.id(newest), "!barn.door");
}

#[test]
fn a_camera_of_another_box_says_how_it_is_and_no_other_member_can() {
    let mut house = House::wall();
    let [own, door, ann] =
        [house.join(camera("front")), house.join(remote("!barn.door")), house.join(viewer("ann"))];
    let status = |text: &str| ClientMessage::Status(serde_json::value::to_raw_value(text).unwrap());
    for (conn, text, taken) in
        [(own, "x", false), (ann, "x", false), (door, "live", true), (door, &*"x".repeat(4096), false)]
    {
        let outputs = house.rooms.handle(house.now, Input::Message(conn, status(text)));
        assert_eq!(outputs.is_empty(), taken, "{outputs:?}");
    }
    house.handle(Input::Closed(door));
    let view = house.rooms.view();
    let member = &view[0].members[0];
    assert_eq!((member.name.as_str(), member.remote, member.away), ("!barn.door", true, true));
    assert_eq!(member.status.as_ref().map(Status::get), Some("\"live\""));
}

#[test]
fn cameras_of_other_boxes_are_limited() {
    let mut house = House::wall();
    let limits = Limits { remote_cameras: 2, ..Limits::default() };
    house.rooms = Rooms::new(limits);
    house.rooms.add_room(name("home"), RoomMode::Wall).unwrap();
    for camera in ["!barn.a", "!barn.b", "!barn.c"] {
        house.join(remote(camera));
    }
    assert!(matches!(house.closed()[..], [(_, CloseReason::Refused(ErrorCode::RoomFull))]));
    let own = house.join(camera("front"));
    assert_eq!(house.id(own), "!front");
}

#[test]
fn leaving_keeps_no_seat_and_a_stock_client_leaves_by_closing() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    for (join, input) in [(viewer("ann"), Input::Leave as fn(_) -> _), (stock("bob"), Input::Closed)] {
        let member = house.join(join);
        house.handle(input(member));
        assert_eq!(house.told(), [front]);
        assert_eq!(house.rooms.len(), 1);
    }
}

#[test]
fn a_new_title_is_told_to_those_who_see_it() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let key = house.key(ann);
    let ann = house.join(Join { title: Some("Ann".into()), ..with_key("ann", &key) });
    assert_eq!(house.told(), [front, ann]);
    assert_eq!(house.entry(front, "ann").title.as_deref(), Some("Ann"));
}

#[test]
fn who_comes_back_as_a_stock_client_rebuilds_and_has_no_key() {
    let mut house = House::wall();
    let front = house.join(camera("front"));
    let ann = house.join(viewer("ann"));
    let (key, session) = (house.key(ann), house.session(ann, "!front"));
    let ann = house.join(Join { sessions: false, ..with_key("ann", &key) });
    assert_eq!(house.told(), [front, ann]);
    assert_ne!(house.session(front, "ann"), session);
    house.handle(Input::Closed(ann));
    assert_eq!(house.sees(front), [""; 0]);
}

#[test]
fn numbers_start_where_they_are_told_to() {
    let mut house = House::wall();
    house.rooms = Rooms::new(Limits::default()).numbered_from(Session(u64::MAX));
    house.rooms.add_room(name("home"), RoomMode::Wall).unwrap();
    let front = house.join(camera("front"));
    house.join(viewer("ann"));
    assert_eq!(house.session(front, "ann"), Session(u64::MAX));
    house.join(viewer("bob"));
}

#[test]
fn a_join_to_a_crowded_wall_costs_what_changed() {
    let mut house = House::wall();
    house.join(camera("front"));
    for n in 0..998 {
        house.join(viewer(&format!("viewer-{n}")));
        assert_eq!(house.outputs.len(), 2);
    }
    let entries = |output: &Output| match output {
        Output::Send(_, ServerMessage::Info(info)) => info.members.len(),
        _ => 0,
    };
    house.join(viewer("last"));
    assert_eq!(house.outputs.iter().map(entries).sum::<usize>(), 999 + 1);
}

/// Rooms with a clock, and what everyone was told last.
struct House {
    rooms: Rooms,
    now: Instant,
    conns: u64,
    /// The last `info` of each connection.
    last: BTreeMap<ConnId, Info>,
    /// What the last input gave.
    outputs: Vec<Output>,
}

impl House {
    fn wall() -> Self {
        Self::new(RoomMode::Wall)
    }

    fn mesh() -> Self {
        Self::new(RoomMode::Mesh)
    }

    fn new(mode: RoomMode) -> Self {
        let mut rooms = Rooms::new(Limits::default());
        rooms.add_room(name("home"), mode).unwrap();
        Self { rooms, now: Instant::now(), conns: 0, last: BTreeMap::new(), outputs: Vec::new() }
    }

    fn handle(&mut self, input: Input) {
        self.outputs = self.rooms.handle(self.now, input);
        let mut told = Vec::new();
        for output in &self.outputs {
            if let Output::Send(conn, ServerMessage::Info(info)) = output {
                assert!(!told.contains(conn), "two infos at once");
                told.push(*conn);
                self.last.insert(*conn, info.clone());
            }
        }
    }

    /// Joins with an id and a key of its own in reserve.
    fn join(&mut self, mut join: Join) -> ConnId {
        self.conns += 1;
        let conn = ConnId(self.conns);
        if join.fresh_id.as_str() == "fresh" {
            join.fresh_id = id(&format!("fresh-{}", self.conns));
        }
        join.fresh_key = format!("key-{}", self.conns);
        self.handle(Input::Join(conn, join));
        conn
    }

    fn message(&mut self, from: ConnId, message: ClientMessage) {
        self.handle(Input::Message(from, message));
    }

    fn say(&mut self, from: ConnId, kind: &str, target: &str) {
        let target = Some(id(target));
        self.message(from, ClientMessage::Relay { kind: kind.to_owned(), payload: null().into(), target });
    }

    fn renew(&mut self, from: ConnId, target: &str, session: Session) {
        self.message(from, ClientMessage::Renew { target: id(target), session });
    }

    fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.handle(Input::Tick);
    }

    fn id(&self, conn: ConnId) -> String {
        self.last[&conn].id.to_string()
    }

    fn key(&self, conn: ConnId) -> String {
        self.last[&conn].key.clone().unwrap()
    }

    fn sees(&self, conn: ConnId) -> Vec<&str> {
        self.last[&conn].members.iter().map(|member| member.id.as_str()).collect()
    }

    fn entry(&self, conn: ConnId, peer: &str) -> &Member {
        self.last[&conn].members.iter().find(|member| member.id.as_str() == peer).unwrap()
    }

    fn session(&self, conn: ConnId, peer: &str) -> Session {
        self.entry(conn, peer).session.unwrap()
    }

    /// Who got an `info` by the last input, in the order of joining.
    fn told(&self) -> Vec<ConnId> {
        let told = |output: &Output| match output {
            Output::Send(conn, ServerMessage::Info(_)) => Some(*conn),
            _ => None,
        };
        let mut told: Vec<ConnId> = self.outputs.iter().filter_map(told).collect();
        told.sort();
        told
    }

    fn relayed(&self) -> Vec<(ConnId, String, String)> {
        let relayed = |output: &Output| match output {
            Output::Send(conn, ServerMessage::Relay { kind, from, .. }) => {
                Some((*conn, kind.clone(), from.to_string()))
            }
            _ => None,
        };
        self.outputs.iter().filter_map(relayed).collect()
    }

    fn dropped(&self) -> Vec<DropReason> {
        let dropped = |output: &Output| match output {
            Output::Dropped(reason) => Some(*reason),
            _ => None,
        };
        self.outputs.iter().filter_map(dropped).collect()
    }

    fn closed(&self) -> Vec<(ConnId, CloseReason)> {
        let closed = |output: &Output| match output {
            Output::Close(conn, reason) => Some((*conn, *reason)),
            _ => None,
        };
        self.outputs.iter().filter_map(closed).collect()
    }

    fn refused(&self) -> bool {
        self.closed().iter().any(|(_, reason)| matches!(reason, CloseReason::Refused(_)))
    }
}

fn viewer(id: &str) -> Join {
    Join { sessions: true, ..stock(id) }
}

fn with_key(id: &str, key: &str) -> Join {
    Join { key: Some(key.to_owned()), ..viewer(id) }
}

fn stock(asked: &str) -> Join {
    Join {
        room: Some("home".to_owned()),
        id: Some(asked.to_owned()),
        key: None,
        sessions: false,
        kind: Kind::Peer,
        title: None,
        address: Some(ADDRESS),
        fresh_id: id("fresh"),
        fresh_key: String::new(),
    }
}

fn camera(camera: &str) -> Join {
    Join { kind: Kind::Camera, address: None, ..viewer(&format!("!{camera}")) }
}

/// A camera of another box.
fn remote(id: &str) -> Join {
    Join { kind: Kind::Camera, ..viewer(id) }
}

fn id(text: &str) -> MemberId {
    MemberId::new(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}
