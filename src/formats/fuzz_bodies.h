// What the fuzzers do with one input, shared with the test that replays their corpus: parse it and check what came out.
// An Error is a right answer; a crash, a broken promise or unbounded memory is a bug.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "formats/gguf.h"
#include "formats/json_file.h"
#include "formats/quantized/methods.h"
#include "formats/safetensors.h"

namespace jericho::fuzz {

inline void check_tensors(std::span<const TensorInfo> tensors, std::int64_t data_start, std::int64_t file_size) {
  std::int64_t free_from = data_start;
  for (const TensorInfo& tensor : tensors) {
    JERICHO_CHECK(tensor.size == storage_bytes(tensor.dtype, tensor.elements()), "size {}", tensor.size.count);
    JERICHO_CHECK(tensor.size.count >= 0 && tensor.offset >= data_start, "offset {}", tensor.offset);
    JERICHO_CHECK(tensor.offset <= file_size - tensor.size.count, "offset {} in {}", tensor.offset, file_size);
    if (tensor.size.count == 0) continue;
    JERICHO_CHECK(tensor.offset >= free_from, "offset {} before {}", tensor.offset, free_from);
    free_from = tensor.offset + tensor.size.count;
  }
}

inline void look_up(const Metadata& metadata) {
  const auto ask = [](auto question) {
    try {
      static_cast<void>(question());
    } catch (const Error&) {  // another type
    }
  };
  for (const auto& [key, value] : metadata.entries()) {
    ask([&, &k = key] { return metadata.integer(k); });
    ask([&, &k = key] { return metadata.number(k); });
    ask([&, &k = key] { return metadata.integers(k); });
    ask([&, &k = key] { return metadata.numbers(k); });
    ask([&, &k = key] { return metadata.require_texts(k).size(); });
    ask([&, &k = key] { return metadata.require_text(k).size(); });
  }
}

// True when the bytes are a valid header.
inline bool gguf(std::span<const std::byte> bytes, std::int64_t file_size) {
  try {
    const GgufHeader header = parse_gguf_header(bytes, file_size);
    check_tensors(header.tensors, header.data_start, file_size);
    look_up(header.metadata);
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline bool safetensors(std::span<const std::byte> bytes, std::int64_t file_size) {
  try {
    const SafetensorsHeader header = parse_safetensors_header(bytes, file_size);
    check_tensors(header.tensors, header.data_start, file_size);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// A safetensors file with the text of a config.json as "config" in its metadata: presents its weights and decodes the
// first and the last row of each.
inline bool quantized(std::span<const std::byte> file) {
  try {
    SafetensorsHeader header = parse_safetensors_header(file, static_cast<std::int64_t>(file.size()));
    const auto bytes_of = [&](const TensorInfo& tensor) {
      return file.subspan(static_cast<std::size_t>(tensor.offset), tensor.size.size());
    };
    const nlohmann::json config = parse_json(header.metadata["config"], "config.json");
    const std::vector<TensorInfo> weights =
        present_quantized(config, std::move(header.tensors), [&](const TensorInfo& tensor) {
          const auto bytes = bytes_of(tensor);
          return std::vector<std::byte>(bytes.begin(), bytes.end());
        });
    for (const TensorInfo& weight : weights) {
      if (weight.repacking == nullptr) continue;
      PartBytes parts;
      Bytes stored{};
      for (const TensorInfo& part : weight.repacking->parts()) {
        parts.push_back(bytes_of(part));
        stored += part.size;
      }
      JERICHO_CHECK(weight.size == stored && weight.shape.size() == 2, "size {}", weight.size.count);
      const auto decoder = weight.repacking->decoder(parts);
      std::vector<bool> seen(weight.repacking->ordered() ? static_cast<std::size_t>(weight.shape[1]) : 0);
      JERICHO_CHECK(decoder->input_order().size() == seen.size(), "an order of {}", decoder->input_order().size());
      for (const std::int32_t input : decoder->input_order()) {
        JERICHO_CHECK(input >= 0 && input < weight.shape[1] && !seen[static_cast<std::size_t>(input)], "{}", input);
        seen[static_cast<std::size_t>(input)] = true;
      }
      std::vector<std::byte> row(tensor_bytes(weight.dtype, std::array{Index{1}, weight.shape[1]}).size());
      decoder->decode(0, 1, row.data());
      decoder->decode(weight.shape[0] - 1, 1, row.data());
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline bool config_json(std::string_view text) {
  bool valid = false;
  try {
    const nlohmann::json config = parse_json(text, "config.json");
    JERICHO_CHECK(!config.dump(-1, ' ', true).empty(), "{} bytes", text.size());
    valid = true;
  } catch (const Error&) {
  }
  try {
    for (const auto& [tensor, file] : parse_safetensors_index(text)) {
      JERICHO_CHECK(file.find('/') == file.npos && file != "..", "{}", file);
    }
  } catch (const Error&) {
  }
  return valid;
}

}  // namespace jericho::fuzz
