#include "code_graph.h"

namespace arfc {

std::vector<std::uint32_t> choose_links(
    const HeadSketches& sketches, const HeadRows& all, std::uint32_t row,
    std::span<const std::uint32_t> near, std::size_t most) {
    std::vector<std::uint32_t> rows(near.begin(), near.end());
    std::ranges::sort(rows);
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    std::erase(rows, row);
    const std::size_t dim = sketches.dim();
    std::vector<float> own(dim);
    sketches.compute(all.heads.row(row), own.data());
    std::vector<float> vectors(rows.size() * dim);
    std::vector<Scored> order(rows.size()); // Its rows are places in `rows`.
    for (std::size_t i = 0; i < rows.size(); ++i) {
        sketches.compute(all.heads.row(rows[i]), vectors.data() + i * dim);
        order[i] = {
            orderable(sketches.similarity(own.data(), vectors.data() + i * dim)),
            static_cast<std::uint32_t>(i)};
    }
    std::ranges::sort(order, is_closer);
    std::vector<std::uint32_t> links;
    std::vector<const float*> chosen;
    for (const Scored& candidate : order) {
        if (links.size() >= most) {
            break;
        }
        const float* const vector = vectors.data() + candidate.row * dim;
        const bool is_new_direction = std::ranges::none_of(chosen, [&](const float* other) {
            return sketches.similarity(vector, other) > candidate.score;
        });
        if (is_new_direction) {
            links.push_back(rows[candidate.row]);
            chosen.push_back(vector);
        }
    }
    return links;
}

std::vector<float> decode_as_queries(const HeadRows& all, std::size_t first, std::size_t count) {
    const std::size_t dim = all.compressor->dim();
    std::vector<float> rows(count * dim);
    all.compressor->decode(all.heads.slice(first, count), {rows.data(), count, dim});
    for (std::size_t i = 0; i < count; ++i) {
        const std::span<float> row = std::span(rows).subspan(i * dim, dim);
        if (std::ranges::all_of(row, [](float value) { return value == 0.0F; })) {
            row[0] = 1.0F;
        }
    }
    return rows;
}

} // namespace arfc
