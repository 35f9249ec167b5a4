// Resident weights as they are, others from the stream: see WeightPass in weights.h.
#include "models/weight_stream.h"
#include "models/weights.h"
#include "ops/rows.h"

namespace jericho {

WeightPass::WeightPass(const Context& context, const ModelWeights& weights, Index tokens, bool with_head)
    : context_(context), weights_(weights) {
  if (weights_.stream_) weights_.stream_->begin(tokens, with_head);
}

WeightPass::~WeightPass() {
  if (weights_.stream_ && !ended_) weights_.stream_->abandon();
}

void WeightPass::embedding(std::span<const std::int32_t> ids, MatrixView<float> y) const {
  EmbeddingRows* const rows = weights_.stream_ ? weights_.stream_->rows() : nullptr;
  if (rows != nullptr) return rows->read(ids, y);
  jericho::embedding(context_, weights_.views_.embedding, ids, y);
}

const DecoderLayer& WeightPass::layer(Index layer, LayerPart part) const {
  if (weights_.stream_) weights_.stream_->use(context_, weights_.stream_->units().group(layer, part));
  return weights_.views_.layers[static_cast<std::size_t>(layer)];
}

const DecoderLayer& WeightPass::resident(Index layer) const {
  return weights_.views_.layers[static_cast<std::size_t>(layer)];
}

std::optional<Index> WeightPass::expert_slots() const {
  if (!weights_.stream_ || weights_.stream_->experts() == nullptr) return std::nullopt;
  return weights_.stream_->experts()->slots();
}

void WeightPass::choose_experts(Index layer, std::span<const ExpertUse> experts) const {
  weights_.stream_->experts()->choose(layer, experts);
}

void WeightPass::acquire_experts(Index layer, std::span<const ExpertUse> now, std::span<const ExpertUse> next) const {
  weights_.stream_->experts()->acquire(context_, layer, now, next);
}

bool WeightPass::wants_guesses(Index layer) const { return weights_.stream_->experts()->wants_guesses(layer); }

void WeightPass::expect_experts(Index layer, std::span<const std::int32_t> experts) const {
  weights_.stream_->experts()->expect(layer, experts);
}

void WeightPass::head(FunctionRef<void(const PackedMatrix& rows, Index first)> body) const {
  if (!weights_.stream_ || weights_.stream_->head().empty()) return body(weights_.views_.head, 0);
  for (std::size_t n = 0; n < weights_.stream_->head().size(); ++n) {
    weights_.stream_->use(context_, weights_.stream_->units().first_head_group() + static_cast<Index>(n));
    const WeightStream::HeadPiece& piece = weights_.stream_->head()[n];
    body(piece.matrix, piece.first);
  }
}

void WeightPass::end() {
  if (weights_.stream_) weights_.stream_->end();
  ended_ = true;
}

}  // namespace jericho
