// What train does besides training: verbs under the verb.
#pragma once

#include "cli/verbs.h"

namespace jericho::cli {

void add_train_plot(CLI::App& train, Run& chosen);
void add_train_average(CLI::App& train, Run& chosen);

}  // namespace jericho::cli
