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


H, F, V = 8, 8, 268
ATTENTION_NORM, FEED_FORWARD_NORM = [("attn_norm", [H])], [("ffn_norm", [H])]
ATTENTION = ATTENTION_NORM + [("attn_q", [8, H]), ("attn_k", [4, H]), ("attn_v", [4, H]), ("attn_output", [H, 8])] + FEED_FORWARD_NORM
FEED_FORWARD = [("ffn_gate", [F, H]), ("ffn_up", [F, H]), ("ffn_down", [H, F])]
EXPERTS = [("ffn_gate_inp", [3, H]), ("ffn_gate_exps", [3, F, H]), ("ffn_up_exps", [3, F, H]), ("ffn_down_exps", [3, H, F])]
POST_NORMS = [("post_attention_norm", [H]), ("post_ffw_norm", [H])]
HEAD_NORMS = [("attn_q_norm", [4]), ("attn_k_norm", [4])]


def decoder(arch, extra_keys=(), extra_tensors=(), tokenizer="llama", layer=tuple(ATTENTION + FEED_FORWARD)):
    h, f, v = H, F, V
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
    for name, shape in layer:
        tensors.append((f"blk.0.{name}.weight", shape))
    return gguf(keys, tensors + list(extra_tensors))


def deepseek2(keys, layer):
    """Latent attention of 2 heads: 4 of a query's 6 dimensions turn not, values of 3, 5 compressed."""
    sizes = {"attention.kv_lora_rank": 5, "attention.key_length_mla": 6, "attention.value_length_mla": 3, "rope.dimension_count": 2,
             "attention.key_length": 7, "attention.value_length": 5} | keys
    latent = ATTENTION_NORM + FEED_FORWARD_NORM + [("attn_kv_a_mqa", [7, H]), ("attn_kv_a_norm", [5]), ("attn_output", [H, 6])]
    return decoder("deepseek2", [key_value(f"deepseek2.{k}", U32, n) for k, n in sizes.items()], layer=latent + layer)


EXPERT_KEYS = {"expert_count": 3, "expert_used_count": 2, "expert_feed_forward_length": F}
SPLIT = [("attn_k_b", [2, 5, 4]), ("attn_v_b", [2, 3, 5])]
GEMMA = ATTENTION + FEED_FORWARD


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
    "gguf_model_fuzz/gemma": decoder("gemma"),
    "gguf_model_fuzz/gemma2": decoder("gemma2", [key_value("gemma2.attention.sliding_window", U32, 4),
                                                 key_value("gemma2.attn_logit_softcapping", F32, 50.0),
                                                 key_value("gemma2.final_logit_softcapping", F32, 30.0)], layer=GEMMA + POST_NORMS),
    "gguf_model_fuzz/gemma3": decoder("gemma3", [key_value("gemma3.attention.sliding_window", U32, 4),
                                                 array("gemma3.attention.sliding_window_pattern", BOOL, [True]),
                                                 key_value("gemma3.rope.freq_base_swa", F32, 1e4)], layer=GEMMA + POST_NORMS + HEAD_NORMS),
    "gguf_model_fuzz/deepseek2": deepseek2({"attention.q_lora_rank": 4, "leading_dense_block_count": 1},
                                           SPLIT + FEED_FORWARD + [("attn_q_a", [4, H]), ("attn_q_a_norm", [4]), ("attn_q_b", [12, 4])]),
    "gguf_model_fuzz/deepseek2_experts": deepseek2(EXPERT_KEYS | {"expert_shared_count": 1, "expert_gating_func": 2},
                                                   SPLIT + EXPERTS + [("attn_q", [12, H]), ("ffn_gate_shexp", [F, H]),
                                                                      ("ffn_up_shexp", [F, H]), ("ffn_down_shexp", [H, F])]),
    "gguf_model_fuzz/deepseek2_whole_kv_b": deepseek2({}, FEED_FORWARD + [("attn_q", [12, H]), ("attn_kv_b", [14, 5])]),
    "gguf_model_fuzz/granitemoe": decoder("granitemoe", [key_value(f"granitemoe.{k}", U32, n) for k, n in EXPERT_KEYS.items()] +
                                          [key_value("granitemoe.embedding_scale", F32, 12.0), key_value("granitemoe.logit_scale", F32, 8.0)],
                                          layer=ATTENTION + EXPERTS),
    "config_fuzz/gemma2": config("Gemma2ForCausalLM", head_dim=16, query_pre_attn_scalar=24, sliding_window=64, attn_logit_softcapping=50.0,
                                 final_logit_softcapping=30.0),
    "config_fuzz/gemma3": config("Gemma3ForCausalLM", head_dim=16, sliding_window=64, sliding_window_pattern=2, rope_local_base_freq=1e4,
                                 rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "config_fuzz/deepseek_v3": config("DeepseekV3ForCausalLM", num_key_value_heads=4, kv_lora_rank=32, q_lora_rank=24, qk_nope_head_dim=16,
                                      qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1,
                                      moe_intermediate_size=32, first_k_dense_replace=1, n_group=2, topk_group=1, topk_method="noaux_tc",
                                      scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.5,
                                      rope_scaling={"type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                                                    "original_max_position_embeddings": 512}),
    "config_fuzz/granitemoe": config("GraniteMoeForCausalLM", num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=12.0,
                                     residual_multiplier=0.22, attention_multiplier=0.015625, logits_scaling=6.0),
    "config_fuzz/llama3": config("LlamaForCausalLM", rope_theta=5e5, rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                 "high_freq_factor": 4.0, "original_max_position_embeddings": 256}),
    "config_fuzz/yarn": config("Qwen2ForCausalLM", rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "beta_fast": 32,
                               "beta_slow": 1, "truncate": False, "original_max_position_embeddings": 512}),
    "config_fuzz/mistral": config("MistralForCausalLM", sliding_window=128, attention_bias=True, mlp_bias=True),
    "config_fuzz/qwen3": config("Qwen3ForCausalLM", head_dim=32, use_sliding_window=True, max_window_layers=1, sliding_window=64),
    "config_fuzz/nested": json.dumps({"architectures": ["LlamaForCausalLM"], "text_config": json.loads(config("LlamaForCausalLM"))}).encode(),
}

# Stores of prefixes, as prefix_store_fuzz_body.h reads them: records 0 to 3, two to a segment.
PAGE_CHECKSUMS = [0x0b5f81d19de88bdb, 0x88a30670e919701e, 0x0df704f8066c4e09, 0xbc50ac89ff26de23]  # XXH3 of the four pages


def store(flags, records, segments=2, cut=0):
    manifest = struct.pack("<4sI32sqqQ", b"JKVS", 1, bytes([1] * 32), 16384, 8192, segments)
    manifest += b"".join(struct.pack("<Q", n + 1) for n in range(segments)) + bytes(8)
    data = struct.pack("<BBHH", flags, segments, cut, len(manifest)) + manifest
    for n, sequence in records:
        data += struct.pack("<4sIQQQ32s32sQ24x", b"JKVB", 16, 0, 8192, sequence, bytes([0x40 + n] * 32), bytes([0x20 + n] * 32),
                            PAGE_CHECKSUMS[n]) + struct.pack("<16i", *[n] * 16) + bytes([0x60 + n] * 16)
    return data


SEEDS |= {
    "prefix_store_fuzz/full": store(3, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "prefix_store_fuzz/pages_sealed": store(7, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "prefix_store_fuzz/cut": store(3, [(0, 1), (1, 2), (2, 3), (3, 4)], cut=5000),
    "prefix_store_fuzz/open": store(3, [(0, 1), (1, 2), (2, 3)]),
    "prefix_store_fuzz/damaged_before_the_last": store(3, [(0, 1), (1, 7), (2, 3), (3, 4)]),
}

for name, data in SEEDS.items():
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
