#!/usr/bin/env python3
"""tools/compare_records.py names what has become slower beyond tolerance and spread, in every kind of record, and nothing else."""
import contextlib
import copy
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import compare_records  # noqa: E402: the path comes first

MODELS = [{"test": name, "type": "Q4_0", "n_threads": 2, "path": "avx512", "cpu": "A", "avg_ts": speed, "stddev_ts": speed / 100}
          for name, speed in (("pp512", 300.0), ("tg128", 40.0))]
MACHINE = {"dram_read_gbps": 40.0, "dram_read_gbps_per_core": 25.0, "amx_int8_tops": None, "fp32_tflops": 0.4,
           "spread": {"dram_read_gbps": 0.02}, "identity": {"cpu": "A"}, "dram_array_bytes": 1 << 31}


def micro(median, deviation, unit="us"):
    rows = [{"name": f"decode_{name}", "run_name": "decode", "run_type": "aggregate", "aggregate_name": name,
             "aggregate_unit": "percentage" if name == "cv" else "time", "real_time": time, "time_unit": unit}
            for name, time in (("mean", 2 * median), ("median", median), ("stddev", deviation), ("cv", deviation / median))]
    return {"cpu": "A", "commit": "0", "suites": {"kernels_bench": {"context": {}, "benchmarks": rows}}}


class CompareRecords(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def compare(self, old, new, *more):
        """(exit code, stdout, stderr)"""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = compare_records.main([self.file("old.json", old), self.file("new.json", new), *more])
        return code, out.getvalue(), err.getvalue()

    def with_speed(self, factor, test="tg128"):
        rows = copy.deepcopy(MODELS)
        for row in rows:
            if row["test"] == test:
                row["avg_ts"] *= factor
                row["stddev_ts"] *= factor
        return rows

    def test_equal_records_have_no_regressions(self):
        for record in (MODELS, {"results": MODELS}, MACHINE, micro(5, 0.1)):
            code, out, err = self.compare(record, record)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(" 0 slower", out)

    def test_names_what_has_become_slower_and_only_that(self):
        code, out, _ = self.compare(MODELS, self.with_speed(0.8))
        self.assertEqual(code, 1)
        slower = [line for line in out.splitlines() if line.endswith("SLOWER")]
        self.assertEqual([line.split()[0] for line in slower], ["tg128"])

    def test_what_is_faster_is_no_regression(self):
        code, out, _ = self.compare(MODELS, self.with_speed(1.5))
        self.assertEqual(code, 0)
        self.assertRegex(out, r"tg128 .*faster\n")

    def test_the_tolerance_decides(self):
        for text, code in (("5%", 1), ("0.05", 1), ("15%", 0), ("0.15", 0)):
            self.assertEqual(self.compare(MODELS, self.with_speed(0.88), "--tolerance", text)[0], code, text)

    def test_what_lies_within_the_spread_is_no_regression(self):
        new = self.with_speed(0.88)
        new[1]["stddev_ts"] = 0.1 * new[1]["avg_ts"]
        self.assertEqual(self.compare(MODELS, new, "--tolerance", "5%")[0], 0)

    def test_micro_records_are_compared_by_the_median_in_any_unit(self):
        self.assertEqual(self.compare(micro(5, 0.01), micro(5000, 10, "ns"))[0], 0)
        code, out, _ = self.compare(micro(5, 0.01), micro(6, 0.01))
        self.assertEqual(code, 1)
        self.assertIn("kernels_bench/decode", out)

    def test_repetitions_without_aggregates_are_compared_too(self):
        def record(*times):
            rows = [{"name": "decode", "run_name": "decode", "run_type": "iteration", "real_time": time, "time_unit": "ns"}
                    for time in times]
            return {"suites": {"a": {"benchmarks": rows}}}
        self.assertEqual(self.compare(record(100, 101, 102), record(101, 102, 103))[0], 0)
        self.assertEqual(self.compare(record(100, 101, 102), record(130, 131, 132))[0], 1)

    def test_figures_of_the_machine_are_compared_but_not_those_that_are_absent(self):
        worse = dict(MACHINE, dram_read_gbps=30.0)
        code, out, _ = self.compare(MACHINE, worse)
        self.assertEqual(code, 1)
        self.assertRegex(out, r"dram_read_gbps .*SLOWER")
        self.assertNotIn("amx", out)
        self.assertNotIn("bytes", out)

    def test_what_one_record_lacks_is_said(self):
        code, _, err = self.compare(MODELS, MODELS[:1])
        self.assertEqual(code, 0)
        self.assertRegex(err, r"note: only in \S+old.json: tg128 Q4_0, 2 threads, avx512 \(1\)\n")

    def test_other_threads_are_another_test(self):
        other = [dict(row, n_threads=1) for row in MODELS]
        code, _, err = self.compare(MODELS, other)
        self.assertEqual(code, 2)
        self.assertIn("nothing in common", err)

    def test_rows_of_other_models_kv_types_and_chunks_are_other_tests(self):
        rows = [dict(row, model=model, kv_type=kv, chunk=chunk) for row in MODELS
                for model, kv, chunk in (("1b", "f16", 512), ("1b", "q8", 512), ("1b", "f16", 64), ("tiny", "f16", 512))]
        worse = [dict(row, avg_ts=row["avg_ts"] / (2 if row["kv_type"] == "q8" else 1)) for row in rows]
        code, out, _ = self.compare(rows, worse)
        self.assertEqual(code, 1)
        self.assertIn("8 compared, 2 slower", out)
        self.assertRegex(out, r"tg128 Q4_0, 2 threads, avx512, 1b, KV in q8, chunks of 512 .*SLOWER")

    def test_a_record_that_tells_less_is_compared_by_what_both_tell(self):
        more = [dict(row, model="1b", kv_type="f16", chunk=512) for row in self.with_speed(0.8)]
        code, out, err = self.compare(MODELS, more)
        self.assertEqual((code, err), (1, ""))
        self.assertIn("2 compared, 1 slower", out)

    def test_two_rows_of_one_test_are_refused_unless_they_say_when(self):
        code, out, err = self.compare(MODELS, MODELS + MODELS[1:])
        self.assertEqual((code, out), (2, ""))
        self.assertRegex(err, r'error: \S+new.json: has two rows of tg128 Q4_0, .*say in each row\'s "when"')
        told = [dict(row, when=when) for row in MODELS for when in ("before", "after")]
        self.assertIn("4 compared, 0 slower", self.compare(told, told)[1])

    def test_rows_that_an_older_record_cannot_tell_apart_are_refused_with_the_reason(self):
        newer = [dict(row, model="1b", kv_type=kv, chunk=512) for row in MODELS for kv in ("f16", "q8")]
        code, out, err = self.compare(MODELS, newer)
        self.assertEqual((code, out), (2, ""))
        self.assertRegex(err, r"has two rows of pp512 Q4_0, .*the other record does not tell their kv_type, so leave some out")

    def test_another_processor_is_said(self):
        self.assertIn("different processors: A and B", self.compare(MODELS, [dict(row, cpu="B") for row in MODELS])[2])

    def test_what_is_no_record_is_refused_in_a_sentence(self):
        bad = ("", "[]", "{}", "3", "[1]", '{"suites": 3}', '{"suites": {"a": {"benchmarks": [{"name": "x"}]}}}', "{",
               json.dumps([dict(MODELS[0], avg_ts=0)]), json.dumps([dict(MODELS[0], avg_ts="x")]),
               json.dumps(dict(MACHINE, dram_read_gbps=-1)), json.dumps({"dram_read_gbps": 1}))
        for content in bad:
            with self.subTest(content):
                code, out, err = self.compare(MODELS, content)
                self.assertEqual((code, out), (2, ""))
                self.assertRegex(err, r"\Aerror: \S+new.json: .*\n\Z")

    def test_records_of_two_kinds_are_refused(self):
        code, _, err = self.compare(MODELS, MACHINE)
        self.assertEqual(code, 2)
        self.assertIn("compare records of one kind", err)

    def test_a_file_that_is_not_there_is_named(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(compare_records.main([str(self.folder / "absent.json"), self.file("a.json", MODELS)]), 2)
        self.assertIn("absent.json: No such file", err.getvalue())

    def test_a_tolerance_that_is_none_is_wrong_usage(self):
        for text in ("-1%", "100%", "x", "nan"):
            with self.subTest(text), contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
                compare_records.main(["a", "b", f"--tolerance={text}"])
            self.assertEqual(ended.exception.code, 2)

    def test_every_record_that_is_kept_here_can_be_read(self):
        for path in sorted((ROOT / "bench/results").glob("*.json")):
            with self.subTest(path.name):
                self.assertGreater(len(compare_records.read([path])[0][1]), 0)


if __name__ == "__main__":
    unittest.main()
