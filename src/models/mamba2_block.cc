// Mamba-2 of one layer (Dao & Gu 2024, arXiv:2405.21060, section 7), its norm on the gated output or before the gate.
// See blocks.h.
#include <array>

#include "models/blocks.h"
#include "ops/rows.h"

namespace jericho {
namespace {

struct Buffers {
  MatrixView<float> x, z;  // [T, inner]
  MatrixView<float> b, c;  // [T, groups * state]
  MatrixView<float> dt;    // [T, heads]
  LinearBuffers gated_input;

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
    const StateSpaceConfig& s = config.state_space;
    return {.x = take_matrix(scratch, rows, s.inner_size),
            .z = take_matrix(scratch, rows, s.inner_size),
            .b = take_matrix(scratch, rows, s.groups * s.state_size),
            .c = take_matrix(scratch, rows, s.groups * s.state_size),
            .dt = take_matrix(scratch, rows, s.heads),
            .gated_input = LinearBuffers::take(scratch, forms, rows, s.inner_size)};
  }
};

}  // namespace

void mamba2_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  static_cast<void>(Buffers::take(scratch, config, forms, rows));
}

void mamba2_block(const Pass& pass, const Step& step, const DecoderLayer& layer, const LinearInput& input,
                  Scratch& scratch, MatrixView<float> out) {
  const StateSpaceConfig& s = pass.config.state_space;
  const StateSpaceWeights& w = layer.state_space;
  const Multipliers& m = pass.config.multipliers;
  const Buffers b = Buffers::take(scratch, pass.config, pass.forms, pass.rows());
  const StateRows rows = pass.states(step);
  linear_each(pass.context,
              std::array{projection(w.z, m.ssm_z, b.z), projection(w.x, m.ssm_x, b.x), projection(w.b, m.ssm_b, b.b),
                         projection(w.c, m.ssm_c, b.c), projection(w.dt, m.ssm_dt, b.dt)},
              input);
  Index channel = 0;
  for (const MatrixView<float>& part : {b.x, b.b, b.c}) {
    const Convolution conv = {w.conv.data() + channel * s.conv_kernel,
                              w.conv_bias.empty() ? nullptr : w.conv_bias.data() + channel, s.conv_kernel};
    causal_conv1d(pass.context, rows, conv, channel, part);
    channel += part.extent(1);
  }
  const bool norm_first = s.gated_norm && s.norm_before_gate;
  mamba2_scan(pass.context, rows, s.groups,
              {.dt = b.dt,
               .dt_bias = w.dt_bias,
               .lowest = s.dt_min,
               .highest = s.dt_max,
               .b = b.b,
               .c = b.c,
               .a = w.a.data(),
               .d = w.d.data(),
               .gate = norm_first ? MatrixView<const float>(nullptr, 0, 0) : MatrixView<const float>(b.z)},
              b.x);
  if (s.gated_norm) grouped_rms_norm(pass.context, w.norm, s.groups, s.norm_eps, b.x);
  if (norm_first) glu(pass.context, Activation::kSilu, b.z, b.x, b.x);
  project(pass, w.out, LinearInput(pass.context, b.x, pass.forms, b.gated_input), m.ssm_out, out);
}

}  // namespace jericho
