#pragma once

#include <benchmark/benchmark.h>

/// Asynchronous sends from the program's call to its callback, everything but the sockets:
/// `together` of them are handed to the io thread at once, sent in one write and answered in one
/// read. Only the first of them wakes the io thread, only their first answer the program.
void client_sends(benchmark::State& state, int together);
