// libFuzzer entry for gguf headers. Seeds: corpus/gguf_fuzz, which hostile_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  jericho::fuzz::gguf(bytes, static_cast<std::int64_t>(size));
  jericho::fuzz::gguf(bytes, std::int64_t{1} << 40);  // the data of a large file need not be at hand
  return 0;
}
