// The order of an epoch without a list: a keyed permutation of [0, n) by a Feistel network with cycle walking, a
// function of (seed, epoch, index) alone, so that any step computes its samples directly.
#pragma once

#include <bit>
#include <cstdint>

namespace jericho {

constexpr std::uint64_t mix64(std::uint64_t z) {  // SplitMix64's finalizer
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

class Shuffle {
 public:
  constexpr Shuffle(std::uint64_t count, std::uint64_t seed, std::uint64_t epoch)
      : count_(count), key_(mix64(seed + 0x9E3779B97F4A7C15u * (epoch + 1))) {
    const int length = count > 1 ? 64 - std::countl_zero(count - 1) : 0;
    const int bits = length < 2 ? 2 : length + length % 2;
    half_ = static_cast<unsigned>(bits / 2);
  }

  // The sample at place `index` < count.
  [[nodiscard]] constexpr std::uint64_t operator()(std::uint64_t index) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t x = index;
    do {
      std::uint64_t left = x >> half_, right = x & mask;
      for (std::uint64_t round = 1; round <= 6; ++round) {
        const std::uint64_t next = left ^ (mix64(key_ + (round << 32) + right) & mask);
        left = right;
        right = next;
      }
      x = left << half_ | right;
    } while (x >= count_);
    return x;
  }

 private:
  std::uint64_t count_;
  std::uint64_t key_;
  unsigned half_ = 1;
};

}  // namespace jericho
