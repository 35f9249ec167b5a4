// Reads the header of a safetensors file (github.com/huggingface/safetensors, README "Format"):
//   u64 N, little-endian | N bytes of JSON {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]},
//   ...} | data
// Offsets count from the end of the JSON; "__metadata__" holds texts. A model of several files has an index,
// model.safetensors.index.json: {"weight_map": {"name": "file"}}.
// The JSON is read event by event, never as a tree: memory stays within a small multiple of what it says about tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "formats/input_file.h"
#include "formats/tensor_info.h"

namespace jericho {

inline constexpr Bytes kMaxSafetensorsHeader{100'000'000};  // the limit of the format's own reader
inline constexpr Bytes kMaxSafetensorsIndex = 64_MiB;

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata{};
  std::vector<TensorInfo> tensors{};  // in file order; offsets from the start of the file
  std::int64_t data_start = 0;
};

// `start` holds the first bytes of a file of `file_size` bytes, the whole header at least. Error(kUnsupported) for an
// element type Jericho does not have, such as F8_E5M2; Error(kInput) for anything out of order.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, std::int64_t file_size);
SafetensorsHeader read_safetensors_header(const InputFile& file);

// name -> file, from the text of an index. A file is a bare name: an Error for one that leads out of the directory.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text);

// True for names that stay within their directory: no separators, not empty, "." or "..".
bool is_bare_file_name(std::string_view name);

// The tensors of a directory with model.safetensors or an index and its shards.
struct SafetensorsModel {
  std::vector<std::filesystem::path> files{};
  std::vector<TensorInfo> tensors{};
};
SafetensorsModel open_safetensors(const std::filesystem::path& directory);

}  // namespace jericho
