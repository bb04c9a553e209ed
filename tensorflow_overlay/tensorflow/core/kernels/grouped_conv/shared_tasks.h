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

// How threads of a pool share the tasks of a pass.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHARED_TASKS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHARED_TASKS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace grouped_conv {

// Tasks that threads share. Each takes them from a part of its own first, which
// with two threads is mostly the same part in the next convolution, as its
// cache has much of what that needs; and then from the others' parts, so a
// thread that wakes up late has less to do, or nothing: none waits for it then.
// BlockingCounter is TensorFlow's, or has its constructor, DecrementCount and
// Wait.
template <typename BlockingCounter>
class SharedTasks {
 public:
  using Task = std::function<void(int64_t)>;
  // Has a thread of a pool call the function, at any time.
  using Schedule = std::function<void(std::function<void()>)>;

  // Runs task(i) for all i in [0, count), on this thread and on others up to
  // `threads`, which is at least 1, and returns when all are done. What a
  // thread that comes later calls then does nothing, and uses neither `task`
  // nor `schedule`. Neither may throw.
  static void Run(int64_t count, int64_t threads, const Task& task,
                  const Schedule& schedule) {
    const std::shared_ptr<SharedTasks> tasks(
        new SharedTasks(count, threads, task, schedule));
    Work(tasks, 0, threads);
    tasks->Wait();
  }

 private:
  // Some 50 microseconds, if no other thread wants the core.
  static constexpr int kYields = 200;

  struct Part {
    std::atomic<int64_t> next;
    int64_t end;
  };

  SharedTasks(int64_t count, int64_t threads, const Task& task,
              const Schedule& schedule)
      : task_(task), schedule_(schedule), not_done_(count), parts_(threads) {
    for (int64_t i = 0; i < threads; ++i) {
      parts_[i].next = i * count / threads;
      parts_[i].end = (i + 1) * count / threads;
    }
  }

  // Runs tasks as thread `index` until all are taken, and has the other threads
  // up to `end` do so, each of which wakes up some of them. Only a thread that
  // has a task may wake up others: the pool may be gone once all are done.
  static void Work(const std::shared_ptr<SharedTasks>& tasks, int64_t index,
                   int64_t end) {
    const int64_t threads = tasks->parts_.size();
    for (int64_t p = 0; p < threads; ++p) {
      Part& part = tasks->parts_[(index + p) % threads];
      for (int64_t i; (i = part.next++) < part.end;) {
        while (index + 1 < end) {
          const int64_t middle = (index + 1 + end) / 2;
          tasks->schedule_([=] { Work(tasks, middle, end); });
          end = middle;
        }
        tasks->task_(i);
        if (--tasks->not_done_ == 0) tasks->done_.DecrementCount();
      }
    }
  }

  // Waits until all are done. That is seldom longer than it would take to put
  // this thread to sleep and to wake it up.
  void Wait() {
    for (int i = 0; i < kYields; ++i) {
      if (not_done_ == 0) return;
      std::this_thread::yield();
    }
    done_.Wait();
  }

  const Task& task_;
  const Schedule& schedule_;
  std::atomic<int64_t> not_done_;
  BlockingCounter done_{1};
  std::vector<Part> parts_;
};

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHARED_TASKS_H_
