"""paraphrase-MiniLM-L3-v2 from its ONNX export to a Hugging Face folder in half precision.

The export keeps the names of all parameters but those of the linears' weights, which it transposes and
calls `onnx::MatMul_470` and so on. The node that uses such a tensor still carries the module's path.
"""

import json
import struct
from array import array
from pathlib import Path

import onnx_weights

PREFIX = "model.0.auto_model."
TENSORS, PARAMETERS = 53, 17_241_984

# What the shapes and the graph of the export say, under the names of a Hugging Face BertConfig.
# The dropouts, the initialiser's range and the padding id are BERT's own: an export does not hold them.
CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "dtype": "float16",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "torch_dtype": "float16",
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def transpose(shape: list[int], values: array) -> tuple[list[int], array]:
    rows, columns = shape
    out = array("f")
    for column in range(columns):
        out.extend(values[column::columns])
    return [columns, rows], out


def weights(onnx: Path) -> dict[str, tuple[list[int], array]]:
    """The parameters under Hugging Face's names."""
    tensors, products = onnx_weights.read(str(onnx))
    out = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    for node, inputs in products:
        for name in inputs:
            if name.startswith("onnx::MatMul"):
                module = node.split("auto_model/")[1].rsplit("/MatMul", 1)[0].replace("/", ".")
                out[f"{module}.weight"] = transpose(*tensors[name])
    count = sum(len(values) for _, values in out.values())
    if (len(out), count) != (TENSORS, PARAMETERS):
        raise ValueError(f"{len(out)} tensors with {count} parameters, not {TENSORS} with {PARAMETERS}")
    return out


def safetensors_f16(tensors: dict[str, tuple[list[int], array]]) -> bytes:
    """The bytes that `safetensors.save_file` writes: the header padded to 8 bytes, tensors by name."""
    header, data, end = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        shape, values = tensors[name]
        half = struct.pack(f"<{len(values)}e", *values)  # rounds to nearest, ties to even; raises on overflow
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + len(half)]}
        data.append(half)
        end += len(half)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + b"".join(data)


def tokenizer(original: bytes) -> bytes:
    """The tokenizer without its fixed length: as packaged it pads and cuts every text to 128 tokens."""
    content = json.loads(original)
    content["truncation"] = content["padding"] = None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def write(onnx: Path, tokenizer_json: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors_f16(weights(onnx)))
    (folder / "tokenizer.json").write_bytes(tokenizer(tokenizer_json))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
