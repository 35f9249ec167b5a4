// Two adapters around what a Splitter emits.
#include "text/piece_stages.h"

#include <utility>

#include "text/byte_level_bpe.h"
#include "text/unicode.h"

namespace jericho {
namespace {

class RewritingStage : public Splitter {
 public:
  explicit RewritingStage(Rewrite rewrite) : rewrite_(std::move(rewrite)) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    const std::string changed = rewrite_(text);
    if (!changed.empty()) emit(changed);
  }

 private:
  Rewrite rewrite_;
};

class ByteAlphabetStage : public Splitter {
 public:
  explicit ByteAlphabetStage(std::unique_ptr<Splitter> inner) : inner_(std::move(inner)) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    const std::string spelled = to_byte_alphabet(text);
    std::size_t at = 0;    // in `spelled`
    std::size_t byte = 0;  // the byte of `text` that is spelled there
    const auto advance = [&](std::size_t end) {
      for (; at < end; ++byte) at += decode_utf8(spelled, at).size;
    };
    inner_->split(spelled, [&](std::string_view piece) {
      advance(static_cast<std::size_t>(piece.data() - spelled.data()));
      const std::size_t begin = byte;
      advance(at + piece.size());
      emit(text.substr(begin, byte - begin));
    });
  }

 private:
  std::unique_ptr<Splitter> inner_;
};

}  // namespace

std::unique_ptr<Splitter> make_rewriting_stage(Rewrite rewrite) {
  return std::make_unique<RewritingStage>(std::move(rewrite));
}

std::unique_ptr<Splitter> make_byte_alphabet_stage(std::unique_ptr<Splitter> inner) {
  return std::make_unique<ByteAlphabetStage>(std::move(inner));
}

}  // namespace jericho
