#pragma once

#include <faiss/IndexIDMap.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace arfc {

/// FAISS's IndexIDMap or IndexIDMap2, whose search takes parameters: `sel` is asked for the
/// caller's ids, everything else reaches the index behind. FAISS 1.7.3's own throws on any
/// parameter. Throws arfc::Error for what it checks itself.
template <class FaissMap>
class SearchableIdMap : public FaissMap {
  public:
    /// @throws Error  kInvalidArgument, always: rows of this index have ids.
    void add(std::int64_t n, const float* x) override;
    void search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params = nullptr) const override;
    void range_search(
        std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
        const faiss::SearchParameters* params = nullptr) const override;
    void search_and_reconstruct(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        float* recons, const faiss::SearchParameters* params = nullptr) const override;

    /// The codec of the index behind, which FAISS 1.7.3's do not offer.
    std::size_t sa_code_size() const override;
    void sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const override;
    void sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const override;

  protected:
    SearchableIdMap(std::unique_ptr<faiss::Index> inner, std::vector<std::int64_t>&& ids);
};

class IdMapIndex : public SearchableIdMap<faiss::IndexIDMap> {
  public:
    /// Takes the index over; it must hold no rows.
    explicit IdMapIndex(std::unique_ptr<faiss::Index> inner);

    /// Takes over an index that holds rows, and their ids [ntotal].
    IdMapIndex(std::unique_ptr<faiss::Index> inner, std::vector<std::int64_t> ids);
};

/// It also finds rows by id.
class IdMap2Index : public SearchableIdMap<faiss::IndexIDMap2> {
  public:
    explicit IdMap2Index(std::unique_ptr<faiss::Index> inner);
    IdMap2Index(std::unique_ptr<faiss::Index> inner, std::vector<std::int64_t> ids);

    void reset() override;

    /// @throws Error  kNotFound: no such id.
    void reconstruct(std::int64_t key, float* recons) const override;
    void reconstruct_batch(std::int64_t n, const std::int64_t* keys, float* recons) const override;
};

} // namespace arfc
