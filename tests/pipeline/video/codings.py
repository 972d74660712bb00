"""How the files of the conformance suite are encoded, and into what containers."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple


class Coding(NamedTuple):
    """How ffmpeg encodes: its options, and the containers that it is written to."""

    options: str
    containers: str


# A suffix, and options of the muxer where they are no default.
CONTAINERS = {
    **{name: (name, "") for name in ("mp4", "mov", "mkv", "webm", "avi", "ts", "mpg", "flv")},
    **{name: (name, "") for name in ("ogv", "wmv", "nut", "3gp", "gif")},
    "fragmented": ("mp4", "-movflags frag_keyframe+empty_moov"),
}

X264 = "-c:v libx264 -crf 15 -x264-params scenecut=0:b-adapt=0"
X265 = "-c:v libx265 -x265-params log-level=none:pools=none:frame-threads=1:crf=12:scenecut=0"
MPEG = "-q:v 3 -sc_threshold 1000000000"
VPX = "-deadline good -cpu-used 5 -crf 15 -b:v 1M -lag-in-frames 10 -auto-alt-ref"
H264_FILES = "mp4 mov mkv avi ts mpg flv wmv fragmented"
HEVC_FILES = "mp4 mov mkv avi ts flv fragmented"
MPEG4_FILES = "mp4 mov mkv avi ts wmv nut fragmented"

CODINGS = {
    "h264, only key frames": Coding(f"{X264} -g 1", H264_FILES),
    "h264, a key frame every 5": Coding(f"{X264}:keyint=5:min-keyint=5:bframes=0", H264_FILES),
    "h264, B-frames": Coding(f"{X264}:keyint=12:min-keyint=12:bframes=2", H264_FILES),
    "h264, open groups": Coding(
        f"{X264}:keyint=12:min-keyint=12:bframes=5:b-pyramid=normal:open-gop=1", H264_FILES
    ),
    "h264, refreshed in parts": Coding(f"{X264}:keyint=12:intra-refresh=1", "mp4 mkv ts flv"),
    "h264, one key frame": Coding(f"{X264}:keyint=1000:bframes=2", "mp4 mkv avi ts"),
    "h264, 10 bits": Coding(f"{X264}:keyint=12 -pix_fmt yuv420p10le", "mp4 mkv ts"),
    "hevc, only key frames": Coding(f"{X265}:keyint=1", HEVC_FILES),
    "hevc, closed groups": Coding(f"{X265}:keyint=5:min-keyint=5:bframes=2:open-gop=0", HEVC_FILES),
    "hevc, open groups": Coding(f"{X265}:keyint=12:min-keyint=12:bframes=3:open-gop=1", HEVC_FILES),
    "hevc, one key frame": Coding(f"{X265}:keyint=1000", "mp4 mkv ts"),
    "hevc, 10 bits": Coding(f"{X265}:keyint=12 -pix_fmt yuv420p10le", "mp4 mkv"),
    "mpeg4, a key frame every 5": Coding(f"-c:v mpeg4 {MPEG} -g 5", MPEG4_FILES),
    "mpeg4, B-frames": Coding(f"-c:v mpeg4 {MPEG} -g 12 -bf 2", MPEG4_FILES),
    "mpeg4, closed groups": Coding(f"-c:v mpeg4 {MPEG} -g 12 -bf 2 -flags +cgop", MPEG4_FILES),
    "mpeg4, one key frame": Coding(f"-c:v mpeg4 {MPEG} -g 1000", "mp4 mkv avi"),
    "mpeg4, packed B-frames": Coding("-c:v libxvid -q:v 3 -g 12 -bf 2", "avi"),
    "mpeg4, packed single B-frames": Coding("-c:v libxvid -q:v 3 -g 12 -bf 1", "avi"),
    "mpeg4, XviD without B-frames": Coding("-c:v libxvid -q:v 3 -g 12", "avi mp4 mkv"),
    "mpeg4, unpacked": Coding("-c:v libxvid -q:v 3 -g 12 -bf 2 -bsf:v mpeg4_unpack_bframes", "avi"),
    **{
        f"{name}, a key frame every {gop}": Coding(f"-c:v {codec} {MPEG} -g {gop}", containers)
        for (name, codec, containers), gop in itertools.product(
            [
                ("msmpeg4v2", "msmpeg4v2", "avi mkv wmv"),
                ("msmpeg4v3", "msmpeg4", "avi mkv wmv"),
                ("wmv1", "wmv1", "avi mkv wmv"),
                ("wmv2", "wmv2", "avi mkv wmv"),
                ("h263", "h263 -s 128x96", "avi mov 3gp mkv"),
                ("h263+", "h263p", "avi mov mkv"),
                ("flv1", "flv", "flv avi mkv"),
            ],
            (5, 12),
        )
    },
    "mpeg1, a key frame every 5": Coding(f"-c:v mpeg1video {MPEG} -g 5", "mpg ts mkv avi mp4"),
    "mpeg1, B-frames": Coding(f"-c:v mpeg1video {MPEG} -g 12 -bf 2", "mpg ts mkv avi mp4"),
    "mpeg2, a key frame every 5": Coding(f"-c:v mpeg2video {MPEG} -g 5", "mpg ts mkv avi mp4"),
    "mpeg2, open groups": Coding(f"-c:v mpeg2video {MPEG} -g 12 -bf 2", "mpg ts mkv avi mp4"),
    "mpeg2, closed groups": Coding(
        f"-c:v mpeg2video {MPEG} -g 12 -bf 2 -flags +cgop", "mpg ts mkv avi mp4"
    ),
    "vp8, a key frame every 5": Coding(f"-c:v libvpx {VPX} 0 -g 5", "webm mkv avi"),
    "vp8, hidden frames": Coding(f"-c:v libvpx {VPX} 1 -g 12", "webm mkv avi"),
    "vp9, a key frame every 5": Coding(f"-c:v libvpx-vp9 {VPX} 0 -g 5", "webm mkv mp4 avi"),
    "vp9, hidden frames": Coding(f"-c:v libvpx-vp9 {VPX} 1 -g 12", "webm mkv mp4 avi"),
    "vp9, hidden frames apart": Coding(
        f"-c:v libvpx-vp9 {VPX} 1 -g 12 -bsf:v vp9_superframe_split", "webm mkv"
    ),
    "av1, a key frame every 5": Coding(
        "-c:v libaom-av1 -usage realtime -cpu-used 8 -crf 20 -g 5", "mp4 mkv webm fragmented"
    ),
    "av1, hidden frames": Coding(
        "-c:v libaom-av1 -cpu-used 8 -crf 20 -g 12 -lag-in-frames 12",
        "mp4 mkv webm fragmented",
    ),
    "theora, a key frame every 5": Coding("-c:v libtheora -q:v 9 -g 5", "ogv mkv"),
    "theora, a key frame every 12": Coding("-c:v libtheora -q:v 9 -g 12", "ogv mkv"),
    "mjpeg": Coding("-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", "avi mov mkv mp4"),
    "ffv1, only key frames": Coding("-c:v ffv1 -g 1", "mkv avi mov"),
    "ffv1, a key frame every 5": Coding("-c:v ffv1 -g 5", "mkv avi mov"),
    "prores": Coding("-c:v prores_ks -pix_fmt yuv422p10le", "mov mkv"),
    "rawvideo": Coding("-c:v rawvideo", "avi mkv nut"),
    "huffyuv": Coding("-c:v huffyuv -pix_fmt yuv422p", "avi mkv"),
    "png": Coding("-c:v png -pix_fmt rgb24", "avi mov mkv"),
    "gif": Coding("-c:v gif -pix_fmt rgb8", "gif"),
    "qtrle": Coding("-c:v qtrle -g 5 -pix_fmt rgb24", "mov"),
    "svq1": Coding("-c:v svq1 -q:v 3 -g 5 -pix_fmt yuv410p", "mov"),
    "cinepak": Coding("-c:v cinepak -g 5 -pix_fmt rgb24", "avi mov"),
}

VARIABLE = "-vf setpts=(N*40+N*N*2)/1000/TB -fps_mode vfr -enc_time_base 1:1000"
STAMPED = {
    "at a variable rate": (VARIABLE, "mp4 mov mkv flv ts wmv fragmented"),
    "starting at 5 s": ("-output_ts_offset 5", "mp4 mov mkv flv ts mpg wmv fragmented"),
    "starting at -1 s": ("-output_ts_offset -1 -avoid_negative_ts disabled", "mp4 mov"),
    "wrapping after 26 hours": ("-output_ts_offset 95442", "ts mpg"),
}
STAMPED_CODECS = {
    "h264": (f"{X264}:keyint=12:min-keyint=12:bframes=2", "wmv"),
    "mpeg4": (f"-c:v mpeg4 {MPEG} -g 12 -bf 2", "flv wmv"),
    "hevc": (f"{X265}:keyint=12:min-keyint=12:bframes=3", "mpg wmv"),
}
CODINGS |= {
    f"{codec}, {times}": Coding(
        f"{coding} {options}", " ".join(sorted(set(containers.split()) - set(without.split())))
    )
    for times, (options, containers) in STAMPED.items()
    for codec, (coding, without) in STAMPED_CODECS.items()
}
CODINGS |= {
    "vp9, at a variable rate": Coding(f"-c:v libvpx-vp9 {VPX} 0 -g 5 {VARIABLE}", "webm mkv mp4"),
    "vp8, starting at 5 s": Coding(f"-c:v libvpx {VPX} 0 -g 5 -output_ts_offset 5", "webm mkv"),
    "h264, in full range": Coding(
        f"{X264}:keyint=12 -color_range pc -pix_fmt yuv420p", "mp4 mkv ts"
    ),
    "h264, in limited range": Coding(f"{X264}:keyint=12 -color_range tv", "mp4 mkv ts"),
    "vp9, in full range": Coding(f"-c:v libvpx-vp9 {VPX} 0 -g 5 -color_range pc", "webm mp4"),
    "ffv1, grey": Coding("-c:v ffv1 -g 5 -pix_fmt gray", "mkv avi"),
    "ffv1, grey of 16 bits": Coding("-c:v ffv1 -g 5 -pix_fmt gray16le", "mkv avi"),
    "ffv1, grey of 10 bits": Coding("-c:v ffv1 -g 5 -pix_fmt gray10le", "mkv avi"),
    "ffv1, RGB": Coding("-c:v ffv1 -g 5 -pix_fmt bgr0", "mkv avi"),
}

# Folders of images: the suffix, Pillow's mode, and options to save with.
IMAGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png, 1 bit": ("png", "1", {}),
    "png, grey": ("png", "L", {}),
    "png, grey of 16 bits": ("png", "I;16", {}),
    "png, RGB": ("png", "RGB", {}),
    "png, RGB and alpha": ("png", "RGBA", {}),
    "png, palette": ("png", "P", {}),
    "jpg, grey": ("jpg", "L", {"quality": 95}),
    "jpg, halved chroma": ("jpg", "RGB", {"quality": 95}),
    "jpg, full chroma": ("jpg", "RGB", {"quality": 95, "subsampling": 0}),
    "jpg, progressive": ("jpg", "RGB", {"quality": 95, "progressive": True}),
    "tiff, 1 bit": ("tiff", "1", {}),
    "tiff, grey": ("tiff", "L", {}),
    "tiff, grey of 16 bits": ("tiff", "I;16", {}),
    "tiff, RGB": ("tiff", "RGB", {}),
    "tiff, RGB by LZW": ("tiff", "RGB", {"compression": "tiff_lzw"}),
    "tiff, grey by deflate": ("tiff", "L", {"compression": "tiff_deflate"}),
    "bmp, 1 bit": ("bmp", "1", {}),
    "bmp, grey": ("bmp", "L", {}),
    "bmp, RGB": ("bmp", "RGB", {}),
    "bmp, palette": ("bmp", "P", {}),
    "webp, lossless": ("webp", "RGB", {"lossless": True}),
    "webp, lossy": ("webp", "RGB", {"quality": 95}),
}
