#pragma once

#include <cstddef>

namespace arfc {

/// Looks up 64 bytes in 128, `count` times (a multiple of 10), as many at once as registers hold:
/// the instruction that a scan by bytes needs twice for 64 look-ups. May be called where
/// instruction_set() is kAvx512Vbmi.
/// @returns what depends on every result.
unsigned look_up_128(std::size_t count) noexcept;

} // namespace arfc
