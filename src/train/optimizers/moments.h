// The two running means of Adam over the elements of an array, in fp32 or in eight bits (dynamic_map.h), and the two
// ways of stepping with them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "memory/arena.h"
#include "ops/context.h"
#include "train/optimizer.h"
#include "train/optimizers/dynamic_map.h"
#include "train/optimizers/elements.h"

namespace jericho {

enum class StateBits { k32, k8 };

class Moments {
 public:
  static constexpr Index kSmallestQuantized = 4096;  // elements: less stays in fp32

  Moments(std::vector<Index> extents, StateBits bits);

  // Of m, then of v; in eight bits each is followed by the scales of its blocks.
  [[nodiscard]] std::vector<StatePart> parts() const;

  // body(begin, m, v) for pieces of the array, in parallel: it changes m and v in place. What it computes from them it
  // takes from there, not from what eight bits make of them.
  template <class Body>
  void update(const Context& context, std::span<std::byte> state, const Body& body) const {
    const std::vector<Bytes> at = part_offsets(parts());
    const auto of = [&](std::size_t part) { return state.data() + at[part].size(); };
    if (bits_ == StateBits::k32) {
      auto* const m = reinterpret_cast<float*>(of(0));
      auto* const v = reinterpret_cast<float*>(of(1));
      parallel_for(context.pool, size_, kUpdateGrain, [&](Index begin, Index end, int) {
        const auto count = static_cast<std::size_t>(end - begin);
        body(begin, std::span(m + begin, count), std::span(v + begin, count));
      });
      return;
    }
    auto* const m = reinterpret_cast<std::uint8_t*>(of(0));
    auto* const m_scales = reinterpret_cast<float*>(of(1));
    auto* const v = reinterpret_cast<std::uint8_t*>(of(2));
    auto* const v_scales = reinterpret_cast<float*>(of(3));
    parallel_for(context.pool, size_, kUpdateGrain, [&](Index begin, Index end, int) {
      for (; begin < end; begin += kStateBlock) {
        const auto count = static_cast<std::size_t>(std::min(kStateBlock, end - begin));
        const auto block = static_cast<std::size_t>(begin / kStateBlock);
        std::array<float, kStateBlock> m_values, v_values;
        const std::span<float> m_now(m_values.data(), count), v_now(v_values.data(), count);
        dequantize_block(DynamicMap::kSigned, m + begin, m_scales[block], m_now);
        dequantize_block(DynamicMap::kUnsigned, v + begin, v_scales[block], v_now);
        body(begin, m_now, v_now);
        m_scales[block] = quantize_block(DynamicMap::kSigned, m_now, false, m + begin);
        v_scales[block] = quantize_block(DynamicMap::kUnsigned, v_now, true, v + begin);
      }
    });
  }

  // `state` as before the first step.
  void start(std::span<std::byte> state) const;

 private:
  std::vector<Index> extents_;
  Index size_;
  StateBits bits_;
};

// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, each operation rounded.
struct Betas {
  float beta1 = 0.9f, beta2 = 0.999f;

  void move(float g, float& m, float& v) const {
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + ((1 - beta2) * g) * g;
  }
  // sqrt(1 - beta2^t) / (1 - beta1^t)
  [[nodiscard]] double correction(std::int64_t t) const;
};

}  // namespace jericho
