// Updates of weights: every path against the plain twins, bit for bit, and the twins against worked examples in double.
#include "kernels/adamw.h"

#include <array>
#include <cmath>

#include "kernels/bit_equal.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

class UpdateKernels : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, UpdateKernels, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(UpdateKernels, AdamWEqualsReferenceForEveryLength) {
  const AdamWStep step = {.keep = 0.9999f, .step_size = 3e-3f, .root_correction = 0.31f};
  for (const Index n : {1, 7, 16, 17, 63, 64, 65, 4096}) {
    const std::vector<float> gradient = random_row(n, 1);
    std::vector<float> w = random_row(n, 2), m = random_row(n, 3), v = random_row(n, 4);
    for (float& x : v) x = std::abs(x);
    std::vector<float> expected_w = w, expected_m = m, expected_v = v;
    ref::adamw(step, gradient.data(), n, expected_w.data(), expected_m.data(), expected_v.data());
    training_kernels_for(GetParam()).adamw(step, gradient.data(), n, w.data(), m.data(), v.data());
    ASSERT_THAT(w, BitEqual(expected_w)) << "n " << n;
    ASSERT_THAT(m, BitEqual(expected_m)) << "n " << n;
    ASSERT_THAT(v, BitEqual(expected_v)) << "n " << n;
  }
}

}  // namespace
}  // namespace jericho
