#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/file.h"

namespace apogee::testing {

/// A file that passes everything on: derive, and change one thing.
class WrappedFile : public File {
 public:
  explicit WrappedFile(std::unique_ptr<File> real) : real_{std::move(real)} {}
  using File::write_at;
  Result<std::uint64_t> size() const override { return real_->size(); }
  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
    return real_->read_at(offset, out);
  }
  Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
    return real_->write_at(offset, pieces);
  }
  Result<Ok> sync() override { return real_->sync(); }
  void start_writeback(std::uint64_t offset, std::uint64_t length) override {
    real_->start_writeback(offset, length);
  }
  Result<Ok> resize(std::uint64_t size) override { return real_->resize(size); }
  Result<Ok> allocate(std::uint64_t offset, std::uint64_t length) override {
    return real_->allocate(offset, length);
  }
  Result<std::unique_ptr<Mapping>> map(std::uint64_t offset, std::size_t length,
                                       Access access) override {
    return real_->map(offset, length, access);
  }

 private:
  const std::unique_ptr<File> real_;
};

/// A file system that passes everything on: derive, and change one thing.
class WrappedFiles : public FileSystem {
 public:
  explicit WrappedFiles(FileSystem& real) : real_{real} {}
  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override {
    return real_.open(path, mode);
  }
  Result<Ok> remove(const std::string& path) override { return real_.remove(path); }
  Result<Ok> rename(const std::string& from, const std::string& to) override {
    return real_.rename(from, to);
  }
  Result<Ok> create_directories(const std::string& path) override {
    return real_.create_directories(path);
  }
  Result<Ok> sync_directory(const std::string& path) override { return real_.sync_directory(path); }
  Result<Ok> sync_tree(const std::string& path) override { return real_.sync_tree(path); }
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    return real_.list(path);
  }
  Result<DirectoryEntry> stat(const std::string& path) override { return real_.stat(path); }
  Result<DiskSpace> space(const std::string& path) override { return real_.space(path); }
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    return real_.lock(path);
  }
  Result<bool> is_locked(const std::string& path) override { return real_.is_locked(path); }

 private:
  FileSystem& real_;
};

/// A file system whose files are changed one by one, as they are opened.
class ChangedFiles : public WrappedFiles {
 public:
  using Change =
      std::function<std::unique_ptr<File>(const std::string& path, std::unique_ptr<File> file)>;
  ChangedFiles(FileSystem& real, Change change) : WrappedFiles{real}, change_{std::move(change)} {}
  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override {
    auto file = WrappedFiles::open(path, mode);
    if (file) *file = change_(path, *std::move(file));
    return file;
  }

 private:
  const Change change_;
};

}  // namespace apogee::testing
