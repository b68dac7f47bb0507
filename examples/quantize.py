"""A tensor to MXFP4 and back, with nothing but Python's standard library.

Needs an edge: `npm start`, or its URL in MXFP4_EDGE_URL (and MXFP4_EDGE_TOKEN where it asks for one).
"""

import json
import math
import os
import struct
import urllib.error
import urllib.request

URL = os.environ.get("MXFP4_EDGE_URL", "http://127.0.0.1:8787")
TOKEN = os.environ.get("MXFP4_EDGE_TOKEN", "")


def post(path, body):
    headers = {
        "Content-Type": "application/octet-stream",
        "Authorization": f"Bearer {TOKEN}",
    }
    request = urllib.request.Request(URL + path, body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        # A problem document (RFC 9457) tells what was expected and what came.
        raise SystemExit(json.load(error)["detail"])


def read_safetensors(file):
    """Bytes of each tensor by name, and the metadata."""
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = file[8 + length :]
    tensors = {
        name: data[slice(*tensor["data_offsets"])] for name, tensor in header.items()
    }
    return tensors, metadata


values = [math.sin(i) for i in range(256)]
raw = struct.pack("<256f", *values)

packed = post("/v1/quantize?dtype=f32&shape=4,64&scale=rceil", raw)
tensors, metadata = read_safetensors(packed)
blocks, scales = tensors["x_blocks"], tensors["x_scales"]
print(f"{len(raw)} bytes of f32 are {len(blocks)} of elements and {len(scales)} of scales")
print("scale:", metadata["mxfp4.scale"], "rounding:", metadata["mxfp4.rounding"])

decoded, _ = read_safetensors(post("/v1/dequantize", packed))
x = struct.unpack("<256f", decoded["x"])
print(f"largest error: {max(abs(a - b) for a, b in zip(values, x)):.4f}")

figures = json.loads(post("/v1/analyze?dtype=f32&shape=4,64&compare=all", raw))
print("recommended:", figures["total"]["recommended"])

try:
    post("/v1/quantize?dtype=f32&shape=5,64", raw)
except SystemExit as refusal:
    print("refused:", refusal)
