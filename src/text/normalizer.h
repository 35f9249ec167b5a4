// What is done to a fragment of text before it is cut and encoded: Unicode normalization, replacements, a space put
// before it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace jericho {

enum class FragmentPlace {
  kStart,   // the fragment is the beginning of the text
  kInside,  // it follows a special token
};

struct NormalizerStep {
  enum class Kind {
    kNfc,
    kReplace,         // every `from` by `to`
    kPrepend,         // `to` before a fragment that is not empty
    kCollapseSpaces,  // SentencePiece's remove_extra_whitespaces: runs become one space, none at either end
  };
  enum class Prepend { kAlways, kUnlessThere, kAtStartUnlessThere, kAtStart };
  Kind kind = Kind::kNfc;
  std::string from{};
  std::string to{};
  Prepend prepend = Prepend::kAlways;
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  // The result lives in `buffer`, or is `text` itself when no step changes anything.
  std::string_view apply(std::string_view text, FragmentPlace place, std::string& buffer) const;
  void add(NormalizerStep step) { steps_.push_back(std::move(step)); }
  [[nodiscard]] const std::vector<NormalizerStep>& steps() const { return steps_; }

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace jericho
