// The chain of cuts. Start at PreTokenizer::run().
#include "text/pre_tokenizer.h"

namespace jericho {
namespace {

class ScannerSplitter : public Splitter {
 public:
  explicit ScannerSplitter(Scanner scanner) : scanner_(scanner) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = scanner_(text, at);
      emit(text.substr(at, end - at));
      at = end;
    }
  }

 private:
  Scanner scanner_;
};

}  // namespace

std::unique_ptr<Splitter> make_scanner_splitter(Scanner scanner) { return std::make_unique<ScannerSplitter>(scanner); }

void PreTokenizer::add(Scanner scanner) { add(make_scanner_splitter(scanner)); }

void PreTokenizer::run(std::size_t stage, std::string_view text, const EmitPiece& emit) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return emit(text);
  if (stage + 1 == stages_.size()) return stages_[stage]->split(text, emit);
  stages_[stage]->split(text, [&](std::string_view piece) { run(stage + 1, piece, emit); });
}

}  // namespace jericho
