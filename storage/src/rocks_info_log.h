#pragma once

#include <rocksdb/env.h>

#include <cstdarg>
#include <cstddef>
#include <filesystem>
#include <mutex>

namespace arfc::storage {

/// Keeps RocksDB's warnings and errors in `<directory>/LOG`; at most two files of a mebibyte, this
/// one and `LOG.old`.
///
/// Stands for RocksDB's own log, which ends the process where the disk is full (an assertion of 7.8
/// that Debian's build keeps). A line that cannot be written is dropped: a log must not stop a
/// store. Thread-safe.
class InfoLog final : public rocksdb::Logger {
  public:
    explicit InfoLog(const std::filesystem::path& directory);
    InfoLog(const InfoLog&) = delete;
    InfoLog& operator=(const InfoLog&) = delete;
    ~InfoLog() override;

    using rocksdb::Logger::Logv;
    void Logv(const char* format, va_list arguments) override;

  private:
    void open();

    const std::filesystem::path path_;
    std::mutex mutex_;
    int descriptor_ = -1;
    std::size_t size_ = 0; ///< Bytes in the file.
};

} // namespace arfc::storage
