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

void search_by_id(
    const faiss::Index& inner, const Ids& ids, std::int64_t n, const float* x, std::int64_t k,
    float* distances, std::int64_t* labels, const faiss::SearchParameters* params) {
    with_positions(params, ids, [&](const faiss::SearchParameters* translated) {
        inner.search(n, x, k, distances, labels, translated);
    });
    to_ids(n * k, labels, ids);
}

void search_and_reconstruct_by_id(
    const faiss::Index& inner, const Ids& ids, std::int64_t n, const float* x, std::int64_t k,
    float* distances, std::int64_t* labels, float* recons, const faiss::SearchParameters* params) {
    with_positions(params, ids, [&](const faiss::SearchParameters* translated) {
        inner.search_and_reconstruct(n, x, k, distances, labels, recons, translated);
    });
    to_ids(n * k, labels, ids);
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

void IdMapIndex::search_and_reconstruct(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    float* recons, const faiss::SearchParameters* params) const {
    search_and_reconstruct_by_id(*index, id_map, n, x, k, distances, labels, recons, params);
}

std::size_t IdMapIndex::sa_code_size() const {
    return index->sa_code_size();
}

void IdMapIndex::sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const {
    index->sa_encode(n, x, bytes);
}

void IdMapIndex::sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const {
    index->sa_decode(n, bytes, x);
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

void IdMap2Index::search_and_reconstruct(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    float* recons, const faiss::SearchParameters* params) const {
    search_and_reconstruct_by_id(*index, id_map, n, x, k, distances, labels, recons, params);
}

std::size_t IdMap2Index::sa_code_size() const {
    return index->sa_code_size();
}

void IdMap2Index::sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const {
    index->sa_encode(n, x, bytes);
}

void IdMap2Index::sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const {
    index->sa_decode(n, bytes, x);
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
