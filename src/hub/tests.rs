//! The hub with several members, on a paused clock.

use std::time::Duration;

use tokio::time::{advance, sleep, timeout};

use super::queues::DELIVERY_BYTES;
use super::*;
use crate::proto::ids::{Name, RoomMode};
use crate::proto::message::{ErrorCode, Info};
use crate::proto::room::Limits;

#[tokio::test(start_paused = true)]
async fn members_meet_and_talk() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    assert_eq!(info(&mut camera).await.members.len(), 0);
    assert_eq!(info(&mut ann).await.members[0].id.as_str(), "!front");
    assert_eq!(info(&mut camera).await.members[0].id.as_str(), "ann");
    assert!(ann.send(chat("hello", "!front")).await);
    let Some(Delivery::Message(ServerMessage::Relay { payload, from, .. })) = camera.recv().await else {
        panic!()
    };
    assert_eq!((payload.get(), from.as_str()), (r#""hello""#, "ann"));
    assert!(ann.send(chat("hello", "nobody")).await);
    hub.rooms().await.unwrap();
    let counters = hub.counters();
    let counted = [
        &counters.joins,
        &counters.messages,
        &counters.relayed,
        &counters.infos,
        &counters.dropped_no_target,
    ];
    assert_eq!(counted.map(|counter| counter.load(Ordering::Relaxed)), [2, 2, 1, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_view_shows_who_is_where() {
    let hub = hub();
    let ann = hub.join(viewer("ann")).await.unwrap();
    let rooms = hub.rooms().await.unwrap();
    assert_eq!((rooms.len(), rooms[0].name.as_str(), rooms[0].members.len()), (1, "home", 1));
    ann.leave().await;
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_and_the_last_delivery() {
    let hub = hub();
    let mut lost = hub.join(JoinRequest { room: Some("attic".into()), ..viewer("ann") }).await.unwrap();
    let Some(Delivery::Message(ServerMessage::Error(ErrorCode::RoomNotFound, Some(_)))) = lost.recv().await
    else {
        panic!()
    };
    let refused = CloseReason::Refused(ErrorCode::RoomNotFound);
    assert!(matches!(lost.recv().await, Some(Delivery::Close(reason)) if reason == refused));
    assert!(lost.recv().await.is_none());
    assert_eq!(hub.counters().refused.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_closed_and_costs_the_others_nothing() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    let mut deaf = hub.join(viewer("deaf")).await.unwrap();
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    for n in 0..DELIVERIES + 10 {
        assert!(camera.send(chat(&n.to_string(), "deaf")).await);
        assert!(camera.send(chat(&n.to_string(), "ann")).await);
        while !matches!(ann.recv().await.unwrap(), Delivery::Message(ServerMessage::Relay { .. })) {}
    }
    assert_eq!(hub.counters().slow_closed.load(Ordering::Relaxed), 1);
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 2);
    let deliveries = drain(&mut deaf).await;
    assert_eq!(deliveries.len(), DELIVERIES + 1);
    assert!(matches!(deliveries.last(), Some(Delivery::Close(CloseReason::TooSlow))));
    // The camera hears of it: with both, without the deaf one.
    let sizes: Vec<usize> = drain(&mut camera)
        .await
        .into_iter()
        .filter_map(|delivery| match delivery {
            Delivery::Message(ServerMessage::Info(info)) => Some(info.members.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [0, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn unread_bytes_are_limited_and_reading_makes_room() {
    let hub = hub();
    let camera = hub.join(camera()).await.unwrap();
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    let big = "x".repeat(DELIVERY_BYTES / 8);
    for _ in 0..20 {
        camera.send(chat(&big, "ann")).await;
        while !matches!(ann.recv().await.unwrap(), Delivery::Message(ServerMessage::Relay { .. })) {}
    }
    for _ in 0..8 {
        camera.send(chat(&big, "ann")).await;
    }
    assert!(matches!(drain(&mut ann).await.last(), Some(Delivery::Close(CloseReason::TooSlow))));
}

#[tokio::test(start_paused = true)]
async fn dropping_both_halves_is_closing() {
    let hub = hub();
    let stock = JoinRequest { sessions: false, ..viewer("bob") };
    let (sender, receiver) = hub.join(stock).await.unwrap().split();
    drop(sender);
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 1);
    drop(receiver);
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn words_come_before_the_closing_that_follows_them() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    let ann = hub.join(JoinRequest { sessions: false, ..viewer("ann") }).await.unwrap();
    for _ in 0..100 {
        ann.send(chat("bye", "!front")).await;
    }
    drop(ann);
    hub.rooms().await.unwrap();
    let mut relayed = 0;
    loop {
        match camera.recv().await.unwrap() {
            Delivery::Message(ServerMessage::Relay { .. }) => relayed += 1,
            Delivery::Message(ServerMessage::Info(info)) if relayed > 0 => {
                break assert!(info.members.is_empty());
            }
            _ => {}
        }
    }
    assert_eq!(relayed, 100);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_taken_again_with_its_key() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    info(&mut camera).await;
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    let first = info(&mut ann).await;
    info(&mut camera).await;
    drop(ann);
    advance(Duration::from_secs(9)).await;
    camera.send(chat("missed", "ann")).await;
    let mut ann = hub.join(JoinRequest { key: first.key.clone(), ..viewer("ann") }).await.unwrap();
    let again = info(&mut ann).await;
    assert_eq!((&again.id, &again.members, &again.key), (&first.id, &first.members, &None));
    assert!(matches!(ann.recv().await, Some(Delivery::Message(ServerMessage::Relay { .. }))));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 2);
    assert!(drain(&mut camera).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_kept_seat_is_given_up_in_time() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    let ann = hub.join(viewer("ann")).await.unwrap();
    info(&mut camera).await;
    info(&mut camera).await;
    drop(ann);
    let started = Instant::now();
    assert!(info(&mut camera).await.members.is_empty());
    assert!(started.elapsed() >= Duration::from_secs(10) && started.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_newer_connection_replaces_the_older() {
    let hub = hub();
    let mut old = hub.join(viewer("ann")).await.unwrap();
    let key = info(&mut old).await.key;
    let mut new = hub.join(JoinRequest { key, ..viewer("ann") }).await.unwrap();
    assert!(matches!(old.recv().await, Some(Delivery::Close(CloseReason::Replaced))));
    drop(old);
    assert_eq!(info(&mut new).await.id.as_str(), "ann");
    assert_eq!(hub.rooms().await.unwrap()[0].members.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_is_measured_by_messages_and_signs_of_life() {
    let hub = hub();
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    info(&mut ann).await;
    advance(Duration::from_secs(5)).await;
    ann.heard().await;
    hub.rooms().await.unwrap();
    advance(Duration::from_secs(5)).await;
    let mut other = hub.join(viewer("ann")).await.unwrap();
    assert_ne!(info(&mut other).await.id.as_str(), "ann");
    advance(Duration::from_secs(5)).await;
    let mut other = hub.join(viewer("ann")).await.unwrap();
    assert_eq!(info(&mut other).await.id.as_str(), "ann");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_last_handle() {
    let (hub, task) = Hub::spawn(rooms());
    let ann = hub.join(viewer("ann")).await.unwrap();
    drop(hub);
    drop(ann);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_everyone_is_told_and_handles_say_so() {
    let (hub, task) = Hub::spawn(rooms());
    let mut ann = hub.join(viewer("ann")).await.unwrap();
    info(&mut ann).await;
    hub.shutdown().await;
    task.await.unwrap();
    assert!(matches!(ann.recv().await, Some(Delivery::Close(CloseReason::Shutdown))));
    assert!(ann.recv().await.is_none());
    assert!(!ann.send(chat("anyone?", "!front")).await);
    assert!(hub.join(viewer("bob")).await.is_none());
    assert!(hub.rooms().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_speakers_waits_for_the_hub_and_is_heard() {
    let hub = hub();
    let mut camera = hub.join(camera()).await.unwrap();
    let speakers: Vec<_> = (0..50)
        .map(|n| {
            let hub = hub.clone();
            tokio::spawn(async move {
                let speaker = hub.join(viewer(&format!("speaker-{n}"))).await.unwrap();
                for _ in 0..50 {
                    speaker.send(chat("hello", "!front")).await;
                }
            })
        })
        .collect();
    let mut relayed = 0;
    while relayed < 50 * 50 {
        match camera.recv().await.unwrap() {
            Delivery::Message(ServerMessage::Relay { .. }) => relayed += 1,
            Delivery::Message(_) => {}
            Delivery::Close(reason) => panic!("{reason:?}"),
        }
    }
    for speaker in speakers {
        speaker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_differ_from_one_start_to_the_next() {
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let hub = hub();
        let _camera = hub.join(camera()).await.unwrap();
        let mut ann = hub.join(viewer("ann")).await.unwrap();
        numbers.push(info(&mut ann).await.members[0].session.unwrap().0);
    }
    assert_ne!(numbers[0], numbers[1]);
    assert!(numbers.iter().all(|number| *number < 1 << 53));
}

#[test]
fn keys_show_in_no_debug_output() {
    let request = JoinRequest { key: Some("secret".into()), ..viewer("ann") };
    assert!(!format!("{request:?}").contains("secret"));
}

fn hub() -> Hub {
    Hub::spawn(rooms()).0
}

fn rooms() -> Rooms {
    let mut rooms = Rooms::new(Limits::default());
    rooms.add_room(Name::new("home").unwrap(), RoomMode::Wall).unwrap();
    rooms
}

fn viewer(id: &str) -> JoinRequest {
    JoinRequest {
        room: Some("home".to_owned()),
        id: Some(id.to_owned()),
        key: None,
        sessions: true,
        kind: Kind::Peer,
        title: None,
        address: Some(IpAddr::from([192, 168, 1, 7])),
    }
}

fn camera() -> JoinRequest {
    JoinRequest { kind: Kind::Camera, address: None, ..viewer("!front") }
}

fn chat(text: &str, target: &str) -> ClientMessage {
    ClientMessage::relay("chat", &text, &MemberId::new(target).unwrap())
}

async fn info(member: &mut Membership) -> Info {
    match member.recv().await {
        Some(Delivery::Message(ServerMessage::Info(info))) => info,
        other => panic!("no info: {other:?}"),
    }
}

/// All deliveries until there are no more for now.
async fn drain(member: &mut Membership) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while let Ok(Some(delivery)) = timeout(Duration::from_millis(1), member.recv()).await {
        deliveries.push(delivery);
    }
    deliveries
}
