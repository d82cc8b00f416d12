#include "arfc/index/index_factory.h"

#include <faiss/index_factory.h>

#include <string>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"
#include "factory_spec.h"
#include "faiss_errors.h"
#include "id_map_index.h"
#include "transformed_index.h"

namespace arfc {
namespace {

std::unique_ptr<faiss::Index> wrap(IdMap id_map, std::unique_ptr<faiss::Index> index) {
    switch (id_map) {
        case IdMap::kNone: return index;
        case IdMap::kIdMap: return std::make_unique<IdMapIndex>(std::move(index));
        case IdMap::kIdMap2: return std::make_unique<IdMap2Index>(std::move(index));
    }
    return index;
}

IdMap id_map_of(std::string_view description) noexcept {
    return description.starts_with("IDMap2,") ? IdMap::kIdMap2
         : description.starts_with("IDMap,")  ? IdMap::kIdMap
                                              : IdMap::kNone;
}

std::unique_ptr<faiss::Index> faiss_factory(
    int d, std::string_view description, faiss::MetricType metric) {
    const IdMap id_map = id_map_of(description);
    const std::string inner(
        id_map == IdMap::kNone ? description : description.substr(description.find(',') + 1));
    if (inner.empty()) {
        fail(ErrorKind::kInvalidArgument, "Factory string names no index: \"", description, "\"");
    }
    return translate_faiss(ErrorKind::kInvalidArgument, "FAISS refuses the factory string", [&] {
        return wrap(
            id_map, std::unique_ptr<faiss::Index>(faiss::index_factory(d, inner.c_str(), metric)));
    });
}

} // namespace

std::unique_ptr<faiss::Index> index_factory(
    int d, std::string_view description, faiss::MetricType metric) {
    if (d < 1 || d > 65536) {
        fail(ErrorKind::kInvalidArgument, "Embedding width is outside [1, 65536]: ", d);
    }
    if (!names_arfc(description)) {
        return faiss_factory(d, description, metric);
    }
    const IdMap id_map = id_map_of(description);
    const std::string_view inner =
        id_map == IdMap::kNone ? description : description.substr(description.find(',') + 1);
    const auto [transforms, arfc] = split_transforms(inner);
    if (transforms.empty()) { // The whole string, for messages that name a column.
        FactorySpec spec = parse_factory(static_cast<std::size_t>(d), description);
        spec.id_map = IdMap::kNone;
        return wrap(id_map, std::make_unique<ArfcIndex>(d, to_string(spec), metric));
    }
    TransformChain chain = make_transforms(d, transforms);
    auto behind = std::make_unique<ArfcIndex>(chain.back()->d_out, arfc, metric);
    return wrap(
        id_map, std::make_unique<TransformedIndex>(
                    std::string(transforms), std::move(chain), std::move(behind)));
}

} // namespace arfc
