//! `/metrics` as Prometheus reads it, and the dashboard and alerts that stand on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use portald::proto::ids::Name;
use portald::status::counts::{CameraCounts, Capture, Flow, Rendition};
use portald::status::viewers::{Listed, Playback};
use portald::status::{Cameras, RenditionStatus, State, UplinkStatus};
use serde_json::Value;

use super::site::{Server, patient, status};

const DASHBOARD: &str = "packaging/grafana/portald.json";
const RULES: &str = "packaging/prometheus/portald.rules.yml";

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// A camera with figures in every place, and a viewer of it.
fn furnish(cameras: &Cameras) -> Listed {
    let name = Name::new("door").unwrap();
    let (rendition, codec) = ("main", "H264".to_owned());
    let counts = CameraCounts::new(vec![Rendition { name: rendition, codec, counts: Arc::default() }]);
    counts.captured.store(100, Relaxed);
    counts.busy.store(3, Relaxed);
    counts.set_capture(Some(Capture { width: 1280, height: 720, rate: Some(29.5) }));
    let encoded = &counts.renditions[0].counts;
    encoded.frames.store(97, Relaxed);
    encoded.bytes.store(5000, Relaxed);
    encoded.dropped.store(2, Relaxed);
    encoded.set_flow(Some(Flow { rate: 29.0, bytes: 250e3 }));
    cameras.count(name.clone(), counts);
    let mut camera = status("door", &["home"], State::Live);
    camera.renditions = vec![RenditionStatus {
        name: "main",
        codec: "H264".into(),
        encoder: "x264".into(),
        reason: None,
        degraded: None,
        width: 640,
        height: 360,
        framerate: 30.0,
        bitrate: 2000,
        running: true,
        viewers: 1,
        frames: 97,
        keyframes: 1,
        keyframe_requests: 1,
        dropped: 2,
    }];
    cameras.set(camera);
    let mut session = cameras.sessions().begin();
    session.ended("left");
    session.ignored("mdns");
    let viewer = cameras.viewers().enter(&name);
    viewer.update(|figures| {
        (figures.rendition, figures.codec) = ("main", "H264".into());
        (figures.frames, figures.bytes, figures.lost) = (90, 4500, 4);
        figures.loss = Some(0.04);
        figures.round_trip = Some(Duration::from_millis(20));
        figures.playback = Some(Playback { freezes: 2, frozen: 0.5, ..Playback::default() });
    });
    viewer
}

/// A server with all that can show, and what shows for as long as it is held.
async fn furnished() -> (Server, (Listed, Arc<UplinkStatus>)) {
    let (tell, told) = std::sync::mpsc::channel();
    let uplink = move |site: portald::server::Site| {
        tell.send(site.uplinks.add(Name::new("hub").unwrap(), Name::new("door").unwrap())).unwrap();
        site
    };
    let server = Server::with_site(patient(), uplink).await;
    let viewer = furnish(&server.cameras);
    (server, (viewer, told.recv().unwrap()))
}

/// The names on a page, and the labels that some series of each has.
fn names(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut names = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let ends: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        names.extend(ends.iter().map(|end| (format!("{name}{end}"), BTreeSet::new())));
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        names.get_mut(name).unwrap_or_else(|| panic!("{name} has no TYPE")).extend(labels);
    }
    names
}

#[tokio::test]
async fn figures_of_cameras_and_viewers_are_on_the_page() {
    let (server, (viewer, _uplink)) = furnished().await;
    let rendition = |name: &str| format!("{name}{{camera=\"door\",rendition=\"main\",codec=\"H264\"}}");
    let of_viewer = |name: &str| format!("portald_viewer_{name}{{camera=\"door\",viewer=\"1\"}}");
    let page = server.get("/metrics").await.body;
    for (series, value) in [
        ("portald_camera_frames_captured_total{camera=\"door\"}".to_owned(), "100"),
        ("portald_camera_frames_dropped_total{camera=\"door\",place=\"encoder\"}".to_owned(), "3"),
        ("portald_camera_frames_dropped_total{camera=\"door\",place=\"viewer\"}".to_owned(), "2"),
        ("portald_camera_width_pixels{camera=\"door\"}".to_owned(), "1280"),
        ("portald_camera_frames_per_second{camera=\"door\"}".to_owned(), "29.5"),
        (rendition("portald_rendition_frames_total"), "97"),
        (rendition("portald_rendition_bytes_total"), "5000"),
        (rendition("portald_rendition_bytes_per_second"), "250000"),
        (rendition("portald_rendition_target_bytes_per_second"), "250000"),
        (rendition("portald_rendition_height_pixels"), "360"),
        (of_viewer("sent_bytes_total"), "4500"),
        (of_viewer("packets_lost_total"), "4"),
        (of_viewer("loss_ratio"), "0.04"),
        (of_viewer("round_trip_seconds"), "0.02"),
        (of_viewer("freezes_total"), "2"),
        (of_viewer("frozen_seconds_total"), "0.5"),
        (
            "portald_viewer_info{camera=\"door\",viewer=\"1\",rendition=\"main\",codec=\"H264\"}".to_owned(),
            "1",
        ),
        ("portald_viewers_unlisted".to_owned(), "0"),
        ("portald_uplink_connected{uplink=\"hub\",camera=\"door\"}".to_owned(), "0"),
    ] {
        assert!(
            page.lines().any(|line| line == format!("{series} {value}")),
            "no {series} {value} in {page}"
        );
    }
    drop(viewer);
    let page = server.get("/metrics").await.body;
    assert!(!page.contains("viewer=\"1\""), "a viewer that left leaves nothing behind");
}

/// The expressions of all panels, with the panel's title.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    targets.collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The expressions of the alerts.
fn alerts() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in read(RULES).lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            found.push((alert.to_owned(), String::new()));
        } else if let Some((_, text)) = found.last_mut()
            && !line.starts_with("annotations:")
            && (text.is_empty() || !line.contains(": "))
        {
            text.push_str(line.trim_start_matches("expr: ").trim_start_matches('|'));
            text.push(' ');
        }
    }
    found
}

/// Words of an expression that are no texts in quotes.
fn words(expression: &str) -> Vec<String> {
    let bare: String = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_use_only_metrics_and_labels_that_there_are() {
    let (server, _viewer) = furnished().await;
    let page = server.get("/metrics").await.body;
    let names = names(&page);
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let alerts = alerts();
    assert!(alerts.len() >= 6, "{alerts:?}");
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queries = variables.filter_map(|variable| {
        Some((variable["name"].as_str()?.to_owned(), variable["query"]["query"].as_str()?.to_owned()))
    });
    let mut used = BTreeSet::new();
    for (place, expression) in expressions(&dashboard).into_iter().chain(alerts).chain(queries) {
        let words = words(&expression);
        let metrics: Vec<_> = words
            .iter()
            .filter(|word| word.starts_with("portald_") || word.starts_with("process_"))
            .collect();
        assert!(!metrics.is_empty() || expression.starts_with("up{"), "{place}: no metric in {expression}");
        for metric in &metrics {
            assert!(names.contains_key(*metric), "{place}: there is no {metric}");
            used.insert((*metric).clone());
        }
        // What Prometheus adds to every series, and what this expression's metrics have.
        let mut labels: BTreeSet<&str> = ["instance", "job", "le"].into();
        labels.extend(metrics.iter().flat_map(|metric| names[*metric].iter().map(String::as_str)));
        let grouped = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
        let selected = expression.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let grouped = grouped.flat_map(|(list, _)| list.split(", ").map(str::to_owned));
        let selected = selected.flat_map(|(list, _)| {
            let list: Vec<_> = list.split(',').filter_map(|one| one.split_once(['=', '!'])).collect();
            list.into_iter().map(|(label, _)| label.to_owned())
        });
        for label in grouped.chain(selected) {
            assert!(labels.contains(label.trim()), "{place}: no series there has the label {label:?}");
        }
    }
    assert!(used.len() > 30, "only {} metrics are shown: {used:?}", used.len());
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    assert_eq!(dashboard["uid"], "portald");
    assert!(dashboard.get("id").is_none(), "an id is for the Grafana that gave it");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "Grafana 9");
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().collect();
    assert!(
        variables
            .iter()
            .any(|variable| variable["type"] == "datasource" && variable["query"] == "prometheus")
    );
    let known: BTreeSet<String> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= COLUMNS && side("h") > 0, "{title}");
        for cell in (0..side("w")).flat_map(|x| (0..side("h")).map(move |y| (x, y))) {
            assert!(taken.insert((side("x") + cell.0, side("y") + cell.1)), "{title} covers another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            ["timeseries", "stat", "state-timeline"].contains(&panel["type"].as_str().unwrap()),
            "{title}"
        );
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}");
        for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{title}: another's Prometheus has another uid");
        }
    }
    for (title, expression) in expressions(&dashboard) {
        for variable in expression.split('$').skip(1) {
            let name = variable.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            assert!(known.contains(name) || name == "__rate_interval", "{title}: no variable {name}");
        }
    }
}

/// Runs promtool on `input`; it must succeed and have nothing to say.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}; `make test-metrics` gets it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[tokio::test]
#[ignore = "needs promtool: make test-metrics"]
async fn promtool_finds_nothing_wrong_with_the_page() {
    let (server, _viewer) = furnished().await;
    let page = server.get("/metrics").await.body;
    assert_eq!(promtool(&["check", "metrics"], &page), "");
}

#[test]
#[ignore = "needs promtool: make test-metrics"]
fn promtool_reads_the_alerts_and_every_expression_of_the_dashboard() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    promtool(&["check", "rules", root.join(RULES).to_str().unwrap()], "");
    promtool(&["test", "rules", root.join("tests/data/portald.rules.test.yml").to_str().unwrap()], "");
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    // As Grafana sends them.
    let sent = |text: &str| {
        ["camera", "instance", "job"].iter().fold(text.replace("$__rate_interval", "1m"), |text, name| {
            text.replace(&format!("${name}"), ".*")
        })
    };
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (index, (_, expression)) in expressions(&dashboard).iter().enumerate() {
        let expression = Value::from(sent(expression));
        rules.push_str(&format!("  - record: panel:expression:{index}\n    expr: {expression}\n"));
    }
    let readme = read("README.md");
    let block = |kind: &str| {
        let (_, rest) = readme.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    for (index, expression) in block("promql").lines().enumerate() {
        rules.push_str(&format!(
            "  - record: readme:expression:{index}\n    expr: {}\n",
            Value::from(expression)
        ));
    }
    let file = std::env::temp_dir().join(format!("portald-dashboard-{}.yml", std::process::id()));
    for (check, text) in [(&["rules"][..], rules), (&["config", "--syntax-only"], block("yaml"))] {
        fs::write(&file, text).unwrap();
        promtool(&[&["check"], check, &[file.to_str().unwrap()]].concat(), "");
    }
    fs::remove_file(&file).unwrap();
}

#[cfg(feature = "media")]
mod real {
    use gstreamer as gst;
    use serde_json::json;
    use tokio::time::timeout;

    use super::super::daemon::{Daemon, LIMIT};
    use super::super::viewer::{Conduct, Viewer};

    const ONE: &str = r#"
[camera.one]
source = "test:ball"
width = 640
height = 360
framerate = 15
bitrate = 500
"#;
    const MAIN: &str = "{camera=\"one\",rendition=\"main\",codec=\"H264\"}";

    async fn metric(daemon: &Daemon, series: &str) -> Option<f64> {
        let (_, page) = daemon.get("/metrics").await.expect("the API answers");
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    fn of_viewer(name: &str) -> String {
        format!("portald_viewer_{name}{{camera=\"one\",viewer=\"1\"}}")
    }

    async fn watched() -> (Daemon, Viewer) {
        gst::init().unwrap();
        let daemon = Daemon::start(ONE).await;
        let mut viewer = Viewer::join(daemon.port, "home", Conduct::full()).await;
        timeout(LIMIT, viewer.pictures(30)).await.expect("pictures");
        (daemon, viewer)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn figures_are_what_a_viewer_sees() {
        let (mut daemon, viewer) = watched().await;
        let seen = || {
            let seen = viewer.seen("one");
            (seen.len() as f64, seen.iter().map(|picture| picture.bytes).sum::<usize>() as f64)
        };
        let (frames, bytes) = seen();
        let sent = async |daemon: &Daemon| metric(daemon, &of_viewer("sent_frames_total")).await;
        daemon
            .wait_for("what it saw", async |daemon: &Daemon| sent(daemon).await.is_some_and(|n| n >= frames))
            .await;
        // Its parser writes parameter sets that we do not send, or leaves out what we do: some bytes a frame.
        let given = metric(&daemon, &of_viewer("sent_bytes_total")).await.unwrap();
        assert!(given > 0.8 * bytes, "{given} were given of {bytes} that came");
        daemon.wait_for("what was given", async |_: &Daemon| seen().1 > 0.8 * given).await;

        let of_rendition =
            async |name: &str| metric(&daemon, &format!("portald_rendition_{name}{MAIN}")).await.unwrap();
        assert!(of_rendition("keyframes_total").await >= 1.0);
        assert!(of_rendition("bytes_total").await >= given);
        assert_eq!((of_rendition("width_pixels").await, of_rendition("height_pixels").await), (640.0, 360.0));
        assert_eq!(of_rendition("target_bytes_per_second").await, 62_500.0);
        let encoded = of_rendition("frames_total").await;
        let captured = "portald_camera_frames_captured_total{camera=\"one\"}";
        daemon
            .wait_for("captured", async |daemon: &Daemon| metric(daemon, captured).await >= Some(encoded))
            .await;
        let rate = "portald_camera_frames_per_second{camera=\"one\"}";
        daemon.wait_for("a rate", async |daemon: &Daemon| metric(daemon, rate).await > Some(0.0)).await;
        assert_eq!(metric(&daemon, "portald_camera_width_pixels{camera=\"one\"}").await, Some(640.0));
        // Its reports come every 5 s.
        let trip = of_viewer("round_trip_seconds");
        daemon
            .wait_for("reports", async |daemon: &Daemon| metric(daemon, &trip).await.is_some_and(|s| s > 0.0))
            .await;
        assert!(metric(&daemon, &of_viewer("loss_ratio")).await.is_some_and(|loss| loss <= 1.0));

        viewer.leave().await;
        daemon.wait_state("one", "idle").await;
        assert_eq!(sent(&daemon).await, None, "its series is gone");
        assert_eq!(
            metric(&daemon, "portald_camera_width_pixels{camera=\"one\"}").await,
            None,
            "nothing is captured"
        );
        assert!(metric(&daemon, captured).await >= Some(encoded), "what was counted stays");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_page_says_of_its_pictures_is_shown_as_far_as_it_can_be() {
        let (mut daemon, viewer) = watched().await;
        let say = |playback: serde_json::Value| {
            viewer.send(&json!({ "type": "playback", "playback": playback, "target": "!one" }));
        };
        let decoded = of_viewer("decoded_frames_total");
        let shown = async |daemon: &mut Daemon, count: f64| {
            daemon
                .wait_for("it to be shown", async |daemon: &Daemon| {
                    metric(daemon, &decoded).await == Some(count)
                })
                .await;
        };
        assert_eq!(metric(&daemon, &decoded).await, None, "it said nothing yet");
        say(json!({ "decoded": 100, "dropped": 3, "freezes": 2, "frozen": 1.25 }));
        shown(&mut daemon, 100.0).await;
        assert_eq!(metric(&daemon, &of_viewer("dropped_frames_total")).await, Some(3.0));
        assert_eq!(metric(&daemon, &of_viewer("frozen_seconds_total")).await, Some(1.25));
        for nonsense in [json!(null), json!({ "freezes": -1 }), json!({ "decoded": "9" }), json!([[[]]])] {
            say(nonsense);
        }
        say(json!({ "decoded": 5000, "session": u64::MAX }));
        say(json!({ "decoded": 101, "freezes": 1 }));
        shown(&mut daemon, 101.0).await;
        assert_eq!(
            metric(&daemon, &of_viewer("freezes_total")).await,
            Some(2.0),
            "counters do not run backwards"
        );
        viewer.leave().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs promtool: make test-metrics"]
    async fn promtool_finds_nothing_wrong_with_a_wall_that_is_watched() {
        let (daemon, viewer) = watched().await;
        let (_, page) = daemon.get("/metrics").await.unwrap();
        assert!(page.contains("portald_viewer_info{camera=\"one\",viewer=\"1\""), "{page}");
        assert_eq!(super::promtool(&["check", "metrics"], &page), "");
        viewer.leave().await;
    }
}
