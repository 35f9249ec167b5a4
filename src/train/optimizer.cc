// How the state of a tensor is laid out: see optimizer.h.
#include "train/optimizer.h"

#include "base/check.h"

namespace jericho {

Index StatePart::size() const {
  Index count = 1;
  for (const Index extent : shape) count *= extent;
  return count;
}

std::vector<Bytes> part_offsets(const std::vector<StatePart>& parts) {
  std::vector<Bytes> offsets = {0_B};
  for (const StatePart& part : parts) offsets.push_back(offsets.back() + round_up(part.bytes(), kScratchAlign));
  return offsets;
}

Bytes Optimizer::state_bytes() const { return part_offsets(state_parts()).back(); }

Bytes Optimizer::scratch_bytes(int) const { return 0_B; }

Bytes Optimizer::heap_bytes() const { return 0_B; }

void Optimizer::start(std::span<std::byte>) const {}

Move Optimizer::direction(const Context&, const UpdateStep&, MatrixView<float>, std::span<std::byte>, Scratch&) const {
  JERICHO_CHECK(false, "the rule of '{}' has no direction", shape_.name);
  return {};
}

std::span<std::byte> Optimizer::part_bytes(std::span<std::byte> state, std::size_t index) const {
  const std::vector<StatePart> parts = state_parts();
  JERICHO_CHECK(index < parts.size(), "part {} of {}", index, parts.size());
  return state.subspan(part_offsets(parts)[index].size(), parts[index].bytes().size());
}

}  // namespace jericho
