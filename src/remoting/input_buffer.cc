#include "remoting/input_buffer.h"

#include <algorithm>
#include <cstring>

namespace apogee::remoting {
namespace {

/// One usual piece a thread: a loop reads its streams one after the other.
std::unique_ptr<std::byte[]>& spare() {
  static thread_local std::unique_ptr<std::byte[]> memory;
  return memory;
}

}  // namespace

MutableBytes InputBuffer::space(std::size_t wanted) {
  if (empty()) begin_ = end_ = 0;
  const std::size_t held = end_ - begin_;
  if (!memory_) {
    auto usual = std::move(spare());
    if (!usual) usual = std::make_unique_for_overwrite<std::byte[]>(kUsualBytes);
    move_to(std::move(usual), kUsualBytes);
  } else if (capacity_ - end_ < kSpaceLeast) {
    // Four times what is there, but no more than the frame needs: a large frame is copied less than
    // twice, and memory follows the bytes the peer has really sent.
    std::size_t next = std::max(kUsualBytes, 4 * held);
    if (wanted > held) next = std::min(next, std::max(kUsualBytes, wanted + kSpaceLeast));
    if (next > capacity_) {
      move_to(std::make_unique_for_overwrite<std::byte[]>(next), next);
    } else {
      std::memmove(memory_.get(), memory_.get() + begin_, held);
      begin_ = 0;
      end_ = held;
    }
  }
  return {memory_.get() + end_, capacity_ - end_};
}

void InputBuffer::move_to(std::unique_ptr<std::byte[]> memory, std::size_t capacity) {
  const std::size_t held = end_ - begin_;
  if (held > 0) std::memcpy(memory.get(), memory_.get() + begin_, held);
  memory_ = std::move(memory);
  capacity_ = capacity;
  begin_ = 0;
  end_ = held;
}

void InputBuffer::release_if_empty() {
  if (!empty()) return;
  if (capacity_ == kUsualBytes && !spare()) spare() = std::move(memory_);
  memory_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace apogee::remoting
