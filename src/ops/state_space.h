// State spaces of a batch of rows: every sequence has one page of states, a fixed number of bytes whatever its length,
// which its rows read and move on in order of position (kernels/state_space.h). Sequences and channels are split over
// the pool; no result depends on the split, nor on how a sequence was cut into batches (docs/numerics.md 5).
// Start at StateLayout.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"
#include "kernels/state_space.h"
#include "ops/context.h"
#include "ops/paged_attention.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace jericho {

// Where the states of a layer lie in a sequence's page: [layer][inputs of the convolution, then the recurrence], each
// on a cache line, the page padded to 4096 bytes so that it is a unit of direct I/O. A page of zeros is an empty
// sequence.
struct StateLayout {
  KvType type = KvType::kF16;  // of the keys and values beside it: f32 keeps the inputs in f32 too, all others in f16
  Index layers = 0;
  Index channels = 0;  // of the convolution
  Index history = 0;   // rows of inputs that it keeps: its kernel - 1
  Index values = 0;    // of the recurrence, in f32

  [[nodiscard]] DType conv_type() const { return type == KvType::kF32 ? DType::kF32 : DType::kF16; }
  [[nodiscard]] Bytes conv_bytes() const { return storage_bytes(conv_type(), history * channels); }
  [[nodiscard]] Bytes scan_bytes() const { return storage_bytes(DType::kF32, values); }
  [[nodiscard]] Bytes conv_offset(Index layer) const { return stride() * layer; }
  [[nodiscard]] Bytes scan_offset(Index layer) const { return stride() * layer + round_up(conv_bytes(), 64_B); }
  [[nodiscard]] Bytes page_bytes() const { return round_up(stride() * layers, Bytes{4096}); }
  // Without the padding of pieces and page: for people and for the formulas.
  [[nodiscard]] Bytes bytes_per_sequence() const { return (conv_bytes() + scan_bytes()) * layers; }

 private:
  [[nodiscard]] Bytes stride() const { return round_up(conv_bytes(), 64_B) + round_up(scan_bytes(), 64_B); }
};

struct SequenceRows {  // consecutive rows of a batch that are consecutive positions of one sequence
  Index sequence = 0;
  Index first = 0;
  Index count = 0;
};

// Cuts a batch into its sequences, of which each has one run of rows. Writes to `out`, which has room for one per row,
// and returns what it wrote.
std::span<const SequenceRows> sequences_of(std::span<const BatchRow> rows, std::span<SequenceRows> out);

struct StateRows {  // what the ops on one layer of a batch share; views
  const StateLayout& layout;
  Index layer = 0;
  std::span<const SequenceRows> sequences{};
  std::span<std::byte* const> states{};  // per sequence of the batch its page, writable
};

// x [T, C] is what channels [first_channel, first_channel + C) of the layer's convolution read, in place; `conv` is of
// these channels.
void causal_conv1d(const Context& context, const StateRows& rows, const Convolution& conv, Index first_channel,
                   MatrixView<float> x);

// The scan of a layer with what surrounds it in the same channels, in one pass over them: time steps before it, the
// gate behind. Views.
struct GatedScan {
  MatrixView<float> dt;            // in: what a projection made; out: softplus(dt + bias) within [lowest, highest]
  std::span<const float> dt_bias;  // as wide as dt
  float lowest, highest;
  MatrixView<const float> b, c;  // kernels/state_space.h
  const float* a;
  const float* d;
  MatrixView<const float> gate{nullptr, 0,
                               0};  // z, of the shape of x: x = silu(z) * x at the end; none: a norm comes before
};

// x [T, C] in place; dt is [T, C], b and c [T, N], a [C, N], d [C].
void mamba_scan(const Context& context, const StateRows& rows, const GatedScan& scan, MatrixView<float> x);

// x [T, H * P] in place; dt is [T, H], b and c [T, groups * N], a and d [H].
void mamba2_scan(const Context& context, const StateRows& rows, Index groups, const GatedScan& scan,
                 MatrixView<float> x);

// RMSNorm of each of `groups` equal parts of a row on its own, in place.
void grouped_rms_norm(const Context& context, std::span<const float> weight, Index groups, float eps,
                      MatrixView<float> x);

}  // namespace jericho
