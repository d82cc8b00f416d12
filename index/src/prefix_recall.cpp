#include "prefix_recall.h"

#include <faiss/IndexFlat.h>

#include <algorithm>

#include "arfc/base/error.h"
#include "best_rows.h"
#include "look_ups.h"
#include "parallel.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kQueriesTogether = 64; // Their tables of 96 tokens are 6 MB.

/// Copies columns [0, width) of the rows.
std::vector<std::byte> prefixes(MatrixView<const std::byte> codes, std::size_t width) {
    std::vector<std::byte> out(codes.rows() * width);
    for (std::size_t i = 0; i < codes.rows(); ++i) {
        std::copy_n(codes.row(i).data(), width, out.data() + i * width);
    }
    return out;
}

} // namespace

PrefixRecall::PrefixRecall(
    const PlanSample& sample, std::vector<std::size_t> lengths, const ProgressFunction& progress)
    : sample_(sample), lengths_(std::move(lengths)),
      queries_(sample.queries * sample.compressor->dim()),
      truth_(sample.queries * kParts * sample.k),
      recalls_(lengths_.size() * kParts * sample.queries) {
    const Compressor& compressor = *sample_.compressor;
    if (sample_.originals.empty()) {
        compressor.decode(
            sample_.codes.slice(0, sample_.queries),
            {queries_.data(), sample_.queries, compressor.dim()});
    } else {
        std::copy_n(sample_.originals.data(), queries_.size(), queries_.begin());
        find_exact_neighbours();
    }
    for (const std::size_t length : lengths_) {
        const std::vector<std::byte> prefix = prefixes(sample_.codes, length);
        row_terms_.emplace_back(sample_.codes.rows());
        compressor.row_terms({prefix.data(), sample_.codes.rows(), length}, row_terms_.back());
    }
    const std::size_t width = sample_.codes.cols() * kSymbols;
    std::vector<float> tables(kQueriesTogether * width);
    std::vector<Compressor::QueryTerms> terms(kQueriesTogether);
    for (std::size_t first = 0; first < sample_.queries; first += kQueriesTogether) {
        if (progress && !progress({.stage = "recall", .done = first, .total = sample_.queries})) {
            fail(ErrorKind::kCancelled, "Plan was cancelled after measuring queries: ", first);
        }
        const std::size_t count = std::min(kQueriesTogether, sample_.queries - first);
        const MatrixView<const float> some = queries().slice(first, count);
        compressor.query_tables(some, 0, {tables.data(), count, width});
        compressor.query_terms(some, std::span(terms).first(count));
        for_each_in_parallel(
            count, [&](std::size_t i) { measure(first + i, tables.data() + i * width, terms[i]); });
    }
    row_terms_.clear();
}

void PrefixRecall::find_exact_neighbours() {
    const std::size_t dim = sample_.compressor->dim();
    const Metric metric = sample_.compressor->metric();
    std::vector<float> rows(
        sample_.originals.data(), sample_.originals.data() + sample_.originals.size());
    for (std::size_t i = 0; metric == Metric::kCosine && i < sample_.originals.rows(); ++i) {
        normalise(std::span(rows).subspan(i * dim, dim));
    }
    const auto asked = static_cast<std::int64_t>(sample_.queries);
    const auto wanted = static_cast<std::int64_t>(sample_.k + 1); // One is perhaps the row itself.
    std::vector<BestOfParts> best(sample_.queries);
    std::vector<float> scores(sample_.queries * (sample_.k + 1));
    std::vector<std::int64_t> found(scores.size());
    for (std::size_t quarter = 0; quarter < kQuarters; ++quarter) {
        const std::size_t begin = quarter_begin(quarter);
        faiss::IndexFlat flat(
            static_cast<std::int64_t>(dim),
            metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
        flat.add(
            static_cast<std::int64_t>(quarter_begin(quarter + 1) - begin),
            rows.data() + begin * dim);
        flat.search(asked, rows.data(), wanted, scores.data(), found.data());
        for (std::size_t i = 0; i < found.size(); ++i) {
            const std::size_t q = i / (sample_.k + 1);
            const auto row = static_cast<std::uint32_t>(begin + static_cast<std::size_t>(found[i]));
            if (row != q) {
                best[q][quarter].push_back({row, metric == Metric::kL2 ? -scores[i] : scores[i]});
            }
        }
    }
    for (std::size_t q = 0; q < sample_.queries; ++q) {
        join(best[q]);
        set_truth(q, best[q]);
    }
}

/// Scores every row by every length, each continuing the sums of the one before.
void PrefixRecall::measure(
    std::size_t q, const float* tables, const Compressor::QueryTerms& terms) {
    const Metric metric = sample_.compressor->metric();
    const std::size_t stride = sample_.codes.cols();
    std::vector<float> sums(sample_.codes.rows(), terms.bias);
    std::size_t done = 0;
    const auto continue_to = [&](std::size_t length) {
        add_look_ups(
            tables + done * kSymbols, sample_.codes.data() + done, stride, length - done,
            sums.size(), sums.data());
        done = length;
    };
    const auto best_by = [&](std::span<const float> row_terms) {
        BestOfParts best;
        for (std::size_t quarter = 0; quarter < kQuarters; ++quarter) {
            BestRows rows(sample_.k);
            for (std::size_t row = quarter_begin(quarter); row < quarter_begin(quarter + 1);
                 ++row) {
                const float score = orderable(
                    Compressor::combine(metric, sums[row], row_terms[row], terms.squared_norm));
                if (rows.may_admit(score) && row != q) {
                    rows.push({.score = score, .row = static_cast<std::uint32_t>(row)});
                }
            }
            for (const Candidate& candidate : std::move(rows).take()) {
                best[quarter].push_back({candidate.row, candidate.score});
            }
        }
        join(best);
        return best;
    };
    std::vector<BestOfParts> best;
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
        continue_to(lengths_[i]);
        best.push_back(best_by(row_terms_[i]));
    }
    if (sample_.originals.empty()) {
        set_truth(q, best.back());
    }
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
        set_recalls(i, q, best[i]);
    }
}

/// Finds the best of the halves and of the whole among those of the quarters.
void PrefixRecall::join(BestOfParts& best) const {
    const auto keep = [&](std::vector<Best>& rows) {
        std::ranges::sort(rows, [](const Best& a, const Best& b) {
            return a.score != b.score ? a.score > b.score : a.row < b.row;
        });
        rows.resize(std::min(rows.size(), sample_.k));
    };
    const auto merge = [&](std::size_t a, std::size_t b, std::size_t into) {
        best[into] = best[a];
        best[into].insert(best[into].end(), best[b].begin(), best[b].end());
        keep(best[into]);
    };
    for (std::size_t quarter = 0; quarter < kQuarters; ++quarter) {
        keep(best[quarter]);
    }
    merge(0, 1, 4);
    merge(2, 3, 5);
    merge(4, 5, 6);
}

void PrefixRecall::set_truth(std::size_t q, const BestOfParts& best) {
    for (std::size_t part = 0; part < kParts; ++part) {
        std::ranges::transform(
            best[part],
            truth_.begin() + static_cast<std::ptrdiff_t>((q * kParts + part) * sample_.k),
            &Best::row);
    }
}

void PrefixRecall::set_recalls(std::size_t length, std::size_t q, const BestOfParts& best) {
    for (std::size_t part = 0; part < kParts; ++part) {
        const std::span<const std::uint32_t> truth = truth_of(part, q);
        const auto found = std::ranges::count_if(best[part], [&](const Best& row) {
            return std::ranges::find(truth, row.row) != truth.end();
        });
        recalls_[(length * kParts + part) * sample_.queries + q] =
            static_cast<double>(found) / static_cast<double>(sample_.k);
    }
}

RecallBySize PrefixRecall::recalls_by_size(
    std::size_t length, std::size_t first, std::size_t count) const {
    const auto mean_of = [&](std::size_t part, std::size_t parts) {
        std::vector<double> means(count);
        for (std::size_t i = 0; i < parts; ++i) {
            const std::span<const double> some = recalls_of(length, part + i).subspan(first, count);
            for (std::size_t q = 0; q < count; ++q) {
                means[q] += some[q] / static_cast<double>(parts);
            }
        }
        return means;
    };
    return {mean_of(0, 4), mean_of(4, 2), mean_of(6, 1)};
}

} // namespace arfc
