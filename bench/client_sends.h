#pragma once

#include <benchmark/benchmark.h>

#include "protocol/headers.h"

/// What a broker says of a message it has stored.
inline constexpr apogee::protocol::SendMessageResponse kStored{
    .message_id = "7F00000100002A9F0000000000000000",
    .queue_id = 3,
    .queue_offset = 1'000'000,
    .transaction_id = "7F0000010B5A18B4AAC2000000000000",
    .region = "DefaultRegion",
    .trace_on = "true"};

/// Asynchronous sends from the program's call to its callback, everything but the sockets:
/// `together` of them are handed to the io thread at once, sent in one write and answered in one
/// read. Only the first of them wakes the io thread, only their first answer the program.
void client_sends(benchmark::State& state, int together);
