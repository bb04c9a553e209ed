// What keeps the kernel library as portable as the official wheel, which
// promises a C library of 2010: definitions, for this library alone, of the few
// functions that a newer compiler would take from a newer libstdc++ or glibc.

#include <cstddef>
#include <cstring>
#include <new>

extern "C" {

// glibc 2.32: is the process known to have one thread? libstdc++ asks before it
// counts references with atomic instructions.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.14 gave memcpy a new version; memmove has had one since 2.2.5. The
// linker puts this in memcpy's place (--wrap).
__attribute__((visibility("hidden"))) void* __wrap_memcpy(void* to,
                                                          const void* from,
                                                          size_t size) {
  return std::memmove(to, from, size);
}

}  // extern "C"

namespace std {

void __throw_bad_alloc() __attribute__((__noreturn__));
void __throw_logic_error(const char*) __attribute__((__noreturn__));

// CXXABI 1.3.5: the hash of std::string, by which tables that TensorFlow made
// are searched, so it has to be the same: 64-bit MurmurHash2 with 47-bit
// shifts.
__attribute__((visibility("hidden"))) size_t _Hash_bytes(const void* data,
                                                         size_t size,
                                                         size_t seed) {
  const size_t multiplier = 0xc6a4a7935bd1e995;
  const auto mix = [](size_t value) { return value ^ (value >> 47); };
  const char* bytes = static_cast<const char*>(data);
  size_t hash = seed ^ (size * multiplier);
  for (; size >= 8; bytes += 8, size -= 8) {
    size_t word;
    memcpy(&word, bytes, 8);
    hash = (hash ^ mix(word * multiplier) * multiplier) * multiplier;
  }
  if (size > 0) {
    size_t word = 0;  // Little-endian, as all machines that the wheel is for.
    memcpy(&word, bytes, size);
    hash = (hash ^ word) * multiplier;
  }
  return mix(mix(hash) * multiplier);
}

// GLIBCXX 3.4.29; an allocation whose size overflows.
__attribute__((visibility("hidden"), noreturn)) void
__throw_bad_array_new_length() {
  __throw_bad_alloc();
}

// GLIBCXX 3.4.14; a call of an empty std::function.
__attribute__((visibility("hidden"), noreturn)) void
__throw_bad_function_call() {
  __throw_logic_error("bad_function_call");
}

}  // namespace std
