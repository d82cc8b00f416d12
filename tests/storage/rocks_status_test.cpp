#include "rocks_status.h"

#include "expect_error.h"

namespace arfc::storage::test {
namespace {

using rocksdb::Status;

TEST(RocksStatus, OkThrowsNothing) {
    EXPECT_NO_THROW(throw_if(Status::OK(), "Nothing fails", "/here"));
}

TEST(RocksStatus, EachCodeMeansOneKind) {
    const std::pair<Status, ErrorKind> rows[] = {
        {Status::NoSpace(), ErrorKind::kResourceExhausted},
        {Status::SpaceLimit(), ErrorKind::kResourceExhausted},
        {Status::MemoryLimit(), ErrorKind::kResourceExhausted},
        {Status::Corruption("block checksum mismatch"), ErrorKind::kCorruption},
        {Status::NotFound("key"), ErrorKind::kNotFound},
        {Status::PathNotFound("000012.log"), ErrorKind::kNotFound},
        {Status::IOError(
             "lock hold by current process, acquire time 1 acquiring thread 2", "/here/LOCK"),
         ErrorKind::kFailedPrecondition},
        {Status::IOError("While lock file: /here/LOCK", "Resource temporarily unavailable"),
         ErrorKind::kFailedPrecondition},
        {Status::IOError("While open a file for lock: /here/LOCK", "Permission denied"),
         ErrorKind::kIo},
        {Status::IOError("read", "Input/output error"), ErrorKind::kIo},
        {Status::InvalidArgument("whatever"), ErrorKind::kIo},
        {Status::Busy(), ErrorKind::kIo},
    };
    for (const auto& [status, kind] : rows) {
        ARFC_EXPECT_ERROR(
            throw_if(status, "Store cannot be read", "/here"), kind,
            "Store cannot be read: /here (" + status.ToString() + ")");
    }
}

} // namespace
} // namespace arfc::storage::test
