#pragma once

#include <faiss/Index.h>

#include <memory>

namespace arfc {

/// Copies parameters of a search with another selector in them; the caller's stay as they are,
/// because other threads may be searching with them.
/// @param params  SearchParametersARFC, SearchParametersIVF, SearchParametersHNSW or plain
///                SearchParameters.
/// @param sel     Must outlive the copy.
/// @throws Error  kUnsupported: parameters of another type.
[[nodiscard]] std::unique_ptr<faiss::SearchParameters> with_selector(
    const faiss::SearchParameters& params, faiss::IDSelector* sel);

} // namespace arfc
