#!/usr/bin/env python3
"""Writes the seed corpora of the fuzzers beside itself. Independent of the C++ writers, so that the two check each other.

Files called good_* must parse, files called bad_* must be refused; hostile_test.cc asserts both.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == TEXT:
        return text(v)
    if kind == ARRAY:
        element, items = v
        return struct.pack("<iQ", element, len(items)) + b"".join(value(element, i) for i in items)
    return struct.pack("<" + PACK[kind], v)


def kv(key, kind, v):
    return text(key) + struct.pack("<i", kind) + value(kind, v)


def tensor(name, ne, kind, offset):
    return text(name) + struct.pack(f"<I{len(ne)}qiQ", len(ne), *ne, kind, offset)


def gguf(kvs, tensors=(), data=b"", version=3, align=32, counts=None, magic=b"GGUF"):
    n_tensors, n_kv = counts or (len(tensors), len(kvs))
    head = magic + struct.pack("<Iqq", version, n_tensors, n_kv) + b"".join(kvs) + b"".join(tensors)
    return head + bytes(-len(head) % align) + data


def put(folder, name, data):
    path = HERE / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


arch = kv("general.architecture", TEXT, "llama")
minimal = gguf([arch, kv("general.alignment", U32, 32)], [tensor("t", [3, 2], 0, 0)],
               struct.pack("<6f", 1, 2, 3, 4, 5, 6) + bytes(8))
scalars = [kv(f"s{k}", k, 1) for k in PACK]
arrays = [kv(f"a{k}", ARRAY, (k, [0, 1, 1])) for k in PACK] + [kv("a8", ARRAY, (TEXT, ["", "b", "\u00e9"]))]
one = [tensor("t", [32], 0, 0)]
G = "gguf_fuzz"
put(G, "good_minimal", minimal)
put(G, "good_version_2", gguf([arch], version=2))
put(G, "good_all_types", gguf([arch] + scalars + arrays))
put(G, "good_no_metadata", gguf([]))
put(G, "good_empty_arrays", gguf([kv("e", ARRAY, (TEXT, [])), kv("f", ARRAY, (BOOL, []))]))
put(G, "good_blocks", gguf([arch], [tensor("q4_0", [32, 2], 2, 0), tensor("q8_0", [64], 8, 64), tensor("q6_k", [256], 14, 160)],
                           bytes(384)))
put(G, "good_gap_between_tensors", gguf([], [tensor("a", [8], 0, 0), tensor("b", [8], 0, 96)], bytes(128)))
put(G, "good_alignment_1", gguf([kv("general.alignment", U32, 1)], [tensor("a", [1], 24, 0), tensor("b", [1], 24, 1)], b"ab", align=1))
put(G, "good_scalar_and_empty_tensor", gguf([], [tensor("s", [], 0, 0), tensor("e", [0, 4], 0, 32)], bytes(32)))
put(G, "good_split", gguf([kv("split.no", U16, 0), kv("split.count", U16, 3), kv("split.tensors.count", I32, 3)], one, bytes(128)))
put(G, "bad_empty", b"")
put(G, "bad_magic", gguf([arch], magic=b"GGUG"))
put(G, "bad_version_1", gguf([arch], version=1))
put(G, "bad_version_4", gguf([arch], version=4))
put(G, "bad_big_endian", b"GGUF" + struct.pack(">Iqq", 3, 0, 0))
put(G, "bad_count_of_key_values", gguf([arch], counts=(0, 2**60)))
put(G, "bad_count_of_tensors", gguf([arch], counts=(2**60, 1)))
put(G, "bad_negative_count", gguf([arch], counts=(-1, 1)))
put(G, "bad_text_length", gguf([text("k") + struct.pack("<iQ", TEXT, 2**63)]))
put(G, "bad_array_length", gguf([text("k") + struct.pack("<iiQ", ARRAY, U64, 2**61)]))
put(G, "bad_bool_array_length", gguf([text("k") + struct.pack("<iiQ", ARRAY, BOOL, 2**40)]))
put(G, "bad_nested_array", gguf([text("k") + struct.pack("<iiQiQ", ARRAY, ARRAY, 1, U8, 0)]))
put(G, "bad_value_type", gguf([text("k") + struct.pack("<iQ", 13, 0)]))
put(G, "bad_array_type", gguf([text("k") + struct.pack("<iiQ", ARRAY, -1, 0)]))
put(G, "bad_bool", gguf([text("k") + struct.pack("<iB", BOOL, 2)]))
put(G, "bad_empty_key", gguf([kv("", U8, 0), kv("k", U32, 0)]))
put(G, "bad_twin_keys", gguf([kv("k", U32, 0), kv("k", U32, 0)]))
put(G, "bad_alignment", gguf([kv("general.alignment", U32, 24)]))
put(G, "bad_alignment_zero", gguf([kv("general.alignment", U32, 0)]))
put(G, "bad_alignment_type", gguf([kv("general.alignment", U64, 32)]))
put(G, "bad_twin_tensors", gguf([], [tensor("t", [8], 0, 0), tensor("t", [8], 0, 32)], bytes(64)))
put(G, "bad_empty_tensor_name", gguf([], [tensor("", [32], 0, 0)], bytes(128)))
put(G, "bad_long_tensor_name", gguf([], [tensor("n" * 64, [32], 0, 0)], bytes(128)))
put(G, "bad_five_dimensions", gguf([], [tensor("t", [1, 1, 1, 1, 1], 0, 0)], bytes(32)))
put(G, "bad_negative_dimension", gguf([], [tensor("t", [-8], 0, 0)], bytes(32)))
put(G, "bad_product_overflow", gguf([], [tensor("t", [2**32, 2**32], 0, 0)], bytes(32)))
put(G, "bad_bytes_overflow", gguf([], [tensor("t", [2**62], 0, 0)], bytes(32)))
put(G, "bad_part_of_a_block", gguf([], [tensor("t", [33], 2, 0)], bytes(64)))
put(G, "bad_type_unsupported", gguf([], [tensor("t", [256], 16, 0)], bytes(96)))
put(G, "bad_type_unknown", gguf([], [tensor("t", [256], 1000, 0)], bytes(96)))
put(G, "bad_offset_unaligned", gguf([], [tensor("t", [1], 0, 4)], bytes(32)))
put(G, "bad_offset_huge", gguf([], [tensor("t", [1], 0, 2**64 - 32)], bytes(32)))
put(G, "bad_offset_overflow", gguf([], [tensor("t", [1], 0, 2**63 - 32)], bytes(32)))
put(G, "bad_overlap", gguf([], [tensor("a", [16], 0, 0), tensor("b", [16], 0, 32)], bytes(128)))
put(G, "bad_order", gguf([], [tensor("a", [8], 0, 32), tensor("b", [8], 0, 0)], bytes(64)))
put(G, "bad_truncated_data", gguf([], [tensor("t", [64], 0, 0)], bytes(128)))


def safetensors(header, data=b"", length=None):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


S = "safetensors_fuzz"
f32 = entry("F32", [2, 3], 0, 24)
put(S, "good_minimal", safetensors({"t": f32}, bytes(24)))
put(S, "good_no_tensors", safetensors({}))
put(S, "good_metadata", safetensors({"__metadata__": {"format": "pt"}, "t": f32}, bytes(24)))
put(S, "good_padded", safetensors(json.dumps({"t": f32}).encode() + b"      ", bytes(24)))
put(S, "good_types", safetensors({t: entry(t, [1], 8 * i, 8 * i + n) for i, (t, n) in enumerate(
    {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}.items())}, bytes(80)))
put(S, "good_scalar_and_empty", safetensors({"s": entry("F32", [], 0, 4), "e": entry("F32", [0, 4], 4, 4)}, bytes(4)))
put(S, "good_out_of_order", safetensors({"b": entry("U8", [2], 2, 4), "a": entry("U8", [2], 0, 2)}, bytes(4)))
put(S, "bad_empty", b"")
put(S, "bad_short", b"\2\0\0\0{}")
put(S, "bad_header_beyond_file", safetensors({"t": f32}, length=1000))
put(S, "bad_header_huge", safetensors({"t": f32}, length=2**63))
put(S, "bad_header_above_limit", safetensors({"t": f32}, length=100_000_001))
put(S, "bad_not_json", safetensors(b"hello world"))
put(S, "bad_array", safetensors(b"[]"))
put(S, "bad_number", safetensors(b"17"))
put(S, "bad_trailing", safetensors(b"{} {}"))
put(S, "bad_truncated_json", safetensors(b'{"t":{"dtype":"F32","shape":[2'))
put(S, "bad_nested", safetensors(b'{"t":{"shape":' + b"[" * 2000))
put(S, "bad_nested_objects", safetensors(b'{"a":' * 500))
put(S, "bad_twins", safetensors(b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', bytes(2)))
put(S, "bad_twin_fields", safetensors(b'{"t":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', bytes(1)))
put(S, "bad_missing_shape", safetensors({"t": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)))
put(S, "bad_one_offset", safetensors({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, bytes(4)))
put(S, "bad_three_offsets", safetensors({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, bytes(8)))
put(S, "bad_offsets_swapped", safetensors({"t": entry("F32", [1], 4, 0)}, bytes(4)))
put(S, "bad_offset_negative", safetensors({"t": entry("F32", [1], -4, 0)}, bytes(4)))
put(S, "bad_offset_fraction", safetensors({"t": entry("F32", [1], 0, 4.0)}, bytes(4)))
put(S, "bad_size", safetensors({"t": entry("F32", [2], 0, 4)}, bytes(4)))
put(S, "bad_overflow", safetensors({"t": entry("F32", [2**32, 2**32], 0, 4)}, bytes(4)))
put(S, "bad_shape_huge", safetensors({"t": entry("F32", [2**64 - 1], 0, 4)}, bytes(4)))
put(S, "bad_dimensions", safetensors({"t": entry("U8", [1] * 9, 0, 1)}, bytes(1)))
put(S, "bad_overlap", safetensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, bytes(6)))
put(S, "bad_truncated_data", safetensors({"t": f32}, bytes(20)))
put(S, "bad_type_unsupported", safetensors({"t": entry("F8_E5M2", [1], 0, 1)}, bytes(1)))
put(S, "bad_field", safetensors({"t": {**f32, "extra": 1}}, bytes(24)))
put(S, "bad_metadata_number", safetensors({"__metadata__": {"a": 1}}))
put(S, "bad_utf8", safetensors(b'{"\xff":{}}'))

C = "config_json_fuzz"
put(C, "good_config", json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "rms_norm_eps": 1e-5,
                                  "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "tie_word_embeddings": True}))
put(C, "good_infinity", '{"time_step_limit": [0.0, Infinity], "low": -Infinity, "text": "Infinity"}')
put(C, "good_twins", '{"a": 1, "a": 2}')
put(C, "good_depth_64", "[" * 64 + "]" * 64)
put(C, "good_escapes", r'{"\ud83d\ude00": "\"]}[{\\", "\u0000": "\n"}')
put(C, "good_index", json.dumps({"metadata": {"total_size": 24}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}))
put(C, "good_index_traversal", '{"weight_map": {"a": "../../etc/passwd", "b": "/etc/passwd", "c": ".."}}')
put(C, "good_index_twins", '{"weight_map": {"a": "x", "a": "y"}}')
put(C, "bad_empty", "")
put(C, "bad_depth_65", "[" * 65 + "]" * 65)
put(C, "bad_depth_4000", "[" * 4000)
put(C, "bad_truncated", '{"a": [1, 2')
put(C, "bad_nan", '{"a": NaN}')
put(C, "bad_overflow", '{"a": 1e400}')
put(C, "bad_lone_surrogate", r'{"a": "\ud800"}')
put(C, "bad_utf8", b'{"a": "\xff\xfe"}')
put(C, "bad_comment", '{"a": 1 /* x */}')

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "F8_E4M3": 1}


def checkpoint(quantization, tensors):
    """tensors: name -> (dtype, shape, bytes or the value of every byte)."""
    config = quantization if isinstance(quantization, str) else json.dumps({"quantization_config": quantization})
    header, data = {"__metadata__": {"config": config}}, b""
    for name, (dtype, shape, content) in tensors.items():
        size = SIZES[dtype]
        for extent in shape:
            size *= extent
        data_of = bytes([content]) * size if isinstance(content, int) else content
        header[name] = entry(dtype, shape, len(data), len(data) + size)
        data += data_of
    return safetensors(header, data)


Q = "quantized_fuzz"
gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "checkpoint_format": "gptq"}
gptq_parts = {"m.qweight": ("I32", [8, 32], 0x5A), "m.qzeros": ("I32", [2, 4], 0x77), "m.scales": ("F16", [2, 32], 0x30),
              "m.g_idx": ("I32", [64], struct.pack("<64i", *[i // 32 for i in range(64)]))}
put(Q, "good_gptq", checkpoint(gptq, gptq_parts))
put(Q, "good_gptq_3_bit", checkpoint({**gptq, "bits": 3, "sym": False}, {
    "m.qweight": ("I32", [6, 32], 0x5A), "m.qzeros": ("I32", [2, 3], 0x12), "m.scales": ("BF16", [2, 32], 0x30)}))
put(Q, "good_gptq_dynamic", checkpoint({**gptq, "dynamic": {"+:m": {"bits": 8}}},
                                       {**gptq_parts, "m.qweight": ("I32", [16, 32], 1), "m.qzeros": ("I32", [2, 8], 0x80)}))
put(Q, "bad_gptq_no_scales", checkpoint(gptq, {k: v for k, v in gptq_parts.items() if k != "m.scales"}))
put(Q, "bad_gptq_group", checkpoint(gptq, {**gptq_parts, "m.g_idx": ("I32", [64], 0x7F)}))
put(Q, "bad_gptq_order", checkpoint(gptq, {**gptq_parts, "m.g_idx": ("I32", [64], struct.pack("<64i", *[i % 2 for i in range(64)]))}))
put(Q, "good_gptq_by_activation", checkpoint({**gptq, "desc_act": True}, {
    **gptq_parts, "m.g_idx": ("I32", [64], struct.pack("<64i", *[i % 2 for i in range(64)]))}))
put(Q, "good_gptq_3_bit_by_activation", checkpoint({**gptq, "bits": 3, "sym": False, "desc_act": True}, {
    **gptq_parts, "m.qweight": ("I32", [6, 32], 0x5A), "m.qzeros": ("I32", [2, 3], 0x12),
    "m.g_idx": ("I32", [64], struct.pack("<64i", *[(i // 2 + i) % 2 for i in range(64)]))}))
put(Q, "good_gptq_unfilled_index", checkpoint({**gptq, "desc_act": True}, {
    **gptq_parts, "m.g_idx": ("I32", [64], 0)}))
put(Q, "bad_gptq_unequal_groups", checkpoint({**gptq, "desc_act": True}, {
    **gptq_parts, "m.g_idx": ("I32", [64], struct.pack("<64i", *[int(i > 30) for i in range(64)]))}))
put(Q, "bad_gptq_zeros", checkpoint(gptq, {**gptq_parts, "m.qzeros": ("I32", [2, 4], 0x79)}))
put(Q, "bad_gptq_bits", checkpoint({**gptq, "bits": 2**62}, gptq_parts))
put(Q, "bad_gptq_group_size", checkpoint({**gptq, "group_size": 0}, gptq_parts))
put(Q, "bad_gptq_extents", checkpoint(gptq, {"m.qweight": ("I32", [0, 2**60], 0), "m.scales": ("F16", [0, 2**60], 0),
                                             "m.qzeros": ("I32", [0, 2**60], 0)}))
put(Q, "good_awq", checkpoint({"quant_method": "awq", "bits": 4, "group_size": 2**62, "version": "gemm"}, {
    "m.qweight": ("I32", [32, 2], 0x21), "m.qzeros": ("I32", [1, 2], 0x43), "m.scales": ("F16", [1, 16], 0x30)}))
groups = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int"}}}
ct = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
ct_parts = {"m.weight_packed": ("I32", [10, 8], 0x98), "m.weight_shape": ("I64", [2], struct.pack("<2q", 10, 64)),
            "m.weight_scale": ("BF16", [10, 2], 0x3C), "m.weight_zero_point": ("I32", [2, 2], 0x78)}
put(Q, "good_ct_packed", checkpoint(ct, ct_parts))
put(Q, "good_ct_bytes", checkpoint({**ct, "format": "int-quantized"}, {
    "m.weight": ("I8", [10, 64], 0x85), "m.weight_scale": ("F32", [10, 1], 0x3C)}))
put(Q, "good_ct_float", checkpoint({**ct, "format": "float-quantized"}, {
    "m.weight": ("F8_E4M3", [10, 64], 0x35), "m.weight_scale": ("F32", [1], 0x3C)}))
put(Q, "bad_ct_shape", checkpoint(ct, {**ct_parts, "m.weight_shape": ("I64", [2], struct.pack("<2q", 10, 2**62))}))
put(Q, "bad_ct_negative_shape", checkpoint(ct, {**ct_parts, "m.weight_shape": ("I64", [2], struct.pack("<2q", 10, -64))}))
put(Q, "bad_ct_scales", checkpoint(ct, {**ct_parts, "m.weight_scale": ("BF16", [10, 3], 0x3C)}))
put(Q, "bad_ct_bits", checkpoint({**ct, "config_groups": {"g": {"weights": {"num_bits": 0}}}}, ct_parts))
put(Q, "good_fp8", checkpoint({"quant_method": "fp8", "weight_block_size": [128, 2**62]}, {
    "m.weight": ("F8_E4M3", [130, 64], 0x35), "m.weight_scale_inv": ("F32", [2, 1], 0x3C)}))
put(Q, "bad_fp8_blocks", checkpoint({"quant_method": "fp8", "weight_block_size": [-128, 128]}, {
    "m.weight": ("F8_E4M3", [130, 64], 0x35), "m.weight_scale_inv": ("F32", [2, 1], 0x3C)}))
nf4_map = struct.pack("<16f", -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                      -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
                      0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1)


def nf4(state, absmax=("F32", [4], 0x3C), **more):
    text_of = state if isinstance(state, bytes) else json.dumps(state).encode()
    return checkpoint({"quant_method": "bitsandbytes", "load_in_4bit": True}, {
        "m.weight": ("U8", [128, 1], 0x5A), "m.weight.absmax": absmax, "m.weight.quant_map": ("F32", [16], nf4_map),
        "m.weight.quant_state.bitsandbytes__nf4": ("U8", [len(text_of)], text_of), **more})


nested = {"quant_type": "nf4", "blocksize": 64, "shape": [4, 64], "nested_blocksize": 256, "nested_offset": 0.5}
put(Q, "good_nf4", nf4({"quant_type": "nf4", "blocksize": 64, "shape": [4, 64]}))
put(Q, "good_nf4_nested", nf4(nested, ("U8", [4], 0x80), **{"m.weight.nested_absmax": ("F32", [1], 0x3C),
                                                           "m.weight.nested_quant_map": ("F32", [256], 0x3C)}))
put(Q, "bad_nf4_nested_offset", nf4({**nested, "nested_offset": "0.5"}, ("U8", [4], 0x80)))
put(Q, "bad_nf4_shape", nf4({"quant_type": "nf4", "blocksize": 64, "shape": [2**40, 2**40]}))
put(Q, "bad_nf4_blocks", nf4({"quant_type": "nf4", "blocksize": -64, "shape": [4, 64]}))
put(Q, "bad_nf4_state", nf4(b"\xff{"))
put(Q, "bad_nf4_nesting", nf4(b"[" * 3000))
put(Q, "good_bitnet", checkpoint({"quant_method": "bitnet"}, {
    "m.weight": ("U8", [2, 128], 0x52), "m.weight_scale": ("BF16", [1], 0x3F)}))
put(Q, "good_bitnet_online", checkpoint({"quant_method": "bitnet", "quantization_mode": "online"}, {
    "m.weight": ("BF16", [2, 128], 0x3C), "norm.weight": ("F32", [8], 0)}))
put(Q, "bad_bitnet_code", checkpoint({"quant_method": "bitnet"}, {
    "m.weight": ("U8", [2, 128], 0xFF), "m.weight_scale": ("BF16", [1], 0x3F)}))
put(Q, "bad_method", checkpoint({"quant_method": "?"}, {}))
put(Q, "bad_config", checkpoint("[1, 2", {}))
put(Q, "bad_object", checkpoint('{"quantization_config": []}', {}))
put(Q, "good_float", checkpoint("{}", {"t": ("F32", [1], 0)}))
