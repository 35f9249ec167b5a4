// libFuzzer entry for safetensors headers. Seeds: corpus/safetensors_fuzz, which hostile_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  jericho::fuzz::safetensors(bytes, static_cast<std::int64_t>(size));
  jericho::fuzz::safetensors(bytes, std::int64_t{1} << 40);  // the data of a large file need not be at hand
  return 0;
}
