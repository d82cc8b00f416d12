#include "link_io.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace arfc {

void write_links(ByteWriter& out, const LinkTable& links) {
    std::vector<std::uint16_t> counts(links.nodes());
    std::vector<std::uint32_t> all;
    for (std::size_t node = 0; node < links.nodes(); ++node) {
        const std::span<const std::uint32_t> own = links.of(node);
        counts[node] = static_cast<std::uint16_t>(own.size());
        all.insert(all.end(), own.begin(), own.end());
    }
    out.array(std::span<const std::uint16_t>(counts));
    out.array(std::span<const std::uint32_t>(all));
}

LinkTable read_links(ByteReader& in, std::size_t nodes, std::size_t width, std::size_t rows) {
    const std::vector<std::uint16_t> counts = in.array<std::uint16_t>(nodes);
    LinkTable links(width);
    links.grow(nodes);
    for (std::size_t node = 0; node < nodes; ++node) {
        in.require(counts[node] <= width, counts[node], " links of at most ", width);
        const std::vector<std::uint32_t> own = in.array<std::uint32_t>(counts[node]);
        in.require(
            std::ranges::all_of(own, [rows](std::uint32_t row) { return row < rows; }),
            "a link of node ", node, " leads to no row of ", rows);
        links.set(node, own);
    }
    return links;
}

void write_duplicates(ByteWriter& out, const Duplicates& duplicates) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    for (const auto& [node, rows] : duplicates) {
        for (const std::uint32_t row : rows) {
            pairs.emplace_back(row, node);
        }
    }
    std::ranges::sort(pairs);
    out.number(static_cast<std::uint64_t>(pairs.size()));
    for (const auto& [row, node] : pairs) {
        out.number(row);
        out.number(node);
    }
}

Duplicates read_duplicates(ByteReader& in, std::size_t rows) {
    Duplicates duplicates;
    const auto count = in.number<std::uint64_t>();
    in.require(count <= rows, count, " rows with the head of another, of ", rows);
    std::uint64_t least = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto row = in.number<std::uint32_t>();
        const auto node = in.number<std::uint32_t>();
        in.require(
            row < rows && node < rows && row != node && row >= least, "row ", row,
            " has the head of ", node, ", of ", rows);
        least = std::uint64_t{row} + 1;
        duplicates[node].push_back(row);
    }
    return duplicates;
}

} // namespace arfc
