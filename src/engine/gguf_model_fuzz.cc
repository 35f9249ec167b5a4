// Any bytes as a GGUF model: header, configuration, weight list and tokenizer, as `jericho run` reads them before it
// allocates anything. An Error is the right answer to most; anything else is a bug.
#include <cstddef>
#include <cstdint>
#include <span>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/model_file.h"
#include "models/families.h"
#include "models/weights.h"
#include "text/load_tokenizer.h"

namespace {

template <class Body>
void ignoring_errors(Body body) {
  try {
    body();
  } catch (const jericho::Error&) {
    return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace jericho;
  ignoring_errors([&] {
    GgufHeader header = parse_gguf_header(std::as_bytes(std::span(data, size)), static_cast<std::int64_t>(size));
    ModelFile file({.format = ModelFormat::kGguf,
                    .path = "fuzz.gguf",
                    .files = {"fuzz.gguf"},
                    .tensors = std::move(header.tensors),
                    .metadata = std::move(header.metadata)},
                   nullptr);
    ignoring_errors([&] {
      const ModelConfig config = read_config(file);
      if (config.num_hidden_layers <= 64) static_cast<void>(WeightLayout::of_file(config, file));
    });
    static_cast<void>(load_tokenizer(file)->encode("Hello, wörld  1234\n"));
  });
  return 0;
}
