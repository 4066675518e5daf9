#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/options.h"

/// Configuration files, read and written.
namespace apogee {

/// What the file at `path` says. kMalformed names the file; kNotFound.
Result<std::vector<Property>> read_properties(FileSystem& files, const std::string& path);

/// A line that is read as this key and this value; blanks at the value's end are not.
std::string property_line(std::string_view key, std::string_view value);

/// Replaces the configuration file at `path` by the values of `options`, sorted. What it holds
/// beyond them, without effect here, stays: whoever wrote it may go back to a program that reads
/// it.
Result<Ok> write_options(FileSystem& files, const std::string& path,
                         const std::vector<OptionView>& options);

}  // namespace apogee
