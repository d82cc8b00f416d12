#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "coarse_structure.h"
#include "code_graph.h"

namespace arfc {

/// A navigating spreading-out graph over heads: "NSG<m>", at most m links a row on one level.
///
/// It is made at once, from a HNSW graph that is then dropped, so rows that come later are not
/// covered until there are as many of them as covered ones, or training makes the structure anew.
/// Walks begin at the row nearest to the middle of all. The graph follows from the rows and their
/// order, and not from the number of threads.
///
/// Source: Fu et al., Fast approximate nearest neighbor search with the navigating spreading-out
/// graph, VLDB 2019.
class NsgStructure final : public CoarseStructure {
  public:
    static constexpr std::size_t kLeastLinks = 4;
    static constexpr std::size_t kMostLinks = 256;

    /// @param links  m, in [kLeastLinks, kMostLinks].
    explicit NsgStructure(std::size_t links) : links_(links) {}

    void train(const HeadRows& /*sample*/, std::uint64_t /*seed*/) override {}
    [[nodiscard]] bool outlives_training() const noexcept override { return false; }
    void add(const HeadRows& all) override;
    [[nodiscard]] Proposals find(const HeadRows& all, const CoarseQuery& query) const override;
    void compact(const HeadRows& all, std::span<const std::uint32_t> numbers) override;
    void clear() override { *this = NsgStructure(links_.width()); }
    [[nodiscard]] std::size_t rows() const noexcept override { return links_.nodes(); }
    [[nodiscard]] std::size_t bytes() const noexcept override;
    [[nodiscard]] std::size_t expected_scored(std::size_t beam) const noexcept override {
        return beam * links_.width() / 2;
    }
    void save(ByteWriter& out) const override;
    void restore(ByteReader& in, std::size_t rows) override;
    [[nodiscard]] std::unique_ptr<CoarseStructure> clone() const override {
        return std::make_unique<NsgStructure>(*this);
    }

  private:
    void build(const HeadRows& all);
    void link_along_walks(
        const HeadRows& all, const HeadSketches& sketches, const LinkTable& nearest);
    void link_back(const HeadRows& all, const HeadSketches& sketches);
    void connect(const HeadRows& all, const LinkTable& nearest);
    [[nodiscard]] bool link_to_lost(
        std::uint32_t from, std::uint32_t lost, std::span<std::uint32_t> parents);
    void reach_from(
        std::uint32_t row, std::uint32_t parent, std::span<std::uint32_t> parents) const;

    std::uint32_t entry_ = kNoLink;
    LinkTable links_; ///< Node = row.
    Duplicates duplicates_;
};

} // namespace arfc
