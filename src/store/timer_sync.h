#pragma once

#include <memory>
#include <string>

#include "base/file.h"

namespace apogee::store {

/// Of a sync of the timer's files. Whatever it failed of, a full disk too, what is on disk is
/// unknown and the next sync would not tell: that is kIo, which is not tried again. Without a
/// descriptor nothing was begun.
inline Result<Ok> synced_or_broken(Result<Ok> synced) {
  if (synced || synced.error().code == Errc::kBusy) return synced;
  return Error{Errc::kIo, synced.error().detail};
}

/// Puts another file in the place of the one at `path`, durably: it has another name until
/// `fill(file)`, which gets it empty, is done and all of it is on disk. Returns it.
template <class Fill>
Result<std::unique_ptr<File>> replace_timer_file(FileSystem& files, const std::string& path,
                                                 Fill fill) {
  const std::string next = path + ".tmp";
  auto file = files.open(next, FileSystem::Open::kCreate);
  if (!file) return file.error();
  if (auto emptied = (*file)->resize(0); !emptied) return emptied.error();
  if (Result<Ok> filled = fill(**file); !filled) return filled.error();
  if (auto synced = synced_or_broken((*file)->sync()); !synced) return synced.error();
  if (auto renamed = files.rename(next, path); !renamed) return renamed.error();
  const std::string directory = path.substr(0, path.find_last_of('/'));
  if (auto named = synced_or_broken(files.sync_directory(directory)); !named) return named.error();
  return *std::move(file);
}

}  // namespace apogee::store
