#include "ingest/reject_log.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "arfc/base/error.h"
#include "terminal/json.h"

namespace arfc::tools {

RejectLog::RejectLog(const std::optional<std::filesystem::path>& path) {
    if (!path) {
        return;
    }
    path_ = *path;
    errno = 0;
    file_.open(path_, std::ios::binary | std::ios::trunc);
    if (!file_) {
        fail(
            ErrorKind::kIo, "File of rejected rows cannot be created: ", path_.string(), " (",
            std::strerror(errno), ")");
    }
}

void RejectLog::add(std::span<const RejectedRow> rows) {
    for (const RejectedRow& row : rows) {
        ++count_;
        if (first_.size() < kShown) {
            first_.push_back(row);
        }
        if (file_.is_open()) {
            file_ << to_text(to_json(row)) << '\n';
        }
    }
}

void RejectLog::flush() {
    if (file_.is_open() && !file_.flush()) {
        fail(ErrorKind::kIo, "File of rejected rows cannot be written: ", path_.string());
    }
}

} // namespace arfc::tools
