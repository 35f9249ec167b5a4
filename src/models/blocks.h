// The blocks that a layer is made of. Each reads rows that its norm has prepared and writes what the residual stream is
// to gain, [T, hidden]; each takes its wide buffers from the scratch it is given and leaves them there for the next.
// What a block takes is counted by the same code: its *_scratch() runs on a ScratchSize. Start at transformer.cc.
#pragma once

#include "memory/arena.h"
#include "models/adapter.h"
#include "models/batch.h"
#include "models/config.h"
#include "models/weight_list.h"
#include "ops/context.h"
#include "ops/linear.h"
#include "ops/paged_attention.h"
#include "ops/state_space.h"
#include "tensor/view.h"

namespace jericho {

struct Angles {  // of the batch's rows: [T, rotated dims / 2]
  MatrixView<float> cos{nullptr, 0, 0};
  MatrixView<float> sin{nullptr, 0, 0};
};

// One run of one stored layer, and whose keys, values and state it keeps.
struct Step {
  Index layer = 0;
  Index kv = 0;     // index into the layers of KvLayout, where the layer has attention
  Index state = 0;  // index among the states, where it has a state space
};

class WeightPass;

// What adapters of the batch's rows add goes through a room of [T, kAdaptedTogether * rank].
inline constexpr Index kAdaptedTogether = 3;
struct AdapterPass {
  std::span<const AdapterRun> runs{};
  MatrixView<float> room{nullptr, 0, 0};
};

struct Pass {  // what the blocks of one forward pass share; views
  const Context& context;
  const ModelConfig& config;
  ActivationForms forms;
  const KvLayout& kv;
  const Batch& batch;
  const WeightPass& weights;
  Angles angles{};        // of config.rope
  Angles local_angles{};  // of config.local_rope
  Angles
      sink_angles{};  // where a selection streams: of the position from which rows look at the sinks, the same for all
  StateLayout state{};
  std::span<const SequenceRows> sequences{};  // of the batch, where the model has states

  AdapterPass adapters{};

  [[nodiscard]] const LayerConfig& layer(const Step& step) const {
    return config.layers[static_cast<std::size_t>(step.layer)];
  }
  [[nodiscard]] StateRows states(const Step& step) const { return {state, step.state, sequences, batch.states}; }
  [[nodiscard]] Index rows() const { return static_cast<Index>(batch.tokens.size()); }
};

template <class S>  // Scratch or ScratchSize
MatrixView<float> take_matrix(S& scratch, Index rows, Index cols) {
  return {scratch.template take<float>(rows * cols).data(), rows, cols};
}

// y = factor * (w x + bias), as a part of linear_each() and on its own.
inline LinearTask projection(const LinearWeight& w, float factor, MatrixView<float> y) {
  return {&w.matrix, 0, y, w.bias, factor};
}
void project(const Pass& pass, const LinearWeight& w, const LinearInput& x, float factor, MatrixView<float> y);

// A product of an adapted module that is complete: y = factor * (w x + bias).
struct AdaptedProduct {
  LowRankWeight LayerAdapter::*part;
  const LinearWeight* w;
  float factor;
  MatrixView<float> y;
};
// What the rows' adapters make of the products, at most kAdaptedTogether of the same input.
void adapt(const Pass& pass, const Step& step, std::span<const AdaptedProduct> products, const LinearInput& x);

// Attention with keys and values per head (Vaswani et al. 2017, arXiv:1706.03762; grouped: arXiv:2305.13245).
void attention_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                     MatrixView<float> out);
void attention_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);

AttentionLogits attention_logits(const ModelConfig& config);

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): one compressed key per token for all heads,
// whose first part is the value; projections to the heads' own keys and values are absorbed into query and output.
void latent_attention_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x,
                            Scratch& scratch, MatrixView<float> out);
// Tokens that attend together: queries in latent form are wide, H (r + dr), so tokens take turns. What a token gets
// depends on none of the others.
inline constexpr Index kLatentWave = 64;
void latent_attention_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);

// State spaces in the place of attention or beside it: mamba_block.cc, mamba2_block.cc.
void mamba_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                 MatrixView<float> out);
void mamba_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);
void mamba2_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                  MatrixView<float> out);
void mamba2_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);

// Wd (act(Wg x) * (Wu x)) (Shazeer 2020, arXiv:2002.05202).
void feed_forward_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x,
                        Scratch& scratch, MatrixView<float> out);
void feed_forward_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);
// The same for weights of another width.
void feed_forward_scratch(ScratchSize& scratch, Index intermediate_size, ActivationForms forms, Index rows);

// The experts that each token's router chooses (ops/moe.h), weighted and added in ascending order, then the shared
// expert where there is one.
void experts_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                   MatrixView<float> out);
void experts_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows);

}  // namespace jericho
