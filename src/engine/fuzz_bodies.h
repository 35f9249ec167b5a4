// What the fuzzers here do with any bytes, so that an ordinary test can replay their seeds. An Error is the right
// answer to most inputs; anything else that leaves is a bug. For tests only.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/json_file.h"
#include "formats/model_file.h"
#include "models/families.h"
#include "models/rope.h"
#include "models/weights.h"
#include "text/load_tokenizer.h"

namespace jericho::fuzz {

inline constexpr Index kMostLayers = 64;  // the list of weights grows with the layers a header claims

template <class Body>
bool succeeds(Body body) {
  try {
    body();
    return true;
  } catch (const Error&) {
    return false;
  }
}

// A GGUF as `jericho run` reads it before it allocates anything: header, configuration, weight list and tokenizer. True
// when all of it is sound.
inline bool gguf_model(std::span<const std::byte> bytes) {
  return succeeds([&] {
    GgufHeader header = parse_gguf_header(bytes, static_cast<std::int64_t>(bytes.size()));
    ModelFile file({.format = ModelFormat::kGguf,
                    .path = "fuzz.gguf",
                    .files = {"fuzz.gguf"},
                    .tensors = std::move(header.tensors),
                    .metadata = std::move(header.metadata)},
                   nullptr);
    bool sound = succeeds([&] {
      const ModelConfig config = read_config(file);
      if (config.num_hidden_layers <= kMostLayers) static_cast<void>(WeightLayout::of_file(config, file));
    });
    static_cast<void>(load_tokenizer(file)->encode("Hello, w\xC3\xB6rld  1234\n"));
    if (!sound) throw Error(ErrorKind::kInput, "no weights");
  });
}

// A config.json up to the list of weights it implies.
inline bool config(std::span<const std::byte> bytes) {
  return succeeds([&] {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const ModelConfig config = config_from_json(parse_json(text, "config.json"));
    static_cast<void>(RopeTable(config.rope));
    if (config.num_hidden_layers <= kMostLayers) static_cast<void>(WeightLayout::of_shape(config, DType::kQ4_0));
  });
}

}  // namespace jericho::fuzz
