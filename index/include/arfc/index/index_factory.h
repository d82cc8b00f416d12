#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string_view>

namespace arfc {

/// Makes an empty index from a factory string: FAISS's language with ARFC in it;
/// docs/factory_strings.md.
///
///     ARFC<size>[/<prefix>...][,IVF<n>]     alone, or after "IDMap," or "IDMap2,"
///
/// Strings without ARFC go to faiss::index_factory unchanged, except that "IDMap," and "IDMap2," at
/// their front make indexes whose search takes parameters, which FAISS 1.7.3's refuse.
/// @param d       Embedding width, in [1, 65536].
/// @throws Error  kInvalidArgument: the string (with the column), the width or the metric.
///                kUnsupported: a part that the grammar names and this version does not build.
[[nodiscard]] std::unique_ptr<faiss::Index> index_factory(
    int d, std::string_view description, faiss::MetricType metric = faiss::METRIC_L2);

} // namespace arfc
