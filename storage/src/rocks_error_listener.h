#pragma once

#include <rocksdb/listener.h>

#include <atomic>

namespace arfc::storage {

/// Notes that RocksDB stopped after a failed write, flush or compaction, such as on a full disk.
///
/// RocksDB would go on by itself only once there is room for all of its write buffers, about 100
/// MiB, and until then refuses to be told to. Here the next mutation tells it
/// (RocksDatabase::resume). Thread-safe.
class ErrorListener final : public rocksdb::EventListener {
  public:
    void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override {
        has_stopped_ = true;
    }
    void OnErrorRecoveryBegin(
        rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recovers_by_itself) override {
        *recovers_by_itself = false;
    }

    /// Says whether it stopped since the last time that this was asked.
    [[nodiscard]] bool take() noexcept { return has_stopped_.exchange(false); }
    void put_back() noexcept { has_stopped_ = true; }

  private:
    std::atomic<bool> has_stopped_ = false;
};

} // namespace arfc::storage
