// A model's configuration as the metadata of a GGUF: the keys of llama.cpp, each from the field of ModelConfig that its
// reader fills (models/config_from_gguf.cc), so that one list serves every family.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "formats/gguf_writer.h"
#include "models/config.h"

namespace jericho {

// general.architecture of a GGUF for what config.json calls `architecture`, or that name where it is GGUF's already.
// Error(kUnsupported) where GGUF has no such architecture.
std::string gguf_architecture(const std::string& architecture);

void write_gguf_config(const ModelConfig& config, const std::string& architecture, GgufWriter& out);

// Llama 3's scaling has no keys: a GGUF has its divisors as a tensor. Empty where the scaling is another.
std::vector<float> rope_divisors(const RopeConfig& rope);

}  // namespace jericho
