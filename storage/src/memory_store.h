#pragma once

#include <memory>

#include "arfc/storage/store.h"

namespace arfc::storage {

/// Makes a store that lives in memory and ends with its last owner. @throws Error  kNotFound: not
/// to be created.
[[nodiscard]] std::unique_ptr<Store> open_memory_store(const OpenOptions& options);

} // namespace arfc::storage
