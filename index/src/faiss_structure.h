#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "coarse_structure.h"

namespace faiss {
struct Index;
} // namespace faiss

namespace arfc {

/// Any index of FAISS's over the rows' reconstructions: whatever stands after the comma of a
/// factory string and is no structure of our own, such as "PQ16x4fs" or "IVF256_HNSW32,SQ8".
///
/// The index learns from, and is given, what the heads decode to, and answers with the rows that it
/// finds near to a query; how they score is for their codes to say. Under cosine reconstructions
/// and queries have unit length and are compared by inner product, or by distance, which ranks
/// alike, where FAISS has the index for distances only. Row n is the n-th that was added.
///
/// FAISS is asked one query at a time. Where its index takes no selector, more rows are asked for
/// until enough of them are accepted. Rows that the index does not take (an NSG takes rows once)
/// are left to be scanned until they outnumber the others.
///
/// Const members may be called from many threads.
class FaissStructure final : public CoarseStructure {
  public:
    /// Says whether FAISS makes an index that keeps rows and can be asked for them from this
    /// string, for some metric, with numbers that are no attack on memory. One that contains ARFC
    /// or an id map is none: rows are numbered here.
    [[nodiscard]] static bool is_offered(std::size_t dim, std::string_view text);

    /// @param text    is_offered().
    /// @throws Error  kUnsupported: FAISS has no such index for the metric.
    FaissStructure(std::size_t dim, Metric metric, std::string_view text);
    FaissStructure(const FaissStructure&) = delete;
    FaissStructure& operator=(const FaissStructure&) = delete;
    ~FaissStructure() override;

    [[nodiscard]] CoarseTraits traits() const override { return traits_; }
    void train(const HeadRows& sample, std::uint64_t seed) override;
    [[nodiscard]] bool outlives_training() const noexcept override { return false; }
    void add(const HeadRows& all) override;
    [[nodiscard]] Proposals find(const HeadRows& all, const CoarseQuery& query) const override;
    void compact(const HeadRows& all, std::span<const std::uint32_t> numbers) override;
    void clear() override;
    [[nodiscard]] std::size_t rows() const noexcept override { return rows_; }

    /// Returns the bytes of FAISS's own file of the index, which is what it keeps in memory, and
    /// those of the tables that an IVFPQ computes beforehand.
    [[nodiscard]] std::size_t bytes() const noexcept override;

    /// Of the rows that it scores itself FAISS says nothing, and a look at its short codes costs
    /// less than one at a head: what is proposed is counted.
    [[nodiscard]] std::size_t expected_scored(std::size_t beam) const noexcept override {
        return beam;
    }
    void save(ByteWriter& out) const override;
    void restore(ByteReader& in, std::size_t rows) override;
    [[nodiscard]] std::unique_ptr<CoarseStructure> clone() const override;

  private:
    void append(const HeadRows& all, std::size_t most);
    [[nodiscard]] std::size_t rows_at_once(const HeadRows& all) const noexcept;

    std::size_t dim_;
    Metric metric_;
    std::string text_;
    std::unique_ptr<faiss::Index> index_;
    CoarseTraits traits_;
    std::size_t rows_ = 0;    ///< In the index.
    bool takes_once_;         ///< All rows in one call, none later.
    bool is_refused_ = false; ///< Its rows: no use in asking again.
    bool selects_by_id_;      ///< Takes a faiss::IDSelector.
};

} // namespace arfc
