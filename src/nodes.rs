//! What the nodes of V4L2 are for. Most of the thirty that a Raspberry Pi has are no cameras, though many say that they
//! give pictures.

/// Drivers whose nodes are no cameras of ours, by how the names of the drivers, or of their nodes, begin: codecs and image
/// processors, and receivers of ribbon-cable cameras, which give raw sensor data that only libcamera makes pictures of.
const OTHERS: [(&str, Use); 17] = [
    ("bcm2835-codec", Use::Codec),
    ("bcm2835-isp", Use::Codec),
    ("rpivid", Use::Codec),
    ("rpi-hevc-dec", Use::Codec),
    ("hevc", Use::Codec),
    ("hantro", Use::Codec),
    ("rkvdec", Use::Codec),
    ("rockchip", Use::Codec),
    ("pispbe", Use::Codec),
    ("unicam", Use::Ribbon),
    ("rp1-cfe", Use::Ribbon),
    ("rkisp", Use::Ribbon),
    ("rkcif", Use::Ribbon),
    ("stream_cif", Use::Ribbon),
    ("ipu3-", Use::Ribbon),
    ("isys", Use::Ribbon),
    ("Intel IPU", Use::Ribbon),
];
/// `V4L2_CAP_IO_MC` of linux/videodev2.h: its inputs and outputs are connected by the media controller, which is
/// libcamera's work; opened by itself it gives nothing.
const IO_MC: u32 = 0x2000_0000;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Pictures for whoever opens it.
    Camera,
    /// The second node of a camera: its metadata.
    Metadata,
    /// Part of an encoder, a decoder or an image processor.
    Codec,
    /// Raw data of a camera that libcamera makes pictures of.
    Ribbon,
}

impl Use {
    /// By the name of the node or its driver; none: nothing speaks against a camera.
    pub fn of(name: &str) -> Option<Self> {
        OTHERS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, what)| *what)
    }

    /// By what the driver says: its name, that of the device, and what the node can do (`VIDIOC_QUERYCAP`).
    pub fn of_capture(driver: &str, card: &str, capabilities: u32) -> Self {
        let is_routed = (capabilities & IO_MC != 0).then_some(Self::Ribbon);
        Self::of(driver).or_else(|| Self::of(card)).or(is_routed).unwrap_or(Self::Camera)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING`.
    const CAPTURES: u32 = 0x0400_0001;

    #[test]
    fn what_only_looks_like_a_camera_is_told_from_one() {
        for (driver, card, capabilities, is) in [
            ("uvcvideo", "HD Pro Webcam C920", CAPTURES, Use::Camera),
            ("vivid", "vivid", CAPTURES, Use::Camera),
            ("bm2835 mmal", "mmal service 16.1", CAPTURES, Use::Camera),
            ("bcm2835-isp", "bcm2835-isp", CAPTURES, Use::Codec),
            ("pispbe", "pispbe", CAPTURES, Use::Codec),
            ("unicam", "unicam", CAPTURES, Use::Ribbon),
            ("rp1-cfe", "rp1-cfe", CAPTURES | IO_MC, Use::Ribbon),
            ("isys", "ipu6", CAPTURES | IO_MC, Use::Ribbon),
            ("sun6i-csi", "sun6i-csi-capture", CAPTURES | IO_MC, Use::Ribbon),
        ] {
            assert_eq!(Use::of_capture(driver, card, capabilities), is, "{driver}");
        }
    }
}
