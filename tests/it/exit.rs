//! How `portald run` ends when it cannot start, which is what decides whether systemd tries again.

use std::fs;
use std::process::{Command, Output};

/// Runs the daemon with these tables until it ends by itself.
fn run(name: &str, tables: &str) -> Output {
    let file = std::env::temp_dir().join(format!("portald-exit-{name}-{}.toml", std::process::id()));
    fs::write(&file, format!("[server]\nlisten = \"127.0.0.1:0\"\n{tables}")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_portald")).args(["run", "--config"]).arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    output
}

#[test]
fn a_fault_that_only_people_can_mend_ends_with_78() {
    let ca = "[server.tls]\ncertificate = \"/nonexistent/cert.pem\"\nkey = \"/nonexistent/key.pem\"\n";
    let turn = "[ice]\nturn = [\"turn:192.0.2.1\"]\nturn_username = \"me\"\nturn_password_file = \"/nonexistent/turn\"\n";
    for (name, tables, told) in [
        ("key", "[sever]\n", "sever"),
        ("password", "[access]\nviewer_password_file = \"/nonexistent/password\"\n", "/nonexistent/password"),
        ("admin", "[access]\nadmin_token_file = \"/nonexistent/admin\"\n", "/nonexistent/admin"),
        ("room", "[room.attic]\ntoken_file = \"/nonexistent/attic\"\n", "/nonexistent/attic"),
        ("certificate", ca, "/nonexistent/"),
        ("turn", turn, "/nonexistent/turn"),
    ] {
        let output = run(name, tables);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{name}: {text}");
        assert!(text.contains(told) && text.contains("hint: "), "{name}: {text}");
    }
}

#[test]
fn a_port_that_another_program_has_ends_with_1_and_is_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = std::env::temp_dir().join(format!("portald-exit-port-{}.toml", std::process::id()));
    fs::write(&file, format!("[server]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_portald")).args(["run", "--config"]).arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
