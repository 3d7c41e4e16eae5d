//! The example runs, and does what it says.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;

use crate::site::wait;

#[tokio::test]
async fn the_rules_work_behind_plain_tcp_lines() {
    let mut process = Command::new(built("tcp_lines"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = wait("the address", lines.next_line()).await.unwrap().unwrap();
    let address = line.strip_prefix("listening on ").unwrap();

    let mut ann = Client::join(address, json!({ "room": "talk", "id": "ann" })).await;
    assert_eq!(ann.next().await["info"], json!({ "id": "ann", "members": [] }));
    let mut bob = Client::join(address, json!({ "room": "talk", "id": "bob", "sessions": true })).await;
    let info = bob.next().await;
    assert_eq!((&info["info"]["id"], &info["info"]["members"][0]["id"]), (&json!("bob"), &json!("ann")));
    assert_eq!(ann.next().await["info"]["members"][0]["id"], "bob");

    bob.say(&json!({ "type": "chat", "chat": { "text": "hello" }, "target": "ann" }).to_string()).await;
    assert_eq!(ann.next().await, json!({ "type": "chat", "chat": { "text": "hello" }, "from": "bob" }));
    ann.say("nonsense").await;
    assert_eq!(ann.next().await["error"]["code"], "bad_message");

    // A stock client leaves with its connection; one with a key is waited for.
    drop(ann);
    assert_eq!(bob.next().await["info"]["members"], json!([]));
    let key = &info["info"]["key"];
    drop(bob);
    let back = json!({ "room": "talk", "id": "bob", "key": key, "sessions": true });
    let mut bob = Client::join(address, back).await;
    assert_eq!(bob.next().await["info"], json!({ "id": "bob", "members": [] }), "the seat, and no new key");

    let mut lost = Client::join(address, json!({ "room": "cellar" })).await;
    assert_eq!(lost.next().await["error"]["code"], "room_not_found");
    assert_eq!(wait("the end", lost.lines.next_line()).await.unwrap(), None);
}

struct Client {
    lines: Lines<BufReader<OwnedReadHalf>>,
    half: OwnedWriteHalf,
}

impl Client {
    async fn join(address: &str, hello: Value) -> Self {
        let (read, half) = TcpStream::connect(address).await.unwrap().into_split();
        let mut client = Self { lines: BufReader::new(read).lines(), half };
        client.say(&hello.to_string()).await;
        client
    }

    async fn say(&mut self, line: &str) {
        self.half.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let line = wait("a line", self.lines.next_line()).await.unwrap().expect("not the end");
        serde_json::from_str(&line).unwrap()
    }
}

/// An example, in its directory next to that of the tests. `cargo test` has built it; `cargo test --test it` has not.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "--no-default-features", "--example", name]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        assert!(cargo.status().unwrap().success(), "{name} is built");
    }
    path
}
