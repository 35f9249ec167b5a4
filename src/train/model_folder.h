// The model that training writes, or the adapter: its weights as they are (weight_parts.h) and what other verbs
// open them with.
#pragma once

#include <filesystem>
#include <span>

#include "convert/tokenizer_to_hugging_face.h"
#include "models/training_layout.h"

namespace jericho {

// The file of the tensors that are trained: model.safetensors, or PEFT's.
const char* trained_file(const TrainingLayout& layout);

// That and the side files, of which config.json gains how weights are quantized, into a folder that is
// there. Error(kIo).
void write_model_files(const std::filesystem::path& folder, const TrainingLayout& layout,
                       std::span<const std::byte> weights, std::span<const SideFile> files);

}  // namespace jericho
