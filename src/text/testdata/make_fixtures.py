#!/usr/bin/env python3
"""Makes the small tokenizers of this folder and the fuzzers' corpora. They are invented; no published vocabulary is in them.
Usage: make_fixtures.py   (writes beside itself and into ../corpus)"""
import base64
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
CORPUS = HERE.parent / "corpus"


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def sentencepiece(pieces, model_type=2, normalizer=b""):
    out = b""
    for text, score, kind in pieces:
        out += field(1, field(1, text.encode()) + field(2, float(score)) + field(3, kind))
    return out + field(2, field(3, model_type)) + field(3, field(1, b"identity") + field(3, 1) + field(4, 0) + normalizer)


def charsmap(rules):
    """A double array as darts-clone lays it out: children at place ^ offset ^ byte, the value of a key at place ^ offset."""
    strings, trie = b"", {}
    for key, replacement in rules.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(strings)
        strings += replacement.encode() + b"\0"
    units, used, bases = [0], {0}, set()

    def place(node, at):
        base = next(b for b in range(1, 1 << 20) if b not in bases and all(b ^ byte not in used for byte in node))
        bases.add(base)  # two nodes that share one would take each other's children for theirs
        used.update(base ^ byte for byte in node)
        units.extend([0] * (max(base ^ byte for byte in node) + 1 - len(units)))
        units[at] |= (at ^ base) << 10 | (0 in node) << 8
        for byte, child in node.items():
            units[base ^ byte] = 1 << 31 | child if byte == 0 else byte
        for byte, child in node.items():
            if byte != 0:
                place(child, base ^ byte)

    place(trie, 0)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + strings


# Overlapping keys, one that vanishes, one that becomes two spaces.
CHARSMAP = charsmap({"ﬁ": "fi", "e\u0301": "é", "e\u0301x": "y", "A": "a", "\u00ad": "", "\t": " ", "\u2003": "  "})

MERGES = ["Ġ t", "h e", "Ġt he", "l l", "o Ġ", "he ll", "hell o", "Ċ Ċ", "Ã ©"]


def byte_level(**changes):
    alphabet = list(byte_alphabet().values())
    vocab = {piece: i for i, piece in enumerate(alphabet)}
    for rule in MERGES:
        vocab[rule.replace(" ", "")] = len(vocab)
    end = len(vocab)
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": end, "content": "<|begin|>", "special": True, **added},
                         {"id": end + 1, "content": "<|end|>", "special": True, **added, "rstrip": True},
                         {"id": end + 2, "content": "<tool>", "special": False, **added, "lstrip": True}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\d{2}|[A-Z]+"}, "behavior": "Isolated", "invert": False},
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel"},
            {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [], "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [end], "tokens": ["<|begin|>"]}}}]},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [rule.split(" ") for rule in MERGES]},
        **changes,
    }


def metaspace():
    pieces = ["<unk>", "<s>", "</s>", *[f"<0x{b:02X}>" for b in range(256)], "▁", "a", "b", "c", "▁a", "▁ab", "bc", "ab", "▁▁"]
    return {
        "added_tokens": [{"id": i, "content": pieces[i], "special": True, "normalized": False, "single_word": False,
                          "lstrip": False, "rstrip": False} for i in range(3)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": {piece: i for i, piece in enumerate(pieces)},
                  "merges": ["▁ a", "▁a b", "b c", "a b", "▁ ▁"]},
    }


# NORMAL 1, UNKNOWN 2, CONTROL 3, USER_DEFINED 4, UNUSED 5, BYTE 6
PIECES = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), *[(f"<0x{b:02X}>", 0, 6) for b in range(256)],
          ("▁", -1, 1), ("a", -2, 1), ("b", -3, 1), ("c", -4, 1), ("▁a", -0.1, 1), ("bc", -0.2, 1), ("ab", -0.3, 1),
          ("▁abc", -0.4, 5), ("<tool>", 0, 4), ("▁▁", -5, 1)]

# Log probabilities: "abc" is best as ab + c, "bcbc" as bc + bc, and é, x have no piece.
UNIGRAM = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("▁", -2, 1), ("a", -3, 1), ("b", -3, 1), ("c", -3, 1), ("ab", -3.5, 1),
           ("bc", -4, 1), ("▁a", -3.25, 1), ("▁abcb", -1, 5), ("fi", -4, 1), ("<tool>", 0, 4), ("f", -9, 1), ("i", -9, 1)]


def unigram_json():
    return {
        "added_tokens": [{"id": i, "content": UNIGRAM[i][0], "special": True, "normalized": False, "single_word": False,
                          "lstrip": False, "rstrip": False} for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(CHARSMAP).decode()},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [[text, score] for text, score, kind in UNIGRAM if kind != 5]},
    }


def word_piece():
    pieces = ["[UNK]", "[CLS]", "[SEP]", "the", "he", "##ll", "##o", "h", "##e", "a", "##b", "b", "!", ".", "1", "##2"]
    return {
        "added_tokens": [{"id": i, "content": pieces[i], "special": True, "normalized": False, "single_word": False,
                          "lstrip": False, "rstrip": False} for i in range(3)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}}], "pair": [], "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                  "vocab": {piece: i for i, piece in enumerate(pieces)}},
    }


def word_ends():
    pieces = ["<unk>", *"abchelo", *[c + "</w>" for c in "abchelo"], "he", "ll", "o</w>x", "hell", "ab</w>"]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Contiguous"}]},
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "end_of_word_suffix": "</w>",
                  "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": ["h e", "l l", "he ll", "a b</w>"]},
    }


def falcon():
    return byte_level(normalizer={"type": "Nmt"}, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
        {"type": "Digits", "individual_digits": False},
        {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": False}]})


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def main():
    write(HERE / "byte-level" / "tokenizer.json", byte_level())
    write(HERE / "byte-level" / "tokenizer_config.json", {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}})
    write(HERE / "metaspace" / "tokenizer.json", metaspace())
    write(HERE / "sentencepiece" / "tokenizer.model", sentencepiece(PIECES))
    write(HERE / "sentencepiece" / "tokenizer_config.json", {"legacy": False, "add_eos_token": True})
    write(HERE / "sentencepiece" / "generation_config.json", {"eos_token_id": [2, 0]})
    write(HERE / "unigram" / "tokenizer.model", sentencepiece(UNIGRAM, 1, field(2, CHARSMAP) + field(4, 1)))
    write(HERE / "charsmap", CHARSMAP)
    write(HERE / "unigram-json" / "tokenizer.json", unigram_json())
    write(HERE / "word-piece" / "tokenizer.json", word_piece())
    write(HERE / "word-ends" / "tokenizer.json", word_ends())
    plain = byte_level()
    write(HERE / "vocab-merges" / "vocab.json", {**plain["model"]["vocab"], "<|endoftext|>": len(plain["model"]["vocab"])})
    write(HERE / "vocab-merges" / "merges.txt", ("#version: 0.2\n" + "\n".join(MERGES) + "\n").encode())
    ranks = [bytes([b]) for b in range(256)] + [b"he", b"ll", b"hell", b"hello", b" world"]
    text = b"".join(base64.b64encode(piece) + b" %d\n" % i for i, piece in enumerate(ranks))
    write(HERE / "tiktoken" / "tokenizer.model", text)

    small = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "decoder": {"type": "Fuse"}}
    jsons = {
        "good_byte_level": byte_level(), "good_metaspace": metaspace(), "good_small": small,
        "bad_merge": {**small, "model": {**small["model"], "merges": ["a c"]}},
        "bad_merge_shape": {**small, "model": {**small["model"], "merges": [["a", "b", "ab"]]}},
        "bad_id": {**small, "model": {**small["model"], "vocab": {"a": 2000000000}}},
        "bad_twin_ids": {**small, "model": {**small["model"], "vocab": {"a": 0, "b": 0}}},
        "bad_regex": {**small, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}},
        "bad_types": {**small, "added_tokens": [{"id": "1", "content": 2}]},
        "good_unigram_small": {"model": {"type": "Unigram", "vocab": [["a", -1.5]]}, "decoder": {"type": "Fuse"}},
        "good_unigram": unigram_json(), "good_word_piece": word_piece(), "good_word_ends": word_ends(), "good_falcon": falcon(),
        "bad_unigram_entry": {"model": {"type": "Unigram", "vocab": [["a", -1.5, 2]]}, "decoder": {"type": "Fuse"}},
        "bad_unigram_object": {"model": {"type": "Unigram", "vocab": {"a": 1}}, "decoder": {"type": "Fuse"}},
        "bad_unigram_nested": {"model": {"type": "Unigram", "vocab": [[["a"], -1.5]]}, "decoder": {"type": "Fuse"}},
        "bad_unk_id": {"model": {"type": "Unigram", "unk_id": 5, "vocab": [["a", -1.5]]}, "decoder": {"type": "Fuse"}},
        "bad_precompiled": {**small, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "bad_word_piece_decoder": {**word_piece(), "decoder": {"type": "Fuse"}},
        "bad_word_ends_decoder": {**word_ends(), "decoder": {"type": "Fuse"}},
        "bad_replace": {**small, "normalizer": {"type": "Replace", "pattern": {"Regex": "(?<"}, "content": ""}},
        "bad_depth": b"[" * 5000,
        "bad_depth_in_merges": b'{"model":{"merges":' + b"[" * 5000,
        "bad_depth_of_sequences": b'{"normalizer":' + b'{"type":"Sequence","normalizers":[' * 40 + b"]}" * 40 + b"}",
        "bad_empty": b"", "bad_cut": json.dumps(small).encode()[:40],
    }
    for name, data in jsons.items():
        write(CORPUS / "tokenizer_json_fuzz" / name, data)
    few = [("<unk>", 0, 2), ("a", -1, 1), ("▁a", -2, 5)]
    models = {
        "good_small": sentencepiece(few), "good_full": sentencepiece(PIECES),
        "good_unigram": sentencepiece(few, model_type=1), "good_unigram_bytes": sentencepiece(PIECES, model_type=1),
        "good_charsmap": sentencepiece(UNIGRAM, 1, field(2, CHARSMAP) + field(4, 1)),
        "good_charsmap_wild": sentencepiece(few, 1, field(2, struct.pack("<8I", 28, *[0xFFFFFFFF ^ 0x80000000 >> i for i in range(7)]))),
        "bad_word": sentencepiece(few, model_type=3), "bad_charsmap": sentencepiece(few, normalizer=field(2, b"xx")),
        "bad_charsmap_size": sentencepiece(few, normalizer=field(2, b"\xff" * 16)),
        "bad_charsmap_end": sentencepiece(few, normalizer=field(2, CHARSMAP[:-1])),
        "bad_length": b"\n\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bad_varint": b"\xff" * 11, "bad_cut": sentencepiece(few)[:9],
        "bad_wire_type": b"\x0b", "bad_byte_piece": sentencepiece([("<0xZZ>", 0, 6)]), "bad_empty": b"",
        "bad_nan": sentencepiece([("a", float("nan"), 1)]), "bad_bos": sentencepiece([("a", 0, 1)]),
    }
    for name, data in models.items():
        write(CORPUS / "sentencepiece_model_fuzz" / name, data)
    texts = {
        "words": "hello the  world 1234 ABC é\n\n <|end|> x", "bytes": bytes(range(256)), "cut": "é語🦙".encode()[:-2],
        "specials": "<|begin|><|end|>  <tool><|beg", "spaces": " " * 40 + "\t\r\n" * 9, "metaspace": "▁a▁▁ab▁", "nfc": "e\u0301" * 5,
    }
    for name, data in texts.items():
        write(CORPUS / "tokenizer_encode_fuzz" / name, data if isinstance(data, bytes) else data.encode())


main()
