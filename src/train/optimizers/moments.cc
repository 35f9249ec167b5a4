// Shapes of the state: see moments.h.
#include "train/optimizers/moments.h"

#include <cmath>
#include <cstring>

#include "base/math.h"

namespace jericho {

Moments::Moments(std::vector<Index> extents, StateBits bits) : extents_(std::move(extents)), size_(1), bits_(bits) {
  for (const Index extent : extents_) size_ *= extent;
  if (size_ < kSmallestQuantized) bits_ = StateBits::k32;
}

std::vector<StatePart> Moments::parts() const {
  if (bits_ == StateBits::k32) return {{"exp_avg", DType::kF32, extents_}, {"exp_avg_sq", DType::kF32, extents_}};
  const std::vector<Index> blocks = {ceil_div(size_, kStateBlock)};
  return {{"exp_avg.q8", DType::kU8, extents_},
          {"exp_avg.absmax", DType::kF32, blocks},
          {"exp_avg_sq.q8", DType::kU8, extents_},
          {"exp_avg_sq.absmax", DType::kF32, blocks}};
}

void Moments::start(std::span<std::byte> state) const {
  if (bits_ == StateBits::k32) return;
  const std::vector<Bytes> at = part_offsets(parts());
  // The codes of zero: 127 with a sign, 0 without.
  std::memset(state.data() + at[0].size(), 127, static_cast<std::size_t>(size_));
}

double Betas::correction(std::int64_t t) const {
  const auto steps = static_cast<double>(t);
  return std::sqrt(1 - pow_double(static_cast<double>(beta2), steps)) /
         (1 - pow_double(static_cast<double>(beta1), steps));
}

}  // namespace jericho
