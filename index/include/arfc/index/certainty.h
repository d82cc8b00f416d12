#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace arfc {

/// When a search may stop reading longer prefixes; docs/certainty.md.
struct Until {
    /// Share of questions in (0, 1) whose answer is to be that of scoring every row by its longest
    /// prefix, as calibrated when the index was trained. Nothing: until the answer is proved.
    std::optional<double> confidence;
    std::optional<std::size_t> max_bytes; ///< Code bytes that may be read for a query, heads among
                                          ///< them, >= 1; nothing: as many as it takes.
};

/// How sure the answer to one query is; each level implies those below it.
enum class Certainty : std::uint8_t {
    kNone = 0,      ///< Nothing was asked for, or `max_bytes` ran out before.
    kConfident = 1, ///< The confidence that was asked for is reached.
    kCodes = 2,     ///< Proved: the answer, bit for bit, of scoring every accepted row by its
                    ///< longest stored prefix.
    kOriginals = 3, ///< Proved besides: the k rows nearest by the vectors that were encoded, in
                    ///< exact arithmetic (their order is that of the codes' scores).
};

/// Returns "none", "confident", "codes" or "originals".
[[nodiscard]] constexpr std::string_view to_string(Certainty certainty) noexcept {
    switch (certainty) {
        case Certainty::kNone: return "none";
        case Certainty::kConfident: return "confident";
        case Certainty::kCodes: return "codes";
        case Certainty::kOriginals: return "originals";
    }
    return "none";
}

} // namespace arfc
