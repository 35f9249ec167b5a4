// libFuzzer entry for files of choices. Seeds: corpus/choices_file_fuzz, which choices_file_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eval/fuzz_bodies.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::choices_file(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
