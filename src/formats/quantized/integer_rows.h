// Weights on integer grids, value = scale * (code - zero), on their way into block formats: GPTQ, AWQ and the integers
// of compressed-tensors differ only in where codes, scales and zero points are stored. Start at IntegerRows, which a
// method derives from; the type that keeps a grid to the bit is integer_block_type().
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "formats/repacking.h"
#include "tensor/block_formats.h"

namespace jericho {

struct IntegerGrid {
  int bits = 4;               // of a code, 2 to 8; codes are unsigned
  bool symmetric = true;      // every zero point is 2^(bits - 1)
  DType scale = DType::kF16;  // as stored: F16, BF16 or F32
  Index cols = 0;             // of a row
  Index group = 0;            // of these share a scale; cols: all
  bool whole_rows = false;    // multiplies activations that have one scale per token (W8A8)
};

// The type that keeps a grid. For codes of up to 4 bits QZ4_128 or QZ4B_128 where groups are multiples of 128 but not
// whole rows; else Q4_0 and Q8_0 where the grid is symmetric with scales in f16, which they hold exactly; else QZ4,
// QZ4B or QZ8. QC8 where whole rows are asked for and their length allows. Codes of 2 and 3 bits become 4, of 5 to 7
// become 8.
DType integer_block_type(const IntegerGrid& grid);

// The stored bytes of one part, read element by element: they need not be aligned.
template <class T>
class Elements {
 public:
  Elements() = default;
  explicit Elements(std::span<const std::byte> bytes) : bytes_(bytes.data()) {}
  T operator[](Index i) const {
    T value{};
    std::memcpy(&value, bytes_ + i * static_cast<Index>(sizeof(T)), sizeof(T));
    return value;
  }

 private:
  const std::byte* bytes_ = nullptr;
};

// Scales stored as F16, BF16 or F32: exact in fp32.
class ScaleElements {
 public:
  ScaleElements() = default;
  ScaleElements(DType dtype, std::span<const std::byte> bytes) : dtype_(dtype), bytes_(bytes.data()) {}
  float operator[](Index i) const {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(bytes_);
    if (dtype_ == DType::kF16) return read_half(bytes + 2 * i);
    if (dtype_ == DType::kBF16) return read_brain_half(bytes + 2 * i);
    return read_float(bytes + 4 * i);
  }

 private:
  DType dtype_{};
  const std::byte* bytes_ = nullptr;
};

class IntegerRows : public RowDecoder {
 public:
  // `input_order`: the inputs sorted by their groups (inputs_by_group()), where these are not consecutive.
  explicit IntegerRows(const IntegerGrid& grid, std::vector<std::int32_t> input_order = {});
  void decode(Index first, Index count, std::byte* rows) const final;
  [[nodiscard]] std::span<const std::int32_t> input_order() const final { return input_order_; }

 protected:
  // The codes of columns [32 * block, 32 * block + 32) of a row.
  virtual void codes(Index row, Index block, std::span<std::uint8_t, 32> out) const = 0;
  // Those of 32 inputs in any order; for methods that have one.
  virtual void codes_at(Index row, std::span<const std::int32_t, 32> inputs, std::span<std::uint8_t, 32> out) const;
  [[nodiscard]] virtual float scale(Index row, Index group) const = 0;
  [[nodiscard]] virtual int zero(Index row, Index group) const = 0;  // 0 to 2^bits - 1; 2^(bits - 1) if symmetric

 private:
  IntegerGrid grid_;
  DType dtype_;
  std::vector<std::int32_t> input_order_;
};

// 32 codes of `bits` each, one after the other from the low bits of the first word up, which take `bits` words.
// word(i) gives them.
template <class Word>
void codes_of_words(int bits, Word word, std::span<std::uint8_t, 32> out) {
  std::uint64_t waiting = 0;
  int have = 0;
  Index next = 0;
  for (std::uint8_t& code : out) {
    if (have < bits) {
      waiting |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(word(next++))) << have;
      have += 32;
    }
    code = static_cast<std::uint8_t>(waiting & ((1u << bits) - 1));
    waiting >>= bits;
    have -= bits;
  }
}

// The group of each input is `index`, the elements of `tensor`; groups have `group` inputs, the last what is left. An
// index that is 0 everywhere was never filled in and stands for consecutive groups.
// Error(kInput) for a group that does not exist, and unless groups are consecutive.
void check_group_index(const TensorInfo& tensor, const Elements<std::int32_t>& index, Index inputs, Index group);
// The inputs by ascending group, ascending within each: blocks hold consecutive groups only. Error(kInput) for a group
// that does not exist or has too many inputs.
std::vector<std::int32_t> inputs_by_group(const TensorInfo& tensor, const Elements<std::int32_t>& index, Index inputs,
                                          Index group);

// Columns per group of rows of `cols`, where the configuration says `group_size`: -1 stands for the whole row.
// Error(kUnsupported) when these are no whole groups of 32.
Index checked_group(Index group_size, Index cols);

}  // namespace jericho
