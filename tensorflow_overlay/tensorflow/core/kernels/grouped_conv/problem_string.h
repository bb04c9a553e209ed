/* Copyright 2026 The TensorFlow Grouped Convolution Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
==============================================================================*/

// A convolution as one short string, after oneDNN's benchdnn, for tests and
// benchmarks: g32mb8ic128oc128ih56kh3ph1 is 32 groups, a minibatch of 8, 128
// input and output channels, a 56 x 56 input, a 3 x 3 filter and a padding
// of 1.
//
// Keys: g, mb, ic, oc, then one for each dimension d (depth), h or w: i
// (input), k (filter), s (stride), d (dilation, 1 unless stated), p and q
// (padding before and after). A w left out is as h, a q as p, all else left out
// is 1, padding 0. With a key of d the problem is 3-D. "_same" stands for SAME
// padding, "_cf" for channels first.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PROBLEM_STRING_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PROBLEM_STRING_H_

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"

namespace grouped_conv {

// Returns true and fills `problem` if `text` is one.
inline bool ParseProblem(const std::string& text, ConvProblem* problem) {
  static const char* const kKeys =
      " g mb ic oc id ih iw kd kh kw sd sh sw dd dh dw pd ph pw qd qh qw "
      "_same _cf ";
  std::map<std::string, int64_t> values;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i++;
    while (i < text.size() && std::isalpha(text[i])) ++i;
    const std::string key = text.substr(start, i - start);
    const size_t digits = i;
    while (i < text.size() && std::isdigit(text[i])) ++i;
    if ((i == digits) != (key[0] == '_')) return false;
    if (std::string(kKeys).find(" " + key + " ") == std::string::npos) {
      return false;
    }
    values[key] = std::atoll(text.c_str() + digits);
  }
  const auto get = [&values](const std::string& key, int64_t otherwise) {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  };

  *problem = ConvProblem();
  const int64_t groups = get("g", 1);
  if (groups == 0) return false;
  const int64_t channels = get("ic", 1);
  bool volume = false;
  for (const char* key : {"id", "kd", "sd", "dd", "pd", "qd"}) {
    volume |= values.count(key) > 0;
  }
  std::vector<int64_t> input;
  for (const std::string dim : {"d", "h", "w"}) {
    if (dim == "d" && !volume) continue;
    const auto size = [&](const std::string& kind, int64_t otherwise) {
      return get(kind + dim,
                 dim == "w" ? get(kind + "h", otherwise) : otherwise);
    };
    input.push_back(size("i", 1));
    problem->filter_shape.push_back(size("k", 1));
    problem->strides.push_back(size("s", 1));
    problem->dilations.push_back(size("d", 1));
    problem->explicit_paddings.push_back(size("p", 0));
    problem->explicit_paddings.push_back(
        size("q", problem->explicit_paddings.back()));
  }
  problem->filter_shape.push_back(channels / groups);
  problem->filter_shape.push_back(get("oc", 1));
  problem->input_shape = input;
  problem->input_shape.insert(problem->input_shape.begin(), get("mb", 1));
  if (values.count("_cf")) {
    problem->layout = Layout::kChannelsFirst;
    problem->input_shape.insert(problem->input_shape.begin() + 1, channels);
  } else {
    problem->input_shape.push_back(channels);
  }
  problem->padding =
      values.count("_same") ? Padding::kSame : Padding::kExplicit;
  if (values.count("_same")) problem->explicit_paddings.clear();
  return true;
}

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PROBLEM_STRING_H_
