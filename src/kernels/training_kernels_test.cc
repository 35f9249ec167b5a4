// The kernels of training: every path against the plain twins, bit for bit; the twins against worked examples, and
// gradients against central differences of the formula in double.
#include "kernels/training_kernels.h"

#include <array>
#include <cmath>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "kernels/bit_equal.h"
#include "kernels/emulated_amx.h"

namespace jericho {
namespace {

constexpr std::array<Index, 7> kLengths = {1, 7, 16, 17, 63, 65, 200};
constexpr std::array<DType, 2> kTypes = {DType::kF32, DType::kBF16};

// Rows of either type that own their bytes.
class Rows {
 public:
  Rows(DType dtype, Index rows, Index cols, Index stride = 0)
      : bytes_(static_cast<std::size_t>(rows * (stride > 0 ? stride : cols) * 4), std::byte{0x11}),
        view_{bytes_.data(), dtype, rows, cols, stride > 0 ? stride : cols} {}
  Rows(DType dtype, Index rows, Index cols, unsigned seed, float width) : Rows(dtype, rows, cols) {
    const std::vector<float> values = random_row(rows * cols, seed, Values::kPlain, width);
    ref::scale_rows(float_rows(values.data(), rows, cols), nullptr, view_);
  }
  Rows(const Rows& other) : bytes_(other.bytes_), view_(other.view_) { view_.data = bytes_.data(); }
  [[nodiscard]] const FloatRows& view() const { return view_; }
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> out(static_cast<std::size_t>(view_.rows * view_.cols));
    ref::scale_rows(view_, nullptr, float_rows(out.data(), view_.rows, view_.cols));
    return out;
  }
  bool operator==(const Rows& other) const { return bytes_ == other.bytes_; }

 private:
  std::vector<std::byte> bytes_;
  FloatRows view_;
};

MatrixView<const float> matrix(const std::vector<float>& x, Index rows, Index cols) { return {x.data(), rows, cols}; }
MatrixView<float> matrix(std::vector<float>& x, Index rows, Index cols) { return {x.data(), rows, cols}; }

class TrainingKernelsOn : public OnPath {
 protected:
  [[nodiscard]] const TrainingKernels& kernels() const { return training_kernels_for(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Paths, TrainingKernelsOn, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(TrainingKernelsOn, PackOperandsAsTheReference) {
  for (const DType type : kTypes) {
    for (const DType source : kTypes) {
      if (type == DType::kF32 && source == DType::kBF16) continue;  // fp32 products have fp32 rows
      for (const Index rows : {1, 2, 15, 16, 33}) {
        for (const Index cols : kLengths) {
          const Rows x(source, rows, cols, 3, 2.0f);
          const Index padded = round_up(cols, 16), width = round_up(rows, 16);
          std::vector<std::uint32_t> expected(static_cast<std::size_t>((rows + 1) * padded), 7u), actual = expected;
          ref::dense_interleave(type, x.view(), padded, expected.data(), padded);
          kernels().dense_interleave(type, x.view(), padded, actual.data(), padded);
          ASSERT_EQ(actual, expected) << rows << " x " << cols;
          expected.assign(static_cast<std::size_t>(width * cols), 7u);
          actual = expected;
          ref::dense_transpose(type, x.view(), expected.data(), width);
          kernels().dense_transpose(type, x.view(), actual.data(), width);
          ASSERT_EQ(actual, expected) << rows << " x " << cols;
        }
      }
    }
  }
}

using DenseMultiply = decltype(TrainingKernels::dense_multiply);
struct DenseProducts {
  std::string name;
  DenseMultiply multiply;
  DenseMultiply reference;
};

// Of a path, and with AVX-512 those of AMX on emulated tiles.
std::vector<DenseProducts> dense_products(CpuPath path) {
  const TrainingKernels& kernels = training_kernels_for(path);
  const bool tiles = kernels.dense_order == DenseOrder::kTiles;
  std::vector<DenseProducts> all = {
      {std::string(name(path)), kernels.dense_multiply, tiles ? ref::dense_multiply_tiles : ref::dense_multiply}};
  if (path == CpuPath::kAvx512) all.push_back({"emulated tiles", dense_on_emulated_tiles, ref::dense_multiply_tiles});
  return all;
}

struct DenseOperands {
  DenseOperands(DType type, Index m, Index n, Index k, float width = 1.0f)
      : a(type, m, type == DType::kF32 ? k : 2 * k, 1, width), b(type, n, a.view().cols, 2, width) {
    right.resize(static_cast<std::size_t>(dense_right_cells(k, n)));
    for (Index panel = 0; panel < dense_panels(n); ++panel) {
      const Index first = panel * kDensePanel, panel_width = dense_panel_width(n, panel);
      ref::dense_transpose(type, b.view().part(first, std::min(panel_width, n - first)),
                           right.data() + dense_panel_offset(k, panel), panel_width);
    }
    columns.resize(static_cast<std::size_t>(round_up(m, 16) * k));
    ref::dense_transpose(type, a.view(), columns.data(), round_up(m, 16));
    as_rows = {reinterpret_cast<const std::uint32_t*>(a.view().data), k, 1};
    as_columns = {columns.data(), 1, round_up(m, 16)};
    packed = {right.data(), k, n};
  }
  // The first `tokens` columns of a, as rows.
  [[nodiscard]] Rows turned(Index tokens) const {
    Rows out(a.view().dtype, tokens, a.view().rows);
    const std::vector<float> values = a.values();
    for (Index t = 0; t < tokens; ++t) {
      for (Index i = 0; i < a.view().rows; ++i) {
        const float* value = values.data() + i * a.view().cols + t;
        ref::scale_rows(float_rows(value, 1, 1), nullptr, out.view().part(t, 1).columns(i, 1));
      }
    }
    return out;
  }
  Rows a, b;
  std::vector<std::uint32_t> right, columns;
  DenseLeft as_rows, as_columns;
  DenseRight packed;
};

TEST_P(TrainingKernelsOn, MultiplyAsTheReferenceForEveryTail) {
  for (const DType type : kTypes) {
    for (const Index k : {1, 2, 31, 48}) {  // cells
      for (const Index m : {1, 3, 6, 13, 29}) {
        for (const Index n : {1, 16, 17, 32, 47, 50, 64}) {
          const DenseOperands x(type, m, n, k);
          for (const DenseProducts& products : dense_products(GetParam())) {
            for (const DType out : kTypes) {
              Rows expected(out, m, n, n + 5), actual = expected;
              products.reference(type, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, expected.view());
              products.multiply(type, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, actual.view());
              ASSERT_EQ(actual, expected)
                  << products.name << ", " << m << " x " << n << " x " << k << " cells into " << name(out);
            }
            if (k < 31) continue;
            Rows expected(DType::kF32, m, n, 4, 1.0f), actual = expected;
            const std::array<Index, 3> ends = {7, 16, k};
            products.reference(type, x.as_columns, x.packed, ends, DenseStore::kAdd, expected.view());
            products.multiply(type, x.as_columns, x.packed, ends, DenseStore::kAdd, actual.view());
            ASSERT_EQ(actual, expected) << products.name << ", " << m << " x " << n << " x " << k << " cells in blocks";
          }
        }
      }
    }
  }
}

TEST_P(TrainingKernelsOn, MultiplyAsTheReferenceOverManyRowsPanelsAndCells) {
  const Index m = 67, n = 150, k = 530;
  for (const DType type : kTypes) {
    const DenseOperands x(type, m, n, k);
    for (const DenseProducts& products : dense_products(GetParam())) {
      for (const DType out : kTypes) {
        Rows expected(out, m, n), actual = expected;
        products.reference(type, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, expected.view());
        products.multiply(type, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, actual.view());
        ASSERT_EQ(actual, expected) << products.name << " into " << name(out);
      }
      // The panels from the second on, of which c has a part, and the cells from the 20th on.
      DenseRight part = x.packed.from(1);
      part.begin = 20;
      const std::array<Index, 3> ends = {128, 400, k - 20};
      std::vector<DenseLeft> lefts = {x.as_rows, x.as_columns};
      const Rows turned = x.turned(2 * k - 41);  // rows of tokens, of which the last has no other half
      const bool tiles = products.reference == DenseMultiply{ref::dense_multiply_tiles};
      if (tiles && type == DType::kBF16) lefts.push_back({.columns = turned.view()});
      for (const DenseLeft& left : lefts) {
        Rows expected(DType::kF32, m, 70, 4, 1.0f), actual = expected;
        products.reference(type, left, part, ends, DenseStore::kAdd, expected.view());
        products.multiply(type, left, part, ends, DenseStore::kAdd, actual.view());
        ASSERT_EQ(actual, expected) << products.name << " in blocks";
      }
    }
  }
}

TEST_P(TrainingKernelsOn, ReadNothingOfTheRightOperandBehindABlock) {
  const Index k = 21, behind = 11;
  DenseOperands x(DType::kBF16, 3, 16, k + behind);
  for (Index u = k; u < k + behind; ++u) {
    for (Index n = 0; n < 16; ++n) x.right[static_cast<std::size_t>(u * 16 + n)] = 0x7f807f80u;  // infinities
  }
  for (const DenseProducts& products : dense_products(GetParam())) {
    Rows expected(DType::kF32, 3, 16), actual = expected;
    products.reference(DType::kBF16, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, expected.view());
    products.multiply(DType::kBF16, x.as_rows, x.packed, std::array{k}, DenseStore::kSet, actual.view());
    ASSERT_EQ(actual, expected) << products.name;
    for (const float value : actual.values()) ASSERT_TRUE(std::isfinite(value)) << products.name;
  }
}

TEST(DenseMultiply, HasOtherBitsInTilesThanInPairs) {
  const DenseOperands x(DType::kBF16, 16, 16, 48);
  Rows pairs(DType::kF32, 16, 16), tiles = pairs;
  ref::dense_multiply(DType::kBF16, x.as_rows, x.packed, std::array<Index, 1>{48}, DenseStore::kSet, pairs.view());
  ref::dense_multiply_tiles(DType::kBF16, x.as_rows, x.packed, std::array<Index, 1>{48}, DenseStore::kSet,
                            tiles.view());
  EXPECT_NE(pairs.values(), tiles.values());
}

TEST(DenseMultiply, InTilesIsTheSumOfProducts) {
  const Index m = 5, n = 18, k = 40;
  const DenseOperands x(DType::kBF16, m, n, k);
  Rows c(DType::kF32, m, n, 4, 1.0f);
  const std::vector<float> before = c.values(), a = x.a.values(), b = x.b.values();
  ref::dense_multiply_tiles(DType::kBF16, x.as_rows, x.packed, std::array<Index, 2>{9, k}, DenseStore::kAdd, c.view());
  const std::vector<float> after = c.values();
  for (Index i = 0; i < m; ++i) {
    for (Index j = 0; j < n; ++j) {
      const auto at = static_cast<std::size_t>(i * n + j);
      double sum = static_cast<double>(before[at]), size = std::abs(sum);
      for (Index t = 0; t < 2 * k; ++t) {
        const double term = static_cast<double>(a[static_cast<std::size_t>(i * 2 * k + t)]) *
                            static_cast<double>(b[static_cast<std::size_t>(j * 2 * k + t)]);
        sum += term, size += std::abs(term);
      }
      // A term passes 16 fmas, the sum of two chains, and one addition for each of four units.
      EXPECT_NEAR(static_cast<double>(after[at]), sum, 21 * 0x1p-24 * size) << i << ", " << j;
    }
  }
}

TEST_P(TrainingKernelsOn, WorkOnRowsAsTheReference) {
  for (const Index n : kLengths) {
    const std::vector<float> x = random_row(3 * n, 1), dy = random_row(3 * n, 2), w = random_row(n, 3);
    std::vector<float> dx = random_row(3 * n, 4), dw = random_row(n, 5), expected_dx = dx, expected_dw = dw;
    ref::rms_norm_backward(matrix(x, 3, n), w, 1e-5f, matrix(dy, 3, n), matrix(expected_dx, 3, n), expected_dw);
    kernels().rms_norm_backward(matrix(x, 3, n), w, 1e-5f, matrix(dy, 3, n), matrix(dx, 3, n), dw);
    ASSERT_THAT(dx, BitEqual(expected_dx)) << n;
    ASSERT_THAT(dw, BitEqual(expected_dw)) << n;
    ASSERT_EQ(kernels().sum_squares(x.data(), 3 * n), ref::sum_squares(x.data(), 3 * n));
    for (const DType type : kTypes) {
      const Rows a(type, 3, n, 6, 1.0f), b(type, 3, n, 7, 1.0f);
      std::vector<float> dots(3), expected_dots(3), sums = w, expected_sums = w;
      ref::row_dots(a.view(), b.view(), expected_dots.data());
      kernels().row_dots(a.view(), b.view(), dots.data());
      ASSERT_THAT(dots, BitEqual(expected_dots)) << n;
      ref::add_column_sums(a.view(), expected_sums);
      kernels().add_column_sums(a.view(), sums);
      ASSERT_THAT(sums, BitEqual(expected_sums)) << n;
      for (const DType out : kTypes) {
        Rows scaled(out, 3, n), expected = scaled;
        ref::scale_rows(a.view(), dots.data(), expected.view());
        kernels().scale_rows(a.view(), dots.data(), scaled.view());
        ASSERT_EQ(scaled, expected) << n;
      }
      for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu2}) {
        Rows y(type, 3, n), dg(type, 3, n), du(type, 3, n), y2(type, 3, n), dg2(type, 3, n), du2(type, 3, n);
        ref::glu_backward(activation, a.view(), b.view(), matrix(dy, 3, n), dg.view(), du.view(), y.view());
        kernels().glu_backward(activation, a.view(), b.view(), matrix(dy, 3, n), dg2.view(), du2.view(), y2.view());
        ASSERT_EQ(y2, y) << n;
        ASSERT_EQ(dg2, dg) << n;
        ASSERT_EQ(du2, du) << n;
        Rows forward(type, 3, n);
        kernels().glu_rows(activation, a.view(), b.view(), forward.view());
        ASSERT_EQ(forward, y) << "the backward pass makes the forward's output again, n " << n;
      }
    }
  }
}

TEST_P(TrainingKernelsOn, RotateHeadsAsTheReference) {
  for (const auto& [head, turned] : {std::pair<Index, Index>{32, 32}, {40, 24}, {64, 64}, {6, 6}}) {
    const std::vector<float> x = random_row(2 * 3 * head, 1), cos = random_row(turned, 2), sin = random_row(turned, 3);
    for (const DType type : kTypes) {
      for (const Turn turn : {Turn::kForward, Turn::kBack}) {
        Rows y(type, 2, 3 * head), expected = y;
        ref::rope_rows(matrix(x, 2, 3 * head), head, matrix(cos, 2, turned / 2), matrix(sin, 2, turned / 2), turn,
                       expected.view());
        kernels().rope_rows(matrix(x, 2, 3 * head), head, matrix(cos, 2, turned / 2), matrix(sin, 2, turned / 2), turn,
                            y.view());
        ASSERT_EQ(y, expected) << head;
      }
    }
  }
}

TEST_P(TrainingKernelsOn, AttendAsTheReferenceWithAndWithoutAWindow) {
  for (const Index n : {16, 64, 80}) {
    const Index rows = 9;
    const std::vector<float> s = random_row(rows * n, 1), dp = random_row(rows * n, 2), delta = random_row(rows, 3);
    for (const VisibleKeys visible :
         {VisibleKeys{-100, 1}, {-100, n - rows + 1}, {n - rows - 3, n - rows + 1}, {-2, 3}}) {
      for (const DType type : kTypes) {
        Rows p(type, rows, n), q(type, rows, n), ds(type, rows, n), p2 = p, q2 = q, ds2 = ds;
        std::vector<float> m(rows), inverse(rows), m2(rows), inverse2(rows);
        ref::attention_probabilities(matrix(s, rows, n), 0.3f, visible, p.view(), m.data(), inverse.data());
        kernels().attention_probabilities(matrix(s, rows, n), 0.3f, visible, p2.view(), m2.data(), inverse2.data());
        ASSERT_EQ(p2, p) << n;
        ASSERT_THAT(m2, BitEqual(m));
        ASSERT_THAT(inverse2, BitEqual(inverse));
        ref::attention_gradients(matrix(s, rows, n), matrix(dp, rows, n), 0.3f, visible, m.data(), inverse.data(),
                                 delta.data(), q.view(), ds.view());
        kernels().attention_gradients(matrix(s, rows, n), matrix(dp, rows, n), 0.3f, visible, m.data(), inverse.data(),
                                      delta.data(), q2.view(), ds2.view());
        ASSERT_EQ(q2, q) << n;
        ASSERT_EQ(ds2, ds) << n;
      }
    }
  }
}

TEST_P(TrainingKernelsOn, MeasureLossesAsTheReference) {
  for (const Index V : {1, 7, 16, 17, 333}) {
    const std::vector<float> z = random_row(4 * V, 1);
    const std::array<std::int32_t, 4> targets = {0, static_cast<std::int32_t>(V - 1), -100,
                                                 static_cast<std::int32_t>(V / 2)};
    for (const DType type : kTypes) {
      Rows dz(type, 4, V), expected_dz = dz;
      std::array<double, 4> loss{}, expected{};
      ref::cross_entropy(matrix(z, 4, V), targets.data(), 0.25f, expected.data(), expected_dz.view());
      kernels().cross_entropy(matrix(z, 4, V), targets.data(), 0.25f, loss.data(), dz.view());
      ASSERT_EQ(loss, expected) << V;
      ASSERT_EQ(dz, expected_dz) << V;
      std::array<double, 4> alone{};
      kernels().cross_entropy(matrix(z, 4, V), targets.data(), 0.25f, alone.data(), {});
      ASSERT_EQ(alone, expected) << "without a gradient, V " << V;
    }
  }
}

// d f / d x[i] by central differences in double.
double slope(std::vector<double> x, std::size_t i, const std::function<double(const std::vector<double>&)>& f) {
  const double h = 1e-5 * std::max(1.0, std::abs(x[i]));
  const double at = x[i];
  x[i] = at + h;
  const double above = f(x);
  x[i] = at - h;
  return (above - f(x)) / (2 * h);
}

std::vector<double> doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

TEST(RmsNormBackward, GivesTheWorkedExample) {
  const std::vector<float> x = {1, -2, 3, 0.5f}, w = {1, 0.5f, 2, -1}, dy = {0.1f, 0.2f, -0.3f, 0.4f};
  std::vector<float> dx(4), dw(4);
  ref::rms_norm_backward(matrix(x, 1, 4), w, 1e-5f, matrix(dy, 1, 4), matrix(dx, 1, 4), dw);
  const std::array<float, 4> expected_dx = {.131058588f, -.103173516f, -.0836552153f, -.172886196f};
  const std::array<float, 4> expected_dw = {.0529812199f, -.21192488f, -.476830979f, .10596244f};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(dx[i], expected_dx[i], 1e-6f);
    EXPECT_NEAR(dw[i], expected_dw[i], 1e-6f);
  }
}

TEST(RmsNormBackward, IsTheSlopeOfTheNorm) {
  const std::vector<float> x = random_row(23, 1), w = random_row(23, 2), dy = random_row(23, 3);
  std::vector<float> dx(23), dw(23);
  ref::rms_norm_backward(matrix(x, 1, 23), w, 1e-5f, matrix(dy, 1, 23), matrix(dx, 1, 23), dw);
  const auto loss = [&](const std::vector<double>& at, const std::vector<double>& weight) {
    double squares = 1e-5 * 23, sum = 0;
    for (const double v : at) squares += v * v;
    for (std::size_t i = 0; i < at.size(); ++i) sum += dy[i] * weight[i] * at[i] / std::sqrt(squares / 23);
    return sum;
  };
  for (std::size_t i = 0; i < 23; ++i) {
    EXPECT_NEAR(dx[i], slope(doubles(x), i, [&](const auto& v) { return loss(v, doubles(w)); }), 2e-5);
    EXPECT_NEAR(dw[i], slope(doubles(w), i, [&](const auto& v) { return loss(doubles(x), v); }), 2e-5);
  }
}

TEST(GluBackward, GivesTheWorkedExampleOfSwiGlu) {
  const std::vector<float> g = {0.5f, -1}, u = {2, 3}, dh = {1, -0.5f};
  std::vector<float> dg(2), du(2), h(2);
  ref::glu_backward(Activation::kSilu, float_rows(g.data(), 1, 2), float_rows(u.data(), 1, 2), matrix(dh, 1, 2),
                    float_rows(dg.data(), 1, 2), float_rows(du.data(), 1, 2), float_rows(h.data(), 1, 2));
  const std::array<float, 2> expected_h = {.622459331f, -.806824264f}, expected_dg = {1.47992237f, -.108494232f},
                             expected_du = {.311229666f, .134470711f};
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(h[i], expected_h[i], 1e-6f);
    EXPECT_NEAR(dg[i], expected_dg[i], 1e-6f);
    EXPECT_NEAR(du[i], expected_du[i], 1e-6f);
  }
}

TEST(GluBackward, IsTheSlopeOfEveryActivation) {
  const auto act = [](Activation activation, double z) {
    if (activation == Activation::kRelu2) return z > 0 ? z * z : 0;
    const double t = activation == Activation::kSilu ? z : 2 * std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z);
    return z / (1 + std::exp(-t));
  };
  const std::vector<float> g = random_row(40, 1), u = random_row(40, 2), dh = random_row(40, 3);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu2}) {
    std::vector<float> dg(40), du(40), h(40);
    ref::glu_backward(activation, float_rows(g.data(), 1, 40), float_rows(u.data(), 1, 40), matrix(dh, 1, 40),
                      float_rows(dg.data(), 1, 40), float_rows(du.data(), 1, 40), float_rows(h.data(), 1, 40));
    for (std::size_t i = 0; i < 40; ++i) {
      const double dact = slope({g[i]}, 0, [&](const auto& z) { return act(activation, z[0]); });
      EXPECT_NEAR(dg[i], dh[i] * u[i] * dact, 2e-5 * (1 + std::abs(dg[i])));
      EXPECT_NEAR(du[i], dh[i] * act(activation, g[i]), 1e-5 * (1 + std::abs(du[i])));
    }
  }
}

TEST(CrossEntropy, GivesTheWorkedExample) {
  const std::vector<float> z = {2, -1, 0.5f};
  const std::int32_t y = 0;
  double loss = 0;
  std::vector<float> dz(3);
  ref::cross_entropy(matrix(z, 1, 3), &y, 1, &loss, float_rows(dz.data(), 1, 3));
  EXPECT_NEAR(loss, .241311297, 1e-6);
  EXPECT_NEAR(dz[0], -.214402965f, 1e-6f);
  EXPECT_NEAR(dz[1], .0391125733f, 1e-6f);
  EXPECT_NEAR(dz[2], .175290392f, 1e-6f);
}

TEST(CrossEntropy, HasNoLossWhereATargetIsIgnored) {
  const std::vector<float> z = {2, -1, 0.5f};
  const std::int32_t y = -100;
  double loss = 1;
  std::vector<float> dz(3, 1.0f);
  ref::cross_entropy(matrix(z, 1, 3), &y, 1, &loss, float_rows(dz.data(), 1, 3));
  EXPECT_EQ(loss, 0);
  EXPECT_THAT(dz, testing::Each(0.0f));
}

TEST(RopeRows, GiveTheWorkedExampleForwardAndBack) {
  const std::vector<float> x = {1, 2, 3, 4};
  const std::vector<float> cos = {static_cast<float>(std::cos(3.0)), static_cast<float>(std::cos(0.03))};
  const std::vector<float> sin = {static_cast<float>(std::sin(3.0)), static_cast<float>(std::sin(0.03))};
  std::vector<float> y(4), back(4);
  ref::rope_rows(matrix(x, 1, 4), 4, matrix(cos, 1, 2), matrix(sin, 1, 2), Turn::kForward, float_rows(y.data(), 1, 4));
  ref::rope_rows(matrix(x, 1, 4), 4, matrix(cos, 1, 2), matrix(sin, 1, 2), Turn::kBack, float_rows(back.data(), 1, 4));
  const std::array<float, 4> expected = {-1.41335252f, 1.87911807f, -2.82885748f, 4.05819114f};
  const std::array<float, 4> expected_back = {-.566632472f, 2.11908207f, -3.1110975f, 3.93820913f};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(y[i], expected[i], 1e-6f);
    EXPECT_NEAR(back[i], expected_back[i], 1e-6f);
  }
}

}  // namespace
}  // namespace jericho
