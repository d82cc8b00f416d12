#pragma once

#include <faiss/Index.h>

#include <memory>
#include <vector>

#include "arfc/index/arfc_index.h"

namespace arfc {

/// Copies parameters of a search with another selector in them; the caller's stay as they are,
/// because other threads may be searching with them.
/// @param params  SearchParametersARFC, SearchParametersIVF, SearchParametersHNSW or plain
///                SearchParameters.
/// @param sel     Must outlive the copy.
/// @throws Error  kUnsupported: parameters of another type.
[[nodiscard]] std::unique_ptr<faiss::SearchParameters> with_selector(
    const faiss::SearchParameters& params, faiss::IDSelector* sel);

/// Copies parameters of a search with another place for how sure its answers are.
/// @param certainty  Must outlive the copy.
/// @returns null where the parameters ask for no certainty.
[[nodiscard]] std::unique_ptr<SearchParametersARFC> with_certainty(
    const faiss::SearchParameters* params, std::vector<Certainty>* certainty);

} // namespace arfc
