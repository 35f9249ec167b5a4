// The ops of training against plain sums in double, and what every one of them promises: the same bits for any number
// of threads and any cut of the batch into whole sequences.
#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cpu.h"
#include "kernels/random_row.h"
#include "ops/causal_attention.h"
#include "ops/dense.h"
#include "ops/training_rows.h"

namespace jericho {
namespace {

struct Machine {
  explicit Machine(int threads = 2) : pool(threads), context{ledger, pool, kernels_for(chosen_cpu_path())} {
    flush_subnormals();
  }
  Ledger ledger{LedgerCaps{.ram = 256_MiB}};
  ThreadPool pool;
  Context context;
};

struct Typed {  // rows of a type, that own their bytes on a cache line
  Typed(DType dtype, Index rows, Index cols) : bytes(static_cast<std::size_t>(rows * cols * 4 + 64)) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
    view = {bytes.data() + (64 - address % 64) % 64, dtype, rows, cols, cols};
  }
  Typed(const Typed&) = delete;
  std::vector<std::byte> bytes;
  FloatRows view;
};
std::unique_ptr<Typed> typed(const Context& context, DType dtype, const std::vector<float>& x, Index cols) {
  const Index rows = static_cast<Index>(x.size()) / cols;
  auto out = std::make_unique<Typed>(dtype, rows, cols);
  convert_rows(context, float_rows(x.data(), rows, cols), out->view);
  return out;
}

constexpr Index kIn = 50, kOut = 70, kSequence = 300;

TEST(DenseOps, MultiplyForwardAndBackward) {
  const Machine machine;
  const Context& c = machine.context;
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const Index T = 2 * kSequence;
    const std::vector<float> w = random_row(kOut * kIn, 1, Values::kPlain, 0.5f);
    const auto x = typed(c, type, random_row(T * kIn, 2, Values::kPlain, 1), kIn);
    const auto dy = typed(c, type, random_row(T * kOut, 3, Values::kPlain, 1), kOut);
    std::vector<float> xf(static_cast<std::size_t>(T * kIn)), dyf(static_cast<std::size_t>(T * kOut));
    convert_rows(c, x->view, float_rows(xf.data(), T, kIn));
    convert_rows(c, dy->view, float_rows(dyf.data(), T, kOut));
    std::vector<std::uint32_t> cells(static_cast<std::size_t>(weight_gradient_cells(type, T, kOut, kIn)));
    std::vector<float> y(static_cast<std::size_t>(T * kOut)), dx(static_cast<std::size_t>(T * kIn)),
        dw(static_cast<std::size_t>(kOut * kIn), 1.0f);
    const MatrixView<const float> weight = {w.data(), kOut, kIn};
    dense(c, type, x->view, pack_weight(c, type, weight, WeightSide::kOutput, cells), DenseStore::kSet,
          float_rows(y.data(), T, kOut));
    dense(c, type, dy->view, pack_weight(c, type, weight, WeightSide::kInput, cells), DenseStore::kSet,
          float_rows(dx.data(), T, kIn));
    add_weight_gradient(c, type, dy->view, x->view, token_blocks(2, kSequence), cells, {dw.data(), kOut, kIn});
    // Each term is rounded once per addition, and a bf16 weight before.
    const double rounded = type == DType::kF32 ? 0 : 0x1p-8;
    const auto expect = [&](const std::vector<float>& actual, Index rows, Index cols, Index terms, double start,
                            const std::function<double(Index, Index, Index)>& term) {
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
          double sum = start, size = std::abs(start);
          for (Index k = 0; k < terms; ++k) sum += term(i, j, k), size += std::abs(term(i, j, k));
          const double bound = (rounded + static_cast<double>(terms + 4) * 0x1p-24) * size;
          ASSERT_NEAR(actual[static_cast<std::size_t>(i * cols + j)], sum, bound) << i << " " << j;
        }
      }
    };
    const auto at = [](const std::vector<float>& m, Index i) {
      return static_cast<double>(m[static_cast<std::size_t>(i)]);
    };
    expect(y, T, kOut, kIn, 0, [&](Index t, Index o, Index i) { return at(xf, t * kIn + i) * at(w, o * kIn + i); });
    expect(dx, T, kIn, kOut, 0, [&](Index t, Index i, Index o) { return at(dyf, t * kOut + o) * at(w, o * kIn + i); });
    expect(dw, kOut, kIn, T, 1, [&](Index o, Index i, Index t) { return at(dyf, t * kOut + o) * at(xf, t * kIn + i); });
  }
}

TEST(DenseOps, GiveTheSameBitsForAnyNumberOfThreadsAndAnyCutIntoSequences) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const std::vector<float> x = random_row(3 * kSequence * kIn, 2), dy = random_row(3 * kSequence * kOut, 3);
    const auto gradient = [&](int threads, Index at_once) {
      const Machine machine(threads);
      const auto xs = typed(machine.context, type, x, kIn), dys = typed(machine.context, type, dy, kOut);
      std::vector<float> dw(static_cast<std::size_t>(kOut * kIn));
      for (Index first = 0; first < 3; first += at_once) {
        const Index rows = at_once * kSequence;
        std::vector<std::uint32_t> cells(static_cast<std::size_t>(weight_gradient_cells(type, rows, kOut, kIn)));
        add_weight_gradient(machine.context, type, dys->view.part(first * kSequence, rows),
                            xs->view.part(first * kSequence, rows), token_blocks(at_once, kSequence), cells,
                            {dw.data(), kOut, kIn});
      }
      return dw;
    };
    const std::vector<float> all = gradient(1, 3);
    EXPECT_EQ(gradient(2, 3), all);
    EXPECT_EQ(gradient(4, 1), all);
  }
}

TEST(DenseOps, OtherBlocksOfTokensGiveOtherBits) {
  const Machine machine;
  const std::vector<float> x = random_row(kSequence * kIn, 2), dy = random_row(kSequence * kOut, 3);
  std::vector<std::uint32_t> cells(static_cast<std::size_t>(weight_gradient_cells(DType::kF32, kSequence, kOut, kIn)));
  std::vector<float> a(static_cast<std::size_t>(kOut * kIn)), b = a;
  for (const auto& [block, dw] : {std::pair{kTokenBlock, &a}, std::pair{Index{64}, &b}}) {
    add_weight_gradient(machine.context, DType::kF32, float_rows(dy.data(), kSequence, kOut),
                        float_rows(x.data(), kSequence, kIn), token_blocks(1, kSequence, block), cells,
                        {dw->data(), kOut, kIn});
  }
  EXPECT_NE(a, b);
}

// Attention and its gradients as formulas in double.
struct PlainAttention {
  CausalAttention shape;
  std::vector<AttentionSegment> segments;
  Index rows;

  [[nodiscard]] double loss(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                            const std::vector<float>& dout) const {
    double sum = 0;
    const Index D = shape.head_dim, H = shape.heads, K = shape.kv_heads;
    for (const AttentionSegment& segment : segments) {
      for (Index h = 0; h < H; ++h) {
        for (Index i = segment.first; i < segment.first + segment.rows; ++i) {
          std::vector<double> p;
          const Index begin = std::max(segment.first, shape.window > 0 ? i - shape.window + 1 : 0);
          double total = 0;
          for (Index j = begin; j <= i; ++j) {
            double s = 0;
            for (Index d = 0; d < D; ++d) {
              s += q[static_cast<std::size_t>((i * H + h) * D + d)] *
                   k[static_cast<std::size_t>((j * K + h / (H / K)) * D + d)];
            }
            p.push_back(std::exp(shape.scale * s));
            total += p.back();
          }
          for (Index j = begin; j <= i; ++j) {
            for (Index d = 0; d < D; ++d) {
              sum += dout[static_cast<std::size_t>((i * H + h) * D + d)] * p[static_cast<std::size_t>(j - begin)] /
                     total * v[static_cast<std::size_t>((j * K + h / (H / K)) * D + d)];
            }
          }
        }
      }
    }
    return sum;
  }
};

struct AttentionResult {
  std::vector<float> out, dq, dk, dv;
  bool operator==(const AttentionResult&) const = default;
};

AttentionResult attend(int threads, const PlainAttention& a, const std::vector<float>& q, const std::vector<float>& k,
                       const std::vector<float>& v, const std::vector<float>& dout) {
  const Machine machine(threads);
  const Context& c = machine.context;
  const DType type = a.shape.type;
  const Index wide = a.shape.heads * a.shape.head_dim, narrow = a.shape.kv_heads * a.shape.head_dim;
  const auto tq = typed(c, type, q, wide), tk = typed(c, type, k, narrow), tv = typed(c, type, v, narrow),
             tdout = typed(c, type, dout, wide);
  Typed out(type, a.rows, wide);
  std::vector<float> largest(static_cast<std::size_t>(a.rows * a.shape.heads)), inverse = largest;
  const SoftmaxRows softmax = {{largest.data(), a.shape.heads, a.rows}, {inverse.data(), a.shape.heads, a.rows}};
  std::vector<std::byte> bytes(
      causal_attention_backward_scratch(a.shape, a.rows).size() * static_cast<std::size_t>(threads) + 64);
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::span<std::byte> scratch = std::span(bytes).subspan((64 - address % 64) % 64, bytes.size() - 64);
  causal_attention(c, a.shape, a.segments, tq->view, tk->view, tv->view, out.view, softmax, scratch);
  AttentionResult r = {dout, q, k, v};
  convert_rows(c, out.view, float_rows(r.out.data(), a.rows, wide));
  causal_attention_backward(c, a.shape, a.segments, tq->view, tk->view, tv->view, out.view, tdout->view, softmax,
                            {r.dq.data(), a.rows, wide}, {r.dk.data(), a.rows, narrow}, {r.dv.data(), a.rows, narrow},
                            scratch);
  return r;
}

TEST(CausalAttention, GivesTheWorkedExample) {
  const PlainAttention a = {{.heads = 1, .kv_heads = 1, .head_dim = 2, .scale = 1 / std::sqrt(2.0f)}, {{0, 2}}, 2};
  const AttentionResult r =
      attend(1, a, {.1f, .2f, .3f, -.1f}, {.5f, -.4f, .2f, .6f}, {1, 2, -1, .5f}, {1, 0, .5f, -1});
  const auto near = [](const std::vector<float>& actual, const std::vector<double>& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6) << i;
  };
  near(r.out, {1, 2, .0670742836, 1.30030571});
  near(r.dq, {0, 0, -.0263972076, .0879906920});
  near(r.dk, {-.0263972076, .00879906920, .0263972076, -.00879906920});
  near(r.dv, {1.26676857, -.533537142, .233231429, -.466462858});
}

TEST(CausalAttention, HasTheSlopesOfTheFormulaWithGroupsWindowsAndDocuments) {
  for (const Index window : {0, 7, 70}) {
    const PlainAttention a = {
        {.heads = 4, .kv_heads = 2, .head_dim = 6, .window = window, .scale = 0.4f}, {{0, 61}, {61, 1}, {62, 68}}, 130};
    const std::vector<float> q = random_row(130 * 24, 1, Values::kPlain, 1),
                             k = random_row(130 * 12, 2, Values::kPlain, 1),
                             v = random_row(130 * 12, 3, Values::kPlain, 1),
                             dout = random_row(130 * 24, 4, Values::kPlain, 1);
    const AttentionResult r = attend(2, a, q, k, v, dout);
    const std::vector<double> qd(q.begin(), q.end()), kd(k.begin(), k.end()), vd(v.begin(), v.end());
    std::mt19937 random(5);
    const auto check = [&](std::vector<double> x, const std::vector<float>& gradient, const char* what,
                           const std::function<double(const std::vector<double>&)>& f) {
      for (int n = 0; n < 6; ++n) {
        const std::size_t i = random() % x.size();
        const double h = 1e-5, at = x[i];
        x[i] = at + h;
        const double above = f(x);
        x[i] = at - h;
        const double slope = (above - f(x)) / (2 * h);
        x[i] = at;
        EXPECT_NEAR(gradient[i], slope, 2e-5 * (1 + std::abs(slope))) << what << " " << i << " window " << window;
      }
    };
    check(qd, r.dq, "dq", [&](const auto& x) { return a.loss(x, kd, vd, dout); });
    check(kd, r.dk, "dk", [&](const auto& x) { return a.loss(qd, x, vd, dout); });
    check(vd, r.dv, "dv", [&](const auto& x) { return a.loss(qd, kd, x, dout); });
  }
}

TEST(CausalAttention, GivesTheSameBitsForAnyNumberOfThreadsInEitherType) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const PlainAttention a = {
        {.type = type, .heads = 4, .kv_heads = 2, .head_dim = 32, .scale = 0.2f}, {{0, 100}, {100, 57}}, 157};
    const std::vector<float> q = random_row(157 * 128, 1), k = random_row(157 * 64, 2), v = random_row(157 * 64, 3),
                             dout = random_row(157 * 128, 4);
    const AttentionResult one = attend(1, a, q, k, v, dout);
    EXPECT_EQ(attend(2, a, q, k, v, dout), one);
    EXPECT_EQ(attend(4, a, q, k, v, dout), one);
  }
}

TEST(CausalAttention, InBf16StaysNearFp32) {
  PlainAttention a = {{.heads = 2, .kv_heads = 1, .head_dim = 32, .scale = 0.18f}, {{0, 200}}, 200};
  const std::vector<float> q = random_row(200 * 64, 1, Values::kPlain, 1),
                           k = random_row(200 * 32, 2, Values::kPlain, 1),
                           v = random_row(200 * 32, 3, Values::kPlain, 1),
                           dout = random_row(200 * 64, 4, Values::kPlain, 1);
  const AttentionResult exact = attend(2, a, q, k, v, dout);
  a.shape.type = DType::kBF16;
  const AttentionResult rounded = attend(2, a, q, k, v, dout);
  const auto distance = [](const std::vector<float>& x, const std::vector<float>& y) {
    double apart = 0, size = 0;
    for (std::size_t i = 0; i < x.size(); ++i) apart += std::pow(x[i] - y[i], 2), size += std::pow(x[i], 2);
    return std::sqrt(apart / size);
  };
  // Inputs and probabilities are rounded to 8 bits: a few units of 2^-9 in the norm.
  EXPECT_LT(distance(exact.out, rounded.out), 0.01);
  EXPECT_LT(distance(exact.dq, rounded.dq), 0.02);
  EXPECT_LT(distance(exact.dk, rounded.dk), 0.02);
  EXPECT_LT(distance(exact.dv, rounded.dv), 0.01);
}

TEST(EmbeddingBackward, AddsTheRowsOfATokenInOrder) {
  const Machine machine;
  const std::vector<std::int32_t> ids = {2, 0, 2, 2};
  const std::vector<float> dx = {1, 2, 10, 20, 3, 4, 5, 6};
  std::vector<float> table(6, 0.5f);
  embedding_backward(machine.context, ids, {dx.data(), 4, 2}, {table.data(), 3, 2});
  EXPECT_THAT(table, testing::ElementsAre(10.5f, 20.5f, 0.5f, 0.5f, 9.5f, 12.5f));
}

}  // namespace
}  // namespace jericho
