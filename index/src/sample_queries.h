#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Copies columns [0, width) of `count` evenly spaced rows.
template <class T>
[[nodiscard]] std::vector<T> spread(
    MatrixView<const T> rows, std::size_t count, std::size_t width) {
    std::vector<T> out(count * width);
    for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(rows.row(i * rows.rows() / count).data(), width, out.data() + i * width);
    }
    return out;
}

/// Queries made of an index's own rows, to measure on when it is trained.
///
/// A third of them are rows, the others middles of two and of three rows from different places: a
/// user's question lies between rows more often than on one, and its neighbours are in more lists
/// than a row's. (Questions of the demo find in 32 of 256 lists less than middles of two rows do
/// and more than middles of three.)
struct SampleQueries {
    /// @param codes      [n, code bytes], n >= 1.
    /// @param originals  [n, dim] what they were made from; or no rows: reconstructions serve.
    SampleQueries(
        const Compressor& compressor, MatrixView<const std::byte> codes,
        MatrixView<const float> originals, std::size_t most)
        : count(std::min(most, codes.rows())), dim(compressor.dim()) {
        for (std::size_t i = 0; i < count; ++i) {
            own.push_back(i * codes.rows() / count);
        }
        if (!originals.empty()) {
            values = spread(originals, count, dim);
        } else {
            const std::vector<std::byte> chosen = spread(codes, count, codes.cols());
            values.resize(count * dim);
            compressor.decode({chosen.data(), count, codes.cols()}, {values.data(), count, dim});
        }
        mix();
    }

    [[nodiscard]] MatrixView<const float> view() const { return {values.data(), count, dim}; }

    std::size_t count;
    std::size_t dim;
    std::vector<std::size_t> own; ///< [count] row that each query is, or is nearest to being: no
                                  ///< answer to it.
    std::vector<float> values;    ///< [count, dim].

  private:
    void mix() {
        std::vector<float> sum(dim);
        for (std::size_t q = 0; q < count; ++q) {
            if (q % 3 == 0) {
                std::ranges::fill(sum, 0.0F);
            }
            const std::span<float> query = std::span(values).subspan(q * dim, dim);
            for (std::size_t j = 0; j < dim; ++j) {
                sum[j] += query[j];
            }
            const auto rows = static_cast<float>(q % 3 + 1);
            if (std::ranges::any_of(sum, [](float value) { return value != 0.0F; })) {
                std::ranges::transform( // Opposite rows leave no direction.
                    sum, query.begin(), [rows](float value) { return value / rows; });
            }
        }
    }
};

} // namespace arfc
