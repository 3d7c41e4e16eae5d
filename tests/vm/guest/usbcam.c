// A USB camera made of a program: a UVC device on the gadget side of dummy_hcd, which shows the pictures of a directory again
// and again. It is plugged in while it runs, and pulled out when it ends, however that happens.
//
//   usbcam mjpeg|yuyv WIDTH HEIGHT FPS SERIAL DIRECTORY      with a gadgetfs mounted on /dev/gadget
//
// Not the kernel's own UVC function (usb_f_uvc): it sends isochronously and nothing else, and dummy_hcd fails every isochronous
// transfer (dummy_timer() in drivers/usb/gadget/udc/dummy_hcd.c). With GadgetFS (linux/usb/gadgetfs.h) a program brings its own
// descriptors, so this camera has the bulk endpoint that UVC allows as well (USB Device Class Definition for Video Devices 1.0,
// 2.4.3). The host's side, uvcvideo, is the same as with any camera.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usb/gadgetfs.h>
#include <linux/usb/video.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONTROL_INTERFACE, STREAMING_INTERFACE };
enum { CAMERA = 1, OUTPUT = 2 };
#define ENDPOINT 0x81
#define ENDPOINT_FILE "/dev/gadget/ep1in-bulk"
// What uvcvideo asks for at a time: 32 packets.
#define PAYLOAD 16384
#define HEADER 2
#define MAX_PICTURES 64

struct picture {
    uint8_t *bytes;
    size_t length;
};

static struct picture pictures[MAX_PICTURES];
static int picture_count;
static int is_mjpeg, width, height, fps;
static const char *serial;
static size_t largest;

static void fail(const char *what) {
    fprintf(stderr, "usbcam: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put16(uint8_t *to, unsigned value) {
    to[0] = value;
    to[1] = value >> 8;
}

static void put32(uint8_t *to, unsigned value) {
    put16(to, value);
    put16(to + 2, value >> 16);
}

// Appends `count` bytes, each an int.
static uint8_t *add(uint8_t *to, int count, ...) {
    va_list bytes;
    va_start(bytes, count);
    while (count-- > 0) *to++ = va_arg(bytes, int);
    va_end(bytes);
    return to;
}

// The configuration with all that belongs to it; returns its length.
static size_t configuration(uint8_t *buffer, unsigned packet) {
    const unsigned interval = 10000000 / fps;
    const unsigned bits = largest * 8 * fps;
    uint8_t *p = buffer, *total, *frame;
    p = add(p, 9, 9, USB_DT_CONFIG, 0, 0, 2, 1, 0, USB_CONFIG_ATT_ONE, 50);
    p = add(p, 8, 8, USB_DT_INTERFACE_ASSOCIATION, 0, 2, USB_CLASS_VIDEO, 3, 0, 0);

    p = add(p, 9, 9, USB_DT_INTERFACE, CONTROL_INTERFACE, 0, 0, USB_CLASS_VIDEO, UVC_SC_VIDEOCONTROL, 0, 0);
    total = p;
    p = add(p, 13, 13, USB_DT_CS_INTERFACE, UVC_VC_HEADER, 0, 1, 0, 0, 0, 0, 0, 0, 1, STREAMING_INTERFACE);
    p = add(p, 18, 18, USB_DT_CS_INTERFACE, UVC_VC_INPUT_TERMINAL, CAMERA, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0);
    p = add(p, 9, 9, USB_DT_CS_INTERFACE, UVC_VC_OUTPUT_TERMINAL, OUTPUT, 1, 1, 0, CAMERA, 0);
    put16(total + 5, p - total);

    p = add(p, 9, 9, USB_DT_INTERFACE, STREAMING_INTERFACE, 0, 1, USB_CLASS_VIDEO, UVC_SC_VIDEOSTREAMING, 0, 0);
    total = p;
    p = add(p, 14, 14, USB_DT_CS_INTERFACE, UVC_VS_INPUT_HEADER, 1, 0, 0, ENDPOINT, 0, OUTPUT, 0, 0, 0, 1, 0);
    if (is_mjpeg) {
        p = add(p, 11, 11, USB_DT_CS_INTERFACE, UVC_VS_FORMAT_MJPEG, 1, 1, 1, 1, 0, 0, 0, 0);
    } else {
        p = add(p, 27, 27, USB_DT_CS_INTERFACE, UVC_VS_FORMAT_UNCOMPRESSED, 1, 1, 'Y', 'U', 'Y', '2', 0, 0, 0x10, 0, 0x80, 0,
            0, 0xaa, 0, 0x38, 0x9b, 0x71, 16, 1, 0, 0, 0, 0);
    }
    frame = p;
    p = add(p, 5, 30, USB_DT_CS_INTERFACE, is_mjpeg ? UVC_VS_FRAME_MJPEG : UVC_VS_FRAME_UNCOMPRESSED, 1, 0);
    put16(frame + 5, width);
    put16(frame + 7, height);
    put32(frame + 9, bits);
    put32(frame + 13, bits);
    put32(frame + 17, largest);
    put32(frame + 21, interval);
    frame[25] = 1;
    put32(frame + 26, interval);
    p = add(frame + 30, 6, 6, USB_DT_CS_INTERFACE, UVC_VS_COLORFORMAT, 1, 1, 4);
    put16(total + 4, p - total);
    p = add(p, 7, 7, USB_DT_ENDPOINT, ENDPOINT, USB_ENDPOINT_XFER_BULK, packet & 255, packet >> 8, 0);
    put16(buffer + 2, p - buffer);
    return p - buffer;
}

// Writes all that GadgetFS wants to know, which plugs the camera in.
static int plug(void) {
    uint8_t buffer[1024] = {0}, *p = buffer + 4;
    int fd = open("/dev/gadget/dummy_udc", O_RDWR);
    if (fd < 0) fail("/dev/gadget/dummy_udc");
    p += configuration(p, 64);
    p += configuration(p, 512);
    // Of the Linux Foundation's numbers, the one for such gadgets (1d6b:0102).
    p = add(p, 18, 18, USB_DT_DEVICE, 0, 2, USB_CLASS_MISC, 2, 1, 64, 0x6b, 0x1d, 0x02, 0x01, 0x00, 0x01, 1, 2, 3, 1);
    if (write(fd, buffer, p - buffer) < 0) fail("the descriptors");
    return fd;
}

// Opens the endpoint for pictures.
static int open_endpoint(void) {
    uint8_t buffer[18] = {1}, *p = buffer + 4;
    int fd = open(ENDPOINT_FILE, O_RDWR);
    if (fd < 0) fail(ENDPOINT_FILE);
    p = add(p, 7, 7, USB_DT_ENDPOINT, ENDPOINT, USB_ENDPOINT_XFER_BULK, 64, 0, 0);
    p = add(p, 7, 7, USB_DT_ENDPOINT, ENDPOINT, USB_ENDPOINT_XFER_BULK, 0, 2, 0);
    if (write(fd, buffer, sizeof buffer) < 0) fail("the endpoint");
    return fd;
}

// Sends one picture, in payloads that each end with a packet that is not full, or with the host's buffer.
static int send_picture(int fd, const struct picture *picture, int toggle) {
    static uint8_t payload[PAYLOAD];
    size_t done = 0;
    while (done < picture->length) {
        size_t part = picture->length - done;
        if (part > PAYLOAD - HEADER) {
            part = PAYLOAD - HEADER;
        } else if ((part + HEADER) % 512 == 0 && part + HEADER < PAYLOAD) {
            part -= 1;
        }
        payload[0] = HEADER;
        payload[1] = UVC_STREAM_EOH | toggle | (done + part == picture->length ? UVC_STREAM_EOF : 0);
        memcpy(payload + HEADER, picture->bytes + done, part);
        // Waits until the host wants it: for ever while nobody has the camera open.
        if (write(fd, payload, HEADER + part) < 0) return -1;
        done += part;
    }
    return 0;
}

static void *stream(void *unused) {
    (void)unused;
    int fd = open_endpoint(), toggle = 0;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int n = 0;; n = (n + 1) % picture_count) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        next.tv_nsec += 1000000000 / fps;
        if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
        // After a pause, or behind: no burst.
        if (now.tv_sec > next.tv_sec || (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec)) next = now;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        // An endpoint that was halted, or reset, takes the next picture again.
        if (send_picture(fd, &pictures[n], toggle) == 0) toggle ^= UVC_STREAM_FID;
        else if (errno == ESHUTDOWN || errno == ENODEV) return NULL;
    }
}

// What is on offer and what was asked for is the same: there is one format in one size at one rate.
static size_t probe_control(uint8_t *buffer) {
    memset(buffer, 0, 26);
    buffer[2] = buffer[3] = 1;
    put32(buffer + 4, 10000000 / fps);
    put32(buffer + 18, largest);
    put32(buffer + 22, PAYLOAD);
    return 26;
}

static size_t string_descriptor(uint8_t *buffer, int number) {
    const char *texts[] = {NULL, "portald", "Test camera", serial};
    uint8_t *p = buffer + 2;
    if (number == 0) p = add(p, 2, 0x09, 0x04);
    else if (number <= 3) for (const char *c = texts[number]; *c; c++) p = add(p, 2, *c, 0);
    else return 0;
    buffer[0] = p - buffer;
    buffer[1] = USB_DT_STRING;
    return p - buffer;
}

// The answer to a request that reads; 0 for one that is refused.
static size_t answer(const struct usb_ctrlrequest *request, uint8_t *buffer) {
    if (request->bRequestType == USB_DIR_IN && request->bRequest == USB_REQ_GET_DESCRIPTOR && request->wValue >> 8 == USB_DT_STRING)
        return string_descriptor(buffer, request->wValue & 255);
    if (request->bRequestType == (USB_DIR_IN | USB_RECIP_INTERFACE) && request->bRequest == USB_REQ_GET_INTERFACE) {
        buffer[0] = 0;
        return 1;
    }
    const int selector = request->wValue >> 8;
    if (request->bRequestType != (USB_DIR_IN | USB_TYPE_CLASS | USB_RECIP_INTERFACE) || (request->wIndex & 255) != STREAMING_INTERFACE ||
        (selector != UVC_VS_PROBE_CONTROL && selector != UVC_VS_COMMIT_CONTROL))
        return 0;
    switch (request->bRequest) {
    case UVC_GET_CUR: case UVC_GET_MIN: case UVC_GET_MAX: case UVC_GET_DEF: return probe_control(buffer);
    case UVC_GET_INFO: buffer[0] = 3; return 1;
    case UVC_GET_LEN: put16(buffer, 26); return 2;
    default: return 0;
    }
}

// After the host went on to another request before the last was done with. GadgetFS takes the data of a request that writes by itself, so
// the host need not wait for us; but then the next request cannot be read before it is answered: reading would refuse it. What
// uvcvideo reads in between is the probe control, whichever of its values, and they are all the same. Once read as an event it is
// answered again; nobody hears that.
static void catch_up(int fd) {
    for (;;) {
        uint8_t buffer[26];
        struct pollfd ep0 = {.fd = fd, .events = POLLIN | POLLOUT};
        if (poll(&ep0, 1, 0) < 0) fail("ep0");
        if (ep0.revents & POLLHUP) continue; // still another one
        if (ep0.revents & POLLIN) return;
        // Shorter than an event, which must not be taken for data.
        ssize_t moved = ep0.revents & POLLOUT ? write(fd, buffer, probe_control(buffer)) : read(fd, buffer, sizeof(struct usb_gadgetfs_event) - 1);
        if (moved >= 0 || errno != EIDRM) return;
    }
}

// Whether a request was done with, by what moving its data returned. One that the host gave up is.
static int done(int fd, ssize_t moved) {
    if (moved >= 0) return 1;
    if (errno != EIDRM) return 0;
    catch_up(fd);
    return 1;
}

// Takes what a request writes; whether it is accepted.
static int take(const struct usb_ctrlrequest *request, int fd) {
    static int streams;
    uint8_t buffer[256];
    const int standard = request->bRequestType & USB_TYPE_MASK ? 0 : 1;
    if (standard && request->bRequest == USB_REQ_SET_CONFIGURATION && request->wValue == 1 && !streams) {
        pthread_t thread;
        streams = 1;
        if (pthread_create(&thread, NULL, stream, NULL) != 0) fail("a thread");
    } else if (!(standard && (request->bRequest == USB_REQ_SET_CONFIGURATION || request->bRequest == USB_REQ_SET_INTERFACE)) &&
               !((request->bRequestType & USB_TYPE_MASK) == USB_TYPE_CLASS && request->bRequest == UVC_SET_CUR &&
                 (request->wIndex & 255) == STREAMING_INTERFACE)) {
        return 0;
    }
    // Reading is what accepts it.
    return done(fd, read(fd, buffer, request->wLength < sizeof buffer ? request->wLength : sizeof buffer));
}

static void serve(int fd) {
    for (;;) {
        struct usb_gadgetfs_event event;
        uint8_t buffer[256];
        if (read(fd, &event, sizeof event) < (ssize_t)sizeof event) fail("the next request");
        if (event.type != GADGETFS_SETUP) continue;
        const struct usb_ctrlrequest *request = &event.u.setup;
        // The wrong direction is how GadgetFS is told to refuse; it says so with EL2HLT.
        if (request->bRequestType & USB_DIR_IN) {
            size_t length = answer(request, buffer);
            if (length > request->wLength) length = request->wLength;
            ssize_t moved = length > 0 ? write(fd, buffer, length) : read(fd, buffer, 0);
            if (!done(fd, moved) && errno != EL2HLT) perror("usbcam: an answer");
        } else if (!take(request, fd) && !done(fd, write(fd, buffer, 0)) && errno != EL2HLT) {
            perror("usbcam: a refusal");
        }
    }
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void load(const char *directory) {
    struct dirent **names;
    int count = scandir(directory, &names, visible, alphasort);
    if (count <= 0) fail(directory);
    for (int n = 0; n < count && n < MAX_PICTURES; n++) {
        char path[512];
        struct stat data;
        struct picture *picture = &pictures[picture_count++];
        snprintf(path, sizeof path, "%s/%s", directory, names[n]->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0 || fstat(fd, &data) != 0) fail(path);
        picture->length = data.st_size;
        picture->bytes = malloc(picture->length);
        if (!picture->bytes || read(fd, picture->bytes, picture->length) != data.st_size) fail(path);
        if (picture->length > largest) largest = picture->length;
        close(fd);
    }
}

int main(int count, char **words) {
    if (count != 7) {
        fprintf(stderr, "usage: usbcam mjpeg|yuyv WIDTH HEIGHT FPS SERIAL DIRECTORY\n");
        return 2;
    }
    is_mjpeg = strcmp(words[1], "mjpeg") == 0;
    width = atoi(words[2]);
    height = atoi(words[3]);
    fps = atoi(words[4]);
    serial = words[5];
    load(words[6]);
    // A JPEG may be larger than those at hand; for raw pictures the driver holds us to the size.
    if (is_mjpeg) largest *= 2;
    serve(plug());
}
