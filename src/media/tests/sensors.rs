//! libcamera's cameras, from a device provider that is made up.

use super::super::sensors;
use super::*;
use crate::modes::Format;

mod imp {
    use super::*;

    #[derive(Default)]
    pub(super) struct Camera;

    #[glib::object_subclass]
    impl ObjectSubclass for Camera {
        const NAME: &'static str = "PortaldFakeLibcameraDevice";
        type Type = FakeCamera;
        type ParentType = gst::Device;
    }

    impl ObjectImpl for Camera {}
    impl GstObjectImpl for Camera {}
    impl DeviceImpl for Camera {}

    #[derive(Default)]
    pub(super) struct Provider;

    #[glib::object_subclass]
    impl ObjectSubclass for Provider {
        const NAME: &'static str = "PortaldFakeLibcameraProvider";
        type Type = FakeProvider;
        type ParentType = gst::DeviceProvider;
    }

    impl ObjectImpl for Provider {}
    impl GstObjectImpl for Provider {}

    impl DeviceProviderImpl for Provider {
        fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
            static METADATA: std::sync::LazyLock<gst::subclass::DeviceProviderMetadata> =
                std::sync::LazyLock::new(|| {
                    gst::subclass::DeviceProviderMetadata::new(
                        "libcamera",
                        "Source/Video",
                        "made up",
                        "nobody",
                    )
                });
            Some(&METADATA)
        }

        fn probe(&self) -> Vec<gst::Device> {
            let caps: gst::Caps =
                "video/x-raw,format=NV12,width=[32,3280,2],height=[32,2464,2]".parse().unwrap();
            ["/base/soc/i2c0mux/i2c@1/imx219@10", "\\_SB_.PC00.XHCI-3:1.0-046d:082d"]
                .map(|name| {
                    let device: FakeCamera = glib::Object::builder()
                        .property("display-name", name)
                        .property("caps", &caps)
                        .property("device-class", "Source/Video")
                        .build();
                    device.upcast()
                })
                .into()
        }
    }
}

glib::wrapper! {
    struct FakeCamera(ObjectSubclass<imp::Camera>) @extends gst::Device, gst::Object;
}

glib::wrapper! {
    struct FakeProvider(ObjectSubclass<imp::Provider>) @extends gst::DeviceProvider, gst::Object;
}

#[test]
fn cameras_of_libcamera_are_listed_with_what_they_offer() {
    gst::init().unwrap();
    assert!(sensors::here().is_empty(), "without the plug-in there are none");
    let registered = gst::DeviceProvider::register(
        None,
        "libcameraprovider",
        gst::Rank::PRIMARY,
        FakeProvider::static_type(),
    );
    registered.unwrap();
    let found = sensors::here();
    let names: Vec<_> = found.iter().map(|sensor| sensor.name.as_str()).collect();
    assert_eq!(names, ["/base/soc/i2c0mux/i2c@1/imx219@10"], "USB cameras are V4L2's");
    let mode = &found[0].modes(&Wish::default())[0];
    assert_eq!((mode.width, mode.height, &mode.format), (1280, 720, &Format::Raw("NV12".into())));
}
