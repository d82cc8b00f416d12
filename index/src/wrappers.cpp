#include "wrappers.h"

#include <faiss/IndexIDMap.h>
#include <faiss/IndexPreTransform.h>

#include "arfc/index/arfc_index.h"

namespace arfc {

const faiss::Index* wrapped(const faiss::Index& index) noexcept {
    if (const auto* const map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
        return map->index;
    }
    if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
        return transformed->index;
    }
    return nullptr;
}

const faiss::Index& innermost(const faiss::Index& index) noexcept {
    const faiss::Index* at = &index;
    for (const faiss::Index* inner = wrapped(*at); inner != nullptr; inner = wrapped(*at)) {
        at = inner;
    }
    return *at;
}

faiss::Index& innermost(faiss::Index& index) noexcept {
    // The index is not const, so what it holds is not.
    return const_cast<faiss::Index&>(innermost(static_cast<const faiss::Index&>(index)));
}

const ArfcIndex* arfc_behind(const faiss::Index& index) noexcept {
    return dynamic_cast<const ArfcIndex*>(&innermost(index));
}

ArfcIndex* arfc_behind(faiss::Index& index) noexcept {
    return dynamic_cast<ArfcIndex*>(&innermost(index));
}

} // namespace arfc
