// The tokenizer of a GGUF as the files of a Hugging Face directory: tokenizer.json for byte-level and WordPiece models,
// tokenizer.model for those of SentencePiece, and the settings. Details: docs/formats.md.
#pragma once

#include <string>
#include <vector>

namespace jericho {

class Metadata;
class ModelFile;

struct SideFile {
  std::string name{};
  std::string bytes{};
};

// tokenizer.json or tokenizer.model, tokenizer_config.json with the chat templates, special_tokens_map.json and
// generation_config.json with every token that ends generation. A tokenizer.huggingface.json within the GGUF becomes
// the tokenizer.json as it is. Padding at the end of the vocabulary is left out: directories have none.
// Error(kInput) when the file has no tokenizer or a token is not UTF-8; Error(kUnsupported) for a model kind or a way
// to cut text for which there is no file.
std::vector<SideFile> hugging_face_tokenizer(const ModelFile& gguf);
// The same of keys that are no file's.
std::vector<SideFile> hugging_face_tokenizer(const Metadata& metadata);

}  // namespace jericho
