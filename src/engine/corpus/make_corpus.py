#!/usr/bin/env python3
"""Writes the seeds of the fuzzers here: whole tiny models, so that mutations reach what lies behind the headers."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], v)


def key_value(key, kind, v):
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(value(kind, v) for v in values)


def gguf(key_values, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(key_values)) + b"".join(key_values)
    data = b""
    for name, shape in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", 0, len(data))
        size = 4
        for n in shape:
            size *= n
        data += struct.pack("<f", 1.0) * (size // 4) + bytes(-size % 32)
    return head + bytes(-len(head) % 32) + data


def decoder(arch, extra_keys=(), extra_tensors=(), tokenizer="llama"):
    h, f, v = 8, 8, 268
    keys = [key_value("general.architecture", STRING, arch)]
    for name, n in [("embedding_length", h), ("feed_forward_length", f), ("block_count", 1), ("attention.head_count", 2),
                    ("attention.head_count_kv", 1), ("context_length", 64)]:
        keys.append(key_value(f"{arch}.{name}", U32, n))
    keys.append(key_value(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-5))
    keys += extra_keys
    keys.append(key_value("tokenizer.ggml.model", STRING, tokenizer))
    if tokenizer == "llama":
        tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["▁", "H", "e", "l", "o", "▁H", "el", "lo", "▁Hel"]
        types = [2, 3, 3] + [6] * 256 + [1] * 9
        keys.append(array("tokenizer.ggml.scores", F32, [0.0] * 259 + [-float(i) for i in range(9)]))
        keys.append(array("tokenizer.ggml.token_type", I32, types))
    else:
        visible = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
        rest = [b for b in range(256) if b not in visible]
        letters = {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(rest)}
        tokens = [letters[b] for b in range(256)] + ["He", "ll", "llo", "Hello", "Ġw"] + ["<|endoftext|>"] + [f"[PAD{i}]" for i in range(6)]
        keys.append(key_value("tokenizer.ggml.pre", STRING, "qwen2"))
        keys.append(array("tokenizer.ggml.token_type", I32, [1] * 261 + [3] + [5] * 6))
        keys.append(array("tokenizer.ggml.merges", STRING, ["H e", "l l", "ll o", "He llo", "Ġ w"]))
    keys.append(array("tokenizer.ggml.tokens", STRING, tokens))
    keys.append(key_value("tokenizer.ggml.bos_token_id", U32, 1))
    keys.append(key_value("tokenizer.ggml.eos_token_id", U32, 2))
    tensors = [("token_embd.weight", [v, h]), ("output_norm.weight", [h])]
    for name, shape in [("attn_norm", [h]), ("attn_q", [8, h]), ("attn_k", [4, h]), ("attn_v", [4, h]), ("attn_output", [h, 8]),
                        ("ffn_norm", [h]), ("ffn_gate", [f, h]), ("ffn_up", [f, h]), ("ffn_down", [h, f])]:
        tensors.append((f"blk.0.{name}.weight", shape))
    return gguf(keys, tensors + list(extra_tensors))


def config(arch, **more):
    return json.dumps({"architectures": [arch], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5} | more).encode()


SEEDS = {
    "gguf_model_fuzz/llama": decoder("llama"),
    "gguf_model_fuzz/llama_yarn": decoder("llama", [key_value("llama.rope.scaling.type", STRING, "yarn"),
                                                    key_value("llama.rope.scaling.factor", F32, 4.0),
                                                    key_value("llama.rope.scaling.original_context_length", U32, 16)],
                                          [("rope_freqs.weight", [2])]),
    "gguf_model_fuzz/qwen2": decoder("qwen2", (), [("blk.0.attn_q.bias", [8]), ("blk.0.attn_k.bias", [4]), ("blk.0.attn_v.bias", [4])], "gpt2"),
    "gguf_model_fuzz/qwen3": decoder("qwen3", (), [("blk.0.attn_q_norm.weight", [4]), ("blk.0.attn_k_norm.weight", [4])], "gpt2"),
    "config_fuzz/llama3": config("LlamaForCausalLM", rope_theta=5e5, rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                 "high_freq_factor": 4.0, "original_max_position_embeddings": 256}),
    "config_fuzz/yarn": config("Qwen2ForCausalLM", rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "beta_fast": 32,
                               "beta_slow": 1, "truncate": False, "original_max_position_embeddings": 512}),
    "config_fuzz/mistral": config("MistralForCausalLM", sliding_window=128, attention_bias=True, mlp_bias=True),
    "config_fuzz/qwen3": config("Qwen3ForCausalLM", head_dim=32, use_sliding_window=True, max_window_layers=1, sliding_window=64),
    "config_fuzz/nested": json.dumps({"architectures": ["LlamaForCausalLM"], "text_config": json.loads(config("LlamaForCausalLM"))}).encode(),
}

for name, data in SEEDS.items():
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
