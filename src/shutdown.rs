//! The one signal that everything ends by.

use tokio::sync::watch;

/// Returns when the daemon ends, or the sender is gone.
pub async fn ending(shutdown: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` gives must not live across an await of the caller's.
    let _ = shutdown.wait_for(|ending| *ending).await.is_ok();
}
