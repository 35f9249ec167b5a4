// The weights that adapters are trained beside: those of a model, matrices as its file stores them (blocks of any
// format stay blocks) or its projections in NF4 (nf4.h), vectors in fp32; rows in Hugging Face's order. Nothing of them
// ever changes, so no gradient, optimizer state or fp32 copy exists. Start at FrozenBase::read().
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "models/training_layout.h"
#include "models/weights.h"
#include "ops/context.h"
#include "train/nf4.h"
#include "train/start_model.h"

namespace jericho {

enum class BaseForm { kAsStored, kNf4 };

class FrozenBase {
 public:
  // Decided from headers. `start` and `layout`, which is of its words, outlive the base.
  FrozenBase(const StartModel& start, const TrainingLayout& layout, BaseForm form);

  [[nodiscard]] Bytes bytes() const { return bytes_; }
  [[nodiscard]] Bytes scratch_bytes(int threads) const;
  // Fills `memory`, of bytes(). `scratch` has scratch_bytes() and starts on a multiple of 4096. Error(kInterrupted),
  // errors of the file.
  void read(const Context& context, std::span<std::byte> memory, std::span<std::byte> scratch,
            const std::stop_token& stop);
  // Of the model's tensors, in their order; after read().
  [[nodiscard]] std::vector<StoredRows> rows() const;

 private:
  struct Place {
    const WeightPlacement* weight = nullptr;
    DType dtype = DType::kF32;
    bool nf4 = false;
    Bytes offset{};
    Bytes size{};
  };

  const StartModel& start_;
  const TrainingLayout& layout_;
  std::vector<Place> places_;
  Bytes bytes_{};
  std::span<std::byte> memory_{};
  std::vector<std::unique_ptr<Nf4Weight>> nf4_;  // null: not kept so
};

}  // namespace jericho
