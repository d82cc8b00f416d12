#include "search_parameters.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>

#include <typeinfo>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"

namespace arfc {
namespace {

template <class Parameters>
std::unique_ptr<faiss::SearchParameters> copy_as(const faiss::SearchParameters& params) {
    if (typeid(params) != typeid(Parameters)) {
        return nullptr;
    }
    return std::make_unique<Parameters>(static_cast<const Parameters&>(params));
}

} // namespace

std::unique_ptr<faiss::SearchParameters> with_selector(
    const faiss::SearchParameters& params, faiss::IDSelector* sel) {
    for (const auto& copied :
         {copy_as<SearchParametersARFC>, copy_as<faiss::SearchParametersIVF>,
          copy_as<faiss::SearchParametersHNSW>, copy_as<faiss::SearchParameters>}) {
        if (std::unique_ptr<faiss::SearchParameters> made = copied(params)) {
            made->sel = sel;
            return made;
        }
    }
    fail(
        ErrorKind::kUnsupported,
        "IDMap and Shards translate the selector of SearchParametersARFC, IVF, HNSW and "
        "SearchParameters, not of: ",
        typeid(params).name());
}

std::unique_ptr<SearchParametersARFC> with_certainty(
    const faiss::SearchParameters* params, std::vector<Certainty>* certainty) {
    const auto* const arfc = dynamic_cast<const SearchParametersARFC*>(params);
    if (arfc == nullptr || (!arfc->until && arfc->certainty == nullptr)) {
        return nullptr;
    }
    auto made = std::make_unique<SearchParametersARFC>(*arfc);
    made->certainty = certainty;
    return made;
}

} // namespace arfc
