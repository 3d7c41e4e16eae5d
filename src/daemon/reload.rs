//! SIGHUP: the configuration is read and checked anew, with every secret and certificate that it names. One that cannot
//! be used changes nothing; of one that can, what changed is applied and nothing else is touched.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::fleet::Fleet;
use super::{foresee, room_limits};
use crate::changes::{self, Action, Changes};
use crate::config;
use crate::config::settings::{Server, Settings};
use crate::ice::{self, IceServers};
use crate::media::ice::Ice;
use crate::server::tls::{self, Tls};
use crate::server::{self, Access, access};
use crate::{events, systemd};

/// How long reading files again may take; they may be on a network drive.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// What can be exchanged while portald runs, besides cameras and rooms.
pub(super) struct Reloader {
    /// The configuration file, as it was given.
    pub(super) file: Option<PathBuf>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) access: Arc<Access>,
    pub(super) servers: Arc<IceServers>,
    pub(super) ice: Arc<Ice>,
    pub(super) limits: watch::Sender<Arc<server::Limits>>,
    /// Why the last one was refused, for the status line; none: it was not.
    pub(super) refused: watch::Sender<Option<String>>,
}

/// A configuration whose files could all be read.
struct Prepared {
    settings: Settings,
    access: access::Prepared,
    tls: Option<tls::Prepared>,
    servers: ice::Prepared,
}

impl Reloader {
    /// Reads everything again, and tells systemd and the log what came of it.
    pub(super) async fn reload(&self, fleet: &mut Fleet) {
        systemd::reloading();
        let refused = match self.prepare(fleet).await {
            Ok(prepared) => {
                let changes = self.apply(prepared, fleet).await;
                tell(&changes);
                None
            }
            Err(reasons) => {
                for reason in &reasons {
                    error!(message_id = events::RELOAD_REFUSED, reason = reason.as_str(); "SIGHUP: {reason}; nothing was changed");
                }
                reasons.into_iter().next()
            }
        };
        self.refused.send_replace(refused);
        systemd::ready();
    }

    /// Reads all that is named, and changes nothing.
    async fn prepare(&self, fleet: &Fleet) -> Result<Prepared, Vec<String>> {
        let (file, tls, access) = (self.file.clone(), self.tls.clone(), Arc::clone(&self.access));
        let in_use = fleet.settings().server.tls.clone();
        let encoders = Arc::clone(fleet.encoders());
        let read = spawn_blocking(move || {
            let settings =
                config::load(file.as_deref()).map_err(|error| vec![said(&error, &error.hint())])?;
            let known = encoders.templates().encoder_names();
            if let Some(error) = config::unknown_encoder(file.as_deref(), &settings, known) {
                let hint = format!("{} (new files there are read at a restart)", error.hint());
                return Err(vec![said(&error, &hint)]);
            }
            let mut wrong = Vec::new();
            let mut note = |what: &dyn Display, hint: String| wrong.push(said(what, &hint));
            let access = access
                .prepare(&settings.access, &settings.rooms)
                .map_err(|error| note(&format!("{error}: {}", error.source), error.hint()));
            let servers = IceServers::prepare(&settings.ice).map_err(|error| note(&error, error.hint()));
            // Whether there is TLS at all is a matter of a restart.
            let named = settings.server.tls.as_ref().or(in_use.as_ref());
            let tls = tls.zip(named).map(|(tls, named)| tls.prepare(named)).transpose();
            let tls = tls.map_err(|error| note(&error, error.hint()));
            match (access, servers, tls) {
                (Ok(access), Ok(servers), Ok(tls)) => Ok(Prepared { settings, access, tls, servers }),
                _ => Err(wrong),
            }
        });
        match timeout(RELOAD_LIMIT, read).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(panicked)) => Err(vec![panicked.to_string()]),
            Err(_) => Err(vec![format!(
                "reading the files takes longer than {} s; is their drive there?",
                RELOAD_LIMIT.as_secs()
            )]),
        }
    }

    /// Applies what changed; nothing of it can fail.
    async fn apply(&self, prepared: Prepared, fleet: &mut Fleet) -> Changes {
        let Prepared { settings, access, tls, servers } = prepared;
        let finds = settings.cameras.is_empty();
        let mut next = fleet.with_found(settings);
        let changes = changes::between(fleet.settings(), &next);
        // What waits for a restart is in use as it is, so that the next reload says so again.
        let in_use = fleet.settings().server.clone();
        let certificate =
            in_use.tls.as_ref().map(|tls| next.server.tls.take().unwrap_or_else(|| tls.clone()));
        next.server = Server { tls: certificate, ..in_use };
        self.access.change(access);
        if let (Some(own), Some(tls)) = (&self.tls, tls) {
            own.change(tls);
        }
        self.servers.change(servers);
        self.ice.change(next.ice.clone());
        self.limits.send_replace(Arc::new((&next.limits).into()));
        fleet.limit(&next.limits, room_limits(&next.limits)).await;
        let started = |action: &Action| match action {
            Action::AddCamera(name) | Action::ChangeCamera(name, _) => Some(name.clone()),
            _ => None,
        };
        let started: Vec<_> = changes.actions.iter().filter_map(started).collect();
        foresee(next.cameras.iter().filter(|camera| started.contains(&camera.name)), fleet.encoders());
        fleet.apply(next, finds, &changes.actions).await;
        changes
    }
}

fn said(what: &dyn Display, hint: &str) -> String {
    format!("{what}; next: {hint}")
}

fn tell(changes: &Changes) {
    let what: Vec<_> = changes.actions.iter().map(ToString::to_string).collect();
    match what.is_empty() {
        true => {
            info!("SIGHUP: configuration, certificate and secrets were read; the configuration is as it was")
        }
        false => {
            info!("SIGHUP: configuration, certificate and secrets were read; changed: {}", what.join(", "))
        }
    }
    for key in &changes.restart {
        warn!(message_id = events::NEEDS_RESTART; "SIGHUP: {key} needs a restart of portald: what was in use before stays");
    }
}
