// What is done to a fragment of text before it is cut and encoded: replacements, a space put before it, and whatever
// rewriting (rewrites.h, unicode.h, charsmap.h) the model's files ask for.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace jericho {

enum class FragmentPlace {
  kStart,   // the fragment is the beginning of the text
  kInside,  // it follows a special token
};

using Rewrite = std::function<std::string(std::string_view text)>;

struct NormalizerStep {
  enum class Kind {
    kRewrite,  // the whole fragment by `rewrite`
    kReplace,  // every `from` by `to`
    kPrepend,  // `to` before a fragment that is not empty
  };
  enum class Prepend { kAlways, kUnlessThere, kAtStartUnlessThere, kAtStart };
  Kind kind = Kind::kRewrite;
  std::string from{};
  std::string to{};
  Prepend prepend = Prepend::kAlways;
  Rewrite rewrite{};
  Bytes held{};  // heap that `rewrite` owns
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  // The result lives in `buffer`, or is `text` itself when no step changes anything.
  std::string_view apply(std::string_view text, FragmentPlace place, std::string& buffer) const;
  void add(NormalizerStep step) { steps_.push_back(std::move(step)); }
  void add(Rewrite rewrite, Bytes held = {}) { steps_.push_back({.rewrite = std::move(rewrite), .held = held}); }
  [[nodiscard]] Bytes memory_bytes() const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace jericho
