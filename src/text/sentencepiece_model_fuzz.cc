// libFuzzer entry. Seeds: corpus/sentencepiece_model_fuzz, which hostile_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::sentencepiece_model(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
