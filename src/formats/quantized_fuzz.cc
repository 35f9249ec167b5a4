// libFuzzer entry for quantized checkpoints. Seeds: corpus/quantized_fuzz, which hostile_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::quantized(std::as_bytes(std::span(data, size)));
  return 0;
}
