// libFuzzer entry for the files of a store of prefixes: fuzz_bodies.h. Seeds: corpus/prefix_store_fuzz, which
// fuzz_replay_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/prefix_store_fuzz_body.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::prefix_store(std::as_bytes(std::span(data, size)));
  return 0;
}
