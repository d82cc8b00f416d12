#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coarse_structure.h"
#include "code_graph.h"

namespace arfc {

/// A hierarchical navigable small world graph over heads: "HNSW<m>".
///
/// A row has at most 2 m links on the lowest level, m on each higher one; its level follows from
/// its number. Rows are inserted in batches: those of a batch look for neighbours side by side, in
/// the graph as it was and in each other, and are then linked. So the graph follows from the rows,
/// their order and how they were divided into calls of add(), and not from the number of threads.
/// Rows with the head of an earlier row are kept by that row and are no nodes. No float copy of any
/// row is kept: rows are scored by look-ups and compared by sketches.
///
/// Source: Malkov & Yashunin, TPAMI 2018; batches: ParlayANN (Manohar et al., PPoPP 2024).
class HnswStructure final : public CoarseStructure {
  public:
    static constexpr std::size_t kLeastLinks = 2;
    static constexpr std::size_t kMostLinks = 256;

    /// @param links  m, in [kLeastLinks, kMostLinks].
    explicit HnswStructure(std::size_t links) : links_(links), lowest_(2 * links), upper_(links) {}

    void train(const HeadRows& /*sample*/, std::uint64_t /*seed*/) override {}
    [[nodiscard]] bool outlives_training() const noexcept override { return true; }
    void add(const HeadRows& all) override;
    [[nodiscard]] Proposals find(const HeadRows& all, const CoarseQuery& query) const override;
    void compact(const HeadRows& all, std::span<const std::uint32_t> numbers) override;
    void clear() override;
    [[nodiscard]] std::size_t rows() const noexcept override { return rows_; }
    [[nodiscard]] std::size_t bytes() const noexcept override;
    [[nodiscard]] std::size_t expected_scored(std::size_t beam) const noexcept override {
        return beam * links_;
    }
    void save(ByteWriter& out) const override;
    void restore(ByteReader& in, std::size_t rows) override;
    [[nodiscard]] std::unique_ptr<CoarseStructure> clone() const override {
        return std::make_unique<HnswStructure>(*this);
    }

    // What another graph is made from.
    [[nodiscard]] const LinkTable& lowest() const noexcept { return lowest_; } ///< Node = row.
    [[nodiscard]] const Duplicates& duplicates() const noexcept { return duplicates_; }
    [[nodiscard]] const HeadSketches& sketches() const noexcept { return sketches_; }

  private:
    /// A row of level 1 or more.
    struct Tower {
        std::uint32_t row;
        std::uint32_t first; ///< Of `levels` adjacent nodes of upper_: level 1, 2, ...
        std::uint32_t levels;
    };
    struct Newcomer;

    [[nodiscard]] std::size_t level_of(std::uint32_t row) const noexcept;
    [[nodiscard]] const Tower* tower_of(std::uint32_t row) const noexcept;
    [[nodiscard]] std::span<const std::uint32_t> links_of(
        std::uint32_t row, std::size_t level) const noexcept;
    void set_links(std::uint32_t row, std::size_t level, std::span<const std::uint32_t> links);
    [[nodiscard]] std::size_t most_links(std::size_t level) const noexcept {
        return level == 0 ? 2 * links_ : links_;
    }
    void add_batch(const HeadRows& all, std::size_t count);
    void look_around(
        const HeadRows& all, std::span<Newcomer> batch, std::size_t first, std::size_t count) const;
    [[nodiscard]] std::uint32_t descend(
        HeadScorer& scorer, std::size_t down_to, std::size_t& level) const;
    void set_duplicates_aside(const HeadRows& all, std::span<Newcomer> batch);
    void link(const HeadRows& all, std::span<Newcomer> batch);
    void link_back(const HeadRows& all, std::span<const Newcomer> batch);
    void raise_entry();
    [[nodiscard]] HnswStructure renumbered(
        const HeadRows& all, std::span<const std::uint32_t> numbers) const;

    std::size_t links_;
    std::size_t rows_ = 0;
    std::uint32_t entry_ = kNoLink; ///< A row of the highest level.
    std::size_t top_ = 0;           ///< Its level.
    LinkTable lowest_;              ///< Node = row.
    LinkTable upper_;
    std::vector<Tower> towers_; ///< Ascending rows.
    Duplicates duplicates_;
    HeadSketches sketches_; ///< Made when the first row comes.
};

} // namespace arfc
