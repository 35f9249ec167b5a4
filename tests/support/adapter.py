"""For tests of whole verbs: PEFT folders, written and read without Jericho."""
import json
import random
import struct

PREFIX = "base_model.model."
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj")


def write_safetensors(path, tensors):
    """name -> (shape, list of floats), as F32."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in tensors.items():
        piece = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """name -> (shape, list of floats); of files of F32."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        begin, end = (8 + size + at for at in t["data_offsets"])
        out[name] = (t["shape"], list(struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])))
    return out


def module_shapes(hidden=64, ff=128, layers=2, heads=4, kv_heads=2, head_dim=16):
    """module path -> (out, in), with make_model.cc's sizes."""
    q, kv = heads * head_dim, kv_heads * head_dim
    shapes = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
              "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (ff, hidden), "mlp.up_proj": (ff, hidden),
              "mlp.down_proj": (hidden, ff)}
    return {f"model.layers.{n}.{name}": shape for n in range(layers) for name, shape in shapes.items()}


def write_adapter(folder, shapes, rank=4, seed=1, size=0.2, magnitude=None, **config):
    """A random adapter; `size` 0 leaves B at nothing."""
    folder.mkdir(parents=True)
    draw = random.Random(seed).uniform
    tensors = {}
    for path, (rows, cols) in shapes.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = ([rank, cols], [draw(-0.2, 0.2) for _ in range(rank * cols)])
        tensors[f"{PREFIX}{path}.lora_B.weight"] = ([rows, rank], [draw(-size, size) for _ in range(rows * rank)])
        if magnitude:
            tensors[f"{PREFIX}{path}.lora_magnitude_vector"] = ([rows], [magnitude] * rows)
    words = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "use_dora": bool(magnitude), **config}
    (folder / "adapter_config.json").write_text(json.dumps(words))
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder
