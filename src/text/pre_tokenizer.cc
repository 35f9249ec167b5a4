// The chain of cuts. Start at PreTokenizer::run().
#include "text/pre_tokenizer.h"

namespace jericho {
namespace {

class ScannerSplitter : public Splitter {
 public:
  explicit ScannerSplitter(Scanner cut) : scanner_(cut) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = scanner_(text, at);
      emit(text.substr(at, end - at));
      at = end;
    }
  }
  [[nodiscard]] Scanner scanner() const override { return scanner_; }

 private:
  Scanner scanner_;
};

}  // namespace

std::unique_ptr<Splitter> make_scanner_splitter(Scanner scanner) { return std::make_unique<ScannerSplitter>(scanner); }

void PreTokenizer::add(Scanner scanner) { add(make_scanner_splitter(scanner)); }

std::optional<std::vector<Scanner>> PreTokenizer::scanners() const {
  std::vector<Scanner> chain;
  for (const auto& stage : stages_) {
    if (stage->scanner() == nullptr) return std::nullopt;
    chain.push_back(stage->scanner());
  }
  return chain;
}

void PreTokenizer::run(std::size_t stage, std::string_view text, const EmitPiece& emit) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return emit(text);
  if (stage + 1 == stages_.size()) return stages_[stage]->split(text, emit);
  stages_[stage]->split(text, [&](std::string_view piece) { run(stage + 1, piece, emit); });
}

}  // namespace jericho
