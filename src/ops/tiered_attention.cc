// Windows, then what is in RAM: see tiered_attention.h.
#include "ops/tiered_attention.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace jericho {
namespace {

struct Run {  // rows [first, first + count) are consecutive tokens of one sequence
  Index first = 0, count = 0;
  QueryTokens tokens{};
  std::int32_t sequence = 0;
};

Run run_at(std::span<const BatchRow> rows, Index first, Index window) {
  const auto at = [&](Index t) { return rows[static_cast<std::size_t>(t)]; };
  Run run{first, 1, {at(first).position, window, 1}, at(first).sequence};
  while (first + run.count < std::ssize(rows) && at(first + run.count).sequence == run.sequence) {
    JERICHO_CHECK(at(first + run.count).position == run.tokens.position + run.count, "rows out of order");
    ++run.count;
  }
  return run;
}

}  // namespace

void tiered_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                      std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, ColdPages* cold,
                      MatrixView<float> out, Scratch* spare) {
  if (cold == nullptr) return paged_attention(context, layout, layer, shape, rows, q, pages, out, {}, spare);
  const MatrixView<float> all = cold->carried(static_cast<Index>(rows.size()), 2 * shape.heads);
  for (Index first = 0; first < std::ssize(rows);) {
    const Run run = run_at(rows, first, shape.window);
    first += run.count;
    const auto attend = [&](const KvLayout& of, Index at, KvPages where, Index count, const AttentionPart& part) {
      const auto own = rows.subspan(static_cast<std::size_t>(run.first), static_cast<std::size_t>(count));
      paged_attention(context, of, at, shape, own, q.rows(run.first, count), where, out.rows(run.first, count), part,
                      spare);
    };
    const Index hot = cold->end(run.sequence);
    JERICHO_CHECK(run.tokens.position >= hot, "position {} is not in RAM", run.tokens.position);
    if (run.tokens.begin(0) >= hot) {
      attend(layout, layer, pages, run.count, {});
      continue;
    }
    const MatrixView<float> carried = all.rows(run.first, run.count);
    start_parts(carried, out.rows(run.first, run.count));
    for (Index position = run.tokens.begin(0); position < hot;) {
      const ColdPages::Window window = cold->read(layer, run.sequence, position);
      Index seeing = run.count;  // later tokens may have their window behind this one
      while (run.tokens.begin(seeing - 1) >= window.to) --seeing;
      attend(window.layout, 0, window.pages, seeing, {window.from, window.to, carried.rows(0, seeing), false});
      position = window.to;
    }
    attend(layout, layer, pages, run.count, {hot, std::numeric_limits<Index>::max(), carried, true});
  }
}

}  // namespace jericho
