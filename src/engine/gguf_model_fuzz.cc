// libFuzzer entry for models' headers: fuzz_bodies.h. Seeds: corpus/gguf_model_fuzz, which fuzz_replay_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::gguf_model(std::as_bytes(std::span(data, size)));
  return 0;
}
