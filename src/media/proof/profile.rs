//! The profile that an encoder's H.264 declares.

use super::{Fault, fault};
use crate::media::gop::Frame;

/// What is wrong with the profile that an encoder's frame of H.264 declares, if it declares one. In the trial it was right,
/// but a driver may change its mind.
pub(in crate::media) fn wrong_profile(frame: &Frame) -> Option<String> {
    let is_h264 = frame.caps.structure(0).is_some_and(|caps| caps.name() == "video/x-h264");
    if !is_h264 || !frame.is_key() {
        return None;
    }
    let data = frame.buffer.map_readable().ok()?;
    let sps = nal_units(&data).find(|unit| unit.first().is_some_and(|byte| byte & 0x1f == 7))?;
    profile(sps).err().map(|fault| fault.why)
}

/// The profile in words; an error when browsers do not take it, or the parameter sets are not in the key frame.
pub(super) fn h264_profile(frame: &[u8]) -> Result<&'static str, Fault> {
    let units: Vec<&[u8]> = nal_units(frame).collect();
    let of_kind =
        |kind: u8| units.iter().position(|unit| unit.first().is_some_and(|byte| byte & 0x1f == kind));
    let (Some(sps), Some(pps)) = (of_kind(7), of_kind(8)) else {
        return fault("its key frames lack the parameter sets (SPS and PPS)");
    };
    if of_kind(5).is_some_and(|picture| picture < sps || picture < pps) {
        return fault("its parameter sets come after the picture");
    }
    profile(units.get(sps).copied().unwrap_or_default())
}

/// The same of a sequence parameter set.
fn profile(sps: &[u8]) -> Result<&'static str, Fault> {
    match sps {
        // profile_idc and the constraint flags: ITU-T H.264, 7.3.2.1.1 and A.2.1.1.
        [_, 66, flags, ..] if flags & 0x40 != 0 => Ok("constrained baseline"),
        [_, 66, ..] => fault("its profile is baseline without the constraint that browsers ask for"),
        [_, profile, ..] => fault(format!(
            "its profile is {profile} and not 66, constrained baseline; Safari shows that black"
        )),
        _ => fault("its parameter sets are cut off"),
    }
}

/// The NAL units of a byte stream (ITU-T H.264, annex B).
fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> = stream
        .windows(3)
        .enumerate()
        .filter(|(_, bytes)| *bytes == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    let ends: Vec<usize> =
        starts.iter().skip(1).map(|next| next - 3).chain(std::iter::once(stream.len())).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| stream.get(start..end))
}
