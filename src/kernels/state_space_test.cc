// State spaces: every path against the reference twin, bit for bit; the references against steps that were computed by
// hand and against the formulas in double; and a cut anywhere among the rows changes nothing.
#include "kernels/state_space.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/bit_equal.h"
#include "kernels/kernels.h"
#include "kernels/softplus.h"

namespace jericho {
namespace {

constexpr std::array<Index, 8> kChannels = {1, 7, 16, 17, 63, 64, 65, 4096};
constexpr std::array<Values, 2> kValues = {Values::kPlain, Values::kSpecial};

class StateSpaceKernels : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, StateSpaceKernels, testing::ValuesIn(usable_cpu_paths()), path_name);

// A convolution of C channels with its history, whose rows are wider than C.
struct ConvCase {
  ConvCase(Index C, Index kernel, DType stored, Values values)
      : type(stored),
        taps(kernel),
        channels(C),
        weight(random_row(C * kernel, 1, values, 0.5f)),
        bias(random_row(C, 2, values)),
        history(static_cast<std::size_t>((kernel - 1) * stride() * 4)) {
    const std::vector<float> old = random_row((kernel - 1) * stride(), 3, values);
    for (std::size_t i = 0; i < old.size(); ++i) {
      const F16 half = to_f16(old[i]);
      if (type == DType::kF16) std::memcpy(history.data() + 2 * i, &half, 2);
      if (type == DType::kF32) std::memcpy(history.data() + 4 * i, &old[i], 4);
    }
  }
  [[nodiscard]] Index stride() const { return channels + 5; }
  [[nodiscard]] Convolution conv() const { return {weight.data(), bias.data(), taps}; }
  ConvHistory view() { return {type, history.data(), stride()}; }
  [[nodiscard]] std::vector<float> history_values() const {
    std::vector<float> out(history.size() / 4);
    for (std::size_t i = 0; i < out.size(); ++i) {
      F16 half;
      std::memcpy(&half, history.data() + 2 * i, 2);
      if (type == DType::kF16) out[i] = to_float(half);
      if (type == DType::kF32) std::memcpy(&out[i], history.data() + 4 * i, 4);
    }
    return out;
  }
  DType type;
  Index taps, channels;
  std::vector<float> weight, bias;
  std::vector<std::byte> history;
};

TEST_P(StateSpaceKernels, ConvolutionEqualsReferenceForEveryWidthKernelAndStoredType) {
  for (const Values values : kValues) {
    for (const DType type : {DType::kF16, DType::kF32}) {
      for (const Index C : kChannels) {
        for (const Index kernel : {1, 2, 4, 7}) {
          for (const Index T : {1, 2, 7, 33}) {
            ConvCase expected(C, kernel, type, values), actual(expected);
            std::vector<float> x = random_row(T * (C + 3), 4, values), y = x;
            ref::causal_conv1d(expected.conv(), expected.view(), {x.data(), T, C, C + 3});
            kernels_for(GetParam()).causal_conv1d(actual.conv(), actual.view(), {y.data(), T, C, C + 3});
            ASSERT_THAT(y, BitEqual(x)) << "C " << C << " kernel " << kernel << " T " << T;
            ASSERT_THAT(actual.history_values(), BitEqual(expected.history_values())) << "C " << C;
          }
          if (C > 1000) break;
        }
      }
    }
  }
}

TEST_P(StateSpaceKernels, ConvolutionWorksWithoutABiasAndForTheLongestKernel) {
  ConvCase expected(20, kMaxConvKernel, DType::kF16, Values::kPlain), actual(expected);
  std::vector<float> x = random_row(9 * 20, 5), y = x;
  ref::causal_conv1d({expected.weight.data(), nullptr, kMaxConvKernel}, expected.view(), {x.data(), 9, 20});
  kernels_for(GetParam())
      .causal_conv1d({actual.weight.data(), nullptr, kMaxConvKernel}, actual.view(), {y.data(), 9, 20});
  EXPECT_THAT(y, BitEqual(x));
}

TEST_P(StateSpaceKernels, TimeStepsEqualReference) {
  for (const Values values : kValues) {
    for (const Index C : kChannels) {
      const std::vector<float> bias = random_row(C, 6, values);
      std::vector<float> x = random_row(3 * (C + 2), 7, values, 20.0f), y = x;
      ref::time_steps(bias.data(), 0.001f, 30.0f, {x.data(), 3, C, C + 2});
      kernels_for(GetParam()).time_steps(bias.data(), 0.001f, 30.0f, {y.data(), 3, C, C + 2});
      ASSERT_THAT(y, BitEqual(x)) << "C " << C;
    }
  }
}

using Scan = void (*)(const SelectiveScan&, float*, MatrixView<float>);

// A scan of C channels with N values of state each; `shared`: channels of one head.
struct ScanCase {
  ScanCase(Index tokens, Index C, Index N, bool shared, Values values)
      : T(tokens),
        channels(C),
        states(N),
        dt_width(shared ? 1 : C),
        dt(random_row(T * dt_width, 1, values, 0.5f)),
        b(random_row(T * N, 2, values)),
        c(random_row(T * N, 3, values)),
        a(random_row(shared ? 1 : C * N, 4)),
        d(random_row(shared ? 1 : C, 5, values)),
        state(random_row(C * N, 6, values)),
        x(random_row(T * (C + 3), 7, values)) {
    for (float& v : a) v = -std::abs(v);
    for (float& v : dt) v = std::abs(v);
  }
  // Rows [begin, end).
  void run(Scan scan, Index begin, Index end) {
    const MatrixView<const float> steps(dt.data(), T, dt_width), keys(b.data(), T, states), reads(c.data(), T, states);
    const Index count = end - begin;
    scan({steps.rows(begin, count), keys.rows(begin, count), reads.rows(begin, count), a.data(), d.data()},
         state.data(), MatrixView<float>(x.data(), T, channels, channels + 3).rows(begin, count));
  }
  void run(Scan scan) { run(scan, 0, T); }
  Index T, channels, states, dt_width;
  std::vector<float> dt, b, c, a, d, state, x;
};

TEST_P(StateSpaceKernels, ScansEqualReferenceForEveryWidthAndState) {
  const Kernels& kernels = kernels_for(GetParam());
  for (const Values values : kValues) {
    for (const Index C : {1, 7, 16, 17, 64}) {
      for (const Index N : kChannels) {
        for (const bool shared : {false, true}) {
          ScanCase expected(N > 1000 ? 2 : 7, C, N, shared, values), actual(expected);
          expected.run(shared ? ref::mamba2_scan : ref::mamba_scan);
          actual.run(shared ? kernels.mamba2_scan : kernels.mamba_scan);
          ASSERT_THAT(actual.x, BitEqual(expected.x)) << "C " << C << " N " << N << (shared ? " mamba2" : " mamba");
          ASSERT_THAT(actual.state, BitEqual(expected.state)) << "C " << C << " N " << N;
        }
      }
    }
  }
}

TEST_P(StateSpaceKernels, ACutAmongTheRowsChangesNothing) {
  const Kernels& kernels = kernels_for(GetParam());
  for (const Index cut : {1, 2, 3, 20}) {
    for (const bool shared : {false, true}) {
      ScanCase whole(33, 40, 16, shared, Values::kPlain), parts(whole);
      const Scan scan = shared ? kernels.mamba2_scan : kernels.mamba_scan;
      whole.run(scan);
      parts.run(scan, 0, cut);
      parts.run(scan, cut, 33);
      ASSERT_THAT(parts.x, BitEqual(whole.x)) << cut;
      ASSERT_THAT(parts.state, BitEqual(whole.state)) << cut;
    }
    for (const DType type : {DType::kF16, DType::kF32}) {
      ConvCase whole(40, 4, type, Values::kPlain), parts(whole);
      std::vector<float> x = random_row(33 * 40, 8), y = x;
      kernels.causal_conv1d(whole.conv(), whole.view(), {x.data(), 33, 40});
      const MatrixView<float> rows(y.data(), 33, 40);
      kernels.causal_conv1d(parts.conv(), parts.view(), rows.rows(0, cut));
      kernels.causal_conv1d(parts.conv(), parts.view(), rows.rows(cut, 33 - cut));
      ASSERT_THAT(y, BitEqual(x)) << cut;
      ASSERT_THAT(parts.history_values(), BitEqual(whole.history_values())) << cut;
    }
  }
}

// Negative control: x (dt b) in place of (dt x) b.
void scan_in_another_order(const SelectiveScan& s, float* state, MatrixView<float> x) {
  const Index N = s.b.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    for (Index i = 0; i < x.extent(1) * N; ++i) {
      const float input = x(t, i / N) * (s.dt(t, 0) * s.b(t, i % N));
      state[i] = std::fma(state[i], ref::exp(s.dt(t, 0) * *s.a), input);
    }
  }
}

TEST(StateSpace, AnotherOrderOfTheProductsGivesOtherBits) {
  ScanCase expected(7, 64, 16, true, Values::kPlain), actual(expected);
  expected.run(ref::mamba2_scan);
  actual.run(scan_in_another_order);
  EXPECT_GE(first_difference(actual.state, expected.state), 0);
}

constexpr float kFewDigits = 2e-7f;  // the worked steps below have eight

TEST(StateSpace, ReferenceGivesTheWorkedStepOfMamba) {
  flush_subnormals();
  // Channel 0: window 0.1 0.2 0.3 and 0.4; channel 1: 0 0 -0.1 and 0.5.
  const std::array<float, 8> weight = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, -0.5f, 0.25f, 1.0f};
  const std::array<float, 2> bias = {0, 0.1f};
  std::array<float, 6> history = {0.1f, 0, 0.2f, 0, 0.3f, -0.1f};
  std::array<float, 2> x = {0.4f, 0.5f};
  ref::causal_conv1d({weight.data(), bias.data(), 4}, {DType::kF32, reinterpret_cast<std::byte*>(history.data()), 2},
                     {x.data(), 1, 2});
  EXPECT_NEAR(x[0], 0.17233276f, kFewDigits);
  EXPECT_NEAR(x[1], 0.36795176f, kFewDigits);
  EXPECT_THAT(history, testing::ElementsAre(0.2f, 0, 0.3f, -0.1f, 0.4f, 0.5f));

  std::array<float, 2> dt = {0, 1};
  const std::array<float, 2> no_bias = {0, 0}, d = {1, 0.5f}, b = {0.5f, -0.5f}, c = {1, 2}, z = {1, -1};
  ref::time_steps(no_bias.data(), 0, 1e30f, {dt.data(), 1, 2});
  EXPECT_NEAR(dt[0], 0.69314718f, kFewDigits);
  EXPECT_NEAR(dt[1], 1.31326169f, kFewDigits);
  const std::array<float, 4> a = {-1, -2, -1, -2};
  std::array<float, 4> h = {0.1f, 0.2f, 0.3f, -0.4f};
  ref::mamba_scan({{dt.data(), 1, 2}, {b.data(), 1, 2}, {c.data(), 1, 2}, a.data(), d.data()}, h.data(),
                  {x.data(), 1, 2});
  const std::array<float, 4> expected = {0.10972598f, -0.00972598f, 0.32229090f, -0.27054027f};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(h[i], expected[i], kFewDigits) << i;
  const std::array<float, 2> gated = {0.19198093f, 0.00936286f};
  for (std::size_t i = 0; i < 2; ++i) EXPECT_NEAR(x[i] * z[i] / (1 + std::exp(-z[i])), gated[i], kFewDigits) << i;
}

TEST(StateSpace, ReferenceGivesTheWorkedChunkOfMamba2) {
  flush_subnormals();
  const std::array<float, 4> dt = {0.5f, 1, 0.25f, 2}, b = {1, 0.5f, -1, 2}, c = {1, 2, 0.5f, 1};
  const std::array<float, 4> states = {0.73364023f, -0.55502470f, -1.23980758f, 1.54390028f};
  const std::array<float, 4> outputs = {0.73364023f, -1.11004941f, -0.61990379f, 1.54390028f};
  const float a = -0.5f, d = 0;
  float state = 0.3f;
  std::array<float, 4> x = {1, -2, 3, 0.5f};
  for (std::size_t t = 0; t < 4; ++t) {
    ref::mamba2_scan({{&dt[t], 1, 1}, {&b[t], 1, 1}, {&c[t], 1, 1}, &a, &d}, &state, {&x[t], 1, 1});
    EXPECT_NEAR(state, states[t], 3e-7f) << t;
    EXPECT_NEAR(x[t], outputs[t], 3e-7f) << t;
  }
}

TEST(StateSpace, HalfHistoryRoundsEveryInputBeforeItsFirstUse) {
  flush_subnormals();
  const std::array<float, 2> weight = {0, 1};
  std::array<F16, 1> history{};
  std::array<float, 1> x = {1.0f + 0x1p-13f};  // a quarter of the last bit of f16
  std::array<float, 1> rounded = {1.0f};
  ref::causal_conv1d({weight.data(), nullptr, 2}, {DType::kF16, reinterpret_cast<std::byte*>(history.data()), 1},
                     {x.data(), 1, 1});
  ref::causal_conv1d({weight.data(), nullptr, 2}, {DType::kF16, reinterpret_cast<std::byte*>(history.data()), 1},
                     {rounded.data(), 1, 1});
  EXPECT_EQ(x[0], rounded[0]);
}

TEST(Softplus, RelativeErrorIsBelowItsBound) {
  flush_subnormals();
  for (float x = -87.0f; x <= 100.0f; x += 0.00137f) {
    const double exact = std::max(double{x}, 0.0) + std::log1p(std::exp(-std::abs(double{x})));
    ASSERT_NEAR(double{ref::softplus(x)}, exact, 0x1p-21 * exact) << x;
  }
  EXPECT_EQ(ref::softplus(-100.0f), 0.0f);
  EXPECT_EQ(ref::softplus(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(ref::softplus(std::numeric_limits<float>::quiet_NaN())));
}

TEST(StateSpace, TimeStepsStayWithinTheirLimits) {
  const std::array<float, 3> bias = {0, 0, 0};
  std::array<float, 3> dt = {-20, 0, 20};
  ref::time_steps(bias.data(), 0.1f, 5.0f, {dt.data(), 1, 3});
  EXPECT_EQ(dt[0], 0.1f);
  EXPECT_NEAR(dt[1], 0.693147f, 1e-6f);
  EXPECT_EQ(dt[2], 5.0f);
}

// A recurrence in double. Each step multiplies the state by a factor within 2^-22 of its value (the argument of exp has
// an error of 2^-24 of itself, which is below 8; exp adds 2^-23) and rounds four times: over T steps no more than
// T 2^-20 of the sum of magnitudes, with which the output's own sum is charged too.
TEST(StateSpace, ReferenceScanIsAccurate) {
  flush_subnormals();
  ScanCase s(100, 8, 24, false, Values::kPlain);
  for (float& v : s.dt) v = std::min(v, 1.0f);
  for (float& v : s.a) v = std::max(v, -8.0f);
  const ScanCase before = s;
  s.run(ref::mamba_scan);
  for (Index c = 0; c < 8; ++c) {
    std::vector<double> h(before.state.begin() + c * 24, before.state.begin() + (c + 1) * 24), size(24);
    for (std::size_t n = 0; n < 24; ++n) size[n] = std::abs(h[n]);
    for (Index t = 0; t < before.T; ++t) {
      const double dt = double{before.dt[static_cast<std::size_t>(t * 8 + c)]};
      const double x = double{before.x[static_cast<std::size_t>(t * 11 + c)]};
      double y = double{before.d[static_cast<std::size_t>(c)]} * x, bound = std::abs(y);
      for (std::size_t n = 0; n < 24; ++n) {
        const auto at = static_cast<std::size_t>(t) * 24 + n;
        const double decay = std::exp(dt * double{before.a[static_cast<std::size_t>(c) * 24 + n]});
        h[n] = decay * h[n] + dt * x * double{before.b[at]};
        size[n] = decay * size[n] + std::abs(dt * x * double{before.b[at]});
        y += h[n] * double{before.c[at]};
        bound += size[n] * std::abs(double{before.c[at]});
      }
      ASSERT_NEAR(double{s.x[static_cast<std::size_t>(t * 11 + c)]}, y, static_cast<double>(t + 1) * 0x1p-20 * bound)
          << "channel " << c << " step " << t;
    }
  }
}

}  // namespace
}  // namespace jericho
