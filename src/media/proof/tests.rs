//! Encoders that fail in every way we know of, made of real elements.

use std::fs;

use super::super::tests::executable;
use super::*;

const X264: &str = "x264enc name=encoder tune=zerolatency speed-preset=ultrafast key-int-max=60";
const PARSED: &str = "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";

fn job(codec: &str, encoder: &str) -> Job {
    gst::init().unwrap();
    let (width, height) = (320, 240);
    let pipeline = format!(
        "appsrc name=in ! videoconvert ! video/x-raw,format=I420,width={width},height={height} ! {encoder} ! appsink name=out"
    );
    let (codec, framerate) = (codec.into(), (30, 1));
    Job { codec, pipeline, width, height, framerate, set_bitrate: None, force_keyframe: None }
}

#[test]
fn good_encoders_are_found_good() {
    let constrained = format!("{X264} ! video/x-h264,profile=constrained-baseline ! {PARSED}");
    for (codec, encoder) in [
        ("h264", constrained.as_str()),
        (
            "h264",
            "openh264enc name=encoder complexity=low ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
        ),
        ("vp8", "vp8enc name=encoder deadline=1 cpu-used=8 lag-in-frames=0"),
    ] {
        let verdict = here(&job(codec, encoder));
        assert!(verdict.is_good(), "{encoder}: {}", verdict.in_words());
        assert!(verdict.keyframe_on_request && verdict.speed > 1.0, "{encoder}: {verdict:?}");
        assert!(verdict.seen.iter().any(|seen| seen == "decodes"), "{verdict:?}");
        // A pixel costs some nanoseconds. Far from that, clock or sum are wrong.
        assert!((0.1..10_000.0).contains(&verdict.cpu), "{encoder}: {verdict:?}");
    }
}

#[test]
fn bad_encoders_are_found_bad_and_why() {
    let constrained = "video/x-h264,profile=constrained-baseline";
    for (encoder, why) in [
        (
            format!(
                "x264enc name=encoder tune=zerolatency speed-preset=medium dct8x8=true ! video/x-h264,profile=high ! {PARSED}"
            ),
            "its profile is 100",
        ),
        (format!("{X264} ! {constrained} ! {PARSED} ! identity drop-probability=1"), "no frame came"),
        (format!("{X264} ! {constrained} ! {PARSED} ! identity error-after=6"), "Failed after iterations"),
        (format!("{X264} ! {constrained} ! {PARSED} ! identity eos-after=6"), "the stream ended"),
        (format!("videobalance brightness=-1 ! {X264} ! {constrained} ! {PARSED}"), "not what went in"),
        (format!("{X264} ! {constrained},stream-format=avc"), "lack the parameter sets"),
        (
            format!(
                "x264enc name=encoder bframes=2 b-adapt=false rc-lookahead=0 sync-lookahead=0 sliced-threads=true ! video/x-h264,profile=main ! {PARSED}"
            ),
            "B-frames",
        ),
        ("videoscale ! video/x-raw,width=160 ! x264enc nonsense=1".to_owned(), "nonsense"),
        ("nosuchenc".to_owned(), "nosuchenc"),
    ] {
        let verdict = here(&job("h264", &encoder));
        let fault = verdict.fault.as_deref().unwrap_or("none");
        assert!(fault.contains(why), "{encoder}: {fault}");
    }
}

#[test]
fn an_encoder_that_ignores_requests_for_key_frames_is_told_apart() {
    let deaf = format!(
        "{X264} min-force-key-unit-interval=100000000000 ! video/x-h264,profile=constrained-baseline ! {PARSED}"
    );
    let verdict = here(&job("h264", &deaf));
    assert!(verdict.is_good() && !verdict.keyframe_on_request, "{verdict:?}");
}

#[test]
fn a_child_that_crashes_or_hangs_harms_nobody() {
    let job = job("h264", X264);
    for (script, limit, why) in [
        ("kill -SEGV $$", 60, "took its process with it"),
        ("kill -TERM $$", 60, "its trial was interrupted"),
        ("exec sleep 600", 1, "did not end within 1 s"),
        ("head -c 1000000 /dev/zero", 60, "took its process with it"),
        ("cat >/dev/null; echo '{\"fault\":\"so it is\"}'", 60, "so it is"),
    ] {
        let file =
            std::env::temp_dir().join(format!("portald-proof-{}-{limit}-{}", std::process::id(), why.len()));
        executable(&file, script);
        let verdict = in_child_within(&file, &job, Duration::from_secs(limit));
        fs::remove_file(&file).unwrap();
        let fault = verdict.fault.as_deref().unwrap_or("none");
        assert!(fault.contains(why), "{script}: {fault}");
        assert_eq!(verdict.late, script.contains("sleep"), "{script}");
        assert_eq!(verdict.interrupted, script.contains("TERM"), "{script}");
    }
    let verdict = in_child(Path::new("/nowhere/portald"), &job);
    assert!(verdict.fault.unwrap().contains("cannot be started"));
}

#[test]
fn profiles_are_read_from_the_parameter_sets() {
    let stream = |sps: &[u8]| {
        let mut stream = vec![0, 0, 0, 1, 9, 16, 0, 0, 0, 1];
        stream.extend_from_slice(sps);
        stream.extend_from_slice(&[0, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1, 2, 3]);
        stream
    };
    assert!(matches!(h264_profile(&stream(&[0x67, 66, 0xc0, 31])), Ok("constrained baseline")));
    for (sps, why) in [
        (&[0x67, 66, 0x80, 31][..], "without the constraint"),
        (&[0x67, 100, 0, 31], "its profile is 100"),
        (&[0x41, 1, 2, 3], "lack the parameter sets"),
    ] {
        match h264_profile(&stream(sps)) {
            Err(Fault { why: said, .. }) => assert!(said.contains(why), "{said}"),
            Ok(profile) => panic!("{profile} of {sps:?}"),
        }
    }
}
