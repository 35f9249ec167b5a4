// Both directions side by side: see stored_form.h.
#include "models/stored_form.h"

#include <cmath>
#include <limits>

#include "base/half.h"
#include "base/math.h"
#include "kernels/packed_matrix.h"

namespace jericho {
namespace {

float negative_exp(float log) { return static_cast<float>(-exp_double(static_cast<double>(log))); }

// The logarithm whose negative_exp() is `a`. Rounding to fp32 hides which it was; a short one is the likeliest.
float log_of_negative(float a) {
  const auto log = static_cast<float>(log_double(static_cast<double>(-a)));
  for (const float candidate : {to_float(to_bf16(log)), to_float(to_f16(log)), log}) {
    if (negative_exp(candidate) == a) return candidate;
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float towards : {-kInfinity, kInfinity}) {
    float near = log;
    for (int step = 0; step < 4; ++step) {
      near = std::nextafter(near, towards);
      if (negative_exp(near) == a) return near;
    }
  }
  return log;
}

}  // namespace

Index file_row_of(const RowPairs& pairs, Index row) {
  if (pairs.count == 0) return row;
  const Index in_head = row % pairs.head_rows - pairs.first;
  if (in_head < 0 || in_head >= pairs.count) return row;
  const Index half = pairs.count / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

void dequantize_in_input_order(DType dtype, Index cols, std::span<const std::int32_t> input_order, const std::byte* row,
                               float* room, float* out) {
  if (input_order.empty()) return dequantize_file_row(dtype, cols, row, out);
  dequantize_file_row(dtype, cols, row, room);
  for (Index c = 0; c < cols; ++c) out[input_order[static_cast<std::size_t>(c)]] = room[c];
}

void restore_values(StoredValues stored, std::span<float> values) {
  switch (stored) {
    case StoredValues::kAsIs: break;
    case StoredValues::kWithoutOne:
      for (float& v : values) v += 1.0f;
      break;
    case StoredValues::kNegativeLog:
      for (float& v : values) v = negative_exp(v);
      break;
  }
}

void store_values(StoredValues stored, std::span<float> values) {
  switch (stored) {
    case StoredValues::kAsIs: break;
    case StoredValues::kWithoutOne:
      for (float& v : values) v -= 1.0f;
      break;
    case StoredValues::kNegativeLog:
      for (float& v : values) v = log_of_negative(v);
      break;
  }
}

}  // namespace jericho
