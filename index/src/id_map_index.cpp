#include "id_map_index.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <typeinfo>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"

namespace arfc {
namespace {

using Ids = std::vector<std::int64_t>;

/// Asks a selector of the caller's ids about positions.
class PositionSelector final : public faiss::IDSelector {
  public:
    PositionSelector(const faiss::IDSelector& by_id, const Ids& ids) : by_id_(by_id), ids_(ids) {}
    bool is_member(std::int64_t position) const override {
        return by_id_.is_member(ids_[static_cast<std::size_t>(position)]);
    }

  private:
    const faiss::IDSelector& by_id_;
    const Ids& ids_;
};

template <class Parameters>
std::unique_ptr<faiss::SearchParameters> copy_as(const faiss::SearchParameters& params) {
    if (typeid(params) != typeid(Parameters)) {
        return nullptr;
    }
    return std::make_unique<Parameters>(static_cast<const Parameters&>(params));
}

/// Copies parameters, so that their selector can be another while the caller's stay as they are:
/// other threads may be searching with them.
std::unique_ptr<faiss::SearchParameters> copy(const faiss::SearchParameters& params) {
    for (const auto& copied :
         {copy_as<SearchParametersARFC>, copy_as<faiss::SearchParametersIVF>,
          copy_as<faiss::SearchParametersHNSW>, copy_as<faiss::SearchParameters>}) {
        if (std::unique_ptr<faiss::SearchParameters> made = copied(params)) {
            return made;
        }
    }
    fail(
        ErrorKind::kUnsupported,
        "IDMap translates the selector of SearchParametersARFC, IVF, HNSW and SearchParameters, "
        "not of: ",
        typeid(params).name());
}

/// Runs `search(parameters)` with the selector translated.
template <class Search>
void with_positions(const faiss::SearchParameters* params, const Ids& ids, const Search& search) {
    if (params == nullptr || params->sel == nullptr) {
        search(params);
        return;
    }
    PositionSelector selector(*params->sel, ids);
    const std::unique_ptr<faiss::SearchParameters> translated = copy(*params);
    translated->sel = &selector;
    search(translated.get());
}

void search_by_id(
    const faiss::Index& inner, const Ids& ids, std::int64_t n, const float* x, std::int64_t k,
    float* distances, std::int64_t* labels, const faiss::SearchParameters* params) {
    with_positions(params, ids, [&](const faiss::SearchParameters* translated) {
        inner.search(n, x, k, distances, labels, translated);
    });
    for (std::int64_t i = 0; i < n * k; ++i) {
        labels[i] = labels[i] < 0 ? labels[i] : ids[static_cast<std::size_t>(labels[i])];
    }
}

void range_search_by_id(
    const faiss::Index& inner, const Ids& ids, std::int64_t n, const float* x, float radius,
    faiss::RangeSearchResult* result, const faiss::SearchParameters* params) {
    with_positions(params, ids, [&](const faiss::SearchParameters* translated) {
        inner.range_search(n, x, radius, result, translated);
    });
    const std::size_t found = result->lims[result->nq];
    for (std::size_t i = 0; i < found; ++i) {
        result->labels[i] = result->labels[i] < 0
                              ? result->labels[i]
                              : ids[static_cast<std::size_t>(result->labels[i])];
    }
}

[[noreturn]] void refuse_add() {
    fail(ErrorKind::kInvalidArgument, "Index keeps the caller's ids; call add_with_ids()");
}

/// FAISS's constructor refuses an index with rows, so rows and ids come after it.
template <class Map>
void take_over(Map& map, std::unique_ptr<faiss::Index> inner, Ids&& ids) {
    map.d = inner->d;
    map.metric_type = inner->metric_type;
    map.metric_arg = inner->metric_arg;
    map.verbose = inner->verbose;
    map.is_trained = inner->is_trained;
    map.ntotal = inner->ntotal;
    map.id_map = std::move(ids);
    map.index = inner.release();
    map.own_fields = true;
}

} // namespace

IdMapIndex::IdMapIndex(std::unique_ptr<faiss::Index> inner) {
    take_over(*this, std::move(inner), {});
}

IdMapIndex::IdMapIndex(std::unique_ptr<faiss::Index> inner, Ids ids) {
    take_over(*this, std::move(inner), std::move(ids));
}

void IdMapIndex::add(std::int64_t, const float*) {
    refuse_add();
}

void IdMapIndex::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    search_by_id(*index, id_map, n, x, k, distances, labels, params);
}

void IdMapIndex::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    range_search_by_id(*index, id_map, n, x, radius, result, params);
}

IdMap2Index::IdMap2Index(std::unique_ptr<faiss::Index> inner) {
    take_over(*this, std::move(inner), {});
}

IdMap2Index::IdMap2Index(std::unique_ptr<faiss::Index> inner, Ids ids) {
    take_over(*this, std::move(inner), std::move(ids));
    construct_rev_map();
}

void IdMap2Index::add(std::int64_t, const float*) {
    refuse_add();
}

void IdMap2Index::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    search_by_id(*index, id_map, n, x, k, distances, labels, params);
}

void IdMap2Index::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    range_search_by_id(*index, id_map, n, x, radius, result, params);
}

void IdMap2Index::reset() {
    faiss::IndexIDMap2::reset();
    rev_map.clear(); // FAISS 1.7.3 leaves it, and would then reconstruct rows under ids that are
                     // gone.
}

void IdMap2Index::reconstruct(std::int64_t key, float* recons) const {
    const auto found = rev_map.find(key);
    if (found == rev_map.end()) {
        fail(ErrorKind::kNotFound, "Index holds no row of id: ", key);
    }
    index->reconstruct(found->second, recons);
}

} // namespace arfc
