"""Run an exported model on a video, without featstore: python run_onnx.py model.onnx VIDEO."""

import json
import sys

import av
import numpy as np
import onnxruntime


def pixels(frame, mode):
    """Return luma as stored (height, width), or RGB (height, width, 3)."""
    if mode == "rgb":
        return frame.to_ndarray(format="rgb24")
    plane = frame.planes[0]  # the formats of most cameras; rotated videos need more
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width]


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
meta = json.loads(session.get_modelmeta().custom_metadata_map["featstore"])
count, taken, due = meta["frames"]["frames"], [], 0.0
with av.open(sys.argv[2]) as video:
    stream = video.streams.video[0]
    step = 1 / (meta["fps"] or float(stream.average_rate))
    for frame in video.decode(stream):
        time = frame.time - stream.start_time * float(stream.time_base)
        if time + 0.5 / float(stream.average_rate) >= due:  # nearly the nearest frame
            taken.append((time, pixels(frame, meta["pixels"])))
            due += step
        if len(taken) == count:
            window = np.stack([picture for _, picture in taken])
            (probabilities,) = session.run(None, {"frames": window})
            best = int(probabilities.argmax())
            print(f"{taken[0][0]:.3f}\t{meta['classes'][best]}\t{probabilities[best]:.6f}")
            taken = []
