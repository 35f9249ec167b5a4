// Rows over the pool: see training_rows.h.
#include "ops/training_rows.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

constexpr Index kGrain = 32;          // rows of one part
constexpr Index kValueGrain = 65536;  // elements of one part

const TrainingKernels& kernels_of(const Context& context) { return training_kernels_for(context.kernels.path); }

// sums += the partial rows, in order.
void add_partials(std::span<const float> partial, std::size_t leaves, std::span<float> sums) {
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    const float* row = partial.data() + leaf * sums.size();
    for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += row[c];
  }
}

// body(first token, tokens, partial row of zeros) per leaf.
template <class Body>
void over_leaves(const Context& context, std::span<const Index> leaves, std::span<float> partial, std::size_t cols,
                 const Body& body) {
  JERICHO_CHECK(partial.size() >= leaves.size() * cols, "{} partial values", partial.size());
  const auto leaf = [&](Index index, int) {
    const auto i = static_cast<std::size_t>(index);
    const Index first = i == 0 ? 0 : leaves[i - 1];
    const std::span<float> row = partial.subspan(i * cols, cols);
    std::fill(row.begin(), row.end(), 0.0f);
    body(first, leaves[i] - first, row);
  };
  context.pool.run(static_cast<Index>(leaves.size()), leaf);
}

}  // namespace

void rms_norm_rows(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
                   const FloatRows& y, std::span<float> row) {
  const Index cols = x.extent(1);
  const auto range = [&](Index begin, Index end, int worker) {
    float* normed = row.data() + worker * cols;
    for (Index t = begin; t < end; ++t) {
      if (y.dtype == DType::kF32) {
        context.kernels.rms_norm(x.rows(t, 1), weight, eps, {reinterpret_cast<float*>(y.row(t)), 1, cols});
      } else {
        context.kernels.rms_norm(x.rows(t, 1), weight, eps, {normed, 1, cols});
        context.kernels.round_bf16(normed, cols, cols, reinterpret_cast<BF16*>(y.row(t)));
      }
    }
  };
  parallel_for(context.pool, x.extent(0), kGrain, range);
}

void rms_norm_backward(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
                       MatrixView<const float> dy, MatrixView<float> dx, std::span<const Index> leaves,
                       std::span<float> partial, std::span<float> dweight) {
  over_leaves(context, leaves, partial, weight.size(), [&](Index first, Index count, std::span<float> row) {
    kernels_of(context).rms_norm_backward(x.rows(first, count), weight, eps, dy.rows(first, count),
                                          dx.rows(first, count), row);
  });
  if (!dweight.empty()) add_partials(partial, leaves.size(), dweight);
}

void add_column_sums(const Context& context, const ConstFloatRows& x, std::span<const Index> leaves,
                     std::span<float> partial, std::span<float> sums) {
  over_leaves(context, leaves, partial, sums.size(), [&](Index first, Index count, std::span<float> row) {
    kernels_of(context).add_column_sums(x.part(first, count), row);
  });
  add_partials(partial, leaves.size(), sums);
}

void glu_rows(const Context& context, Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
              const FloatRows& y) {
  const auto range = [&](Index begin, Index end, int) {
    const Index n = end - begin;
    kernels_of(context).glu_rows(activation, gate.part(begin, n), up.part(begin, n), y.part(begin, n));
  };
  parallel_for(context.pool, y.rows, kGrain, range);
}

void glu_backward(const Context& context, Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                  MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y) {
  const auto range = [&](Index begin, Index end, int) {
    const Index n = end - begin;
    kernels_of(context).glu_backward(activation, gate.part(begin, n), up.part(begin, n), dy.rows(begin, n),
                                     dgate.part(begin, n), dup.part(begin, n), y.part(begin, n));
  };
  parallel_for(context.pool, y.rows, kGrain, range);
}

void rope_rows(const Context& context, MatrixView<const float> x, Index head_dim, MatrixView<const float> cos,
               MatrixView<const float> sin, Turn turn, const FloatRows& y) {
  const auto range = [&](Index begin, Index end, int) {
    const Index n = end - begin;
    kernels_of(context).rope_rows(x.rows(begin, n), head_dim, cos.rows(begin, n), sin.rows(begin, n), turn,
                                  y.part(begin, n));
  };
  parallel_for(context.pool, y.rows, kGrain, range);
}

void convert_rows(const Context& context, const ConstFloatRows& x, const FloatRows& y) {
  const auto range = [&](Index begin, Index end, int) {
    kernels_of(context).scale_rows(x.part(begin, end - begin), nullptr, y.part(begin, end - begin));
  };
  parallel_for(context.pool, y.rows, kGrain, range);
}

void add_bias(const Context& context, std::span<const float> bias, MatrixView<float> x) {
  const auto range = [&](Index begin, Index end, int) {
    for (Index t = begin; t < end; ++t) {
      float* row = x.row(t).data();
      for (std::size_t c = 0; c < bias.size(); ++c) row[c] += bias[c];
    }
  };
  parallel_for(context.pool, x.extent(0), kGrain, range);
}

void embedding_rows(const Context& context, const StoredRows& table, std::span<const std::int32_t> ids,
                    MatrixView<float> x) {
  const FileRowKernels& kernels = file_row_kernels_for(context.kernels.path);
  const auto range = [&](Index begin, Index end, int) {
    for (Index t = begin; t < end; ++t)
      decode_columns(kernels, table, ids[static_cast<std::size_t>(t)], 0, table.cols, x.row(t).data());
  };
  parallel_for(context.pool, x.extent(0), kGrain, range);
}

void embedding_backward(const Context& context, std::span<const std::int32_t> ids, MatrixView<const float> dx,
                        MatrixView<float> dtable) {
  // Columns are split, so that a row is gained in the order of the tokens.
  const auto range = [&](Index begin, Index end, int) {
    for (Index t = 0; t < dx.extent(0); ++t) {
      float* row = dtable.row(ids[static_cast<std::size_t>(t)]).data();
      const float* gain = dx.row(t).data();
      for (Index c = begin; c < end; ++c) row[c] += gain[c];
    }
  };
  parallel_for(context.pool, dx.extent(1), 128, range);
}

double sum_squares(const Context& context, std::span<const float> x, std::span<double> leaves) {
  const auto count = static_cast<Index>(x.size()), parts = ceil_div(count, kSumLeaf);
  JERICHO_CHECK(static_cast<Index>(leaves.size()) >= parts, "{} leaves for {} values", leaves.size(), count);
  const auto range = [&](Index begin, Index end, int) {
    for (Index leaf = begin; leaf < end; ++leaf) {
      const Index first = leaf * kSumLeaf;
      leaves[static_cast<std::size_t>(leaf)] =
          static_cast<double>(kernels_of(context).sum_squares(x.data() + first, std::min(kSumLeaf, count - first)));
    }
  };
  parallel_for(context.pool, parts, 16, range);
  double sum = 0;
  for (Index leaf = 0; leaf < parts; ++leaf) sum += leaves[static_cast<std::size_t>(leaf)];
  return sum;
}

void scale(const Context& context, float factor, std::span<float> x) {
  const auto range = [&](Index begin, Index end, int) {
    for (Index i = begin; i < end; ++i) x[static_cast<std::size_t>(i)] *= factor;
  };
  parallel_for(context.pool, static_cast<Index>(x.size()), kValueGrain, range);
}

void add(const Context& context, std::span<const float> x, std::span<float> y) {
  const auto range = [&](Index begin, Index end, int) {
    for (Index i = begin; i < end; ++i) y[static_cast<std::size_t>(i)] += x[static_cast<std::size_t>(i)];
  };
  parallel_for(context.pool, static_cast<Index>(x.size()), kValueGrain, range);
}

void set_zero(const Context& context, std::span<float> x) {
  const auto range = [&](Index begin, Index end, int) { std::fill(x.begin() + begin, x.begin() + end, 0.0f); };
  parallel_for(context.pool, static_cast<Index>(x.size()), kValueGrain, range);
}

}  // namespace jericho
