// The part of GoogleTest's interface that the overlay's C++ tests use, for
// builds outside a TensorFlow source tree, where this header has the real one
// of TensorFlow. (The wheel does not hold GoogleTest, nor does anything else
// that this build fetches.)

#ifndef TENSORFLOW_CORE_PLATFORM_TEST_H_
#define TENSORFLOW_CORE_PLATFORM_TEST_H_

#include <functional>
#include <ostream>
#include <sstream>
#include <string>

namespace testing {
namespace internal {

// Adds a test to those that test_main.cc runs.
bool AddTest(const char* suite, const char* name, std::function<void()> body);

// Takes what is streamed into a failed assertion.
class Message {
 public:
  template <typename T>
  Message& operator<<(const T& value) {
    stream_ << value;
    return *this;
  }
  std::string str() const { return stream_.str(); }

 private:
  std::ostringstream stream_;
};

// Outcome of an assertion; true if it holds.
class Check {
 public:
  explicit Check(bool holds, std::string what = "")
      : holds_(holds), what_(std::move(what)) {}
  explicit operator bool() const { return holds_; }
  const std::string& what() const { return what_; }

 private:
  bool holds_;
  std::string what_;
};

template <typename A, typename B, typename Compare>
Check CheckThat(const A& a, const B& b, Compare compare, const char* text) {
  if (compare(a, b)) return Check(true);
  std::ostringstream what;
  what << text << ", with " << a << " and " << b;
  return Check(false, what.str());
}

// Records a failure of the running test: `Failure(...) = Message() << ...`.
class Failure {
 public:
  Failure(const char* file, int line, const Check& check)
      : file_(file), line_(line), what_(check.what()) {}
  void operator=(const Message& message) const;

 private:
  const char* file_;
  int line_;
  std::string what_;
};

}  // namespace internal
}  // namespace testing

#define TEST(suite, name)                                                 \
  static void suite##_##name##_Body();                                    \
  static const bool suite##_##name##_added =                              \
      ::testing::internal::AddTest(#suite, #name, suite##_##name##_Body); \
  static void suite##_##name##_Body()

// One statement each, which takes a message; ASSERT_ leaves the function.
// (The switch keeps an else behind it from joining the if within.)
#define TESTING_REPORT_(leave, check)                                  \
  switch (0)                                                           \
  case 0:                                                              \
  default:                                                             \
    if (const ::testing::internal::Check outcome = check)              \
      ;                                                                \
    else                                                               \
      leave::testing::internal::Failure(__FILE__, __LINE__, outcome) = \
          ::testing::internal::Message()
#define TESTING_COMPARE_(a, op, b)                                       \
  ::testing::internal::CheckThat(                                        \
      a, b, [](const auto& x, const auto& y) -> bool { return x op y; }, \
      #a " " #op " " #b)
#define TESTING_BOOL_(value, wanted)                     \
  ::testing::internal::Check((value) ? wanted : !wanted, \
                             #value " should be " #wanted)

#define EXPECT_TRUE(value) TESTING_REPORT_(, TESTING_BOOL_(value, true))
#define EXPECT_FALSE(value) TESTING_REPORT_(, TESTING_BOOL_(value, false))
#define EXPECT_EQ(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, ==, b))
#define EXPECT_NE(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, !=, b))
#define EXPECT_LT(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, <, b))
#define EXPECT_LE(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, <=, b))
#define EXPECT_GT(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, >, b))
#define EXPECT_GE(a, b) TESTING_REPORT_(, TESTING_COMPARE_(a, >=, b))

#define ASSERT_TRUE(value) TESTING_REPORT_(return, TESTING_BOOL_(value, true))
#define ASSERT_FALSE(value) TESTING_REPORT_(return, TESTING_BOOL_(value, false))
#define ASSERT_EQ(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, ==, b))
#define ASSERT_NE(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, !=, b))
#define ASSERT_LT(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, <, b))
#define ASSERT_LE(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, <=, b))
#define ASSERT_GT(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, >, b))
#define ASSERT_GE(a, b) TESTING_REPORT_(return, TESTING_COMPARE_(a, >=, b))

#endif  // TENSORFLOW_CORE_PLATFORM_TEST_H_
