// Matrix products of every path and weight type against the reference, bit for bit, and the reference against double.
#include "kernels/matmul.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/bit_equal.h"
#include "kernels/emulated_amx.h"
#include "kernels/kernels.h"
#include "kernels/matmul_cases.h"
#include "kernels/strip_layout.h"

namespace jericho {
namespace {

class MatmulOnPath : public testing::TestWithParam<std::tuple<TestedPath, DType>> {
 protected:
  void SetUp() override { flush_subnormals(); }
  static const Kernels& kernels() { return std::get<0>(GetParam()).kernels; }
  static DType dtype() { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Paths, MatmulOnPath,
                         testing::Combine(testing::ValuesIn(tested_paths()), testing::ValuesIn(kPackableTypes)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" + std::string(name(std::get<1>(test.param)));
                         });

std::vector<Index> columns_for(DType dtype) {
  if (!is_block(dtype)) return {1, 7, 16, 17, 63, 64, 65, 4096};
  if (info(dtype).block_elements == 32) return {32, 96, 256, 512, 544, 4096, 4128};
  if (info(dtype).block_elements == 128) return {128, 256, 384, 1152, 4096, 4224};
  return {256, 512, 768, 2304, 4096};
}

struct Case {
  Index rows, cols, tokens;
  Values values = Values::kPlain;
  Scales scales = Scales::kPlain;
  Index unit = 0;  // 0: the type's own
  bool biased = false;
};

void expect_reference(const Kernels& kernels, DType dtype, const Case& c) {
  const auto seed = static_cast<unsigned>(c.rows * 131 + c.cols * 7 + c.tokens);
  CaseMatrix w(dtype, c.rows, c.cols, seed, c.scales);
  if (c.unit != 0) w.view.unit = c.unit;
  const CaseActivations x(dtype, random_row(c.tokens * c.cols, seed + 1, c.values), c.tokens, c.cols);
  const std::vector<float> bias = random_row(c.rows, seed + 2);
  const float* b = c.biased ? bias.data() : nullptr;
  const Index stride = c.rows + 5;
  std::vector<float> expected(static_cast<std::size_t>(c.tokens * stride), 9.0f);
  std::vector<float> actual(expected);
  ref::matmul(w.view, x.view, b, 0, w.view.strips(), {expected.data(), c.tokens, c.rows, stride});
  kernels.matmul(w.view, x.view, b, 0, w.view.strips(), {actual.data(), c.tokens, c.rows, stride});
  ASSERT_THAT(actual, BitEqual(expected))
      << "rows " << c.rows << " cols " << c.cols << " tokens " << c.tokens << " unit " << w.view.unit;
}

TEST_P(MatmulOnPath, EqualsReferenceForEveryShape) {
  for (const Index cols : columns_for(dtype())) {
    for (const Index rows : {1, 7, 16, 33, 160}) {
      for (const Index tokens : {1, 2, 7, 16, 33}) {
        if (rows * cols * tokens > 400'000) continue;
        ASSERT_NO_FATAL_FAILURE(
            expect_reference(kernels(), dtype(), {.rows = rows, .cols = cols, .tokens = tokens, .biased = rows == 33}));
      }
    }
  }
}

TEST_P(MatmulOnPath, EqualsReferenceForManyTokensAndLongRows) {
  const Index block = std::max<Index>(32, info(dtype()).block_elements);
  expect_reference(kernels(), dtype(), {.rows = 20, .cols = 256, .tokens = 150});
  expect_reference(kernels(), dtype(), {.rows = 40, .cols = 2304, .tokens = 130, .biased = true});
  expect_reference(kernels(), dtype(), {.rows = 16, .cols = 9 * 2048 / block * block, .tokens = 17});
}

TEST_P(MatmulOnPath, EqualsReferenceForSpecialValues) {
  for (const Index tokens : {1, 3, 17}) {
    expect_reference(kernels(), dtype(), {.rows = 33, .cols = 512, .tokens = tokens, .values = Values::kSpecial});
    expect_reference(kernels(), dtype(), {.rows = 33, .cols = 512, .tokens = tokens, .scales = Scales::kAnyBits});
  }
}

TEST_P(MatmulOnPath, EqualsReferenceForEveryUnit) {
  for (const Index unit : {32, 64, 96, 256}) {
    if (unit % info(dtype()).block_elements != 0) continue;
    for (const Index cols : {256, 768, 2304}) {
      expect_reference(kernels(), dtype(), {.rows = 16, .cols = cols, .tokens = 5, .unit = unit});
      expect_reference(kernels(), dtype(), {.rows = 16, .cols = cols, .tokens = 18, .unit = unit});
    }
  }
}

TEST_P(MatmulOnPath, StripRangesMaySplitAnywhereAndTokensInAnyWay) {
  const CaseMatrix w(dtype(), 90, 512, 1);
  const CaseActivations x(dtype(), random_row(20 * 512, 2), 20, 512);
  std::vector<float> whole(20 * 90);
  kernels().matmul(w.view, x.view, nullptr, 0, w.view.strips(), {whole.data(), 20, 90});
  for (Index split = 0; split <= w.view.strips(); ++split) {
    std::vector<float> parts(whole.size());
    kernels().matmul(w.view, x.view, nullptr, 0, split, {parts.data(), 20, 90});
    kernels().matmul(w.view, x.view, nullptr, split, w.view.strips(), {parts.data(), 20, 90});
    ASSERT_THAT(parts, BitEqual(whole)) << "split " << split;
  }
  for (Index t = 0; t < 20; ++t) {  // a token alone has the bits it has among others
    const std::vector<float> row(x.f32.begin() + t * 512, x.f32.begin() + (t + 1) * 512);
    const CaseActivations alone(dtype(), row, 1, 512);
    std::vector<float> y(90);
    kernels().matmul(w.view, alone.view, nullptr, 0, w.view.strips(), {y.data(), 1, 90});
    ASSERT_THAT(y, BitEqual(std::span(whole).subspan(static_cast<std::size_t>(t * 90), 90))) << "token " << t;
  }
}

TEST_P(MatmulOnPath, WritesOnlyTheColumnsOfItsStrips) {
  const CaseMatrix w(dtype(), 60, 256, 3);
  const CaseActivations x(dtype(), random_row(2 * 256, 4), 2, 256);
  std::vector<float> y(2 * 60, 9.0f);
  kernels().matmul(w.view, x.view, nullptr, 1, 2, {y.data(), 2, 60});
  for (Index t = 0; t < 2; ++t) {
    for (Index n = 0; n < 60; ++n) EXPECT_EQ(y[static_cast<std::size_t>(t * 60 + n)] == 9.0f, n < 16 || n >= 32) << n;
  }
}

class MatmulReference : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override { flush_subnormals(); }
};
INSTANTIATE_TEST_SUITE_P(Types, MatmulReference, testing::ValuesIn(kPackableTypes),
                         [](const auto& test) { return std::string(name(test.param)); });

// The sum of a row in double and the sum of the magnitudes of its terms.
struct Exact {
  double sum = 0;
  double magnitude = 0;
  void add(double term) {
    sum += term;
    magnitude += std::abs(term);
  }
};

Exact exact_product(const CaseMatrix& w, const CaseActivations& x, Index row, Index t) {
  Exact exact;
  const Index cols = x.view.cols;
  std::vector<float> values(static_cast<std::size_t>(cols));
  dequantize_row(w.view, row, values.data());
  visit_block_format(
      w.view.dtype,
      [&]<class Format>() {
        using Layout = StripLayout<Format>;
        const auto* strip = reinterpret_cast<const std::uint8_t*>(w.view.data) +
                            (strip_bytes(w.view.dtype, cols) * (row / kStripRows)).count;
        for (Index g = 0; g < cols / kGroup; ++g) {
          const GroupScale group = Layout::group_scale(strip, cols, row % kStripRows, g);
          const double xs = double{x.scale[static_cast<std::size_t>(t * cols / kGroup + g)]};
          int dot = 0;
          int sum = 0;
          for (Index j = 0; j < kGroup; ++j) {
            const int code =
                integer_of<Format>(Layout::code(strip + Layout::codes_offset(g), row % kStripRows, j)) - group.zero;
            const int q = x.q8[static_cast<std::size_t>(t * cols + g * kGroup + j)];
            dot += group.sub[j < 16 ? 0 : 1] * code * q;
            sum += group.minimum_sub[j < 16 ? 0 : 1] * q;
          }
          exact.add(double{group.scale} * xs * dot);
          exact.add(double{group.minimum} * xs * sum);
        }
      },
      [&] {
        for (Index c = 0; c < cols; ++c) {
          const auto at = static_cast<std::size_t>(t * cols + c);
          const double value = w.view.dtype == DType::kBF16 ? double{to_float(x.bf16[at])} : double{x.f32[at]};
          exact.add(value * double{values[static_cast<std::size_t>(c)]});
        }
      });
  return exact;
}

TEST_P(MatmulReference, IsWithinItsErrorBoundOfDouble) {
  const Index cols = 2304;
  const CaseMatrix w(GetParam(), 16, cols, 5);
  const CaseActivations x(GetParam(), random_row(2 * cols, 6), 2, cols);
  std::vector<float> y(2 * 16);
  ref::matmul(w.view, x.view, nullptr, 0, 1, {y.data(), 2, 16});
  // Roundings a term passes through: one for its own product, those of its accumulator, three in the segments' tree.
  // A segment holds at most ceil(units / 8) units. Blocks: two fma per group of 32. BF16: 16 in a chain, even + odd,
  // one per unit of 32. Others: a lane takes every 16th element, then the tree of four.
  const Index segment = ceil_div(cols / default_unit(GetParam()), kSegments) * default_unit(GetParam());
  const ActivationForm form = activation_form(GetParam());
  const Index roundings = form == ActivationForm::kQ8     ? 1 + 2 * segment / 32 + 3
                          : form == ActivationForm::kBF16 ? 16 + 1 + segment / 32 + 3
                                                          : segment / 16 + 4 + 3;
  for (Index t = 0; t < 2; ++t) {
    for (Index n = 0; n < 16; ++n) {
      const Exact exact = exact_product(w, x, n, t);
      const double bound = static_cast<double>(roundings + 1) * 0x1p-24 * exact.magnitude;
      ASSERT_NEAR(double{y[static_cast<std::size_t>(t * 16 + n)]}, exact.sum, bound) << "row " << n;
    }
  }
}

TEST_P(MatmulReference, ADifferentOrderOfTheColumnsGivesOtherBits) {  // negative control
  const Index cols = 4608;
  const Index block = std::max<Index>(32, info(GetParam()).block_elements);
  const CaseMatrix w(GetParam(), 16, cols, 7);
  const std::vector<float> x = random_row(cols, 8);
  std::vector<float> turned(x);
  std::vector<std::byte> turned_file(w.file);
  const Index block_bytes = storage_bytes(GetParam(), block).count;
  for (Index b = 0; b < cols / block; ++b) {  // whole blocks in reverse
    const Index to = cols / block - 1 - b;
    std::copy_n(x.begin() + b * block, block, turned.begin() + to * block);
    for (Index r = 0; r < 16; ++r) {
      std::copy_n(w.file.begin() + r * w.row_bytes.count + b * block_bytes, block_bytes,
                  turned_file.begin() + r * w.row_bytes.count + to * block_bytes);
    }
  }
  CaseMatrix other(GetParam(), 16, cols, 7);
  std::vector<std::byte> strip(strip_bytes(GetParam(), cols).size());
  pack_strip(GetParam(), cols, turned_file.data(), w.row_bytes, 16, strip.data());
  other.view.data = strip.data();
  std::vector<float> a(16);
  std::vector<float> b(16);
  ref::matmul(w.view, CaseActivations(GetParam(), x, 1, cols).view, nullptr, 0, 1, {a.data(), 1, 16});
  ref::matmul(other.view, CaseActivations(GetParam(), turned, 1, cols).view, nullptr, 0, 1, {b.data(), 1, 16});
  EXPECT_GE(first_difference(a, b), 0);
  for (std::size_t n = 0; n < 16; ++n) EXPECT_NEAR(a[n], b[n], 1e-3f * (1 + std::abs(a[n])));
}

}  // namespace
}  // namespace jericho
