#pragma once

#include <faiss/Index.h>

namespace arfc {

class ArfcIndex;

/// Returns what an IDMap, IDMap2 or PreTransform holds, or null where the index is none of them.
[[nodiscard]] const faiss::Index* wrapped(const faiss::Index& index) noexcept;

/// Looks through wrappers, however many there are.
[[nodiscard]] const faiss::Index& innermost(const faiss::Index& index) noexcept;
[[nodiscard]] faiss::Index& innermost(faiss::Index& index) noexcept;

/// Returns the ArfcIndex that wrappers hold, or null.
[[nodiscard]] const ArfcIndex* arfc_behind(const faiss::Index& index) noexcept;
[[nodiscard]] ArfcIndex* arfc_behind(faiss::Index& index) noexcept;

} // namespace arfc
