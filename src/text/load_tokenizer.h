// Finds and reads the tokenizer of a model: the metadata of a GGUF, or the files of a Hugging Face directory.
#pragma once

#include <filesystem>
#include <memory>

#include "text/hf_settings.h"
#include "text/tokenizer.h"

namespace jericho {

class ModelFile;

inline constexpr Bytes kMaxTokenizerFile = 256_MiB;

// What a Hugging Face directory says: tokenizer.json, else tokenizer.model (SentencePiece or tiktoken), else vocab.json
// and merges.txt; with tokenizer_config.json, special_tokens_map.json and generation_config.json. `config` is
// config.json, or null. Error(kInput) when there is none, naming what was looked for.
TokenizerParts read_hugging_face_tokenizer(const SideFiles& files, const nlohmann::json& config);

// GGUF: tokenizer.ggml.* (freed from the metadata when read). Directory: as above.
std::unique_ptr<Tokenizer> load_tokenizer(ModelFile& model);

// The same from a directory that need not hold a model.
std::unique_ptr<Tokenizer> load_tokenizer_directory(const std::filesystem::path& directory);

// A bare vocabulary: FILE.gguf, tokenizer.json, tokenizer.model in either form. No other file is read.
std::unique_ptr<Tokenizer> load_tokenizer_file(const std::filesystem::path& file);

}  // namespace jericho
