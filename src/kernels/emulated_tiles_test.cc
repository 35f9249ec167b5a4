// The emulated tiles against the instructions' definition, against the processor's own where it has them, and what they
// refuse.
#include "kernels/emulated_tiles.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "kernels/bit_equal.h"
#include "kernels/emulated_amx.h"

namespace jericho {
namespace {

struct alignas(64) Config {
  std::array<std::uint8_t, 64> bytes{1};
  Config& tile(int i, std::uint8_t rows, std::uint8_t row_bytes) {
    bytes[static_cast<std::size_t>(16 + 2 * i)] = row_bytes;
    bytes[static_cast<std::size_t>(48 + i)] = rows;
    return *this;
  }
};

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "nothing refused";
}

class EmulatedTilesTest : public testing::Test {
 protected:
  void SetUp() override {
    flush_subnormals();
    EmulatedTiles::release();
  }
};

using Bytes64 = std::array<std::uint8_t, 64>;
using TileBytes = std::array<std::uint8_t, 1024>;

TEST_F(EmulatedTilesTest, LoadsAndStoresTheConfiguredShapeOnly) {
  TileBytes from{};
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::uint8_t>(i * 7 + 1);
  EmulatedTiles::configure(Config{}.tile(3, 5, 12));
  EmulatedTiles::load<3>(from.data(), 40);
  TileBytes to{};
  EmulatedTiles::store<3>(to.data(), 64);
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t row = i / 64;
    const std::size_t at = i % 64;
    EXPECT_EQ(to[i], row < 5 && at < 12 ? from[row * 40 + at] : 0) << "row " << row << " byte " << at;
  }
}

TEST_F(EmulatedTilesTest, ConfiguringAndZeroingClearTiles) {
  const Bytes64 ones = [] {
    Bytes64 bytes;
    bytes.fill(1);
    return bytes;
  }();
  Bytes64 out{};
  const Config config = Config{}.tile(0, 1, 64);
  EmulatedTiles::configure(config);
  EmulatedTiles::load<0>(ones.data(), 64);
  EmulatedTiles::store<0>(out.data(), 64);
  EXPECT_EQ(out, ones);
  EmulatedTiles::zero<0>();
  EmulatedTiles::store<0>(out.data(), 64);
  EXPECT_EQ(out, Bytes64{});
  EmulatedTiles::load<0>(ones.data(), 64);
  EmulatedTiles::configure(config);
  EmulatedTiles::store<0>(out.data(), 64);
  EXPECT_EQ(out, Bytes64{});
}

TEST_F(EmulatedTilesTest, RefusesWhatIsNoConfiguration) {
  const auto refused = [](const Config& config) { return refusal([&] { EmulatedTiles::configure(config); }); };
  Config palette;
  palette.bytes[0] = 2;
  EXPECT_EQ(refused(palette), "ldtilecfg: palette 2, expected 1");
  Config start;
  start.bytes[1] = 3;
  EXPECT_EQ(refused(start), "ldtilecfg: starts in row 3, expected 0");
  Config reserved;
  reserved.bytes[15] = 1;
  EXPECT_EQ(refused(reserved), "ldtilecfg: reserved byte 15 is 1");
  EXPECT_EQ(refused(Config{}.tile(2, 17, 64)), "ldtilecfg: tile 2 has 17 rows, at most 16");
  EXPECT_EQ(refused(Config{}.tile(2, 16, 65)), "ldtilecfg: tile 2 has rows of 65 bytes, at most 64");
  EXPECT_EQ(refused(Config{}.tile(2, 16, 0)), "ldtilecfg: tile 2 has 16 rows of 0 bytes");
  EXPECT_EQ(refused(Config{}.tile(2, 0, 4)), "ldtilecfg: tile 2 has 0 rows of 4 bytes");
  EXPECT_EQ(refused(Config{}.tile(8, 16, 64)), "ldtilecfg: tile 8, there are 8");
}

TEST_F(EmulatedTilesTest, RefusesTilesThatAreNotConfigured) {
  Bytes64 row{};
  EXPECT_EQ(refusal([&] { EmulatedTiles::load<0>(row.data(), 64); }), "tileloadd: tile 0 without a configuration");
  EmulatedTiles::configure(Config{}.tile(0, 1, 64));
  EXPECT_EQ(refusal([&] { EmulatedTiles::zero<1>(); }), "tilezero: tile 1 is not configured");
  EXPECT_EQ(refusal([&] { EmulatedTiles::store<7>(row.data(), 64); }), "tilestored: tile 7 is not configured");
  EXPECT_EQ(refusal([&] { EmulatedTiles::dot_i8<0, 1, 2>(); }), "tdpbssd: tile 1 is not configured");
  EmulatedTiles::release();
  EXPECT_EQ(refusal([&] { EmulatedTiles::zero<0>(); }), "tilezero: tile 0 without a configuration");
}

TEST_F(EmulatedTilesTest, RefusesProductsWhoseShapesDoNotAgree) {
  const auto refused = [](const Config& config) {
    EmulatedTiles::configure(config);
    return refusal([] { EmulatedTiles::dot_bf16<0, 1, 2>(); });
  };
  EXPECT_EQ(refused(Config{}.tile(0, 4, 64).tile(1, 4, 32).tile(2, 8, 64)), "nothing refused");
  EXPECT_EQ(refused(Config{}.tile(0, 5, 64).tile(1, 4, 32).tile(2, 8, 64)), "tdpbf16ps: the sum has 5 rows, a 4");
  EXPECT_EQ(refused(Config{}.tile(0, 4, 64).tile(1, 4, 32).tile(2, 7, 64)),
            "tdpbf16ps: a has 8 dwords in a row, b 7 rows");
  EXPECT_EQ(refused(Config{}.tile(0, 4, 32).tile(1, 4, 32).tile(2, 8, 64)),
            "tdpbf16ps: the sum has rows of 32 bytes, b of 64");
  EXPECT_EQ(refused(Config{}.tile(0, 4, 64).tile(1, 4, 30).tile(2, 7, 64)),
            "tdpbf16ps: rows of 64, 30 and 64 bytes are not whole dwords");
  EmulatedTiles::configure(Config{}.tile(0, 16, 64).tile(1, 16, 64));
  EXPECT_EQ(refusal([] { EmulatedTiles::dot_i8<0, 1, 1>(); }), "tdpbssd: tiles 0, 1, 1 are not three");
}

// Random operands of a product, bf16 ones with the values that break careless code among them.
struct Operands {
  Operands(TileProduct product, Index rows, Index a_bytes, unsigned seed) {
    view = {product, rows, a_bytes, a.data(), b.data()};
    std::mt19937 random(seed);
    if (product != TileProduct::kBF16) {
      for (auto* side : {&a, &b}) {
        for (std::uint8_t& byte : *side) byte = static_cast<std::uint8_t>(random() & 255u);
      }
      for (std::int32_t& value : integers) value = static_cast<std::int32_t>(random());
    } else {
      for (auto* side : {&a, &b}) {
        const std::vector<float> values =
            random_row(512, seed + (side == &a ? 2 : 3), seed % 2 == 0 ? Values::kPlain : Values::kSpecial);
        for (std::size_t i = 0; i < values.size(); ++i) {
          const std::uint16_t bits =
              random() % 16 == 0 ? static_cast<std::uint16_t>(random()) : to_bf16(values[i]).bits;
          std::memcpy(side->data() + 2 * i, &bits, 2);
        }
      }
      const std::vector<float> values = random_row(256, seed + 1, seed % 2 == 0 ? Values::kPlain : Values::kSpecial);
      std::copy(values.begin(), values.end(), floats.begin());
    }
  }
  TileBytes a{};
  TileBytes b{};
  std::array<std::int32_t, 256> integers{};
  std::array<float, 256> floats{};
  TileOperands view;
};

TEST_F(EmulatedTilesTest, Int8ProductIsTheSumOfItsProducts) {
  if (usable_cpu_paths().back() < CpuPath::kAvx512) GTEST_SKIP() << "no AVX-512";
  Operands x(TileProduct::kInt8, 9, 44, 1);
  std::array<std::int32_t, 256> sum = x.integers;
  add_tiles_emulated(x.view, sum.data());
  for (std::size_t m = 0; m < 16; ++m) {
    for (std::size_t n = 0; n < 16; ++n) {
      std::int64_t expected = x.integers[m * 16 + n];
      for (std::size_t k = 0; k < 44 && m < 9; ++k) {
        expected +=
            static_cast<std::int8_t>(x.a[m * 44 + k]) * static_cast<std::int8_t>(x.b[k / 4 * 64 + n * 4 + k % 4]);
      }
      EXPECT_EQ(sum[m * 16 + n], static_cast<std::int32_t>(expected)) << m << ", " << n;
    }
  }
}

TEST_F(EmulatedTilesTest, Int8ProductWithUnsignedBytesTakesThemAsUnsigned) {
  EmulatedTiles::configure(Config{}.tile(0, 1, 4).tile(1, 1, 4).tile(2, 1, 4));
  const std::array<std::uint8_t, 4> a{255, 128, 127, 1};  // -1, -128, 127, 1
  const std::array<std::uint8_t, 4> b{255, 200, 129, 0};
  std::int32_t sum = 7;
  EmulatedTiles::load<0>(&sum, 4);
  EmulatedTiles::load<1>(a.data(), 4);
  EmulatedTiles::load<2>(b.data(), 4);
  EmulatedTiles::dot_i8_u8<0, 1, 2>();
  EmulatedTiles::store<0>(&sum, 4);
  EXPECT_EQ(sum, 7 - 255 - 128 * 200 + 127 * 129);
}

TEST_F(EmulatedTilesTest, Bf16ProductIsTheEvenChainAndTheOddChain) {
  EmulatedTiles::configure(Config{}.tile(0, 1, 4).tile(1, 1, 8).tile(2, 2, 4));
  const auto bf16 = [](float x) { return to_bf16(x).bits; };
  const std::array<std::uint16_t, 4> a{bf16(3.0f), bf16(1.0f), bf16(0x1p-60f), bf16(0x1p24f)};
  const std::array<std::uint16_t, 4> b{bf16(5.0f), bf16(1.0f), bf16(0x1p-70f), bf16(1.0f)};
  float sum = -0x1p24f;
  EmulatedTiles::load<0>(&sum, 4);
  EmulatedTiles::load<1>(a.data(), 8);
  EmulatedTiles::load<2>(b.data(), 4);
  EmulatedTiles::dot_bf16<0, 1, 2>();
  EmulatedTiles::store<0>(&sum, 4);
  // even: 15 + a subnormal product; odd: 1 + 2^24 is 2^24, to even; 15 + 2^24 is 2^24 + 16, to even
  EXPECT_EQ(sum, 16.0f);
}

TEST_F(EmulatedTilesTest, Bf16ProductFlushesSubnormalsWhateverTheThreadDoes) {
  _mm_setcsr(0x1f80u);
  EmulatedTiles::configure(Config{}.tile(0, 1, 4).tile(1, 1, 4).tile(2, 1, 4));
  const std::uint16_t tiny = 0x0040;  // a subnormal
  const std::uint16_t small = to_bf16(0x1p-100f).bits;
  const std::array<std::uint16_t, 2> a{tiny, small};
  const std::array<std::uint16_t, 2> b{to_bf16(0x1p100f).bits, to_bf16(-0x1p-30f).bits};
  float sum = 0;
  EmulatedTiles::load<0>(&sum, 4);
  EmulatedTiles::load<1>(a.data(), 4);
  EmulatedTiles::load<2>(b.data(), 4);
  EmulatedTiles::dot_bf16<0, 1, 2>();
  EmulatedTiles::store<0>(&sum, 4);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(sum), 0u);
  EXPECT_EQ(_mm_getcsr() & 0x8040u, 0u) << "the thread's mode was not put back";
}

TEST_F(EmulatedTilesTest, GiveTheBitsOfTheProcessorsTiles) {
  if (usable_cpu_paths().back() < CpuPath::kAmx) GTEST_SKIP() << "no AMX";
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Index rows = 1 + seed % 16;
    const Index a_bytes = 4 * (1 + seed / 2 % 16);
    const Operands ints(seed % 2 == 0 ? TileProduct::kInt8 : TileProduct::kInt8Unsigned, rows, a_bytes, seed);
    auto emulated = ints.integers;
    auto hardware = ints.integers;
    add_tiles_emulated(ints.view, emulated.data());
    add_tiles_in_hardware(ints.view, hardware.data());
    ASSERT_EQ(emulated, hardware) << "int8, " << rows << " rows of " << a_bytes << " bytes";
    const Operands halves(TileProduct::kBF16, rows, a_bytes, seed);
    auto emulated_floats = halves.floats;
    auto hardware_floats = halves.floats;
    add_tiles_emulated(halves.view, emulated_floats.data());
    add_tiles_in_hardware(halves.view, hardware_floats.data());
    ASSERT_THAT(emulated_floats, BitEqual(hardware_floats)) << "bf16, " << rows << " rows of " << a_bytes << " bytes";
  }
}

}  // namespace
}  // namespace jericho
