#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"
#include "byte_io.h"
#include "coarse_structure.h"
#include "table_compressor.h"

namespace arfc::test {

/// A model whose rows are whole numbers on a line, told apart by squared distance: a code's first
/// token counts eights, its second ones.
class LineModel final : public TableCompressor {
  public:
    static constexpr std::size_t kTokens = 2;

    LineModel() : TableCompressor(Metric::kL2, 1, {{0, 8.0F}, {0, 1.0F}}) {}

    /// Tables that it still makes before it fails; so many that it never does.
    mutable std::atomic<std::int64_t> tables_left = std::numeric_limits<std::int64_t>::max();

    [[nodiscard]] float position(std::span<const std::byte> code) const {
        float at = 0.0F;
        decode({code.data(), 1, code.size()}, {&at, 1, 1});
        return at;
    }

    void query_tables(
        MatrixView<const float> queries, std::size_t first_token,
        MatrixView<float> tables) const override {
        if (tables_left-- <= 0) {
            fail(ErrorKind::kResourceExhausted, "No table is left");
        }
        TableCompressor::query_tables(queries, first_token, tables);
    }
};

/// Rows of a LineModel.
struct Line {
    std::shared_ptr<LineModel> model = std::make_shared<LineModel>();
    std::vector<std::byte> heads; ///< [n, 2].
    std::vector<float> terms;     ///< [n].

    [[nodiscard]] std::size_t size() const { return terms.size(); }

    void add(unsigned eights, unsigned ones) {
        heads.push_back(static_cast<std::byte>(eights));
        heads.push_back(static_cast<std::byte>(ones));
        const float at = position(size());
        terms.push_back(at * at);
    }
    /// Appends the row `at` with less than eight ones: rows made by it are duplicates where alike.
    void add(unsigned at) { add(at / 8, at % 8); }

    /// Appends rows at random places in [0, 8 * eights + ones): some have the same head, some
    /// another head and the same place.
    void add_random(std::size_t count, unsigned eights, unsigned ones, std::uint32_t seed) {
        std::mt19937 random(seed);
        for (std::size_t i = 0; i < count; ++i) {
            const auto first = static_cast<unsigned>(random() % eights);
            add(first, static_cast<unsigned>(random() % ones));
        }
    }

    [[nodiscard]] float position(std::size_t row) const {
        return model->position({heads.data() + row * LineModel::kTokens, LineModel::kTokens});
    }

    /// The first `count` rows, as structures see them.
    [[nodiscard]] HeadRows first(std::size_t count) const {
        return {
            model.get(),
            {heads.data(), count, LineModel::kTokens},
            {},
            std::span(terms).first(count),
            {}};
    }
    [[nodiscard]] HeadRows all() const { return first(size()); }

    /// Drops rows. @returns what CoarseStructure::compact takes.
    template <class IsDropped>
    std::vector<std::uint32_t> drop(const IsDropped& is_dropped) {
        std::vector<std::uint32_t> numbers(size(), CoarseStructure::kDropped);
        Line left;
        for (std::size_t row = 0; row < size(); ++row) {
            if (!is_dropped(row)) {
                numbers[row] = static_cast<std::uint32_t>(left.size());
                left.heads.insert(
                    left.heads.end(), heads.begin() + static_cast<std::ptrdiff_t>(2 * row),
                    heads.begin() + static_cast<std::ptrdiff_t>(2 * row + 2));
                left.terms.push_back(terms[row]);
            }
        }
        heads = left.heads;
        terms = left.terms;
        return numbers;
    }

    /// Asks a structure for the rows nearest to a place.
    [[nodiscard]] Proposals find(
        const CoarseStructure& structure, float at, std::size_t beam,
        const std::function<bool(std::uint32_t)>* accepts = nullptr) const {
        std::vector<float> tables(LineModel::kTokens * kSymbols);
        model->query_tables({&at, 1, 1}, 0, {tables.data(), 1, tables.size()});
        const HeadRows rows = all();
        return structure.find(
            rows, {.values = {&at, 1},
                   .tables = tables.data(),
                   .terms = {.bias = 0.0F, .squared_norm = at * at},
                   .beam = beam,
                   .accepts = accepts});
    }

    /// The rows nearest to a place, nearest first; of those as near the first row comes first.
    [[nodiscard]] std::vector<std::uint32_t> nearest(float at, std::size_t count) const {
        std::vector<std::uint32_t> rows(size());
        for (std::uint32_t row = 0; row < rows.size(); ++row) {
            rows[row] = row;
        }
        std::ranges::stable_sort(
            rows, {}, [&](std::uint32_t row) { return std::abs(position(row) - at); });
        rows.resize(std::min(count, rows.size()));
        return rows;
    }
};

/// What a structure writes.
inline std::string saved(const CoarseStructure& structure) {
    ByteWriter out;
    structure.save(out);
    return std::move(out).take();
}

/// A graph as its file tells it.
struct SavedGraph {
    std::uint64_t rows = 0;
    std::uint32_t entry = 0;                       ///< NSG.
    std::vector<std::vector<std::uint32_t>> links; ///< [rows], of the lowest level.
    std::vector<std::size_t> levels;               ///< [rows], HNSW.
    std::vector<std::vector<std::uint32_t>> upper; ///< Of higher levels.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> duplicates; ///< Row, node.
};

inline std::vector<std::vector<std::uint32_t>> read_lists(ByteReader& in, std::size_t nodes) {
    std::vector<std::vector<std::uint32_t>> lists;
    for (const std::uint16_t count : in.array<std::uint16_t>(nodes)) {
        lists.emplace_back(count);
    }
    for (std::vector<std::uint32_t>& list : lists) {
        list = in.array<std::uint32_t>(list.size());
    }
    return lists;
}

inline SavedGraph read_graph(const std::string& bytes, bool is_hnsw) {
    ByteReader in(bytes, "Graph");
    SavedGraph file;
    file.rows = in.number<std::uint64_t>();
    if (!is_hnsw) {
        file.entry = in.number<std::uint32_t>();
    }
    file.links = read_lists(in, file.rows);
    file.levels.resize(file.rows);
    if (is_hnsw) {
        std::size_t nodes = 0;
        for (auto towers = in.number<std::uint64_t>(); towers > 0; --towers) {
            const auto row = in.number<std::uint32_t>();
            file.levels.at(row) = in.number<std::uint8_t>();
            nodes += file.levels[row];
        }
        file.upper = read_lists(in, nodes);
    }
    for (auto left = in.number<std::uint64_t>(); left > 0; --left) {
        const auto row = in.number<std::uint32_t>();
        file.duplicates.emplace_back(row, in.number<std::uint32_t>());
    }
    in.finish();
    return file;
}

} // namespace arfc::test
