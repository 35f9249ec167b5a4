// One value of rows that are F32 or BF16, for the plain twins.
#pragma once

#include "kernels/dense.h"

namespace jericho::ref {

inline float value_of(const ConstFloatRows& x, Index t, Index c) {
  if (x.dtype == DType::kF32) return reinterpret_cast<const float*>(x.row(t))[c];
  return to_float(reinterpret_cast<const BF16*>(x.row(t))[c]);
}

inline void set_value(const FloatRows& x, Index t, Index c, float value) {
  if (x.dtype == DType::kF32) {
    reinterpret_cast<float*>(x.row(t))[c] = value;
  } else {
    reinterpret_cast<BF16*>(x.row(t))[c] = to_bf16(value);
  }
}

}  // namespace jericho::ref
