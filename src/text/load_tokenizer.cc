#include "text/load_tokenizer.h"

#include <fstream>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/metadata.h"
#include "formats/model_file.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/special_ids.h"

namespace jericho {
namespace {

constexpr Bytes kMaxFile = 256_MiB;

std::optional<std::string> read_file(const std::filesystem::path& path, Bytes limit) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (failure) return std::nullopt;
  if (size > limit.size()) {
    throw Error(ErrorKind::kInput, fmt::format("{}: {} is more than a tokenizer file may have ({})", path.string(),
                                               format_bytes({static_cast<std::int64_t>(size)}), format_bytes(limit)));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be read", path.string()));
  }
  return text;
}

std::unique_ptr<Tokenizer> finish(TokenizerParts parts) { return std::make_unique<Tokenizer>(std::move(parts)); }

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(ModelFile& model) {
  return with_context([&] { return model.path().string(); },
                      [&] { return finish(read_gguf_tokenizer(model.metadata())); });
}

std::unique_ptr<Tokenizer> load_tokenizer_file(const std::filesystem::path& file) {
  if (file.extension() == ".gguf") return load_tokenizer(*open_model(file));
  const auto bytes = read_file(file, kMaxFile);
  if (!bytes) throw Error(ErrorKind::kInput, fmt::format("{}: no such file", file.string()));
  return with_context([&] { return file.string(); },
                      [&] {
                        TokenizerParts parts = read_sentencepiece_model(*bytes, SpacePrefix::kAfterSpecialTokens);
                        set_affixes(parts, true, false);
                        if (parts.eos) parts.end_of_generation.push_back(*parts.eos);
                        add_end_names(parts);
                        return finish(std::move(parts));
                      });
}

}  // namespace jericho
