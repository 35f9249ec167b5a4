// A weight that a checkpoint keeps as several tensors (codes, scales, zero points), presented as one: the reader lists
// a TensorInfo with the type its rows become in memory and, as its `repacking`, the stored parts and how rows are made
// of them. Parts are read whole: some methods store the matrix transposed. Start at Repacking; quantized/methods.h has
// the methods.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/tensor_info.h"

namespace jericho {

// The stored bytes of the parts of a weight, in the order of Repacking::parts.
using PartBytes = std::vector<std::span<const std::byte>>;

// Makes rows of one weight from the bytes of its parts, which must outlive it. Thread-safe.
class RowDecoder {
 public:
  RowDecoder() = default;
  virtual ~RowDecoder() = default;
  RowDecoder(const RowDecoder&) = delete;
  RowDecoder& operator=(const RowDecoder&) = delete;
  // Writes rows [first, first + count) one after the other, as blocks of the presented type (block_formats.h).
  // Column c of a row is of input input_order()[c], where that is not empty.
  virtual void decode(Index first, Index count, std::byte* rows) const = 0;
  // Of a Repacking that is ordered(), every input once; else empty.
  [[nodiscard]] virtual std::span<const std::int32_t> input_order() const { return {}; }
};

// Thread-safe.
class Repacking {
 public:
  Repacking(std::string method, std::vector<TensorInfo> parts) : method_(std::move(method)), parts_(std::move(parts)) {}
  virtual ~Repacking() = default;
  Repacking(const Repacking&) = delete;
  Repacking& operator=(const Repacking&) = delete;

  [[nodiscard]] const std::string& method() const { return method_; }  // for people: "GPTQ 4 bit, groups of 128"
  [[nodiscard]] const std::vector<TensorInfo>& parts() const { return parts_; }
  // Are the columns of its rows in an order of their own, which the decoder tells?
  [[nodiscard]] virtual bool ordered() const { return false; }

  // Room for all parts, each on a cache line of its own, and where each of them lies within.
  [[nodiscard]] Bytes staging_bytes() const;
  [[nodiscard]] Bytes part_offset(std::size_t part) const;
  [[nodiscard]] PartBytes parts_in(std::span<const std::byte> staging) const;

  // Error(kInput) when the bytes contradict each other or the configuration.
  [[nodiscard]] virtual std::unique_ptr<RowDecoder> decoder(PartBytes parts) const = 0;

 private:
  std::string method_;
  std::vector<TensorInfo> parts_;
};

}  // namespace jericho
