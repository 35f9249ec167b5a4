// Butterflies over the rows: see hadamard.h.
#include "ops/hadamard.h"

#include <cmath>

namespace jericho {

void hadamard(std::span<float> row, Index head_dim) {
  const Index n = hadamard_size(head_dim);
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(n)));
  for (Index first = 0; first < std::ssize(row); first += n) {
    float* values = row.data() + first;
    for (Index apart = 1; apart < n; apart *= 2) {
      for (Index pair = 0; pair < n; pair += 2 * apart) {
        for (Index i = pair; i < pair + apart; ++i) {
          const float a = values[i], b = values[i + apart];
          values[i] = a + b;
          values[i + apart] = a - b;
        }
      }
    }
    for (Index i = 0; i < n; ++i) values[i] *= scale;
  }
}

void hadamard(const Context& context, MatrixView<float> x, Index head_dim) {
  const auto turn = [&](Index t, int) { hadamard(x.row(t), head_dim); };
  context.pool.run(x.extent(0), turn);
}

}  // namespace jericho
