#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "base/error.h"
#include "base/test_data.h"
#include "formats/gguf_writer.h"
#include "formats/model_file.h"

namespace jericho {
namespace {

TEST(Gguf, OpensRealFiles) {
  JERICHO_NEEDS_DATA("golden");
  const auto model = open_model(test_data("golden/llama-mha/model.gguf"));
  EXPECT_EQ(model->metadata().require_text("general.architecture"), "llama");
  const auto hf = open_model(test_data("golden/llama-mha/hf"));
  EXPECT_GT(hf->tensors().size(), 3u);
}

}  // namespace
}  // namespace jericho
