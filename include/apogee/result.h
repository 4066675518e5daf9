#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

/// Errors are values. A function that can fail returns Result<T>; callers branch on Error::code,
/// people read Error::detail. Pass upward with `if (!r) return r.error();`. Shared by the client's
/// API and the servers.
namespace apogee {

/// What went wrong, as far as a caller may want to branch on it.
enum class Errc {
  kTimeout,       ///< The deadline passed; for a send: may or may not have been stored.
  kDisconnected,  ///< The connection ended or could not be made.
  kMalformed,     ///< Bytes that are not what they should be: a frame, a header, a record, a file.
  kInvalidArgument,  ///< The caller asked for something that makes no sense; the detail says what
                     ///< and the remedy.
  kNotFound,         ///< The named thing does not exist.
  kExists,           ///< The named thing exists already, or is in use by another process.
  kEndOfFile,        ///< Nothing (more) there to read, or no room left in this file.
  kNoSpace,          ///< The disk is full.
  kIo,               ///< The operating system refused a read, write, sync or allocation.
  kBusy,             ///< A bound was reached; try again later.
  kStopped,          ///< The component is shutting down or was stopped.
  kUnsupported,      ///< A known thing this build or version does not do.
  kRefused,          ///< The peer answered with an error; the detail carries its words.
};

/// Readable name of an error code, for logs.
constexpr const char* name_of(Errc code) {
  switch (code) {
    case Errc::kTimeout:
      return "timeout";
    case Errc::kDisconnected:
      return "disconnected";
    case Errc::kMalformed:
      return "malformed";
    case Errc::kInvalidArgument:
      return "invalid argument";
    case Errc::kNotFound:
      return "not found";
    case Errc::kExists:
      return "exists";
    case Errc::kEndOfFile:
      return "end of file";
    case Errc::kNoSpace:
      return "no space";
    case Errc::kIo:
      return "i/o error";
    case Errc::kBusy:
      return "busy";
    case Errc::kStopped:
      return "stopped";
    case Errc::kUnsupported:
      return "unsupported";
    case Errc::kRefused:
      return "refused";
  }
  return "?";
}

struct Error {
  Errc code;
  std::string detail;  ///< Names, offsets, errno text. Nobody parses it.
  int response_code =
      0;  ///< RocketMQ's code when a broker or name server said it (kRefused), else 0.
  bool perhaps_done = false;  ///< The request had left: what was asked may have happened.
};

/// The value of an operation that has nothing else to tell.
struct Ok {};

/// Either a T or an Error. The names are std::expected's, which GCC 12 does not have.
template <class T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose, and what is large is moved once.
  Result(T&& value) : state_{std::in_place_index<0>, std::move(value)} {}      // NOLINT
  Result(const T& value) : state_{std::in_place_index<0>, value} {}            // NOLINT
  Result(Error&& error) : state_{std::in_place_index<1>, std::move(error)} {}  // NOLINT
  Result(const Error& error) : state_{std::in_place_index<1>, error} {}        // NOLINT
  explicit Result(std::in_place_t /*to be filled*/) : state_{std::in_place_index<0>} {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(has_value());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    assert(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

}  // namespace apogee
