//! This very box.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use super::live::{End, Live, Look, Looked, Node, Space, Word};
use crate::server;

/// How long GStreamer may take to start: on a slow card its first start lists the plug-ins for 20 s.
const STARTING: Duration = Duration::from_secs(45);
/// How long opening all cameras may take; each takes some ten milliseconds.
const OPENING: Duration = Duration::from_secs(20);
/// How long trying all encoders may take: the child begins no trial after 45 s (see `look`), and each has 15 s.
const TRYING: Duration = Duration::from_secs(90);
/// How long another program that is asked may take.
const ASKING: Duration = Duration::from_secs(5);
/// How long the daemon may take to answer. Asked of its cameras, it answers at once.
const ANSWERING: Duration = Duration::from_secs(5);
/// Most bytes of an answer, of the daemon or of a child's line.
const MAX_ANSWER: u64 = 256 * 1024;
/// Lines of a child that wait to be read.
const LINES: usize = 256;

/// Asks the kernel, the network and child processes.
#[derive(Debug)]
pub(crate) struct Here {
    program: PathBuf,
}

impl Here {
    /// With this program for the children.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Live for Here {
    fn node(&self, path: &Path) -> Option<Node> {
        let data = fs::metadata(path).ok()?;
        Some(Node { uid: data.uid(), gid: data.gid(), mode: data.mode() })
    }

    fn is_hidden(&self, path: &Path) -> bool {
        fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    fn may_use(&self, path: &Path) -> bool {
        access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
    }

    fn space(&self, path: &Path) -> Option<Space> {
        let found = statvfs(path).ok()?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        Some(Space { free, read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY) })
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn is_synchronized(&self) -> Option<bool> {
        // systemd-timesyncd's own mark; timedatectl knows of the others too, where there is a system bus.
        if Path::new("/run/systemd/timesync/synchronized").exists() {
            return Some(true);
        }
        let arguments = ["show", "--property=NTPSynchronized", "--value"];
        match output_of("timedatectl", &arguments)?.trim() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        }
    }

    fn addresses(&self) -> Vec<(String, IpAddr)> {
        let found = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
        found.filter(if_addrs::Interface::is_oper_up).map(|found| (found.name.clone(), found.ip())).collect()
    }

    fn listen(&self, address: SocketAddr) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(server::bind(&[address])) {
            Err(server::ServerError::Listen { source, .. }) => Err(source),
            _ => Ok(()),
        }
    }

    fn ask(&self, address: SocketAddr, path: &str) -> Result<(u16, String), String> {
        let words = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("nothing came for {} s", ANSWERING.as_secs())
            }
            _ => error.to_string(),
        };
        get(address, path).map_err(words)
    }

    fn look(&self, look: &Look) -> Looked {
        let limit = match look {
            Look::Gstreamer => STARTING,
            Look::Cameras(_) => OPENING,
            Look::Encoders => TRYING,
        };
        look_within(&self.program, look, limit)
    }
}

fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, ANSWERING)?;
    stream.set_write_timeout(Some(ANSWERING))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // The limit is for all of it, not for each part.
    while (answer.len() as u64) < MAX_ANSWER {
        let left = ANSWERING.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            count => answer.extend(part.iter().take(count)),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let code = code.ok_or_else(|| io::Error::other("what answers there speaks no HTTP"))?;
    Ok((code, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// What another program prints; none when it is not there, fails, or takes too long.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    let (lines, end) = run(command, None, ASKING);
    (end == End::Done).then(|| lines.join("\n"))
}

fn look_within(program: &Path, look: &Look, limit: Duration) -> Looked {
    let mut command = Command::new(program);
    command.arg("look").stdin(Stdio::piped());
    let (lines, end) = run(command, Some(serde_json::to_vec(look).unwrap_or_default()), limit);
    Looked { words: lines.iter().filter_map(|line| serde_json::from_str::<Word>(line).ok()).collect(), end }
}

/// Runs a child for at most `limit`, and keeps the lines that it wrote until then.
fn run(mut command: Command, input: Option<Vec<u8>>, limit: Duration) -> (Vec<String>, End) {
    let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => return (Vec::new(), End::Failed(error.to_string())),
    };
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // One that died before it read tells so by its end.
        let _ = stdin.write_all(&input);
    }
    let (tell, told) = mpsc::sync_channel(LINES);
    if let Some(stdout) = child.stdout.take() {
        // Ends with the pipe, or with us.
        thread::spawn(move || {
            for line in BufReader::new(stdout.take(MAX_ANSWER)).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let begun = Instant::now();
    let mut lines = Vec::new();
    loop {
        match told.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                give_up(&mut child);
                return (lines, End::Late(limit.as_secs()));
            }
        }
    }
    (lines, ended(&mut child, limit.saturating_sub(begun.elapsed()), limit))
}

/// The end of a child that has closed its output.
fn ended(child: &mut Child, left: Duration, limit: Duration) -> End {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return End::Done,
            Ok(Some(status)) => return End::Failed(status.to_string()),
            Ok(None) if begun.elapsed() < left => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                give_up(child);
                return End::Late(limit.as_secs());
            }
            Err(error) => return End::Failed(error.to_string()),
        }
    }
}

/// A driver that holds it in the kernel holds it still; then it is init's when we end.
fn give_up(child: &mut Child) {
    let _ = child.kill();
    let _ = child.try_wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (Vec<String>, End) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, None, limit)
    }

    #[test]
    fn a_child_is_read_line_by_line_and_given_up_when_it_hangs() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("echo a; echo b", long), (vec!["a".into(), "b".into()], End::Done));
        let (lines, end) = sh("echo a; exit 3", long);
        assert_eq!((lines.len(), end), (1, End::Failed("exit status: 3".into())));
        // Whatever the load: it never ends by itself, and what it said before is kept if it came to it.
        let (lines, end) = sh("echo a; exec sleep 600", Duration::from_secs(2));
        assert!(end == End::Late(2) && lines.len() <= 1, "{lines:?} {end:?}");
        let (_, end) = sh("exec >&-; exec sleep 600", Duration::from_secs(2));
        assert_eq!(end, End::Late(2));
        let missing = look_within(Path::new("/nonexistent/portald"), &Look::Encoders, long);
        assert!(matches!(&missing.end, End::Failed(why) if why.contains("No such file")), "{missing:?}");
    }

    #[test]
    fn whoever_speaks_no_http_or_nothing_is_told_of() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let other = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 mail\r\n").unwrap();
        });
        let here = Here::new(PathBuf::new());
        assert!(here.ask(address, "/healthz").is_err());
        other.join().unwrap();
        assert!(here.ask(address, "/healthz").unwrap_err().contains("refused"));
    }

    #[test]
    fn an_address_that_is_taken_cannot_be_listened_at() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = Here::new(PathBuf::new());
        let error = here.listen(holder.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(here.listen("127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
