//! For tests of what must not be lost: a machine that stands still loses pictures without anybody's fault.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

/// A machine that stands still for so long makes a camera stall that has nothing wrong with it.
const STANDSTILL: Duration = Duration::from_millis(300);

/// Runs `test`, and runs it anew if it failed while the machine stood still (a guest whose host was busy, a disk that
/// held everything up): what must not be lost was lost for another reason then. On a machine that went on, the first
/// failure counts.
pub(crate) async fn undisturbed<T: Future<Output = ()>>(test: impl Fn() -> T) {
    for _ in 0..4 {
        let (stop, stopped) = channel::<()>();
        let watch = std::thread::spawn(move || {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            while stopped.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        let ended = AssertUnwindSafe(test()).catch_unwind().await;
        drop(stop);
        let longest = watch.join().unwrap();
        match ended {
            Ok(()) => return,
            Err(failed) if longest < STANDSTILL => resume_unwind(failed),
            Err(_) => println!("the machine stood still for {longest:.1?} meanwhile: once more"),
        }
    }
    panic!("the machine stood still each time");
}
