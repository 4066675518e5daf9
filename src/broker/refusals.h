#pragma once

#include "remoting/processors.h"

/// Requests of Apache's tools and brokers that this broker knows and does not serve: each gets an
/// answer that says so by name, never one that looks like success. Whoever serves one of them later
/// registers it and wins.
namespace apogee::broker {

void add_refusals(remoting::Processors& processors);

}  // namespace apogee::broker
