// libFuzzer entry. Seeds: corpus/chat_template_fuzz, which chat_template_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  jericho::fuzz::chat_template(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
