#!/usr/bin/env python3
"""Proves that include_order.py finds what it is there to find, on small trees made for each rule."""
import pathlib
import tempfile
import unittest

import include_order

OPENING = "// A file made for a test of the house rules.\n"
AREAS = "base\nmemory  # a remark\ntensor\nkernels: base tensor\ncli\n"


class IncludeOrder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("tests/lint/areas.txt", AREAS)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def violations(self, name, text):
        self.write(name, text)
        return include_order.check_tree(self.root)

    def assert_one(self, found, *parts):
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_accepts_own_area_and_those_above(self):
        self.write("src/base/index.h", OPENING + "#pragma once\n#include <cstdint>\n")
        ours = '#include "memory/ledger.h"\n#include "base/index.h"\n'
        text = OPENING + ours + '#include "hwy/highway.h"\n#include <memory>\n'
        self.assertEqual(self.violations("src/memory/ledger.cc", text), [])

    def test_finds_an_include_of_an_area_below(self):
        found = self.violations("src/base/bytes.cc", OPENING + '#include "memory/ledger.h"\n')
        self.assert_one(found, "src/base/bytes.cc:2:", "base may not include memory")

    def test_finds_an_area_left_out_of_a_narrowed_one(self):
        found = self.violations("src/kernels/cpu/dot.cc", OPENING + '#include "memory/ledger.h"\n')
        self.assert_one(found, "kernels may not include memory")

    def test_finds_a_path_that_does_not_start_at_src(self):
        for target in ("ledger.h", "../base/index.h", "memory/../base/index.h", "nlohmann/json.hpp"):
            with self.subTest(target):
                found = self.violations("src/memory/ledger.cc", OPENING + f'#include "{target}"\n')
                self.assert_one(found, target, "does not start at src/")

    def test_finds_one_of_ours_in_angle_brackets(self):
        self.write("src/base/index.h", OPENING + "#pragma once\n")
        found = self.violations("src/memory/ledger.cc", OPENING + "#include <base/index.h>\n")
        self.assert_one(found, "is ours")

    def test_finds_a_comment_that_is_too_wide_but_no_code_or_string(self):
        wide = "// " + "w" * 118 + "\n"
        self.assert_one(self.violations("src/base/bytes.cc", OPENING + wide), "src/base/bytes.cc:2:", "121 columns")
        self.assertEqual(self.violations("src/base/bytes.cc", OPENING + wide[:120] + '\nint x;  // code' + " " * 120 + "\n"), [])

    def test_finds_a_header_without_pragma_once(self):
        self.assert_one(self.violations("src/base/index.h", OPENING), "#pragma once")

    def test_wants_highways_guard_in_code_compiled_per_target(self):
        guard = "#if defined(JERICHO_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)\n#endif\n"
        self.assertEqual(self.violations("src/kernels/cpu/dot-inl.h", OPENING + guard), [])
        self.assert_one(self.violations("src/kernels/cpu/dot-inl.h", OPENING + "#pragma once\n"), "HWY_TARGET_TOGGLE")

    def test_finds_a_missing_and_a_short_opening_comment(self):
        for text in ("#include <string>\n", "// Too short.\n", ""):
            with self.subTest(text):
                self.assert_one(self.violations("src/base/bytes.cc", text), "begins without a comment")

    def test_finds_a_long_file_unless_it_says_why(self):
        body = "int x();\n" * include_order.MAX_LINES
        self.assert_one(self.violations("src/base/table.cc", OPENING + body), "801 lines")
        self.assertEqual(self.violations("src/base/table.cc", "// Long because it is one table of constants.\n" + body), [])

    def test_finds_a_folder_that_is_no_area(self):
        self.assert_one(self.violations("src/util/misc.cc", OPENING), "'util' is no area")

    def test_refuses_a_list_that_names_an_area_before_it_stands_there(self):
        self.write("tests/lint/areas.txt", "base: memory\nmemory\n")
        with self.assertRaises(SystemExit):
            include_order.check_tree(self.root)


if __name__ == "__main__":
    unittest.main()
