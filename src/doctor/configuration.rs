//! The configuration file, and the files with secrets that it names.

use std::io;
use std::path::{Path, PathBuf};

use super::live::{Live, Node};
use super::people::Person;
use super::tree::Tree;
use super::{Finding, Group, Options};
use crate::config::settings::{SecretFile, Settings, Source, Tls, TurnLogin};
use crate::config::{self, ConfigError, DEFAULT_FILE};

/// What the file says, and who may read it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    file: PathBuf,
    /// None: there is no file, and none was named.
    node: Option<Node>,
    read: Option<Result<Settings, Wrong>>,
    secrets: Vec<Kept>,
}

/// A file with a secret.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    node: Option<Node>,
    /// It is in a directory that this caller may not enter.
    is_hidden: bool,
}

/// Why there is no configuration.
#[derive(Debug)]
struct Wrong {
    text: String,
    hint: String,
    /// Only because this caller may not read the file.
    is_forbidden: bool,
}

impl Facts {
    pub(super) fn gather(tree: &Tree, live: &dyn Live, options: &Options) -> Self {
        let file = options.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let node = live.node(&file);
        let environment = options.environment.clone();
        let read = match tree.read(&file) {
            Ok(bytes) => config::from_bytes(file.clone(), bytes, environment),
            Err(error) if options.config.is_none() && error.kind() == io::ErrorKind::NotFound => {
                config::from_bytes(file.clone(), Vec::new(), environment)
            }
            Err(error) => Err(ConfigError::Read { file: file.clone(), error }),
        };
        let read = read.map_err(|error| Wrong {
            text: error.to_string(),
            hint: error.hint(),
            is_forbidden: matches!(&error, ConfigError::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied),
        });
        let secrets = read.as_ref().map(secret_files).unwrap_or_default();
        let kept = |path: PathBuf| Kept { node: live.node(&path), is_hidden: live.is_hidden(&path), path };
        let secrets = secrets.into_iter().map(kept).collect();
        Self { file, node, read: Some(read), secrets }
    }

    /// The settings, or the defaults where there are none, so that everything else can still be looked at.
    pub(super) fn settings_or_default(&self) -> Settings {
        let read = self.read.as_ref().and_then(|read| read.as_ref().ok()).cloned();
        let default = || config::from_bytes(self.file.clone(), Vec::new(), []);
        // An empty file is a valid one; a test holds the defaults to that.
        read.or_else(|| default().ok()).unwrap_or_else(|| unreachable!("an empty configuration is valid"))
    }

    /// The settings, where the file can be read and is valid.
    pub(super) fn settings(&self) -> Option<&Settings> {
        self.read.as_ref()?.as_ref().ok()
    }
}

/// The files with passwords, tokens and keys. A credential of systemd's is not one that can be looked at from here.
fn secret_files(settings: &Settings) -> Vec<PathBuf> {
    let access = &settings.access;
    let tls = match &settings.server.tls {
        Some(Tls::Files { certificate, key }) => vec![certificate, key],
        _ => Vec::new(),
    };
    let turn = match &settings.ice.turn_login {
        Some(TurnLogin::Static { password: file, .. } | TurnLogin::TimeLimited { secret: file, .. }) => {
            Some(file)
        }
        None => None,
    };
    let all = [&access.viewer_password, &access.admin_token, &access.uplink_token].into_iter().flatten();
    let all = all.chain(settings.rooms.iter().filter_map(|room| room.token.as_ref()));
    let all =
        all.chain(settings.uplinks.iter().filter_map(|uplink| uplink.token.as_ref())).chain(tls).chain(turn);
    all.filter_map(|file| match file {
        SecretFile::Path(path) => Some(path.clone()),
        SecretFile::Credential(_) => None,
    })
    .collect()
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, person) = (&facts.configuration, &facts.person);
    let shown = me.file.display();
    let group = Group::Configuration;
    let may_read = me.node.is_none_or(|node| person.may(node, 0o4));
    let mut found = Vec::new();
    match &me.read {
        None => {}
        // The service may read what a visitor may not.
        Some(Err(wrong)) if wrong.is_forbidden && may_read && !person.is_caller => found.push(
            Finding::warning(group, "config", format!("{shown} cannot be read by who runs the doctor"))
                .because("what follows is judged by the defaults, not by your settings")
                .mend("sudo portald doctor"),
        ),
        Some(Err(wrong)) => found.push(
            Finding::broken(group, "config", wrong.text.clone())
                .because("portald does not start with it; what follows is judged by the defaults")
                .mend(wrong.hint.clone()),
        ),
        Some(Ok(settings)) => {
            let (cameras, rooms) = (settings.cameras.len(), settings.rooms.len());
            let what = match (me.node, cameras) {
                (None, _) => format!("there is no {shown}: every camera that is plugged in is published"),
                (_, 0) => format!("{shown} names no camera: every one that is plugged in is published"),
                _ => format!("{shown}: {}, {}", counted(cameras, "camera"), counted(rooms, "room")),
            };
            found.push(Finding::fine(group, "config", what));
            if !may_read && !person.is_caller {
                found.push(forbidden(&me.file, &person.name));
            }
            found.extend(exposed(me, settings, person));
        }
    }
    for Kept { path, node, is_hidden } in &me.secrets {
        match node {
            None if *is_hidden && person.is_caller => found.push(forbidden(path, &person.name)),
            None if *is_hidden => {}
            None => found.push(
                Finding::broken(group, "secret", format!("{} is not there", path.display()))
                    .because("the configuration names it; portald does not start without")
                    .mend(format!("create it, or take its line out of {shown}")),
            ),
            Some(node) if !person.may(*node, 0o4) => found.push(forbidden(path, &person.name)),
            Some(node) if node.mode & 0o4 != 0 && !is_certificate(me, path) => found.push(
                Finding::warning(
                    group,
                    "secret",
                    format!("everyone on this box can read {}", path.display()),
                )
                .because("it is a secret")
                .mend(format!("sudo chmod o-rwx {}", path.display())),
            ),
            Some(_) => {}
        }
    }
    found
}

/// A number with its noun: `1 camera`, `2 cameras`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn forbidden(path: &Path, user: &str) -> Finding {
    let shown = path.display();
    Finding::broken(Group::Configuration, "readable", format!("{shown} cannot be read by the user {user}"))
        .because("portald does not start without it")
        .mend(format!("sudo chgrp {user} {shown} && sudo chmod 640 {shown}"))
}

/// A file that holds a camera's password, and that everyone may read.
fn exposed(me: &Facts, settings: &Settings, person: &Person) -> Option<Finding> {
    let has_password = settings
        .cameras
        .iter()
        .any(|camera| matches!(&camera.source, Source::Rtsp(url) if url.reveal().contains('@')));
    let node = me.node.filter(|node| has_password && node.mode & 0o4 != 0)?;
    let shown = me.file.display();
    let found = format!("everyone on this box can read {shown} (mode {:o})", node.mode & 0o777);
    Some(
        Finding::warning(Group::Configuration, "exposed", found)
            .because("it holds the password of a network camera")
            .mend(match person.is_service {
                true => format!("sudo chgrp {} {shown} && sudo chmod 640 {shown}", person.name),
                false => format!("chmod 600 {shown}"),
            }),
    )
}

/// Everyone may see a certificate: every client does.
fn is_certificate(me: &Facts, path: &Path) -> bool {
    let tls = me.settings().and_then(|settings| settings.server.tls.as_ref());
    matches!(tls, Some(Tls::Files { certificate: SecretFile::Path(certificate), .. }) if certificate == path)
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, judge};
    use super::*;

    /// Somebody looks after a service whose configuration only the service may read.
    #[test]
    fn who_may_not_read_the_file_is_sent_to_sudo_and_a_service_that_may_not_is_broken() {
        let facts = |mode| {
            let wrong = Wrong { text: "cannot be read".into(), hint: "chmod".into(), is_forbidden: true };
            let node = Some(Node { uid: 0, gid: 994, mode });
            let configuration =
                Facts { file: DEFAULT_FILE.into(), node, read: Some(Err(wrong)), secrets: Vec::new() };
            let person = Person { uid: Some(996), is_service: true, ..Person::default() };
            super::super::Facts { configuration, person, ..Default::default() }
        };
        let found = |mode| judge(&facts(mode)).into_iter().find(|finding| finding.check == "config").unwrap();
        assert_eq!(
            (found(0o644).severity, found(0o644).mend.as_str()),
            (Severity::Warning, "sudo portald doctor")
        );
        assert_eq!((found(0o600).severity, found(0o600).mend.as_str()), (Severity::Broken, "chmod"));
    }
}
