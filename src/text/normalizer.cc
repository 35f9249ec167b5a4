// The steps of a normalizer, each over the whole fragment. Start at Normalizer::apply().
#include "text/normalizer.h"

#include "text/unicode.h"

namespace jericho {
namespace {

bool prepends(const NormalizerStep& step, std::string_view text, FragmentPlace place) {
  if (text.empty()) return false;
  switch (step.prepend) {
    case NormalizerStep::Prepend::kAlways: return true;
    case NormalizerStep::Prepend::kUnlessThere: return !text.starts_with(step.to);
    case NormalizerStep::Prepend::kAtStartUnlessThere:
      return place == FragmentPlace::kStart && !text.starts_with(step.to);
    case NormalizerStep::Prepend::kAtStart: return place == FragmentPlace::kStart;
  }
  return false;
}

}  // namespace

std::string_view Normalizer::apply(std::string_view text, FragmentPlace place, std::string& buffer) const {
  for (const NormalizerStep& step : steps_) {
    switch (step.kind) {
      case NormalizerStep::Kind::kRewrite: buffer = step.rewrite(text); break;
      case NormalizerStep::Kind::kReplace:
        if (text.find(step.from) == std::string_view::npos) continue;
        buffer = replace_all(text, step.from, step.to);
        break;
      case NormalizerStep::Kind::kPrepend: {
        if (!prepends(step, text, place)) continue;
        std::string longer = step.to;
        longer += text;
        buffer = std::move(longer);
        break;
      }
    }
    text = buffer;
  }
  return text;
}

Bytes Normalizer::memory_bytes() const {
  Bytes bytes{static_cast<std::int64_t>(steps_.capacity() * sizeof(NormalizerStep))};
  for (const NormalizerStep& step : steps_) bytes = bytes + step.held;
  return bytes;
}

}  // namespace jericho
