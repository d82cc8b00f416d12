#include "rocks_status.h"

#include <string>

#include "arfc/base/error.h"

namespace arfc::storage {
namespace {

/// RocksDB has no code for a lock that is taken: both of its texts, for a holder in this process
/// and in another.
bool is_locked(const rocksdb::Status& status, const std::string& text) {
    return status.IsIOError() && (text.find("lock hold by current process") != std::string::npos ||
                                  text.find("While lock file") != std::string::npos);
}

ErrorKind kind_of(const rocksdb::Status& status, const std::string& text) {
    if (status.IsNoSpace() || status.IsMemoryLimit() ||
        status.subcode() == rocksdb::Status::kSpaceLimit) {
        return ErrorKind::kResourceExhausted;
    }
    if (status.IsCorruption()) {
        return ErrorKind::kCorruption;
    }
    if (status.IsNotFound() || status.IsPathNotFound()) {
        return ErrorKind::kNotFound;
    }
    return is_locked(status, text) ? ErrorKind::kFailedPrecondition : ErrorKind::kIo;
}

} // namespace

void throw_if(const rocksdb::Status& status, std::string_view what, std::string_view where) {
    if (status.ok()) {
        return;
    }
    const std::string text = status.ToString();
    fail(kind_of(status, text), what, ": ", where, " (", text, ")");
}

} // namespace arfc::storage
