#pragma once

#include <rocksdb/status.h>

#include <string_view>

namespace arfc::storage {

/// Throws what a RocksDB status means to the caller of a store, unless it is ok: the one place
/// where RocksDB's errors become arfc's.
/// @param what   What failed, the beginning of a sentence: "Mutation cannot be written".
/// @param where  The store's directory.
/// @throws Error  kResourceExhausted: no space, no memory. kCorruption. kNotFound.
/// kFailedPrecondition: locked by
///                another writer. kIo: anything else.
void throw_if(const rocksdb::Status& status, std::string_view what, std::string_view where);

} // namespace arfc::storage
