// Soft-capping as docs/numerics.md defines it. Read this first; never optimise it.
#include "kernels/soft_cap.h"

#include "kernels/tanh.h"

void jericho::ref::soft_cap(float cap, MatrixView<float> x) {
  for (Index t = 0; t < x.extent(0); ++t) {
    for (float& value : x.row(t)) value = cap * ref::tanh(value / cap);
  }
}
