// The sink of gradients that are applied at once: see fused_updates.h.
#include "train/fused_updates.h"

#include <cmath>

#include "ops/training_rows.h"

namespace jericho {
namespace {

std::span<float> values_of(MatrixView<float> x) {
  return {x.data(), static_cast<std::size_t>(x.extent(0) * x.extent(1))};
}

}  // namespace

FusedUpdates::FusedUpdates(const Context& context, const TrainingLayout& layout, const GradientPlaces& places,
                           std::span<std::byte> gradients, Scratch& scratch, Apply apply)
    : context_(context),
      layout_(layout),
      places_(places),
      gradients_(gradients),
      scratch_(scratch),
      apply_(std::move(apply)),
      squares_(layout.tensors().size()) {}

MatrixView<float> FusedUpdates::at(Index tensor, Index use) const {
  const TrainedTensor& t = layout_.tensor(tensor);
  return {reinterpret_cast<float*>(gradients_.data() + places_.offset(tensor, use).count), t.rows, t.cols};
}

std::optional<MatrixView<float>> FusedUpdates::place(Index tensor, Index use) {
  const MatrixView<float> place = at(tensor, use);
  set_zero(context_, values_of(place));
  return place;
}

void FusedUpdates::complete(Index tensor) {
  double& squares = squares_[static_cast<std::size_t>(tensor)];
  squares = sum_of_uses(
      context_, layout_.tensor(tensor), [&](Index use) { return at(tensor, use); }, scratch_);
  finite_ = finite_ && std::isfinite(squares);
  if (finite_) apply_(tensor, at(tensor, 0));
}

double FusedUpdates::squares() const {
  double sum = 0;
  for (const double each : squares_) sum += each;
  return sum;
}

Bytes fused_scratch(const TrainingLayout& layout) {
  Bytes most{};
  for (const TrainedTensor& t : layout.tensors())
    most = std::max(most, scratch_bytes<double>(ceil_div(t.size(), kSumLeaf)));
  return most;
}

double sum_of_uses(const Context& context, const TrainedTensor& tensor,
                   const std::function<MatrixView<float>(Index use)>& at, Scratch& scratch) {
  const auto uses = static_cast<Index>(tensor.gradients.size());
  for (Index use = 1; use < uses; ++use) add(context, values_of(at(use)), values_of(at(0)));
  const ScratchScope scope(scratch);
  return sum_squares(context, values_of(at(0)), scratch.take<double>(ceil_div(tensor.size(), kSumLeaf)));
}

}  // namespace jericho
