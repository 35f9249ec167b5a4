// A configuration in words, one per thing that the forward pass or the loader goes by: to say in what two differ, and
// to see that none is lost when one is written as a GGUF.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "convert/output_tensors.h"
#include "models/config.h"

namespace jericho {

std::map<std::string, std::string> config_words(const ModelConfig& config);

// What a reader of the GGUF with these tensors would not find as it is in `config`. Empty where all survives. Errors as
// read_config().
std::vector<std::string> lost_in_gguf(const ModelConfig& config, const std::vector<OutputTensor>& tensors);

}  // namespace jericho
