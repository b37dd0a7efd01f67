"""Reads the weights out of an ONNX file with nothing but the standard library.

An ONNX file is one protobuf message, and all that is wanted of it are the stored tensors and the names of
the MatMul nodes. Thirty lines read that, so making the assets needs no `onnx`, no `numpy` and no pinned
versions of either: the bytes that come out cannot depend on what pip finds today.
"""

from array import array
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FLOAT32 = 1  # onnx.TensorProto.DataType.FLOAT


def varint(buffer: memoryview, at: int) -> tuple[int, int]:
    """One base-128 number at `at`, and where the next item starts."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one protobuf message, in the order in which they are stored."""
    at = 0
    while at < len(buffer):
        key, at = varint(buffer, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(buffer, at)
        else:
            if kind == BYTES:
                size, at = varint(buffer, at)
            elif kind in (FIXED64, FIXED32):
                size = 8 if kind == FIXED64 else 4
            else:
                raise ValueError(f"not an ONNX file: wire type {kind}")
            value, at = buffer[at : at + size], at + size
        yield key >> 3, value


def text(value: memoryview) -> str:
    return bytes(value).decode("utf-8")


def tensor(message: memoryview) -> tuple[str, list[int], array]:
    """A TensorProto: its name, its shape and its values."""
    name, shape, kind, raw = "", [], None, memoryview(b"")
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):  # dims, one number a field
            shape.append(value)
        elif number == 1:  # dims, packed
            at = 0
            while at < len(value):
                size, at = varint(value, at)
                shape.append(size)
        elif number == 2:
            kind = value
        elif number == 8:
            name = text(value)
        elif number == 9:
            raw = value
    values = array("f")
    if kind == FLOAT32:
        values.frombytes(bytes(raw))  # ONNX is little-endian; see the check in make.py
    return name, shape, values


def read(path: str) -> tuple[dict[str, tuple[list[int], array]], list[tuple[str, list[str]]]]:
    """The stored f32 tensors by name, and (node name, input names) of every MatMul."""
    with open(path, "rb") as file:
        model = memoryview(file.read())
    graph = next(value for number, value in fields(model) if number == 7)
    tensors, products = {}, []
    for number, value in fields(graph):
        if number == 5:  # initializer
            name, shape, values = tensor(value)
            tensors[name] = (shape, values)
        elif number == 1:  # node
            node = list(fields(value))
            if any(n == 4 and text(v) == "MatMul" for n, v in node):
                name = next(text(v) for n, v in node if n == 3)
                products.append((name, [text(v) for n, v in node if n == 1]))
    return tensors, products
