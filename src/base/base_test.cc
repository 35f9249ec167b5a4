// Sizes as text, errors, random numbers and references to callables.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "base/normals.h"
#include "base/philox.h"

namespace jericho {
namespace {

TEST(Bytes, ReadsBinaryAndDecimalUnitsInAnyCase) {
  EXPECT_EQ(parse_bytes("8GB"), Bytes{8'000'000'000});
  EXPECT_EQ(parse_bytes("8GiB"), Bytes{8'589'934'592});
  EXPECT_EQ(parse_bytes("8g"), Bytes{8'589'934'592});
  EXPECT_EQ(parse_bytes("1.5G"), Bytes{1'610'612'736});
  EXPECT_EQ(parse_bytes("64 kib"), 64_KiB);
  EXPECT_EQ(parse_bytes("17B"), 17_B);
}

TEST(Bytes, RefusesNumbersWithoutUnitSignsAndOverflow) {
  for (const char* text :
       {"", "8", "-1GiB", "+1GiB", "GiB", "1e3MB", "nan GB", "1.5.2G", "9 XB", "8GiBs", "8388608TiB"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(Bytes, PrintsThreeDigitsForPeople) {
  EXPECT_EQ(format_bytes(17_B), "17 B");
  EXPECT_EQ(format_bytes(8_GiB), "8.00 GiB");
  EXPECT_EQ(format_bytes(96_KiB), "96.0 KiB");
  EXPECT_EQ(format_bytes({1023 * 1024 * 1024LL}), "1.00 GiB");
}

TEST(FunctionRef, CallsWhatItWasMadeFromAndCopiesNothing) {
  int calls = 0;
  const auto count = [&calls, own = 0](int by) mutable {
    calls += by;
    return ++own;
  };
  auto counter = count;
  const FunctionRef<int(int)> ref = counter;
  const FunctionRef<int(int)> same = ref;
  EXPECT_EQ(ref(2), 1);
  EXPECT_EQ(same(3), 2);  // the one counter, not a copy of it
  EXPECT_EQ(calls, 5);
  const auto constant = [](int x) { return x; };
  EXPECT_EQ(FunctionRef<long(int)>(constant)(7), 7);
}

TEST(Error, CarriesContextFromTheInsideOut) {
  try {
    with_context([] { return "load model.gguf"; },
                 []() -> int { throw Error(ErrorKind::kInput, "tensor 't': ends too early"); });
    FAIL() << "no error left the body";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "load model.gguf: tensor 't': ends too early");
    EXPECT_EQ(exit_code(error.kind()), 1);
  }
}

TEST(Normals, FollowThePairsOfWordsOfADraw) {
  const std::array<double, 4> normals = philox_normals({0, 0, 0, 0}, {1, 0});
  const std::array<double, 4> expected = {0.380400701, -0.296277918, -0.249233299, -1.00383731};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(normals[i], expected[i], 1e-8) << "normal " << i;
}

TEST(Philox, EqualsThePublishedVectors) {  // Random123, kat_vectors, philox4x32 10
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Cpu, NamesEveryPathItOffers) {
  for (const CpuPath path : usable_cpu_paths()) EXPECT_EQ(parse_cpu_path(name(path)), path);
  EXPECT_EQ(usable_cpu_paths().front(), CpuPath::kScalar);
}

}  // namespace
}  // namespace jericho
