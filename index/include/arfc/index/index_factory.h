#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>
#include <string_view>

namespace arfc {

/// Makes an empty index from a factory string: FAISS's language with ARFC in it;
/// docs/factory_strings.md.
///
///     ARFC<size>[/<prefix>...][,IVF<n>]     alone, or after "IDMap," or "IDMap2," and FAISS's
///                                           transforms, as in "IDMap2,PCA64,L2norm,ARFC32/8"
///
/// Strings without ARFC go to faiss::index_factory unchanged, except that "IDMap," and "IDMap2," at
/// their front make indexes whose search takes parameters, which FAISS 1.7.3's refuse.
/// @param d       Embedding width, in [1, 65536].
/// @throws Error  kInvalidArgument: the string (with the column), the width or the metric.
///                kUnsupported: a part that the grammar names and this version does not build.
[[nodiscard]] std::unique_ptr<faiss::Index> index_factory(
    int d, std::string_view description, faiss::MetricType metric = faiss::METRIC_L2);

/// Tells the factory string that makes an index like this one, untrained and empty:
/// `index_factory(index.d, reverse_index_factory(index), index.metric_type)`.
///
/// It is canonical: sizes in bytes, defaults left out ("PQ8x8" becomes "PQ8", "HNSW" "HNSW32",
/// "Flat,IDMap" "IDMap,Flat"). What was set after the factory (nprobe, efSearch) is not in it.
/// @throws Error  kUnsupported: no string is known that makes it, as of shards, replicas
///                and rotations that FAISS read from a file, which forgets their kind.
[[nodiscard]] std::string reverse_index_factory(const faiss::Index& index);

} // namespace arfc
