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

// Threads for tests and the benchmark, which do not have TensorFlow's.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_THREAD_RUNNER_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_THREAD_RUNNER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/shared_tasks.h"

namespace grouped_conv {

// As TensorFlow's.
class BlockingCounter {
 public:
  explicit BlockingCounter(int count) : count_(count) {}
  void DecrementCount() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) zero_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    zero_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  int count_;
};

// Runs tasks on the calling thread and on threads of its own.
class ThreadRunner : public TaskRunner {
 public:
  explicit ThreadRunner(int num_threads) {
    for (int i = 1; i < num_threads; ++i) {
      threads_.emplace_back([this] { Loop(); });
    }
  }
  // What is scheduled is done.
  ~ThreadRunner() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_up_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  int num_threads() const override {
    return static_cast<int>(threads_.size()) + 1;
  }
  void Run(int64_t count, int64_t,
           const std::function<void(int64_t)>& task) override {
    SharedTasks<BlockingCounter>::Run(
        count, num_threads(), task, [this](std::function<void()> work) {
          {
            std::lock_guard<std::mutex> lock(mutex_);
            work_.push_back(std::move(work));
          }
          wake_up_.notify_one();
        });
  }

 private:
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_up_.wait(lock, [this] { return stop_ || !work_.empty(); });
      if (work_.empty()) return;
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_up_;
  std::deque<std::function<void()>> work_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_THREAD_RUNNER_H_
