#pragma once

#include <memory>

#include "base/bytes.h"

namespace apogee::remoting {

/// Bytes of one stream that are read and not handled yet. Grows with what has really arrived, never
/// with what a length word promises, and holds no memory while it is empty: the usual piece goes
/// round among the streams of a thread.
///
/// Threads: one at a time, the stream's loop.
class InputBuffer {
 public:
  static constexpr std::size_t kUsualBytes = 64 << 10;

  Bytes bytes() const { return {memory_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  std::size_t capacity() const { return capacity_; }

  /// Where the next bytes go; at least kSpaceLeast. `wanted` is how many bytes() there will be when
  /// the frame under way is whole, 0 if nobody knows. Earlier views of bytes() end.
  MutableBytes space(std::size_t wanted = 0);
  void commit(std::size_t n) { end_ += n; }     ///< That many bytes of space() were filled.
  void consume(std::size_t n) { begin_ += n; }  ///< Views of bytes() stay good.
  /// Once nothing views bytes() any more: gives the memory back if it is empty.
  void release_if_empty();
  void clear() { begin_ = end_ = 0; }

 private:
  static constexpr std::size_t kSpaceLeast = 2 << 10;
  void move_to(std::unique_ptr<std::byte[]> memory, std::size_t capacity);

  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace apogee::remoting
