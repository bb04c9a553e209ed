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

#include "tensorflow/core/kernels/grouped_conv/geometry.h"

#include <limits>
#include <random>

#include "tensorflow/core/kernels/grouped_conv/problem_string.h"
#include "tensorflow/core/platform/test.h"

namespace grouped_conv {
namespace {

ConvGeometry Make(const char* text) {
  ConvProblem problem;
  ConvGeometry geometry;
  std::string error;
  EXPECT_TRUE(ParseProblem(text, &problem)) << text;
  EXPECT_TRUE(MakeGeometry(problem, &geometry, &error))
      << text << ": " << error;
  return geometry;
}

ConvProblem Valid() {
  ConvProblem problem;
  EXPECT_TRUE(ParseProblem("g2mb1ic4oc6ih5kh3", &problem));
  return problem;
}

// Expects that `problem` is refused with a message that contains each of
// `parts`.
void ExpectError(const ConvProblem& problem,
                 const std::vector<std::string>& parts) {
  ConvGeometry geometry;
  geometry.batch = -7;
  std::string error;
  EXPECT_FALSE(MakeGeometry(problem, &geometry, &error)) << parts[0];
  for (const std::string& part : parts) {
    EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
  }
  EXPECT_EQ(geometry.batch, -7);
}

TEST(GeometryTest, DerivesGroupsAndSizes) {
  const ConvGeometry g = Make("g32mb8ic128oc256ih56kh3ph1sh2");
  EXPECT_EQ(g.groups, 32);
  EXPECT_EQ(g.input_channels_per_group(), 4);
  EXPECT_EQ(g.output_channels_per_group(), 8);
  EXPECT_EQ(g.input_size(), 8 * 56 * 56 * 128);
  EXPECT_EQ(g.filter_size(), 9 * 4 * 256);
  EXPECT_TRUE(g.output_shape() == std::vector<int64_t>({8, 28, 28, 256}));
}

TEST(GeometryTest, PutsDepthFirst) {
  const ConvGeometry g = Make("g2mb3ic4oc6id7ih8iw9kd2kh3kw4_cf");
  EXPECT_EQ(g.spatial_rank, 3);
  EXPECT_EQ(g.filter_taps(), 24);
  EXPECT_TRUE(g.output_shape() == std::vector<int64_t>({3, 6, 6, 6, 6}));
  EXPECT_EQ(Make("ih5").dim[0].output, 1);
}

TEST(GeometryTest, SamePaddingHasItsSurplusAfter) {
  const Dimension odd = Make("ih7kh3sh2_same").dim[1];
  EXPECT_EQ(odd.output, 4);
  EXPECT_EQ(odd.pad_before, 1);
  EXPECT_EQ(odd.pad_after, 1);
  const Dimension even = Make("ih8kh3sh2_same").dim[1];
  EXPECT_EQ(even.output, 4);
  EXPECT_EQ(even.pad_before, 0);
  EXPECT_EQ(even.pad_after, 1);
  const Dimension dilated = Make("ih8kh3dh4_same").dim[1];
  EXPECT_EQ(dilated.output, 8);
  EXPECT_EQ(dilated.pad_before, 4);
  EXPECT_EQ(dilated.pad_after, 4);
  EXPECT_EQ(Make("ih8kh1sh3_same").dim[1].pad_after, 0);
}

TEST(GeometryTest, ExplicitPaddingCountsOnBothSides) {
  const Dimension dim = Make("ih5kh3ph1qh4sh2").dim[1];
  EXPECT_EQ(dim.pad_before, 1);
  EXPECT_EQ(dim.pad_after, 4);
  EXPECT_EQ(dim.output, 4);
}

TEST(GeometryTest, EmptySizesAreLegal) {
  EXPECT_EQ(Make("mb0ih5kh3").output_size(), 0);
  EXPECT_EQ(Make("g2ic4oc0ih5").output_size(), 0);
  EXPECT_EQ(Make("ic0oc5ih5").groups, 1);
  EXPECT_EQ(Make("ic0oc5ih5").output_size(), 125);
  EXPECT_EQ(Make("ih0_same").output_size(), 0);
  EXPECT_EQ(Make("ih2kh3").output_size(), 0);
  EXPECT_EQ(Make("ih0ph1").output_size(), 4);
}

TEST(GeometryTest, RefusesWrongRanks) {
  ConvProblem problem = Valid();
  problem.input_shape = {1, 5, 4};
  ExpectError(problem, {"input", "rank 4", "[1,5,4]"});
  problem.input_shape = {1, 5, 5, 5, 4};
  problem.filter_shape = {3, 3, 3, 2, 6};
  ExpectError(problem, {"input", "rank 4", "[1,5,5,5,4]"});
  problem = Valid();
  problem.filter_shape = {3, 3, 3, 2, 6};
  problem.filter_name = "kernel";
  ExpectError(problem, {"kernel", "rank 4", "[3,3,3,2,6]"});
  problem = Valid();
  problem.strides = {1};
  ExpectError(problem, {"strides", "2", "[1]"});
  problem = Valid();
  problem.dilations = {1, 1, 1};
  ExpectError(problem, {"dilations", "2", "[1,1,1]"});
  problem = Valid();
  problem.explicit_paddings = {0, 0};
  ExpectError(problem, {"explicit_paddings", "4", "[0,0]"});
}

TEST(GeometryTest, RefusesValuesOutOfRange) {
  for (const int64_t bad :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min(),
        std::numeric_limits<int64_t>::max()}) {
    ConvProblem problem = Valid();
    problem.strides[1] = bad;
    ExpectError(problem, {"strides", std::to_string(bad)});
    problem = Valid();
    problem.dilations[0] = bad;
    ExpectError(problem, {"dilations", std::to_string(bad)});
    problem = Valid();
    problem.filter_shape[0] = bad;
    ExpectError(problem, {"filter", std::to_string(bad)});
    if (bad == 0) continue;
    problem = Valid();
    problem.explicit_paddings[3] = bad;
    ExpectError(problem, {"explicit_paddings", std::to_string(bad)});
    for (int i = 0; i < 4; ++i) {
      problem = Valid();
      problem.input_shape[i] = bad;
      ExpectError(problem, {"input", std::to_string(bad)});
    }
  }
}

TEST(GeometryTest, RefusesChannelsThatDoNotDivide) {
  ConvProblem problem = Valid();
  problem.input_shape[3] = 8;
  problem.filter_shape[2] = 3;
  ExpectError(problem, {"filter's input channels 3", "input's channels 8"});
  problem.filter_shape[2] = 16;
  ExpectError(problem, {"filter's input channels 16", "input's channels 8"});
  problem.filter_shape[2] = 0;
  ExpectError(problem, {"filter's input channels 0", "input's channels 8"});
  problem.filter_shape[2] = 2;
  ExpectError(problem, {"filter's output channels 6", "4 groups"});
  problem.input_shape[3] = 0;
  ExpectError(problem, {"filter's input channels 2", "input's channels 0"});
}

TEST(GeometryTest, DepthwiseFiltersHaveAGroupAChannel) {
  ConvProblem problem = Valid();
  problem.depthwise = true;
  problem.filter_shape = {3, 3, 4, 5};
  ConvGeometry g;
  std::string error;
  ASSERT_TRUE(MakeGeometry(problem, &g, &error)) << error;
  EXPECT_EQ(g.groups, 4);
  EXPECT_EQ(g.output_channels, 20);
  EXPECT_EQ(g.input_channels_per_group(), 1);
  EXPECT_EQ(g.output_channels_per_group(), 5);
  EXPECT_EQ(g.filter_size(), 3 * 3 * 4 * 5);

  problem.filter_shape = {3, 3, 2, 5};
  ExpectError(problem, {"input's channels 4", "filter's input channels 2"});
  problem.filter_shape = {1, 1, 4, int64_t{1} << 30};
  ExpectError(problem, {"filter's input channels 4", "multiplier 1073741824"});

  problem.input_shape[3] = 0;
  problem.filter_shape = {3, 3, 0, 5};
  ASSERT_TRUE(MakeGeometry(problem, &g, &error)) << error;
  EXPECT_EQ(g.groups, 1);
  EXPECT_EQ(g.output_channels, 0);
}

TEST(GeometryTest, FilterMayTellNoOutputChannels) {
  ConvProblem problem = Valid();
  problem.filter_shape = {3, 3, -1, 6};
  EXPECT_EQ(OutputChannels(problem), 6);
  problem.depthwise = true;
  EXPECT_EQ(OutputChannels(problem), -1);
  problem.filter_shape = {3, 3, 4, -1};
  EXPECT_EQ(OutputChannels(problem), -1);
  problem.filter_shape = {3, 3, int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_EQ(OutputChannels(problem), -1);
}

TEST(GeometryTest, RefusesWindowsThatAreTooLarge) {
  ConvProblem problem;
  ASSERT_TRUE(ParseProblem("ih5kh3dh3", &problem));
  ExpectError(problem, {"filter", "size 3", "dilation 3", "spans 7", "size 5"});
}

TEST(GeometryTest, RefusesProductsThatOverflow) {
  const int64_t large = std::numeric_limits<int32_t>::max();
  ConvProblem problem = Valid();
  problem.input_shape = {large, large, large, 4};
  ExpectError(problem, {"input", "overflows"});
  problem = Valid();
  problem.filter_shape = {large, large, 2, large - 1};
  problem.padding = Padding::kSame;
  ExpectError(problem, {"filter", "overflows"});
  problem = Valid();
  problem.explicit_paddings = {large, large, large, large};
  ExpectError(problem, {"output", "overflows"});
}

TEST(GeometryTest, LargestWindowDoesNotOverflow) {
  const int64_t large = std::numeric_limits<int32_t>::max();
  ConvProblem problem;
  ASSERT_TRUE(ParseProblem("ih5kh3_same", &problem));
  problem.filter_shape[0] = problem.dilations[0] = problem.strides[0] = large;
  ConvGeometry geometry;
  std::string error;
  ASSERT_TRUE(MakeGeometry(problem, &geometry, &error));
  EXPECT_EQ(geometry.dim[1].output, 1);
  EXPECT_EQ(geometry.dim[1].pad_before + geometry.dim[1].pad_after,
            (large - 1) * large + 1 - 5);
}

// With sanitizers, also that no check computes anything that overflows.
TEST(GeometryTest, AnyProblemIsRefusedOrHasSizesThatFit) {
  std::mt19937_64 random(1);
  const auto pick = [&random](const std::vector<int64_t>& values) {
    return values[random() % values.size()];
  };
  const int64_t large = std::numeric_limits<int32_t>::max();
  const std::vector<int64_t> any = {0,
                                    1,
                                    1,
                                    2,
                                    3,
                                    4,
                                    6,
                                    12,
                                    1 << 16,
                                    large,
                                    -1,
                                    large + 1,
                                    std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<int64_t>::max()};
  // Of some problems nothing is out of range, or none would be accepted.
  const std::vector<int64_t> legal(any.begin(), any.begin() + 10);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::vector<int64_t>& values = i % 4 ? legal : any;
    const auto some = [&](size_t count) {
      std::vector<int64_t> result(random() % 16 ? count : random() % 7);
      for (int64_t& value : result) value = pick(values);
      return result;
    };
    const size_t rank = 2 + random() % 2;
    ConvProblem problem;
    problem.input_shape = some(rank + 2);
    problem.filter_shape = some(rank + 2);
    problem.strides = some(rank);
    problem.dilations = some(rank);
    problem.padding = static_cast<Padding>(random() % 3);
    problem.explicit_paddings = some(2 * rank);
    problem.layout = static_cast<Layout>(random() % 2);
    ConvGeometry g;
    std::string error;
    if (!MakeGeometry(problem, &g, &error)) {
      EXPECT_FALSE(error.empty());
      continue;
    }
    ++accepted;
    for (const int64_t size :
         {g.groups - 1, g.input_size(), g.filter_size(), g.output_size()}) {
      EXPECT_GE(size, 0);
    }
    EXPECT_EQ(g.input_channels % g.groups, 0);
    EXPECT_EQ(g.output_channels % g.groups, 0);
    for (const Dimension& dim : g.dim) {
      // The last window starts within the padded input.
      EXPECT_TRUE(dim.output == 0 ||
                  (dim.output - 1) * dim.stride <
                      dim.pad_before + dim.input + dim.pad_after);
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(GeometryTest, ChecksOutputShape) {
  const ConvGeometry g = Make("g2mb1ic4oc6ih5kh3");
  std::string error;
  EXPECT_TRUE(CheckOutputShape(g, {1, 3, 3, 6}, "out_backprop", &error));
  EXPECT_FALSE(CheckOutputShape(g, {1, 3, 4, 6}, "out_backprop", &error));
  for (const char* part : {"out_backprop", "[1,3,3,6]", "[1,3,4,6]"}) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace grouped_conv
