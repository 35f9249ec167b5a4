// The element types of tensors and what a reader, a planner or a printer must know about each: one row per type.
// A block type stores `elements` values in `bytes` bytes; plain types have one element a block. What the bits of a
// block mean is in block_formats.h and row_formats.h, the only other places that know a format by name.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/index.h"

namespace jericho {

//   name   GGUF type id (-1: none)   safetensors name   elements   bytes
#define JERICHO_FLOAT_DTYPES(X) \
  X(F32, 0, "F32", 1, 4)        \
  X(F16, 1, "F16", 1, 2)        \
  X(BF16, 30, "BF16", 1, 2)

#define JERICHO_BLOCK_DTYPES(X) \
  X(Q1_0, 41, "", 128, 18)      \
  X(TQ1_0, 34, "", 256, 54)     \
  X(TQ2_0, 35, "", 256, 66)     \
  X(Q2_K, 10, "", 256, 84)      \
  X(Q3_K, 11, "", 256, 110)     \
  X(Q4_0, 2, "", 32, 18)        \
  X(Q4_1, 3, "", 32, 20)        \
  X(Q4_K, 12, "", 256, 144)     \
  X(IQ4_NL, 20, "", 32, 18)     \
  X(IQ4_XS, 23, "", 256, 136)   \
  X(MXFP4, 39, "", 32, 17)      \
  X(Q5_0, 6, "", 32, 22)        \
  X(Q5_1, 7, "", 32, 24)        \
  X(Q5_K, 13, "", 256, 176)     \
  X(Q6_K, 14, "", 256, 210)     \
  X(Q8_0, 8, "", 32, 34)        \
  X(TQ2F, -1, "", 128, 36)      \
  X(QZ4, -1, "", 32, 19)        \
  X(QZ4B, -1, "", 32, 19)       \
  X(QZ8, -1, "", 32, 37)        \
  X(QZ4_128, -1, "", 128, 67)   \
  X(QZ4B_128, -1, "", 128, 67)  \
  X(QC8, -1, "", 128, 132)

// Blocks whose values are fp32 numbers and multiply as such: rows stay one after the other (row_formats.h).
#define JERICHO_ROW_DTYPES(X) \
  X(NF4, -1, "", 64, 36)      \
  X(FP8, -1, "", 64, 68)

#define JERICHO_OTHER_DTYPES(X) \
  X(F64, 28, "F64", 1, 8)       \
  X(I8, 24, "I8", 1, 1)         \
  X(I16, 25, "I16", 1, 2)       \
  X(I32, 26, "I32", 1, 4)       \
  X(I64, 27, "I64", 1, 8)       \
  X(U8, -1, "U8", 1, 1)         \
  X(Bool, -1, "BOOL", 1, 1)     \
  X(F8_E4M3, -1, "F8_E4M3", 1, 1)

#define JERICHO_DTYPES(X) JERICHO_FLOAT_DTYPES(X) JERICHO_BLOCK_DTYPES(X) JERICHO_ROW_DTYPES(X) JERICHO_OTHER_DTYPES(X)

enum class DType : std::uint8_t {
#define JERICHO_ROW(name, gguf, safetensors, elements, bytes) k##name,
  JERICHO_DTYPES(JERICHO_ROW)
#undef JERICHO_ROW
};

struct DTypeInfo {
  DType dtype{};
  std::string_view name{};
  int gguf_type = -1;              // id in a GGUF tensor table; -1: cannot stand in one
  std::string_view safetensors{};  // name in a safetensors header; empty: cannot stand in one
  Index block_elements = 1;
  Bytes block_bytes{};
};

inline constexpr auto kDTypes = std::to_array<DTypeInfo>({
#define JERICHO_ROW(name, gguf, safetensors, elements, bytes) \
  {DType::k##name, #name, gguf, safetensors, elements, {bytes}},
    JERICHO_DTYPES(JERICHO_ROW)
#undef JERICHO_ROW
});

constexpr const DTypeInfo& info(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }
constexpr std::string_view name(DType dtype) { return info(dtype).name; }
constexpr bool is_block(DType dtype) { return info(dtype).block_elements > 1; }
constexpr bool is_row_format(DType dtype) {  // a block type of JERICHO_ROW_DTYPES
#define JERICHO_OR_IS(name, gguf, safetensors, elements, bytes) || dtype == DType::k##name
  return false JERICHO_ROW_DTYPES(JERICHO_OR_IS);
#undef JERICHO_OR_IS
}

// Bytes of `elements` values stored one after the other; `elements` is a multiple of the block.
constexpr Bytes storage_bytes(DType dtype, Index elements) {
  return info(dtype).block_bytes * (elements / info(dtype).block_elements);
}

std::optional<DType> dtype_from_name(std::string_view name);  // as printed, any case: "q4_k", "BF16"
std::optional<DType> dtype_from_gguf(std::int64_t type_id);
std::optional<DType> dtype_from_safetensors(std::string_view name);

}  // namespace jericho
