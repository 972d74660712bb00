"""Read from a packet's bits what pictures it holds, independent of the container's flags.

Some containers flag key frames wrongly: an MP4 without a table of key frames, an AVI index that
flags every chunk. Here a packet is a key frame only if its bits agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Test = Callable[[bytes], bool]

# All pictures of these codecs are intra coded, but FFmpeg does not list them as such.
INTRA_ONLY = ("png", "bmp", "targa", "webp")
H264_IDR, H264_SEI, H264_SLICES = 5, 6, (1, 2, 5)
RECOVERY_POINT = 6  # type of an SEI message
HEVC_IRAP, HEVC_SLICES = range(16, 22), range(32)
VOP, MPEG_PICTURE = b"\0\0\1\xb6", b"\0\0\1\0"
AV1_SEQUENCE, AV1_FRAME_HEADER, AV1_FRAME = 1, 3, 6
# Half of the range of FFV1's coder, where its first bit changes from 0 to 1.
FFV1_ONE = 0x7F80
# Start codes of a picture in H.263 and in Flash's variant: the pattern and its number of bits.
H263_START, FLV1_START = (0x20, 22), (1, 17)
FREE_SIZE, EXTENDED = 2, 7


@dataclass(frozen=True, slots=True)
class Bits:
    """Tests on the packets of one video.

    Attributes
    ----------
    is_key : callable or None
        Tells whether a packet begins with an intra coded picture; None if the codec has no such
        test.
    is_shown : callable or None
        Tells whether a packet holds a picture that is shown; None if all packets do.
    is_packed : callable or None
        Tells whether a packet holds more than one picture; None if no packet does.
    """

    is_key: Test | None
    is_shown: Test | None = None
    is_packed: Test | None = None

    def begins(self, packet: Any) -> bool:
        """Tell whether decoding can begin at a packet."""
        if self.is_key is None or self.is_key is _always:
            return self.is_key is _always
        return self.is_key(bytes(packet))

    def shows(self, packet: Any) -> bool:
        """Tell whether a non-empty packet holds a picture that is shown."""
        return self.is_shown is None or self.is_shown(bytes(packet))

    def joins(self, packet: Any) -> bool:
        """Tell whether a packet holds more than one picture."""
        return self.is_packed is not None and self.is_packed(bytes(packet))


def bits_of(context: Any) -> Bits:
    """Return the tests for the codec of an `av.VideoCodecContext`."""
    name, extradata = context.name, bytes(context.extradata or b"")
    if context.codec.intra_only or name in INTRA_ONLY:
        return Bits(_always)
    if name in ("h264", "hevc"):
        test = _h264_key if name == "h264" else _hevc_key
        length = _length_bytes(name, extradata)
        return Bits(lambda data: test(_units(data, length)))
    return CODECS.get(name, Bits(None))


def _always(data: bytes) -> bool:
    return True


def _number(data: bytes, first: int, count: int) -> int:
    """Return `count` bits from bit `first` as a number; missing bits are 0."""
    begin, end = first // 8, (first + count + 7) // 8
    held = int.from_bytes(data[begin:end].ljust(end - begin, b"\0"), "big")
    return held >> (8 * end - first - count) & (1 << count) - 1


def _length_bytes(codec: str, extradata: bytes) -> int:
    """Return the bytes of a unit's length field; 0 if start codes separate the units."""
    offset = {"h264": 4, "hevc": 21}[codec]
    if len(extradata) <= offset or extradata[0] != 1:
        return 0
    return (extradata[offset] & 3) + 1


def _units(data: bytes, length: int) -> Iterator[bytes]:
    """Yield the units of an H.264 or HEVC packet."""
    if not length:
        # An empty first part, or zeros, come before the first start code.
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)
        return
    offset = 0
    while offset + length < len(data):
        size = int.from_bytes(data[offset : offset + length], "big")
        offset += length
        if size:
            yield data[offset : offset + size]
        offset += size


def _h264_key(units: Iterator[bytes]) -> bool:
    for unit in units:
        kind = unit[0] & 31
        if kind == H264_SEI and _has_recovery_point(unit[1:]):
            return True
        if kind in H264_SLICES:
            return kind == H264_IDR
    return False


def _has_recovery_point(messages: bytes) -> bool:
    """Tell whether a unit's SEI messages include a recovery point."""
    data = messages.replace(b"\0\0\3", b"\0\0")  # the 3 keeps a start code from appearing
    offset = 0
    while offset + 2 < len(data):
        kind, offset = _sum_of_bytes(data, offset)
        size, offset = _sum_of_bytes(data, offset)
        if kind == RECOVERY_POINT:
            return True
        offset += size
    return False


def _sum_of_bytes(data: bytes, offset: int) -> tuple[int, int]:
    """Return a number that is coded as 255 bytes plus a last byte, and the offset after it."""
    total = 0
    while offset < len(data):
        total += data[offset]
        offset += 1
        if data[offset - 1] != 255:
            break
    return total, offset


def _hevc_key(units: Iterator[bytes]) -> bool:
    kinds = (unit[0] >> 1 & 63 for unit in units)
    return next((kind in HEVC_IRAP for kind in kinds if kind in HEVC_SLICES), False)


def _mpeg4_key(data: bytes) -> bool:
    offset = data.find(VOP)
    return offset >= 0 and _number(data, 8 * (offset + 4), 2) == 0


def _mpeg4_packed(data: bytes) -> bool:
    return data.count(VOP) > 1


def _mpeg12_key(data: bytes) -> bool:
    # Two fields may be separate pictures, and the second may depend on earlier ones.
    pictures = data.split(MPEG_PICTURE)[1:]
    return bool(pictures) and all(_number(picture, 10, 3) == 1 for picture in pictures)


def _h263_key(data: bytes) -> bool:
    start, bits = H263_START
    if _number(data, 0, bits) != start:
        return False
    if _number(data, bits + 13, 3) != EXTENDED:
        return _number(data, bits + 16, 1) == 0
    offset = bits + 16
    if _number(data, offset, 3) != 1:  # the extension omits unchanged fields
        return False
    return _number(data, offset + 3 + 18, 3) == 0


def _flv1_key(data: bytes) -> bool:
    start, bits = FLV1_START
    size = _number(data, bits + 13, 3)
    sizes = (16, 32)[size] if size < FREE_SIZE else 0
    return _number(data, 0, bits) == start and _number(data, bits + 16 + sizes, 2) == 0


def _theora_key(data: bytes) -> bool:
    return _number(data, 0, 2) == 0


def _ffv1_key(data: bytes) -> bool:
    return _number(data, 0, 16) >= FFV1_ONE


def _vp8_key(data: bytes) -> bool:
    return not data[0] & 1


def _vp8_shown(data: bytes) -> bool:
    return bool(data[0] & 16)


def _vp9_pictures(data: bytes) -> Iterator[bytes]:
    """Yield the pictures of a VP9 packet; a superframe holds several."""
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    sizes = len(data) - 1 - count * width
    if mark >> 5 != 6 or sizes < 1 or data[sizes - 1] != mark:
        yield data
        return
    offset = 0
    for number in range(count):
        begin = sizes + number * width
        size = int.from_bytes(data[begin : begin + width], "little")
        if size:
            yield data[offset : offset + size]
        offset += size


def _vp9_header(picture: bytes) -> tuple[bool, bool, bool]:
    """Return whether a picture shows an earlier one, is a key frame, and is shown."""
    offset = 5 if _number(picture, 2, 2) == 3 else 4  # profile 3 has one more bit
    again = _number(picture, offset, 1) == 1
    key = not again and not _number(picture, offset + 1, 1)
    return again, key, bool(_number(picture, offset + 2, 1))


def _vp9_key(data: bytes) -> bool:
    return any(_vp9_header(picture)[1] for picture in list(_vp9_pictures(data))[:1])


def _vp9_shown(data: bytes) -> bool:
    headers = map(_vp9_header, _vp9_pictures(data))
    return any(again or shown for again, _, shown in headers)


def _av1_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and content of each unit of an AV1 packet."""
    offset = 0
    while offset < len(data):
        head = data[offset]
        offset += 2 if head & 4 else 1
        size = len(data) - offset
        if head & 2:
            size, shift = 0, 0
            while offset < len(data):
                byte = data[offset]
                size |= (byte & 127) << shift
                offset, shift = offset + 1, shift + 7
                if byte < 128:
                    break
        yield head >> 3 & 15, data[offset : offset + size]
        offset += size


def _av1_key(data: bytes) -> bool:
    still = False
    for kind, unit in _av1_units(data):
        if kind == AV1_SEQUENCE:
            still = _number(unit, 4, 1) == 1
        elif kind in (AV1_FRAME_HEADER, AV1_FRAME):
            # Not a repeated frame, of type key frame, and shown.
            return still or _number(unit, 0, 4) == 1
    return False


def _msmpeg4_key(data: bytes) -> bool:
    return _number(data, 0, 2) == 0


CODECS = {
    "mpeg4": Bits(_mpeg4_key, is_packed=_mpeg4_packed),
    "mpeg1video": Bits(_mpeg12_key),
    "mpeg2video": Bits(_mpeg12_key),
    "msmpeg4": Bits(_msmpeg4_key),
    "msmpeg4v2": Bits(_msmpeg4_key),
    "wmv1": Bits(_msmpeg4_key),
    "wmv2": Bits(lambda data: _number(data, 0, 1) == 0),
    "h263": Bits(_h263_key),
    "flv": Bits(_flv1_key),
    "theora": Bits(_theora_key),
    "ffv1": Bits(_ffv1_key),
    "vp8": Bits(_vp8_key, is_shown=_vp8_shown),
    "vp9": Bits(_vp9_key, is_shown=_vp9_shown),
    "libdav1d": Bits(_av1_key),
    "av1": Bits(_av1_key),
}
