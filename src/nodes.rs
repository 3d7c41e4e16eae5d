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
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        OTHERS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, what)| *what)
    }

    /// By the driver's name, what the node can do (`VIDIOC_QUERYCAP`), and whether it offers pictures, and not just a
    /// sensor's raw data: a receiver has those when what is on its ribbon is no sensor, such as an HDMI input.
    #[must_use]
    pub fn of_capture(driver: &str, capabilities: u32, has_pictures: bool) -> Self {
        match Self::of(driver) {
            _ if capabilities & IO_MC != 0 => Self::Ribbon,
            Some(Self::Ribbon) if has_pictures => Self::Camera,
            Some(role) => role,
            None => Self::Camera,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING`.
    const CAPTURES: u32 = 0x0400_0001;

    #[test]
    fn what_only_looks_like_a_camera_is_told_from_one() {
        for (driver, capabilities, has_pictures, is) in [
            ("uvcvideo", CAPTURES, true, Use::Camera),
            ("v4l2 loopback", CAPTURES, true, Use::Camera),
            ("bm2835 mmal", CAPTURES, true, Use::Camera),
            ("bcm2835-isp", CAPTURES, true, Use::Codec),
            ("pispbe", CAPTURES, true, Use::Codec),
            ("unicam", CAPTURES, false, Use::Ribbon),
            ("unicam", CAPTURES | IO_MC, true, Use::Ribbon),
            // An HDMI input (TC358743) on a Raspberry Pi 4 and older.
            ("unicam", CAPTURES, true, Use::Camera),
            ("rp1-cfe", CAPTURES | IO_MC, true, Use::Ribbon),
            ("isys", CAPTURES | IO_MC, true, Use::Ribbon),
            ("sun6i-csi", CAPTURES | IO_MC, true, Use::Ribbon),
        ] {
            assert_eq!(Use::of_capture(driver, capabilities, has_pictures), is, "{driver}");
        }
    }
}
