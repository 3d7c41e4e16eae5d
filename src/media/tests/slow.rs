//! A camera in the network that takes its time.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Secret;

/// Two answers to tell what it sends, and four to send it: with the wait for a picture more than a device may take.
const EACH_ANSWER: Duration = Duration::from_millis(2300);

const DESCRIPTION: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
                           a=rtpmap:96 H264/90000\r\na=control:stream=0\r\n";

/// Answers what it is asked, late, and never sends a picture.
fn serve(connection: TcpStream) -> std::io::Result<()> {
    let mut answers = connection.try_clone()?;
    let mut requests = BufReader::new(connection);
    loop {
        let (mut method, mut number, mut line) = (String::new(), String::new(), String::new());
        while requests.read_line(&mut line)? > 0 && !line.trim().is_empty() {
            if method.is_empty() {
                method = line.split(' ').next().unwrap_or_default().to_owned();
            } else if let Some(rest) = line.strip_prefix("CSeq:") {
                number = rest.trim().to_owned();
            }
            line.clear();
        }
        if method.is_empty() {
            return Ok(());
        }
        let (more, body) = match method.as_str() {
            "OPTIONS" => ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""),
            "DESCRIBE" => ("Content-Type: application/sdp\r\n", DESCRIPTION),
            "SETUP" => ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", ""),
            _ => ("Session: 1\r\n", ""),
        };
        std::thread::sleep(EACH_ANSWER);
        let length = body.len();
        write!(answers, "RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}Content-Length: {length}\r\n\r\n{body}")?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_in_the_network_that_is_slow_is_not_said_to_hang() {
    let timeline = Timeline::start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://{}/live", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || serve(connection));
        }
    });
    let (_stop, stopping) = watch::channel(false);
    let cameras = Cameras::new();
    let encoders = Arc::new(Encoders::new(Arc::new(Templates::load(&[]).unwrap()), Prover::Nobody, None));
    let settings = plain().found_camera(Name::new("slow-net").unwrap(), Source::Rtsp(Secret::new(url)));
    let (camera, _) = Camera::start(settings, encoders, timeline, cameras.clone(), stopping);
    let _attendance = camera.attend();
    let until = Instant::now() + LIMIT;
    let status = loop {
        let status = cameras.list().remove(0);
        if status.state == State::Backoff {
            break status;
        }
        assert!(Instant::now() < until, "waited in vain: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let reason = status.reason.unwrap_or_default();
    assert!(reason.contains("no picture came within 16 s; next: restart the camera"), "{reason}");
    assert_eq!((status.restarts.of(Kind::Network), status.restarts.total()), (1, 1));
}
