#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>

namespace arfc {

/// Tells how far a long call has come.
struct Progress {
    std::string_view stage; ///< What is being done, such as "codebook"; valid during the call only.
    std::size_t done = 0;   ///< Steps finished, in [0, total].
    std::size_t total = 0;  ///< Steps in all; 0 where unknown.
    std::optional<double> error; ///< Mean squared reconstruction error over mean squared norm, in
                                 ///< [0, 1].
    std::optional<double> held_out_recall; ///< recall@10 on rows that were not trained on, in [0,
                                           ///< 1].
    std::optional<double> seconds_left;    ///< Estimate, in seconds.
};

/// Is called between steps, on the calling thread; answers whether to go on. After `false` the call
/// ends with Error kCancelled and has changed nothing. May throw: the exception passes through
/// unchanged.
using ProgressFunction = std::function<bool(const Progress&)>;

} // namespace arfc
