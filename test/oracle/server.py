"""Evaluates expressions of MLX for the tests, which compare the results with their own.

Messages in both directions have a length of four bytes in front. A request is the expression, one line
`name type shape` for each array that it mentions, an empty line, and the bytes of the arrays in that order.
A reply is `ok` and one line `type shape` for each array of the result, an empty line, and their bytes, or
`error` and a message. A shape is written `2,3`; that of a single number is `-`.
"""

import atexit
import importlib.util
import os
import pathlib
import shutil
import struct
import sys
import tempfile


def use_libraries(folder):
    """Makes Python load MLX and its BLAS from `folder`, so that the same sums round alike on both sides."""
    overlay = pathlib.Path(tempfile.mkdtemp(prefix="mlx-oracle-")) / "mlx"
    atexit.register(shutil.rmtree, overlay.parent)
    overlay.mkdir()
    for package in importlib.util.find_spec("mlx").submodule_search_locations:
        for entry in pathlib.Path(package).iterdir():
            if entry.name != "lib" and not (overlay / entry.name).exists():
                (overlay / entry.name).symlink_to(entry)
    (overlay / "lib").symlink_to(folder)
    sys.path.insert(0, str(overlay.parent))
    sys.modules.pop("mlx", None)


if "MLX_ORACLE_LIBRARIES" in os.environ:
    use_libraries(os.environ["MLX_ORACLE_LIBRARIES"])

import ggml  # noqa: E402
import layers  # noqa: E402
import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
import mlx.optimizers as optimizers  # noqa: E402
import mlx.utils as utils  # noqa: E402
import sampling  # noqa: E402

TYPES = {
    "bool": mx.bool_, "u8": mx.uint8, "u16": mx.uint16, "u32": mx.uint32, "u64": mx.uint64,
    "s8": mx.int8, "s16": mx.int16, "s32": mx.int32, "s64": mx.int64,
    "f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32, "f64": mx.float64, "c64": mx.complex64,
}
NAMES = {dtype: name for name, dtype in TYPES.items()}


def read_message(stream):
    header = stream.read(4)
    if len(header) < 4:
        return None
    return stream.read(struct.unpack(">I", header)[0])


def write_message(stream, message):
    stream.write(struct.pack(">I", len(message)))
    stream.write(message)
    stream.flush()


def decode_array(payload, dtype, shape):
    if not payload:
        return mx.zeros(shape, dtype)
    return mx.array(memoryview(payload)).view(dtype).reshape(shape)


def encode_array(array):
    flat = mx.contiguous(array.reshape(-1))
    payload = bytes(memoryview(flat.view(mx.uint8))) if array.size else b""
    shape = ",".join(map(str, array.shape)) or "-"
    return f"{NAMES[array.dtype]} {shape}", payload


def read_arrays(lines, payload):
    arrays, offset = {}, 0
    for line in lines:
        name, type_name, shape_text = line.split(" ")
        shape = [] if shape_text == "-" else [int(size) for size in shape_text.split(",")]
        size = TYPES[type_name].size
        for axis in shape:
            size *= axis
        arrays[name] = decode_array(payload[offset:offset + size], TYPES[type_name], shape)
        offset += size
    return arrays


def as_array(item):
    """An array, also for a number, nested lists, or a type: a zero of it."""
    if isinstance(item, mx.Dtype):
        return mx.zeros((), item)
    return item if isinstance(item, mx.array) else mx.array(item)


def evaluate(request):
    header, payload = request.split(b"\n\n", 1)
    expression, *lines = header.decode().split("\n")
    # One scope: a lambda sees no local names of an expression.
    scope = {"mx": mx, "nn": nn, "optimizers": optimizers, "utils": utils, "layers": layers, "ggml": ggml,
             "sampling": sampling}
    result = eval(expression, scope | read_arrays(lines, payload))
    results = result if isinstance(result, (list, tuple)) else [result]
    encoded = [encode_array(as_array(item)) for item in results]
    lines = "\n".join(["ok"] + [line for line, _ in encoded])
    return lines.encode() + b"\n\n" + b"".join(payload for _, payload in encoded)


def main():
    # float64 exists on the CPU only, and the tests compare with the CPU.
    mx.set_default_device(mx.cpu)
    while (request := read_message(sys.stdin.buffer)) is not None:
        try:
            reply = evaluate(request)
        except Exception as error:
            reply = f"error\n{type(error).__name__}: {error}".encode()
        write_message(sys.stdout.buffer, reply)


main()
