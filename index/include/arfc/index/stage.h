#pragma once

#include <cstddef>

namespace arfc {

/// One refinement step of a search: scores by `bytes` of the code, keeps the best `limit` for the
/// next stage.
struct Stage {
    std::size_t bytes = 0; ///< Prefix length in [1, code_bytes], ascending over stages.
    std::size_t limit = 0; ///< Rows kept, >= k on every stage but the last, which keeps k. 0: the
                           ///< index's default, measured when it was trained.
};

/// What one stage cost, over all queries of the call.
struct StageUsage {
    std::size_t bytes = 0;      ///< Prefix length.
    std::size_t candidates = 0; ///< Rows scored.
    std::size_t bytes_read = 0; ///< Code bytes read.
    double milliseconds = 0;    ///< Wall time.
};

} // namespace arfc
