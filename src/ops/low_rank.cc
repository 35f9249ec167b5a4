// Splitting products of low rank over the threads: see low_rank.h.
#include "ops/low_rank.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace jericho {
namespace {

constexpr Index kRowsPerPart = 16;
constexpr Index kColumnsPerPart = 512;  // of B, so that a part's are in cache for all of its rows

Index row_parts(const LowRankTask& task) { return ceil_div(task.rows, kRowsPerPart); }
Index column_parts(const LowRankTask& task) { return ceil_div(task.y.extent(1), kColumnsPerPart); }

// body(task, index within it) for the `parts_of` each, split over the pool together.
template <class PartsOf, class Body>
void share_parts(const Context& context, std::span<const LowRankTask> tasks, PartsOf parts_of, Body body) {
  Index parts = 0;
  for (const LowRankTask& task : tasks) parts += parts_of(task);
  const auto part = [&](Index index, int) {
    for (const LowRankTask& task : tasks) {
      if (index < parts_of(task)) return body(task, index);
      index -= parts_of(task);
    }
  };
  context.pool.run(parts, std::ref(part));
}

struct PartRows {
  Index first, count;
};
PartRows rows_of_part(const LowRankTask& task, Index part) {
  const Index first = part * kRowsPerPart;
  return {first, std::min(kRowsPerPart, task.rows - first)};
}

}  // namespace

void add_low_rank_each(const Context& context, std::span<const LowRankTask> tasks, const LinearInput& x) {
  const Activations& input = x.as(ActivationForm::kF32);
  for (const LowRankTask& task : tasks) {
    const LowRankWeight& w = *task.w;
    JERICHO_CHECK(input.cols == w.a.padded_cols() && task.y.extent(1) == w.b.extent(1),
                  "an adapter [{}, {}] for {} inputs and {} outputs", w.b.extent(1), w.a.cols, input.cols,
                  task.y.extent(1));
    JERICHO_CHECK(task.u.extent(0) >= task.rows && task.u.extent(1) == w.rank(), "room for {} x {} of {} x {}",
                  task.u.extent(0), task.u.extent(1), task.rows, w.rank());
  }
  share_parts(
      context, tasks, [](const LowRankTask& task) { return task.w->a.strips() * row_parts(task); },
      [&](const LowRankTask& task, Index part) {
        const Index strip = part % task.w->a.strips();
        const auto [first, count] = rows_of_part(task, part / task.w->a.strips());
        const MatrixView<float> u = task.u.rows(first, count);
        context.kernels.matmul(task.w->a, input.rows(task.first + first, count), nullptr, strip, strip + 1, u);
        const float factor = task.w->scale * task.factor;
        const Index begin = strip * kStripRows, columns = std::min(kStripRows, u.extent(1) - begin);
        for (Index t = 0; t < count; ++t) {
          for (float& value : u.cols(begin, columns).row(t)) value *= factor;
        }
      });
  share_parts(
      context, tasks, [](const LowRankTask& task) { return column_parts(task) * row_parts(task); },
      [&](const LowRankTask& task, Index part) {
        const Index column = part % column_parts(task) * kColumnsPerPart;
        const auto [first, count] = rows_of_part(task, part / column_parts(task));
        const MatrixView<float> y = task.y.rows(task.first + first, count);
        const Index columns = std::min(kColumnsPerPart, y.extent(1) - column);
        const LowRankWeight& w = *task.w;
        const MatrixView<const float> m(w.b.data() + column, w.rank(), columns, w.b.row_stride());
        const RowGains gains = {w.gain.empty() ? nullptr : w.gain.data() + column,
                                task.bias.empty() ? nullptr : task.bias.data() + column};
        context.kernels.low_rank_add(task.u.rows(first, count), m, gains, y.cols(column, columns));
      });
}

}  // namespace jericho
