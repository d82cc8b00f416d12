#include "id_map_index.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "search_parameters.h"

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

/// Runs `search(parameters)` with the selector translated.
template <class Search>
void with_positions(const faiss::SearchParameters* params, const Ids& ids, const Search& search) {
    if (params == nullptr || params->sel == nullptr) {
        search(params);
        return;
    }
    PositionSelector selector(*params->sel, ids);
    search(with_selector(*params, &selector).get());
}

void to_ids(std::int64_t count, std::int64_t* labels, const Ids& ids) {
    for (std::int64_t i = 0; i < count; ++i) {
        labels[i] = labels[i] < 0 ? labels[i] : ids[static_cast<std::size_t>(labels[i])];
    }
}

} // namespace

/// FAISS's constructor refuses an index with rows, so rows and ids come after it.
template <class FaissMap>
SearchableIdMap<FaissMap>::SearchableIdMap(std::unique_ptr<faiss::Index> inner, Ids&& ids) {
    this->d = inner->d;
    this->metric_type = inner->metric_type;
    this->metric_arg = inner->metric_arg;
    this->verbose = inner->verbose;
    this->is_trained = inner->is_trained;
    this->ntotal = inner->ntotal;
    this->id_map = std::move(ids);
    this->index = inner.release();
    this->own_fields = true;
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::add(std::int64_t, const float*) {
    fail(ErrorKind::kInvalidArgument, "Index keeps the caller's ids; call add_with_ids()");
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    with_positions(params, this->id_map, [&](const faiss::SearchParameters* translated) {
        this->index->search(n, x, k, distances, labels, translated);
    });
    to_ids(n * k, labels, this->id_map);
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    with_positions(params, this->id_map, [&](const faiss::SearchParameters* translated) {
        this->index->range_search(n, x, radius, result, translated);
    });
    to_ids(static_cast<std::int64_t>(result->lims[result->nq]), result->labels, this->id_map);
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::search_and_reconstruct(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    float* recons, const faiss::SearchParameters* params) const {
    with_positions(params, this->id_map, [&](const faiss::SearchParameters* translated) {
        this->index->search_and_reconstruct(n, x, k, distances, labels, recons, translated);
    });
    to_ids(n * k, labels, this->id_map);
}

template <class FaissMap>
std::size_t SearchableIdMap<FaissMap>::sa_code_size() const {
    return this->index->sa_code_size();
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::sa_encode(
    std::int64_t n, const float* x, std::uint8_t* bytes) const {
    this->index->sa_encode(n, x, bytes);
}

template <class FaissMap>
void SearchableIdMap<FaissMap>::sa_decode(
    std::int64_t n, const std::uint8_t* bytes, float* x) const {
    this->index->sa_decode(n, bytes, x);
}

template class SearchableIdMap<faiss::IndexIDMap>;
template class SearchableIdMap<faiss::IndexIDMap2>;

IdMapIndex::IdMapIndex(std::unique_ptr<faiss::Index> inner) : IdMapIndex(std::move(inner), {}) {}

IdMapIndex::IdMapIndex(std::unique_ptr<faiss::Index> inner, Ids ids)
    : SearchableIdMap(std::move(inner), std::move(ids)) {}

IdMap2Index::IdMap2Index(std::unique_ptr<faiss::Index> inner) : IdMap2Index(std::move(inner), {}) {}

IdMap2Index::IdMap2Index(std::unique_ptr<faiss::Index> inner, Ids ids)
    : SearchableIdMap(std::move(inner), std::move(ids)) {
    construct_rev_map();
}

void IdMap2Index::reset() {
    faiss::IndexIDMap2::reset();
    rev_map.clear(); // FAISS 1.7.3 leaves it, and would then reconstruct rows under ids that are
                     // gone.
}

void IdMap2Index::reconstruct(std::int64_t key, float* recons) const {
    reconstruct_batch(1, &key, recons);
}

void IdMap2Index::reconstruct_batch(std::int64_t n, const std::int64_t* keys, float* recons) const {
    Ids positions;
    for (std::int64_t i = 0; i < n; ++i) {
        const auto found = rev_map.find(keys[i]);
        if (found == rev_map.end()) {
            fail(ErrorKind::kNotFound, "Index holds no row of id: ", keys[i]);
        }
        positions.push_back(found->second);
    }
    index->reconstruct_batch(n, positions.data(), recons);
}

} // namespace arfc
