// Row-wise ops over the pool: see rows.h.
#include "ops/rows.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "kernels/exp.h"

namespace jericho {
namespace {

constexpr Index kRowsPerPart = 8;

template <class Body>  // body(first row, rows)
void for_row_blocks(const Context& context, Index rows, Body body) {
  const auto part = [&](Index p, int) {
    const Index begin = p * kRowsPerPart;
    body(begin, std::min(kRowsPerPart, rows - begin));
  };
  context.pool.run(ceil_div(rows, kRowsPerPart), std::ref(part));
}

template <class F>  // x = f(x)
void for_values(const Context& context, MatrixView<float> x, F f) {
  for_row_blocks(context, x.extent(0), [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) {
      for (float& value : x.row(t)) value = f(value);
    }
  });
}

}  // namespace

void embedding(const Context& context, const PackedMatrix& table, std::span<const std::int32_t> ids,
               MatrixView<float> y) {
  for_row_blocks(context, static_cast<Index>(ids.size()), [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) {
      const Index id = ids[static_cast<std::size_t>(t)];
      JERICHO_CHECK(id >= 0 && id < table.rows, "token id {} of {}", id, table.rows);
      dequantize_row(table, id, y.row(t).data());
    }
  });
}

void rms_norm(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
              MatrixView<float> y) {
  for_row_blocks(context, x.extent(0), [&](Index begin, Index rows) {
    context.kernels.rms_norm(x.rows(begin, rows), weight, eps, y.rows(begin, rows));
  });
}

void glu(const Context& context, Activation activation, MatrixView<const float> gate, MatrixView<const float> up,
         MatrixView<float> y) {
  for_row_blocks(context, gate.extent(0), [&](Index begin, Index rows) {
    context.kernels.glu(activation, gate.rows(begin, rows), up.rows(begin, rows), y.rows(begin, rows));
  });
}

void soft_cap(const Context& context, float cap, MatrixView<float> x) {
  for_row_blocks(context, x.extent(0),
                 [&](Index begin, Index rows) { context.kernels.soft_cap(cap, x.rows(begin, rows)); });
}

void scale(const Context& context, float factor, MatrixView<float> x) {
  for_values(context, x, [factor](float value) { return value * factor; });
}

void scale_rows(const Context& context, MatrixView<const float> factors, MatrixView<float> x) {
  for_row_blocks(context, x.extent(0), [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) {
      for (float& value : x.row(t)) value *= factors(t, 0);
    }
  });
}

void sigmoid(const Context& context, MatrixView<float> x) {
  for_values(context, x, [](float value) { return 1.0f / (1.0f + ref::exp(-value)); });
}

void clamp(float limit, std::span<float> x) {
  for (float& value : x) value = value < -limit ? -limit : value > limit ? limit : value;
}

void copy(const Context& context, MatrixView<const float> x, MatrixView<float> y) {
  for_row_blocks(context, x.extent(0), [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) std::copy(x.row(t).begin(), x.row(t).end(), y.row(t).begin());
  });
}

void gather_heads(const Context& context, MatrixView<const float> x, Index heads, Index first, MatrixView<float> y) {
  const Index T = x.extent(0), stride = x.extent(1) / heads;
  JERICHO_CHECK(y.extent(0) == heads * T && first + y.extent(1) <= stride, "{} rows of {} columns from {} heads of {}",
                y.extent(0), y.extent(1), heads, stride);
  for_row_blocks(context, T, [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) {
      for (Index h = 0; h < heads; ++h) std::copy_n(&x(t, h * stride + first), y.extent(1), y.row(h * T + t).data());
    }
  });
}

void add(const Context& context, MatrixView<const float> dx, MatrixView<float> x) {
  for_row_blocks(context, x.extent(0), [&](Index begin, Index rows) {
    for (Index t = begin; t < begin + rows; ++t) {
      for (Index c = 0; c < x.extent(1); ++c) x(t, c) += dx(t, c);
    }
  });
}

}  // namespace jericho
