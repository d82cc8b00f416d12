#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "best_rows.h"
#include "look_ups.h"
#include "parallel.h"
#include "sample_queries.h"
#include "staged_index.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kQuestions = 600; // Of 99 % the sixth largest margin then decides; asking 600
                                        // questions of 100,000 rows takes some seconds.
constexpr std::size_t kTogether = 64;   // Questions of which tables are in memory.
constexpr std::size_t kRowsPerAnswer = 2; // Fewer rows than these for each answer tell nothing.
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kLevels = Calibration::kAnswers.size();

/// Scores of every row by every stage, as a search by stages sees them.
class StageScores {
  public:
    /// @param terms  [stages, rows].
    StageScores(
        MatrixView<const std::byte> codes, std::span<const std::size_t> stage_bytes, Metric metric,
        MatrixView<const float> terms)
        : codes_(codes), stage_bytes_(stage_bytes), metric_(metric), terms_(terms),
          scores_(stage_bytes.size() * codes.rows()) {}

    void ask(const float* tables, const Compressor::QueryTerms& query) {
        std::vector<float> sums(codes_.rows(), query.bias);
        std::size_t done = 0;
        for (std::size_t s = 0; s < stage_bytes_.size(); ++s) {
            add_look_ups(
                tables + done * kSymbols, codes_.data() + done, codes_.cols(),
                stage_bytes_[s] - done, codes_.rows(), sums.data());
            done = stage_bytes_[s];
            const std::span<float> scores = of(s);
            for (std::size_t row = 0; row < scores.size(); ++row) {
                scores[row] = orderable(Compressor::combine(
                    metric_, sums[row], terms_.row(s)[row], query.squared_norm));
            }
        }
    }

    /// Takes a row out of every answer.
    void leave_out(std::size_t row) {
        for (std::size_t s = 0; s < stage_bytes_.size(); ++s) {
            of(s)[row] = -kInfinity;
        }
    }

    [[nodiscard]] std::span<float> of(std::size_t stage) {
        return std::span(scores_).subspan(stage * codes_.rows(), codes_.rows());
    }

  private:
    MatrixView<const std::byte> codes_;
    std::span<const std::size_t> stage_bytes_;
    Metric metric_;
    MatrixView<const float> terms_;
    std::vector<float> scores_; ///< [stages, rows].
};

/// Returns the rows of the best scores, best first; ties: smaller row first.
std::vector<std::uint32_t> best_rows(std::span<const float> scores, std::size_t count) {
    std::vector<std::uint32_t> rows(scores.size());
    std::iota(rows.begin(), rows.end(), 0U);
    const auto is_better = [&](std::uint32_t a, std::uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    };
    const auto end = rows.begin() + static_cast<std::ptrdiff_t>(std::min(count, rows.size()));
    std::partial_sort(rows.begin(), end, rows.end(), is_better);
    rows.erase(end, rows.end());
    return rows;
}

/// Returns how far below the k-th best score, k the size of the answer, the answer stands.
float margin(std::span<const float> scores, std::span<const std::uint32_t> answer) {
    std::vector<float> ranked(scores.begin(), scores.end());
    const auto kth = ranked.begin() + static_cast<std::ptrdiff_t>(answer.size() - 1);
    std::nth_element(ranked.begin(), kth, ranked.end(), std::greater<>());
    float margin = 0.0F;
    for (const std::uint32_t row : answer) {
        margin = std::max(margin, *kth - scores[row]);
    }
    return margin;
}

} // namespace

/// Returns the row terms that stages score by: of the head as a scan sees them. [stages, n].
std::vector<float> StagedIndex::terms_of_stages(MatrixView<const std::byte> codes) const {
    const std::size_t count = codes.rows();
    std::vector<float> terms(shape_.stage_bytes.size() * count);
    const std::vector<std::byte> heads = spread(codes, count, head_bytes());
    compressor_->row_terms({heads.data(), count, head_bytes()}, {terms.data(), count});
    if (scan_term_kind() == TermKind::kLevel) {
        for (float& term : std::span(terms).first(count)) {
            term = scale_.term(scale_.level(term));
        }
    }
    const std::vector<float> later = rank_terms(codes);
    const std::size_t width = shape_.stage_bytes.size() - 1;
    for (std::size_t s = 1; s <= width; ++s) {
        for (std::size_t row = 0; row < count; ++row) {
            terms[s * count + row] = later[row * width + s - 1];
        }
    }
    return terms;
}

/// The index holds the rows of the codes, in their order.
void StagedIndex::calibrate(MatrixView<const std::byte> codes, MatrixView<const float> originals) {
    const std::size_t stages = shape_.stage_bytes.size();
    const std::vector<float> terms = terms_of_stages(codes);
    const std::vector<std::uint32_t> lists = list_of_row();
    const SampleQueries queries(*compressor_, codes, originals, kQuestions);
    std::vector<Compressor::QueryTerms> query_terms(queries.count);
    compressor_->query_terms(queries.view(), query_terms);
    std::vector<Calibration::Question> questions(queries.count);
    const std::size_t width = code_bytes() * kSymbols;
    std::vector<float> tables(std::min(kTogether, queries.count) * width);
    for (std::size_t first = 0; first < queries.count; first += kTogether) {
        const std::size_t some = std::min(kTogether, queries.count - first);
        compressor_->query_tables(
            queries.view().slice(first, some), 0, {tables.data(), some, width});
        for_each_in_parallel(some, [&](std::size_t i) {
            const std::size_t q = first + i;
            StageScores scores(
                codes, shape_.stage_bytes, compressor_->metric(),
                {terms.data(), stages, codes.rows()});
            scores.ask(tables.data() + i * width, query_terms[q]);
            scores.leave_out(queries.own[q]);
            std::vector<std::uint32_t> best =
                best_rows(scores.of(stages - 1), Calibration::kAnswers.back());
            const std::vector<std::uint32_t> needed =
                lists_needed(queries.view().row(q), best, lists);
            questions[q] = Calibration::Question(stages, list_count());
            for (std::size_t level = 0; level < kLevels; ++level) {
                const std::size_t k = Calibration::kAnswers[level];
                if (k * kRowsPerAnswer >= codes.rows()) {
                    break;
                }
                for (std::size_t s = 0; s + 1 < stages; ++s) {
                    questions[q].margins[s][level] = margin(scores.of(s), std::span(best).first(k));
                }
                questions[q].lists[level] = needed.empty() ? 0 : needed[k - 1];
            }
        });
    }
    calibration_ = Calibration(questions);
}

/// Returns how many of the nearest lists hold the first row, the first two, and so on; of one list
/// only, nothing.
/// @param lists  As list_of_row() gives them.
std::vector<std::uint32_t> StagedIndex::lists_needed(
    std::span<const float> query, std::span<const std::uint32_t> rows,
    std::span<const std::uint32_t> lists) const {
    if (list_count() == 1) {
        return {};
    }
    const std::vector<std::uint32_t> order =
        nearest_lists({query.data(), 1, query.size()}, list_count());
    std::vector<std::uint32_t> place(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        place[order[i]] = static_cast<std::uint32_t>(i);
    }
    std::vector<std::uint32_t> needed;
    std::uint32_t most = 0;
    for (const std::uint32_t row : rows) {
        auto nearest = static_cast<std::uint32_t>(list_count());
        for (const std::uint32_t list : lists.subspan(row * copies(), copies())) {
            nearest = std::min(nearest, place[list % list_count()] + 1);
        }
        most = std::max(most, nearest);
        needed.push_back(most);
    }
    return needed;
}

std::vector<std::uint32_t> StagedIndex::nearest_lists(
    MatrixView<const float> queries, std::size_t count) const {
    std::vector<std::uint32_t> lists(queries.rows() * count);
    std::vector<float> directions(queries.data(), queries.data() + queries.size());
    const MatrixView<float> of_queries(directions.data(), queries.rows(), queries.cols());
    for (std::size_t q = 0; compressor_->metric() == Metric::kCosine && q < queries.rows(); ++q) {
        normalise(of_queries.row(q));
    }
    coarse_.probe(of_queries, {lists.data(), queries.rows(), count});
    return lists;
}

} // namespace arfc
