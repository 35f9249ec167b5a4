// Mamba of one layer (Gu & Dao 2023, arXiv:2312.00752, figure 3 and algorithm 2); with a norm on dt, B and C it is that
// of Jamba (Lieber et al. 2024, arXiv:2403.19887) or Falcon Mamba (arXiv:2410.05355). See blocks.h.
#include <algorithm>
#include <array>

#include "models/blocks.h"
#include "ops/rows.h"

namespace jericho {
namespace {

struct Buffers {
  MatrixView<float> x, z, dt;      // [T, inner]
  MatrixView<float> low_dt, b, c;  // [T, dt_rank], [T, state], [T, state]
  std::span<float> ones;           // weights of a norm that has none
  LinearBuffers inner_input, low_input;

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
    const StateSpaceConfig& s = config.state_space;
    return {.x = take_matrix(scratch, rows, s.inner_size),
            .z = take_matrix(scratch, rows, s.inner_size),
            .dt = take_matrix(scratch, rows, s.inner_size),
            .low_dt = take_matrix(scratch, rows, s.dt_rank),
            .b = take_matrix(scratch, rows, s.state_size),
            .c = take_matrix(scratch, rows, s.state_size),
            .ones = scratch.template take<float>(std::max(s.dt_rank, s.state_size)),
            .inner_input = LinearBuffers::take(scratch, forms, rows, s.inner_size),
            .low_input = LinearBuffers::take(scratch, forms, rows, s.dt_rank)};
  }
};

void normalize(const Pass& pass, std::span<const float> weight, const Buffers& b, MatrixView<float> x) {
  std::fill(b.ones.begin(), b.ones.end(), 1.0f);
  const std::span<const float> own = weight.empty() ? b.ones.first(static_cast<std::size_t>(x.extent(1))) : weight;
  rms_norm(pass.context, x, own, pass.config.state_space.norm_eps, x);
}

}  // namespace

void mamba_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  static_cast<void>(Buffers::take(scratch, config, forms, rows));
}

void mamba_block(const Pass& pass, const Step& step, const DecoderLayer& layer, const LinearInput& input,
                 Scratch& scratch, MatrixView<float> out) {
  const StateSpaceConfig& s = pass.config.state_space;
  const StateSpaceWeights& w = layer.state_space;
  const Multipliers& m = pass.config.multipliers;
  const Buffers b = Buffers::take(scratch, pass.config, pass.forms, pass.rows());
  const StateRows rows = pass.states(step);
  linear_each(pass.context, std::array{projection(w.x, m.ssm_x, b.x), projection(w.z, m.ssm_z, b.z)}, input);
  causal_conv1d(pass.context, rows, {w.conv.data(), w.conv_bias.data(), s.conv_kernel}, 0, b.x);
  {
    const LinearInput x(pass.context, b.x, pass.forms, b.inner_input);
    const std::array<LinearTask, 3> tasks = {{{&w.x_dt, 0, b.low_dt}, {&w.x_b, 0, b.b}, {&w.x_c, 0, b.c}}};
    linear_each(pass.context, tasks, x);
  }
  if (s.dt_b_c_norm) {
    normalize(pass, w.dt_norm, b, b.low_dt);
    normalize(pass, w.b_norm, b, b.b);
    normalize(pass, w.c_norm, b, b.c);
  }
  linear(pass.context, w.dt_proj, LinearInput(pass.context, b.low_dt, pass.forms, b.low_input), {}, b.dt);
  mamba_scan(pass.context, rows,
             {.dt = b.dt,
              .dt_bias = w.dt_bias,
              .lowest = s.dt_min,
              .highest = s.dt_max,
              .b = b.b,
              .c = b.c,
              .a = w.a.data(),
              .d = w.d.data(),
              .gate = b.z},
             b.x);
  project(pass, w.out, LinearInput(pass.context, b.x, pass.forms, b.inner_input), m.ssm_out, out);
}

}  // namespace jericho
