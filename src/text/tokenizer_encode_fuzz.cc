// libFuzzer entry: any bytes as text for the small tokenizers of testdata. Seeds: corpus/tokenizer_encode_fuzz, which
// hostile_test.cc replays.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/fuzz_bodies.h"
#include "text/load_tokenizer.h"
#include "text/test_files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto* const tokenizers = [] {  // loaded once; never destroyed
    auto* list = new std::vector<std::unique_ptr<jericho::Tokenizer>>;
    for (const char* name : {"byte-level", "metaspace", "sentencepiece", "unigram", "unigram-json", "vocab-merges",
                             "tiktoken", "word-piece", "word-ends"}) {
      list->push_back(jericho::load_tokenizer_directory(jericho::text_fixture(std::string("testdata/") + name)));
    }
    return list;
  }();
  jericho::fuzz::encode(*tokenizers, std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
