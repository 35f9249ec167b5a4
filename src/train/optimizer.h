// What changes a weight, given its gradient: one object per tensor, all of whose state lies in bytes that the trainer
// leases, saves and restores. Start at Optimizer; which rules there are and which tensor gets which: optimizers.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "base/philox.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace jericho {

// Groups that rules treat differently (GaLore and APOLLO project the first; norms and biases have no weight decay).
enum class TensorRole { kProjection, kEmbedding, kHead, kVector };

struct TrainedShape {
  std::string name{};  // in the checkpoint
  Index rows = 1;      // 1 for vectors
  Index cols = 0;
  TensorRole role = TensorRole::kProjection;
  Index head_rows = 0;  // of q and k: rows per head; 0: rows belong to no heads

  [[nodiscard]] Index size() const { return rows * cols; }
};

// One array of a tensor's state, as a checkpoint names it: "exp_avg", F32. Parts lie one after the other, each from a
// multiple of 64 bytes on.
struct StatePart {
  std::string name{};
  DType dtype = DType::kF32;
  std::vector<Index> shape{};

  [[nodiscard]] Index size() const;
  [[nodiscard]] Bytes bytes() const { return storage_bytes(dtype, size()); }
};

struct UpdateStep {
  std::int64_t number = 1;  // of the update, from 1 on
  float learning_rate = 0;  // scheduled for it
  PhiloxKey key{};          // of this tensor's random numbers: a function of the run's seed and the tensor's name
  float scale = 1;          // of the gradient, for rules that scale it themselves
};

// Where a weight goes: w = (w - factor g) keep, each operation rounded (kernels/adamw.h).
struct Move {
  float factor = 0;
  float keep = 1;
};

// Immutable, thread-compatible. Same inputs, same bits, for any number of threads.
class Optimizer {
 public:
  explicit Optimizer(TrainedShape shape) : shape_(std::move(shape)) {}
  virtual ~Optimizer() = default;

  [[nodiscard]] const TrainedShape& shape() const { return shape_; }
  [[nodiscard]] virtual std::vector<StatePart> state_parts() const = 0;
  [[nodiscard]] Bytes state_bytes() const;
  // What step() takes from its scratch.
  [[nodiscard]] virtual Bytes scratch_bytes(int threads) const;
  // What libraries take from the heap inside step().
  [[nodiscard]] virtual Bytes heap_bytes() const;
  // `state` comes zeroed.
  virtual void start(std::span<std::byte> state) const;
  // The gradient is the mean over the step's tokens, clipped; it may be overwritten.
  virtual void step(const Context& context, const UpdateStep& step, MatrixView<float> weight,
                    MatrixView<float> gradient, std::span<std::byte> state, Scratch& scratch) const = 0;
  // Whether step() takes the gradient times UpdateStep::scale, as if it had been scaled before.
  [[nodiscard]] virtual bool scales() const { return false; }
  // Rules that need not look at the weight leave in the gradient what it is to move along; step() is then that move.
  [[nodiscard]] virtual bool has_direction() const { return false; }
  virtual Move direction(const Context& context, const UpdateStep& step, MatrixView<float> gradient,
                         std::span<std::byte> state, Scratch& scratch) const;

 protected:
  // Part `index` of the state.
  template <class T>
  [[nodiscard]] std::span<T> part(std::span<std::byte> state, std::size_t index) const {
    const std::span<std::byte> bytes = part_bytes(state, index);
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  [[nodiscard]] std::span<std::byte> part_bytes(std::span<std::byte> state, std::size_t index) const;

 private:
  TrainedShape shape_;
};

// Where each part begins in the state of bytes `parts` take together; the last value is their end.
std::vector<Bytes> part_offsets(const std::vector<StatePart>& parts);

}  // namespace jericho
