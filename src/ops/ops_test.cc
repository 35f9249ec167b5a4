// The ops over threads against the formulas in double, with bounds derived from the rounding of each definition.
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "kernels/matmul_cases.h"
#include "ops/linear.h"
#include "ops/paged_attention.h"
#include "ops/rows.h"
#include "ops/test_pages.h"

namespace jericho {
namespace {

constexpr double kUnit = 0x1p-24;  // of fp32

class Ops : public testing::TestWithParam<int> {  // threads
 protected:
  void SetUp() override { flush_subnormals(); }
  Ledger ledger_{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool_{GetParam()};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
};

INSTANTIATE_TEST_SUITE_P(, Ops, testing::Values(1, 2, 5),
                         [](const auto& threads) { return std::to_string(threads.param) + "_threads"; });

std::vector<std::byte> scratch_for(ActivationForms forms, Index tokens, Index cols) {
  ScratchSize size;
  static_cast<void>(LinearBuffers::take(size, forms, tokens, cols));
  return std::vector<std::byte>(size.peak().size() + 64);
}

// One row of w as fp32, and how far x may be off in the form that w multiplies with.
struct Tolerance {
  double input = 0;  // relative to |x|
  double group = 0;  // of a group's largest |x|
};
Tolerance tolerance(DType dtype) {
  switch (activation_form(dtype)) {
    case ActivationForm::kF32: return {};
    case ActivationForm::kBF16: return {.input = 0x1p-8};
    case ActivationForm::kQ8:
    case ActivationForm::kQ8Of128:
    case ActivationForm::kQ8OfRow: return {.group = 0.5 / 127 + 0x1p-20};
  }
  return {};
}

TEST_P(Ops, LinearIsTheDoubleLoopForEveryWeightFormat) {
  constexpr Index T = 5, N = 37;
  for (const DType dtype : kPackableTypes) {
    const Index K = is_block(dtype) ? 512 : 200;
    const CaseMatrix w(dtype, N, K, 1);
    const std::vector<float> x = random_row(T * K, 2);
    const std::vector<float> bias = random_row(N, 3);
    ActivationForms forms;
    forms.add(dtype);
    std::vector<std::byte> scratch = scratch_for(forms, T, K);
    Scratch bump(aligned(scratch));
    const LinearInput input(context_, {x.data(), T, K}, forms, LinearBuffers::take(bump, forms, T, K));
    std::vector<float> y(static_cast<std::size_t>(T * N), std::numeric_limits<float>::quiet_NaN());
    linear(context_, w.view, input, bias, {y.data(), T, N});
    std::vector<float> row(static_cast<std::size_t>(K));
    for (Index n = 0; n < N; ++n) {
      dequantize_row(w.view, n, row.data());
      for (Index t = 0; t < T; ++t) {
        double sum = static_cast<double>(bias[static_cast<std::size_t>(n)]), magnitude = std::abs(sum), input_error = 0;
        for (Index k = 0; k < K; ++k) {
          const double a = static_cast<double>(x[static_cast<std::size_t>(t * K + k)]);
          const double b = static_cast<double>(row[static_cast<std::size_t>(k)]);
          double largest = 0;  // of the group that shares a scale
          const Index group = scale_columns(activation_form(dtype), K);
          for (Index g = k / group * group; g < std::min(K, k / group * group + group); ++g) {
            largest = std::max(largest, std::abs(static_cast<double>(x[static_cast<std::size_t>(t * K + g)])));
          }
          sum += a * b;
          magnitude += std::abs(a * b);
          input_error += std::abs(b) * (tolerance(dtype).input * std::abs(a) + tolerance(dtype).group * largest);
        }
        // K products and additions of u each; formats with minima add terms up to three times as large as a b.
        const double bound = input_error + 3 * static_cast<double>(K + 8) * kUnit * (magnitude + input_error);
        ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * N + n)]), sum, bound) << name(dtype) << " " << n;
      }
    }
  }
}

// Every second column from the front, the rest from the back.
std::vector<std::int32_t> some_order(Index K) {
  std::vector<std::int32_t> order;
  for (Index k = 0; k < K; k += 2) order.push_back(static_cast<std::int32_t>(k));
  for (Index k = K - 1; k > 0; k -= 2) order.push_back(static_cast<std::int32_t>(k));
  return order;
}

TEST_P(Ops, LinearWithColumnsInAnOrderIsThatOfRowsInTheOrder) {
  constexpr Index T = 5, N = 37, K = 1536;  // more than are gathered at a time
  const std::vector<float> x = random_row(T * K, 2);
  const std::vector<float> bias = random_row(N, 3);
  const std::vector<std::int32_t> order = some_order(K);
  std::vector<float> sorted;
  for (Index t = 0; t < T; ++t) {
    for (const std::int32_t k : order) sorted.push_back(x[static_cast<std::size_t>(t * K + k)]);
  }
  for (const DType dtype : {DType::kQ4_0, DType::kQ8_0, DType::kQZ4, DType::kQZ8, DType::kQZ4_128}) {
    const CaseMatrix w(dtype, N, K, 1);
    PackedMatrix ordered = w.view;
    ordered.input_order = order;
    const auto product = [&](const PackedMatrix& matrix, const std::vector<float>& rows, ActivationForms forms) {
      std::vector<std::byte> scratch = scratch_for(forms, T, K);
      Scratch bump(aligned(scratch));
      const LinearInput input(context_, {rows.data(), T, K}, forms, LinearBuffers::take(bump, forms, T, K));
      std::vector<float> y(static_cast<std::size_t>(T * N));
      linear(context_, matrix, input, bias, {y.data(), T, N});
      return y;
    };
    ActivationForms plain, in_order;
    plain.add(dtype);
    in_order.add_ordered(dtype);
    const std::vector<float> expected = product(w.view, sorted, plain);
    EXPECT_THAT(product(ordered, x, in_order), BitEqual(expected)) << name(dtype);
    EXPECT_FALSE(product(w.view, x, plain) == expected) << "the order shows nothing";
    std::vector<float> row(K), in_file(K);
    dequantize_row(ordered, 3, row.data());
    dequantize_row(w.view, 3, in_file.data());
    for (std::size_t k = 0; k < order.size(); ++k) ASSERT_EQ(row[static_cast<std::size_t>(order[k])], in_file[k]);
  }
}

TEST_P(Ops, LinearReadsStridedRowsAndWritesStridedRows) {
  constexpr Index T = 3, K = 64, N = 20;
  const CaseMatrix w(DType::kF32, N, K, 1);
  const std::vector<float> wide = random_row(T * 100, 2);
  const MatrixView<const float> strided(wide.data(), T, K, 100);
  std::vector<float> dense;
  for (Index t = 0; t < T; ++t) dense.insert(dense.end(), strided.row(t).begin(), strided.row(t).end());
  const ActivationForms forms = {.f32 = true};
  std::vector<float> copy(static_cast<std::size_t>(T * K)), expected(static_cast<std::size_t>(T * N)),
      actual(static_cast<std::size_t>(T * 33), 9.0f);
  const LinearInput plain(context_, {dense.data(), T, K}, forms, {});
  linear(context_, w.view, plain, {}, {expected.data(), T, N});
  const LinearInput copied(context_, strided, forms, {.f32 = copy});
  linear(context_, w.view, copied, {}, {actual.data(), T, N, 33});
  for (Index t = 0; t < T; ++t) {
    const MatrixView<float> rows(actual.data(), T, 33);
    EXPECT_THAT(rows.row(t).first(N), BitEqual(std::span(expected).subspan(static_cast<std::size_t>(t * N), N)));
    for (Index c = N; c < 33; ++c) EXPECT_EQ(rows(t, c), 9.0f) << "beyond the row";
  }
}

TEST_P(Ops, EmbeddingGathersTheRowsOfItsIds) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_K}) {
    const CaseMatrix table(dtype, 50, 256, 4);
    const std::vector<std::int32_t> ids = {49, 0, 17, 17, 3, 5, 8, 13, 21, 34};
    std::vector<float> y(ids.size() * 256), row(256);
    embedding(context_, table.view, ids, {y.data(), static_cast<Index>(ids.size()), 256});
    for (std::size_t t = 0; t < ids.size(); ++t) {
      dequantize_file_row(dtype, 256, table.file.data() + ids[t] * table.row_bytes.count, row.data());
      EXPECT_THAT(std::span(y).subspan(t * 256, 256), BitEqual(row)) << name(dtype) << " " << t;
    }
  }
}

TEST_P(Ops, RmsNormGivesTheExampleOfTheFormulasInEveryRow) {
  constexpr Index T = 19;
  std::vector<float> x;
  for (Index t = 0; t < T; ++t) x.insert(x.end(), {1, 2, 3, 4});
  const std::vector<float> weight = {1, 1, 0.5, 2};
  const MatrixView<float> rows(x.data(), T, 4);
  rms_norm(context_, rows, weight, 1e-5f, rows);
  const std::vector<float> expected = {0.365148f, 0.730296f, 0.547722f, 2.921185f};
  for (Index t = 0; t < T; ++t) {
    for (Index c = 0; c < 4; ++c) EXPECT_NEAR(rows(t, c), expected[static_cast<std::size_t>(c)], 6e-7f) << t;
  }
}

TEST_P(Ops, GluIsTheDoubleFormulaInEveryRow) {
  constexpr Index T = 11, C = 70;
  std::vector<float> gate = random_row(T * C, 5), up = random_row(T * C, 6);
  const std::vector<float> z = gate;
  const MatrixView<float> y(gate.data(), T, C);
  glu(context_, Activation::kSilu, y, {up.data(), T, C}, y);
  for (std::size_t i = 0; i < z.size(); ++i) {
    const auto g = static_cast<double>(z[i]), u = static_cast<double>(up[i]);
    const double expected = g / (1 + std::exp(-g)) * u;
    EXPECT_NEAR(static_cast<double>(gate[i]), expected, 6 * kUnit * std::abs(expected)) << g;
  }
}

TEST_P(Ops, GatherHeadsPutsTheRowsOfAHeadTogether) {
  constexpr Index T = 11, heads = 3, S = 5, n = 2, first = 1;
  const std::vector<float> x = random_row(T * heads * S, 70);
  std::vector<float> y(heads * T * n);
  gather_heads(context_, {x.data(), T, heads * S}, heads, first, {y.data(), heads * T, n});
  for (Index h = 0; h < heads; ++h) {
    for (Index t = 0; t < T; ++t) {
      for (Index c = 0; c < n; ++c)
        EXPECT_EQ(y[static_cast<std::size_t>((h * T + t) * n + c)],
                  x[static_cast<std::size_t>((t * heads + h) * S + first + c)]);
    }
  }
}

// Each of T rows by its own angles.
void rope_rows(std::span<float> x, Index T, Index head_dim, std::span<const float> cos, std::span<const float> sin,
               Index first = 0) {
  const std::size_t width = x.size() / static_cast<std::size_t>(T), half = cos.size() / static_cast<std::size_t>(T);
  for (std::size_t t = 0; t < static_cast<std::size_t>(T); ++t) {
    rope(x.subspan(t * width, width), head_dim, cos.subspan(t * half, half), sin.subspan(t * half, half), first);
  }
}

TEST_P(Ops, RopeOfLaterDimensionsLeavesTheFirstAlone) {
  constexpr Index T = 9, heads = 2, D = 12, R = 6, first = 4;
  const std::vector<float> before = random_row(T * heads * D, 71);
  std::vector<float> cos(T * R / 2, 0.6f), sin(T * R / 2, 0.8f), x = before;
  rope_rows(x, T, D, cos, sin, first);
  for (std::size_t head = 0; head < T * heads; ++head) {
    std::vector<float> alone(before.begin() + static_cast<std::ptrdiff_t>(head * D + first),
                             before.begin() + static_cast<std::ptrdiff_t>((head + 1) * D));
    rope(alone, D - first, std::span(cos).first(R / 2), std::span(sin).first(R / 2));
    EXPECT_THAT(std::span(x).subspan(head * D, first), BitEqual(std::span(before).subspan(head * D, first)));
    EXPECT_THAT(std::span(x).subspan(head * D + first, D - first), BitEqual(alone));
  }
}

TEST_P(Ops, AddAddsEveryElementOnce) {
  constexpr Index T = 21, C = 33;
  std::vector<float> x = random_row(T * C, 7);
  const std::vector<float> before = x, dx = random_row(T * C, 8);
  add(context_, {dx.data(), T, C}, {x.data(), T, C});
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i], before[i] + dx[i]);
}

TEST_P(Ops, RopeRotatesEveryHeadByItsRowsAngles) {
  constexpr Index T = 9, heads = 3, D = 8, R = 6;
  std::vector<float> x = random_row(T * heads * D, 9);
  const std::vector<float> before = x;
  std::vector<float> cos(T * R / 2), sin(T * R / 2);
  for (std::size_t i = 0; i < cos.size(); ++i) {
    cos[i] = static_cast<float>(std::cos(0.1 * static_cast<double>(i)));
    sin[i] = static_cast<float>(std::sin(0.1 * static_cast<double>(i)));
  }
  rope_rows(x, T, D, cos, sin);
  for (Index t = 0; t < T; ++t) {
    for (Index h = 0; h < heads; ++h) {
      const auto at = [&](const std::vector<float>& v, Index i) {
        return static_cast<double>(v[static_cast<std::size_t>((t * heads + h) * D + i)]);
      };
      for (Index i = 0; i < R / 2; ++i) {
        const auto angle = static_cast<std::size_t>(t * R / 2 + i);
        const auto c = static_cast<double>(cos[angle]), s = static_cast<double>(sin[angle]);
        const double bound = 2 * kUnit * (std::abs(at(before, i)) + std::abs(at(before, i + R / 2)));
        EXPECT_NEAR(at(x, i), at(before, i) * c - at(before, i + R / 2) * s, bound);
        EXPECT_NEAR(at(x, i + R / 2), at(before, i + R / 2) * c + at(before, i) * s, bound);
      }
      for (Index i = R; i < D; ++i) EXPECT_EQ(at(x, i), at(before, i)) << "beyond the rotated part";
    }
  }
}

// Pages of memory each, not in its order.
std::vector<std::byte*> pages_in(std::vector<std::byte>& bytes, Index count, Bytes page) {
  bytes.resize((page * count).size() + 64);
  std::vector<std::byte*> list;
  for (Index p = count; p > 0; --p) list.push_back(aligned(bytes).data() + (p - 1) * page.count);
  return list;
}

// The pages of some sequences, each position filled with random keys and values.
struct Cache {
  Cache(const Context& context, KvLayout kv, const std::vector<Index>& lengths) : layout(kv) {
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const Index count = ceil_div(lengths[s], kPageTokens);
      data.push_back(pages_in(bytes.emplace_back(), count, layout.page_bytes()));
      full_data.push_back(pages_in(bytes.emplace_back(), count, layout.full_page_bytes()));
      keys.push_back(random_row(lengths[s] * layout.kv_heads * layout.head_dim, static_cast<unsigned>(20 + s),
                                Values::kPlain, 1.0f));
      values.push_back(random_row(lengths[s] * layout.kv_heads * layout.head_dim, static_cast<unsigned>(40 + s)));
    }
    for (const auto& list : data) tables.emplace_back(list);
    for (const auto& list : full_data) full_tables.emplace_back(list);
    pages = KvPages(tables);
    pages.full_keys = full_tables;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      std::vector<BatchRow> rows;
      for (Index p = 0; p < lengths[s]; ++p) rows.push_back({static_cast<std::int32_t>(s), p});
      const Index width = layout.kv_heads * layout.head_dim;
      for (Index layer = 0; layer < layout.layers; ++layer) {
        store_kv(context, layout, layer, rows, {keys[s].data(), lengths[s], width},
                 {values[s].data(), lengths[s], width}, pages);
      }
    }
  }
  [[nodiscard]] double key(std::size_t s, Index p, Index head, Index d) const {
    return static_cast<double>(keys[s][static_cast<std::size_t>((p * layout.kv_heads + head) * layout.head_dim + d)]);
  }
  [[nodiscard]] double value(std::size_t s, Index p, Index head, Index d) const {
    return static_cast<double>(values[s][static_cast<std::size_t>((p * layout.kv_heads + head) * layout.head_dim + d)]);
  }
  KvLayout layout;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::vector<std::byte*>> data, full_data;
  std::vector<std::span<std::byte*const>> tables, full_tables;
  KvPages pages;
  std::vector<std::vector<float>> keys, values;
};

TEST_P(Ops, StoreKvWritesWhatIsMadeOfARowInTheSameGo) {
  constexpr Index T = 37, K = 2, D = 40, R = 32;
  const std::vector<float> cos(T * R / 2, 0.8f), sin(T * R / 2, 0.6f);
  const std::vector<float> keys = random_row(T * K * D, 30), values = random_row(T * K * D, 31);
  std::vector<BatchRow> rows;
  for (Index p = 0; p < T; ++p) rows.push_back({0, p});
  for (const KvType type : {KvType::kF32, KvType::kQ8}) {
    const KvLayout layout = {type, 1, K, D};
    const auto stored = [&](bool together) {
      std::vector<std::byte> bytes((layout.page_bytes() * 3).size() + 64);
      std::byte* const first = aligned(bytes).data();
      const Index page = layout.page_bytes().count;
      const std::vector<std::byte*> list = {first, first + page, first + 2 * page};
      const std::span<std::byte* const> pages[] = {list};
      std::vector<float> rotated = keys;
      if (!together) rope_rows(rotated, T, D, cos, sin);
      const MatrixView<float> k(rotated.data(), T, K * D);
      const auto make = [&](Index t) {
        if (together) rope(k.row(t), D, std::span(cos).first(R / 2), std::span(sin).first(R / 2));
      };
      store_kv(context_, layout, 0, rows, k, {values.data(), T, K * D}, pages, make);
      return std::vector<std::byte>(first, first + 3 * page);
    };
    EXPECT_EQ(stored(true), stored(false)) << name(type);
  }
}

TEST_P(Ops, AttentionGivesTheExampleOfTheFormulas) {
  const KvLayout layout = {KvType::kF32, 1, 1, 2};
  std::vector<std::byte> bytes(layout.page_bytes().size() + 64);
  std::byte* const page = aligned(bytes).data();
  const std::vector<std::byte*> list = {page};
  const std::span<std::byte* const> pages[] = {list};
  const std::vector<BatchRow> rows = {{0, 0}, {0, 1}};
  std::vector<float> keys = {1, 0, 0, 1}, values = {1, 2, 3, 4}, q = {1, 0, 1, 0}, out(4);
  store_kv(context_, layout, 0, rows, {keys.data(), 2, 2}, {values.data(), 2, 2}, pages);
  const AttentionShape shape = {.heads = 1, .logits = {1 / std::sqrt(2.0f)}};
  paged_attention(context_, layout, 0, shape, rows, {q.data(), 2, 2}, pages, {out.data(), 2, 2});
  EXPECT_EQ(out[0], 1);  // position 0 sees itself only
  EXPECT_EQ(out[1], 2);
  EXPECT_NEAR(out[2], 1.660477f, 6e-7f);
  EXPECT_NEAR(out[3], 2.660477f, 6e-7f);
}

TEST_P(Ops, AttentionIsTheDoubleLoopForGroupsWindowsAndMixedBatches) {
  constexpr Index heads = 6, K = 2, D = 24, L = 2;
  const Cache cache(context_, {KvType::kF32, L, K, D}, {150, 40, 65});
  const std::vector<BatchRow> rows = {{0, 149}, {2, 64}, {1, 0}, {0, 63}, {1, 39}, {0, 64}};
  const auto T = static_cast<Index>(rows.size());
  const std::vector<float> q = random_row(T * heads * D, 60, Values::kPlain, 1.0f);
  for (const Index window : {Index{0}, Index{1}, Index{17}, Index{64}, Index{100}}) {
    const AttentionShape shape = {.heads = heads, .window = window, .logits = {0.2f}};
    std::vector<float> out(q.size(), std::numeric_limits<float>::quiet_NaN());
    paged_attention(context_, cache.layout, L - 1, shape, rows, {q.data(), T, heads * D}, cache.pages,
                    {out.data(), T, heads * D});
    for (Index t = 0; t < T; ++t) {
      const Index position = rows[static_cast<std::size_t>(t)].position;
      const auto s = static_cast<std::size_t>(rows[static_cast<std::size_t>(t)].sequence);
      const Index first = window == 0 ? 0 : std::max<Index>(0, position - window + 1);
      for (Index h = 0; h < heads; ++h) {
        const Index kv_head = h * K / heads;
        std::vector<double> weight;
        double most = -1e300, total = 0, magnitude = 0;
        for (Index p = first; p <= position; ++p) {
          double dot = 0, size = 0;
          for (Index d = 0; d < D; ++d) {
            const double product =
                static_cast<double>(q[static_cast<std::size_t>((t * heads + h) * D + d)]) * cache.key(s, p, kv_head, d);
            dot += product, size += std::abs(product);
          }
          weight.push_back(dot * static_cast<double>(shape.logits.scale));
          most = std::max(most, weight.back());
          magnitude = std::max(magnitude, size * static_cast<double>(shape.logits.scale));
        }
        for (double& w : weight) w = std::exp(w - most), total += w;
        for (Index d = 0; d < D; ++d) {
          double expected = 0, size = 0;
          for (Index p = first; p <= position; ++p) {
            const double term = weight[static_cast<std::size_t>(p - first)] / total * cache.value(s, p, kv_head, d);
            expected += term, size += std::abs(term);
          }
          // Logits are off by D u of their magnitude, weights by as much; their sums by one u per position.
          const double bound = (2 * (D + 4) * magnitude + static_cast<double>(2 * weight.size() + 16)) * kUnit * size;
          ASSERT_NEAR(static_cast<double>(out[static_cast<std::size_t>((t * heads + h) * D + d)]), expected, bound)
              << "window " << window << " row " << t << " head " << h;
        }
      }
    }
  }
}

TEST_P(Ops, AttentionOfRowsTogetherHasTheBitsOfEachRowAlone) {
  constexpr Index K = 3, D = 32, L = 1;
  // Two runs of consecutive positions of one sequence, one of another, and single tokens between them.
  std::vector<BatchRow> rows;
  for (Index p = 50; p < 90; ++p) rows.push_back({0, p});
  rows.push_back({1, 10});
  for (Index p = 3; p < 12; ++p) rows.push_back({2, p});
  rows.push_back({1, 12});
  for (Index p = 95; p < 100; ++p) rows.push_back({0, p});
  const auto T = static_cast<Index>(rows.size());
  for (const KvType type : {KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
    const Cache cache(context_, {type, L, K, D}, {100, 20, 30});
    for (const Index group : {1, 3, 40}) {
      const Index width = K * group * D;
      const std::vector<float> q = random_row(T * width, 62);
      const AttentionShape shape = {.heads = K * group, .window = 20, .logits = {0.2f}};
      std::vector<float> together(q.size()), alone(q.size());
      paged_attention(context_, cache.layout, 0, shape, rows, {q.data(), T, width}, cache.pages,
                      {together.data(), T, width});
      for (Index t = 0; t < T; ++t) {
        paged_attention(context_, cache.layout, 0, shape, std::span(rows).subspan(static_cast<std::size_t>(t), 1),
                        {q.data() + t * width, 1, width}, cache.pages, {alone.data() + t * width, 1, width});
      }
      ASSERT_THAT(together, BitEqual(alone)) << name(type) << " group " << group;
    }
  }
}

TEST_P(Ops, KeysPerChannelAreTheSameHoweverTheirRowsWereBatched) {
  constexpr Index K = 2, D = 40, kLength = 210;
  const KvLayout layout = {{KvType::kQ4C, KvType::kQ4}, 2, K, D};
  const Cache whole(context_, layout, {kLength, 70});
  for (const Index piece : {1, 15, 64, 100}) {
    Cache cut(context_, layout, {kLength, 70});
    for (auto& bytes : cut.bytes) std::fill(bytes.begin(), bytes.end(), std::byte{0});
    for (Index first = 0; first < kLength; first += piece) {  // one row of the other sequence beside each piece
      const Index count = std::min(piece, kLength - first), other = first / piece;
      std::vector<BatchRow> rows;
      for (Index p = first; p < first + count; ++p) rows.push_back({0, p});
      std::vector<float> keys(cut.keys[0].begin() + first * K * D, cut.keys[0].begin() + (first + count) * K * D);
      std::vector<float> values(cut.values[0].begin() + first * K * D, cut.values[0].begin() + (first + count) * K * D);
      if (other < 70) {
        rows.push_back({1, other});
        keys.insert(keys.end(), cut.keys[1].begin() + other * K * D, cut.keys[1].begin() + (other + 1) * K * D);
        values.insert(values.end(), cut.values[1].begin() + other * K * D, cut.values[1].begin() + (other + 1) * K * D);
      }
      for (Index layer = 0; layer < layout.layers; ++layer)
        store_kv(context_, layout, layer, rows, {keys.data(), std::ssize(rows), K * D},
                 {values.data(), std::ssize(rows), K * D}, cut.pages);
    }
    const auto page_of = [&](const Cache& cache, Index p) {
      const std::byte* bytes = cache.data[0][static_cast<std::size_t>(p)];
      return std::vector<std::byte>(bytes, bytes + layout.page_bytes().count);
    };
    for (Index p = 0; p < ceil_div(kLength, kPageTokens); ++p)
      EXPECT_EQ(page_of(cut, p), page_of(whole, p)) << "pieces of " << piece << ", page " << p;
  }
}

// Whether so many rows x heads share their positions, by the form of the values: a quarter of the threads' time must be
// idle, half in 8 bits, three quarters in 4.
bool splits(Index rows_and_heads, int threads, KvType values) {
  const Index n = rows_and_heads;
  if (threads == 2) return values == KvType::kQ4 ? false : values == KvType::kQ8 ? n == 1 : n == 1 || n == 3;
  if (threads == 5) return values == KvType::kQ4 ? n == 1 : values == KvType::kQ8 ? n <= 2 : n <= 3 || n == 6;
  return false;
}

// Of a few rows with and without room for the logits of all their positions.
TEST_P(Ops, AttentionSplitsPositionsWhereThreadsAreLeftAndKeepsTheBits) {
  struct Case {
    KvTypes type;
    Index kv_heads, group, D, latent_columns, window;
  };
  const std::vector<Case> cases = {
      {KvType::kF32, 1, 1, 64, 0, 0},     {KvType::kF16, 1, 3, 128, 0, 0},
      {KvType::kBF16, 2, 1, 48, 0, 1500}, {KvType::kQ8, 1, 2, 64, 0, 0},
      {KvType::kQ4, 1, 4, 40, 0, 1000},   {{KvType::kQ8, KvType::kQ4}, 1, 1, 80, 0, 0},
      {KvType::kF16, 1, 2, 96, 70, 0},    {KvType::kQ4, 1, 1, 64, 0, 0},
      {KvType::kQ8, 1, 1, 64, 0, 0},      {KvType::kF32, 1, 3, 64, 0, 0},
      {KvType::kQ8, 1, 8, 64, 0, 0},      {{KvType::kQ4C, KvType::kQ4}, 1, 2, 80, 0, 1100}};
  for (const Case& c : cases) {
    const Cache cache(context_, {c.type, 2, c.kv_heads, c.D, c.latent_columns}, {2100, 70});
    for (const std::vector<BatchRow>& rows :
         {std::vector<BatchRow>{{0, 2099}}, {{0, 2098}, {0, 2099}}, {{1, 69}, {0, 2050}}, {{1, 69}}}) {
      const auto T = static_cast<Index>(rows.size()), heads = c.kv_heads * c.group;
      const Index width = heads * c.D, out_width = heads * cache.layout.value_dim();
      const std::vector<float> q = random_row(T * width, 63);
      const AttentionShape shape = {.heads = heads, .window = c.window, .logits = {0.2f}};
      const auto attend = [&](Scratch* spare) {
        std::vector<float> out(static_cast<std::size_t>(T * out_width), 9.0f);
        paged_attention(context_, cache.layout, 1, shape, rows, {q.data(), T, width}, cache.pages,
                        {out.data(), T, out_width}, {}, spare);
        return out;
      };
      const std::vector<float> expected = attend(nullptr);
      std::vector<std::byte> room(1 << 18), narrow(4096 + 64);
      Scratch enough(aligned(room)), little(aligned(narrow).first(4096));
      EXPECT_THAT(attend(&enough), BitEqual(expected)) << name(c.type) << " group " << c.group << " rows " << T;
      EXPECT_THAT(attend(&little), BitEqual(expected)) << name(c.type) << " group " << c.group << " rows " << T;
      const bool deep = rows[0].position > 100 || T == 2;
      EXPECT_EQ(enough.peak() > 0_B,
                deep && splits(T * heads, GetParam(), c.latent_columns > 0 ? c.type.keys : c.type.values))
          << name(c.type) << " rows " << T;
      EXPECT_EQ(enough.mark(), 0_B);
      EXPECT_EQ(little.peak(), 0_B);
    }
  }
}

TEST_P(Ops, AttentionOfNoRowsLeavesEverythingAsItIs) {
  const Cache cache(context_, {KvType::kF16, 1, 2, 32}, {20});
  std::vector<float> out(64, 9.0f);
  std::vector<std::byte> room(1 << 12);
  Scratch spare(aligned(room));
  paged_attention(context_, cache.layout, 0, {.heads = 2, .logits = {0.2f}}, {}, {out.data(), 0, 64}, cache.pages,
                  {out.data(), 0, 64}, {}, &spare);
  EXPECT_THAT(out, testing::Each(9.0f));
  EXPECT_EQ(spare.peak(), 0_B);
}

TEST_P(Ops, AttentionSplitsPositionsThatComeInPartsAndKeepsTheBits) {
  constexpr Index D = 64, kPosition = 2999;
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    const Cache cache(context_, {type, 1, 1, D}, {kPosition + 1});
    const std::vector<float> q = random_row(2 * D, 64);
    const BatchRow row = {0, kPosition};
    const AttentionShape shape = {.heads = 2, .logits = {0.2f}};
    std::vector<float> whole(2 * D), parts(2 * D, 0.0f);
    paged_attention(context_, cache.layout, 0, shape, {&row, 1}, {q.data(), 1, 2 * D}, cache.pages,
                    {whole.data(), 1, 2 * D});
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    std::vector<float> carried = {kNone, 0, kNone, 0};
    std::vector<std::byte> bytes(1 << 16);
    Scratch spare(aligned(bytes));
    constexpr Index kEnd = std::numeric_limits<Index>::max();
    for (const auto& [from, to] : {std::pair<Index, Index>{0, 1408}, {1408, 1472}, {1472, kEnd}}) {
      paged_attention(context_, cache.layout, 0, shape, {&row, 1}, {q.data(), 1, 2 * D}, cache.pages,
                      {parts.data(), 1, 2 * D}, {from, to, {carried.data(), 1, 4}, to == kEnd}, &spare);
    }
    EXPECT_THAT(parts, BitEqual(whole)) << name(type);
    EXPECT_EQ(spare.peak() > 0_B, GetParam() > 2);
  }
}

TEST_P(Ops, ALatentCacheAttendsToTheFirstColumnsOfItsKeysForAnyNumberOfHeads) {
  constexpr Index heads = 37, D = 40, V = 24, T = 30;
  const KvLayout latent = {KvType::kF32, 2, 1, D, V}, plain = {KvType::kF32, 2, 1, D};
  const std::vector<float> keys = random_row(T * D, 80, Values::kPlain, 1.0f);
  const std::vector<float> q = random_row(T * heads * D, 81, Values::kPlain, 1.0f);
  std::vector<BatchRow> rows;
  for (Index p = 0; p < T; ++p) rows.push_back({0, p});
  const AttentionShape shape = {.heads = heads, .logits = {0.2f}};
  std::vector<std::vector<float>> results;
  for (const KvLayout& layout : {latent, plain}) {
    std::vector<std::byte> bytes((layout.page_bytes() * 2).size() + 64);
    std::byte* const first = aligned(bytes).data();
    const std::vector<std::byte*> list = {first, first + layout.page_bytes().count};
    const std::span<std::byte* const> pages[] = {list};
    store_kv(context_, layout, 1, rows, {keys.data(), T, D}, {keys.data(), T, D}, pages);
    std::vector<float>& out = results.emplace_back(T * heads * layout.value_dim(), 9.0f);
    paged_attention(context_, layout, 1, shape, rows, {q.data(), T, heads * D}, pages,
                    {out.data(), T, heads * layout.value_dim()});
  }
  for (std::size_t h = 0; h < T * heads; ++h) {
    EXPECT_THAT(std::span(results[0]).subspan(h * V, V), BitEqual(std::span(results[1]).subspan(h * D, V))) << h;
  }
}

TEST(KvLayout, OfALatentCacheHasNoTilesOfValues) {
  const KvLayout layout = {KvType::kF16, 61, 1, 576, 512};
  EXPECT_EQ(layout.bytes_per_token().count, 70272);
  EXPECT_EQ(layout.page_bytes(), round_up(layout.key_tile() * 61, Bytes{4096}));
  EXPECT_EQ(layout.value_offset(7, 0), layout.key_offset(7, 0));
  EXPECT_EQ(layout.key_offset(7, 0), layout.key_tile() * 7);
}

TEST(KvLayout, KeepsTilesApartAndPagesWhole) {
  for (const KvType type : kKvTypes) {
    const KvLayout layout = {type, 3, 2, 40};
    Bytes end{};
    for (Index layer = 0; layer < 3; ++layer) {
      for (const bool values : {false, true}) {
        for (Index head = 0; head < 2; ++head) {
          const Bytes offset = values ? layout.value_offset(layer, head) : layout.key_offset(layer, head);
          EXPECT_EQ(offset, end);
          EXPECT_EQ(offset.count % 64, 0);
          end = offset + (values ? layout.value_tile() : layout.key_tile());
        }
      }
    }
    EXPECT_GE(layout.page_bytes(), end);
    EXPECT_LT(layout.page_bytes(), end + 4096_B);
    EXPECT_EQ(layout.page_bytes().count % 4096, 0);
    EXPECT_GE(layout.page_bytes(), layout.bytes_per_token() * kPageTokens);
  }
}

}  // namespace
}  // namespace jericho
