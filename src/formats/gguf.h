// Reads the header of a GGUF file, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md and include/gguf.h):
//   "GGUF" | u32 version | i64 tensors | i64 key-values
//   key-values: text key | i32 type | value          text: u64 length, bytes
//   tensors:    text name | u32 dims | i64 ne[dims] | i32 type | u64 offset from the start of the data
//   zeros up to a multiple of general.alignment (32 when absent), then the data
// All numbers are little-endian. The file is not trusted: every count is held against the bytes that are left before
// anything is allocated for it, so memory stays within a small multiple of the header's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "formats/input_file.h"
#include "formats/metadata.h"
#include "formats/tensor_info.h"

namespace jericho {

// More than any real header, which is a few MiB of tokens; keeps a lying file from filling the memory.
inline constexpr Bytes kMaxGgufHeader = 256_MiB;

struct GgufHeader {
  std::uint32_t version = 0;
  Metadata metadata{};
  std::vector<TensorInfo> tensors{};  // in file order; offsets from the start of the file
  std::int64_t alignment = 32;
  std::int64_t data_start = 0;
};

// `start` holds the first bytes of a file of `file_size` bytes, the whole header at least. Throws Error for anything
// that is not a GGUF in perfect order; kUnsupported for one that is, but holds what Jericho cannot read.
GgufHeader parse_gguf_header(std::span<const std::byte> start, std::int64_t file_size);

// The same, reading in pieces.
GgufHeader parse_gguf_header(const ReadAt& read_at, std::int64_t file_size);

// Bytes of a file that are a file of their own.
struct FilePart {
  std::filesystem::path path{};
  std::int64_t start = 0;
  Bytes size{};
};

// The headers of all parts of a model: a file called NAME-00002-of-00003.gguf stands for all three.
struct GgufModel {
  std::vector<std::filesystem::path> files{};
  std::vector<TensorInfo> tensors{};
  Metadata metadata{};  // of the first part, the only complete one
};
GgufModel open_gguf(const std::filesystem::path& path);
GgufModel open_gguf(const FilePart& whole);  // of one part; the tensors' offsets are those in whole.path

}  // namespace jericho
