#pragma once

#include <faiss/IndexPreTransform.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace arfc {

class ByteReader;
class ByteWriter;

/// A chain of FAISS's vector transforms.
using TransformChain = std::vector<std::unique_ptr<faiss::VectorTransform>>;

/// Divides a factory string before its ARFC component: "PCA32,L2norm,ARFC8" into "PCA32,L2norm" and
/// "ARFC8". The first part is empty where other components than transforms stand there.
[[nodiscard]] std::pair<std::string_view, std::string_view> split_transforms(
    std::string_view description) noexcept;

/// Makes untrained transforms from a list such as "PCA32,L2norm".
/// @param d       Width of the rows that go in.
/// @throws Error  kInvalidArgument: FAISS does not know one, or its widths do not fit.
[[nodiscard]] TransformChain make_transforms(int d, std::string_view transforms);

/// FAISS's IndexPreTransform around an ArfcIndex, whose string can be told and which throws
/// arfc::Error. Parameters of a search reach the index behind.
class TransformedIndex : public faiss::IndexPreTransform {
  public:
    /// @param transforms       The chain's factory string.
    /// @param transform_chain  At least one; the last one's output is as wide as `inner`.
    TransformedIndex(
        std::string transforms, TransformChain transform_chain,
        std::unique_ptr<faiss::Index> inner);

    /// "PCA32,L2norm".
    [[nodiscard]] const std::string& transforms() const noexcept { return transforms_; }

    /// Learns the transforms in turn, then the index behind from what they make of the rows. Where
    /// it throws, the index is untrained.
    /// @throws Error  kFailedPrecondition: there are rows. kInvalidArgument: a value, or too few
    ///                rows. kCancelled.
    void train(std::int64_t n, const float* x) override;

    void add(std::int64_t n, const float* x) override;
    void add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) override;
    void search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params = nullptr) const override;
    void range_search(
        std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
        const faiss::SearchParameters* params = nullptr) const override;
    void search_and_reconstruct(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        float* recons, const faiss::SearchParameters* params = nullptr) const override;
    void reconstruct(std::int64_t key, float* recons) const override;
    void reconstruct_n(std::int64_t i0, std::int64_t ni, float* recons) const override;
    void sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const override;
    void sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const override;

    /// Moves the rows of an index of the same transforms and the same model.
    /// @throws Error  kInvalidArgument: it is none. kFailedPrecondition: not trained.
    void check_compatible_for_merge(const faiss::Index& other) const override;
    void merge_from(faiss::Index& other, std::int64_t add_id = 0) override;

    /// Writes what the transforms have learned; docs/index_format.md gives every byte.
    void write_transforms(ByteWriter& out) const;

    /// Reads what write_transforms() wrote.
    /// @returns the chain and its factory string.
    /// @throws Error  kCorruption.
    static std::pair<TransformChain, std::string> read_transforms(ByteReader& in);

  private:
    std::string transforms_;
};

} // namespace arfc
