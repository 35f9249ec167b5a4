#!/usr/bin/env python3
"""Writes the seeds of choices_file_fuzz beside itself: good_* must parse, bad_* must be refused."""
import json
import pathlib

HERE = pathlib.Path(__file__).parent / "choices_file_fuzz"
ROW = {"context": "The cat sat on the", "choices": ["mat", "moon"], "label": 0}


def row(**changes):
    return json.dumps({k: v for k, v in {**ROW, **changes}.items() if v is not None}, ensure_ascii=False) + "\n"


SEEDS = {
    "good_index": row(),
    "good_letter": row(label="B"),
    "good_text": row(label="moon"),
    "good_digits": row(label="1"),
    "good_endings": row(context=None, ctx="Then", choices=None, endings=["it rained.", "it sang."], ind=24, ctx_a="Then"),
    "good_question_answer": row(context=None, question="2 + 2?", label=None, answer=1, subject="sums"),
    "good_query_gold": row(context=None, query="", label=None, gold=1),
    "good_blank_lines_and_cr": "\n" + row().replace("\n", "\r\n") + " \t\n" + row(label=1).strip(),
    "good_unicode": row(context="Où est", choices=["l’été ?", "\u3042\U0001f999"]),
    "good_escaped_pair": '{"ctx": "\\ud83e\\udd99", "choices": [" \\u0041", "b\\n"], "gold": 0}\n',
    "bad_empty": "",
    "bad_only_blank": " \n\t\n",
    "bad_truncated": row()[:-5],
    "bad_array": "[1, 2]\n",
    "bad_no_context": row(context=None),
    "bad_two_contexts": row(question="why"),
    "bad_context_number": row(context=7),
    "bad_no_choices": row(choices=None),
    "bad_one_choice": row(choices=["mat"]),
    "bad_choices_object": row(choices={"text": ["a", "b"], "label": ["A", "B"]}),
    "bad_choice_number": row(choices=["mat", 3]),
    "bad_choice_empty": row(choices=["mat", ""]),
    "bad_label_absent": row(label=None),
    "bad_label_beyond": row(label=2),
    "bad_label_negative": row(label=-1),
    "bad_label_fraction": row(label=1.0),
    "bad_label_bool": row(label=True),
    "bad_label_huge": row(label=2**64 - 1),
    "bad_label_letter_beyond": row(label="C"),
    "bad_label_ambiguous": row(choices=["1", "2"], label="1"),
    "bad_depth": '{"context": ' + "[" * 80 + "]" * 80 + "}\n",
    "bad_second_line": row() + "{}\n",
    "bad_utf8": b'{"context": "\xff", "choices": ["a", "b"], "label": 0}\n',
}

HERE.mkdir(exist_ok=True)
for name, seed in SEEDS.items():
    (HERE / name).write_bytes(seed if isinstance(seed, bytes) else seed.encode())
