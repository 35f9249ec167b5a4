// Sequences x channels over the pool: see state_space.h.
#include "ops/state_space.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace jericho {
namespace {

constexpr Index kChannelsPerPart = 64;
constexpr Index kRowsAtOnce = 32;  // of a part: its x, dt and gate, 24 KiB, stay in the first cache from step to gate

// body(rows of one sequence, its page, first of its part's channels, their number), parts being `width` channels of
// `channels` at most.
template <class Body>
void for_parts(const Context& context, const StateRows& rows, Index channels, Index width, Body body) {
  const Index parts = ceil_div(channels, width);
  const auto part = [&](Index p, int) {
    const SequenceRows& run = rows.sequences[static_cast<std::size_t>(p / parts)];
    const Index first = p % parts * width;
    body(run, rows.states[static_cast<std::size_t>(run.sequence)], first, std::min(width, channels - first));
  };
  context.pool.run(static_cast<Index>(rows.sequences.size()) * parts, std::ref(part));
}

float* recurrence(const StateRows& rows, std::byte* page) {
  return reinterpret_cast<float*>(page + rows.layout.scan_offset(rows.layer).count);
}

struct Channels {  // what a part of the channels has in a GatedScan
  Index first, count;
  Index first_dt, dts;   // columns of dt
  Index first_state, N;  // columns of b and c
  const float* a;
  const float* d;
};

using Scan = void (*)(const SelectiveScan& scan, float* state, MatrixView<float> x);

// Time steps, scan and gate of a part of the channels of one sequence, a few rows at a time.
void scan_part(const Kernels& kernels, Scan scan, const GatedScan& of, const Channels& part, const SequenceRows& run,
               float* state, MatrixView<float> x) {
  for (Index t = 0; t < run.count; t += kRowsAtOnce) {
    const Index from = run.first + t, rows = std::min(kRowsAtOnce, run.count - t);
    const MatrixView<float> dt = of.dt.rows(from, rows).cols(part.first_dt, part.dts);
    const MatrixView<float> own = x.rows(from, rows).cols(part.first, part.count);
    kernels.time_steps(of.dt_bias.data() + part.first_dt, of.lowest, of.highest, dt);
    scan({dt, of.b.rows(from, rows).cols(part.first_state, part.N),
          of.c.rows(from, rows).cols(part.first_state, part.N), part.a, part.d},
         state, own);
    if (of.gate.data() == nullptr) continue;
    kernels.glu(Activation::kSilu, of.gate.rows(from, rows).cols(part.first, part.count), own, own);
  }
}

}  // namespace

std::span<const SequenceRows> sequences_of(std::span<const BatchRow> rows, std::span<SequenceRows> out) {
  std::size_t runs = 0;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    const bool continues = t > 0 && rows[t].sequence == rows[t - 1].sequence;
    if (!continues) {
      out[runs++] = {rows[t].sequence, static_cast<Index>(t), 1};
      continue;
    }
    JERICHO_CHECK(rows[t].position == rows[t - 1].position + 1, "position {} after {}", rows[t].position,
                  rows[t - 1].position);
    ++out[runs - 1].count;
  }
  return out.first(runs);
}

void causal_conv1d(const Context& context, const StateRows& rows, const Convolution& conv, Index first_channel,
                   MatrixView<float> x) {
  const StateLayout& layout = rows.layout;
  JERICHO_CHECK(conv.kernel == layout.history + 1 && conv.kernel <= kMaxConvKernel &&
                    first_channel + x.extent(1) <= layout.channels,
                "kernel {} and channels to {}, the layout has {} and {}", conv.kernel, first_channel + x.extent(1),
                layout.history + 1, layout.channels);
  for_parts(context, rows, x.extent(1), kChannelsPerPart,
            [&](const SequenceRows& run, std::byte* page, Index first, Index count) {
              const Convolution part = {conv.weight + first * conv.kernel,
                                        conv.bias == nullptr ? nullptr : conv.bias + first, conv.kernel};
              std::byte* history = page + layout.conv_offset(rows.layer).count +
                                   storage_bytes(layout.conv_type(), first_channel + first).count;
              context.kernels.causal_conv1d(part, {layout.conv_type(), history, layout.channels},
                                            x.rows(run.first, run.count).cols(first, count));
            });
}

void mamba_scan(const Context& context, const StateRows& rows, const GatedScan& scan, MatrixView<float> x) {
  const Index N = scan.b.extent(1);
  JERICHO_CHECK(x.extent(1) * N == rows.layout.values, "{} channels of {}, the layout has {} values", x.extent(1), N,
                rows.layout.values);
  for_parts(context, rows, x.extent(1), kChannelsPerPart,
            [&](const SequenceRows& run, std::byte* page, Index first, Index count) {
              const Channels part = {first, count, first, count, 0, N, scan.a + first * N, scan.d + first};
              scan_part(context.kernels, context.kernels.mamba_scan, scan, part, run,
                        recurrence(rows, page) + first * N, x);
            });
}

void mamba2_scan(const Context& context, const StateRows& rows, Index groups, const GatedScan& scan,
                 MatrixView<float> x) {
  const Index heads = scan.dt.extent(1), P = x.extent(1) / heads, N = scan.b.extent(1) / groups;
  JERICHO_CHECK(heads * P * N == rows.layout.values, "{} heads of {} by {}, the layout has {} values", heads, P, N,
                rows.layout.values);
  for_parts(context, rows, x.extent(1), P, [&](const SequenceRows& run, std::byte* page, Index first, Index count) {
    const Index head = first / P, group = head / (heads / groups);
    const Channels part = {first, count, head, 1, group * N, N, scan.a + head, scan.d + head};
    scan_part(context.kernels, context.kernels.mamba2_scan, scan, part, run, recurrence(rows, page) + first * N, x);
  });
}

void grouped_rms_norm(const Context& context, std::span<const float> weight, Index groups, float eps,
                      MatrixView<float> x) {
  const Index width = x.extent(1) / groups;
  const auto row = [&](Index t, int) {
    for (Index g = 0; g < groups; ++g) {
      const MatrixView<float> part = x.rows(t, 1).cols(g * width, width);
      const auto own = weight.subspan(static_cast<std::size_t>(g * width), static_cast<std::size_t>(width));
      context.kernels.rms_norm(part, own, eps, part);
    }
  };
  context.pool.run(x.extent(0), std::ref(row));
}

}  // namespace jericho
