// The dense feed-forward of one layer: see blocks.h.
#include <array>

#include "models/blocks.h"
#include "ops/rows.h"

namespace jericho {
namespace {

struct Buffers {
  MatrixView<float> gate, up;
  LinearBuffers gated_input;

  template <class S>
  static Buffers take(S& scratch, Index intermediate_size, ActivationForms forms, Index rows) {
    return {.gate = take_matrix(scratch, rows, intermediate_size),
            .up = take_matrix(scratch, rows, intermediate_size),
            .gated_input = LinearBuffers::take(scratch, forms, rows, intermediate_size)};
  }
};

}  // namespace

void feed_forward_scratch(ScratchSize& scratch, Index intermediate_size, ActivationForms forms, Index rows) {
  static_cast<void>(Buffers::take(scratch, intermediate_size, forms, rows));
}

void feed_forward_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  feed_forward_scratch(scratch, config.intermediate_size, forms, rows);
}

void feed_forward_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x,
                        Scratch& scratch, MatrixView<float> out) {
  const ModelConfig& c = pass.config;
  const Buffers b = Buffers::take(scratch, w.gate.matrix.rows, pass.forms, pass.rows());
  const GatedTask task = {projection(w.gate, c.multipliers.gate, b.gate), projection(w.up, 1, b.up)};
  if (pass.adapters.runs.empty()) {
    linear_gated(pass.context, c.activation, {&task, 1}, x);
  } else {  // what adapters add comes before the gate
    linear_each(pass.context, std::array{task.gate, task.up}, x);
    adapt(pass, step,
          std::array{AdaptedProduct{&LayerAdapter::gate, &w.gate, c.multipliers.gate, b.gate},
                     AdaptedProduct{&LayerAdapter::up, &w.up, 1, b.up}},
          x);
    glu(pass.context, c.activation, b.gate, b.up, b.gate);
  }
  if (c.sub_norms) rms_norm(pass.context, b.gate, w.feed_forward_sub_norm, c.rms_norm_eps, b.gate);
  const LinearInput gated(pass.context, b.gate, pass.forms, b.gated_input);
  project(pass, w.down, gated, c.multipliers.down, out);
  adapt(pass, step, std::array{AdaptedProduct{&LayerAdapter::down, &w.down, c.multipliers.down, out}}, gated);
}

}  // namespace jericho
