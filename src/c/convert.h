#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "apogee/c.h"
#include "apogee/client.h"

/// Between the values of C++ and those of C. Pure.

struct apogee_client {
  apogee::Client client;
};
struct apogee_receipt {
  apogee::SendReceipt receipt;
};
/// Lends a message to a callback, or owns one.
struct apogee_received {
  explicit apogee_received(const apogee::ReceivedMessage& lent) : message{lent} {}
  explicit apogee_received(std::unique_ptr<const apogee::ReceivedMessage> owned)
      : own{std::move(owned)}, message{*own} {}
  const std::unique_ptr<const apogee::ReceivedMessage> own;
  const apogee::ReceivedMessage& message;
};

namespace apogee::c {

apogee_code code_of(Errc code);
/// Fills `error`, which may be null.
std::int32_t fail(const Error& failure, apogee_error* error);
std::int32_t fail(apogee_code code, const Error& failure, apogee_error* error);
std::int32_t fail_null(const char* name, apogee_error* error);  ///< An argument is NULL.

/// Nothing that is thrown leaves for C.
template <class Work>
std::int32_t guarded(apogee_error* error, const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return fail(APOGEE_NO_MEMORY, {Errc::kIo, "no memory is left"}, error);
  } catch (const std::exception& thrown) {
    return fail({Errc::kIo, thrown.what()}, error);
  }
}

/// What a program filled in, as this library knows it: fields its header did not have are zero.
template <class Struct>
Result<Struct> whole(const Struct* given) {
  Struct known{};
  if (!given) return Error{Errc::kInvalidArgument, "a null pointer where a struct is needed"};
  if (given->struct_size < sizeof(std::size_t))
    return Error{Errc::kInvalidArgument, "struct_size is not set; begin with the ..._INIT macro"};
  std::memcpy(static_cast<void*>(&known), given, std::min(given->struct_size, sizeof known));
  return known;
}

Result<Message> message_of(const apogee_message* given);
Result<Subscription> subscription_of(const apogee_subscription* given);
Result<std::vector<Message>> messages_of(const apogee_message* given, std::size_t count);

/// Results leave: a value through `out` if the program wants it.
std::int32_t give(Result<SendReceipt> result, apogee_receipt** out, apogee_error* error);
std::int32_t give(const Result<Ok>& result, apogee_error* error);

}  // namespace apogee::c
