// What a converted model has beside its tensors: a GGUF's metadata, a directory's config.json and the files of its
// tokenizer.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "convert/output_tensors.h"
#include "convert/tokenizer_to_hugging_face.h"
#include "convert/type_mix.h"
#include "formats/gguf_writer.h"
#include "formats/model_file.h"
#include "models/config.h"

namespace jericho {

// All metadata of a GGUF made of `file`: of a GGUF what it had, of a directory what its files say. Returns what a user
// should know about it.
std::vector<std::string> write_gguf_metadata(const ModelFile& file, const ModelConfig& config,
                                             const std::vector<OutputTensor>& tensors, const TypeMix* mix,
                                             GgufWriter& out);

// All files of a directory made of `file` but its tensors.
std::vector<SideFile> directory_side_files(const ModelFile& file, const ModelConfig& config,
                                           const std::vector<OutputTensor>& tensors);

enum class Sync { kThis, kWithFiles };  // a directory's own entries, or the files in it as well

// Makes sure that a file or directory outlives a power failure. Error(kIo).
void sync_to_disk(const std::filesystem::path& path, Sync what = Sync::kWithFiles);

}  // namespace jericho
