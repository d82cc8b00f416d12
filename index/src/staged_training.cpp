#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "arfc/base/error.h"
#include "memory_tails.h"
#include "sample_queries.h"
#include "staged_index.h"

namespace arfc {
namespace {

constexpr std::size_t kMeasuredRows = 100'000; // Indexed to measure defaults on.
constexpr std::size_t kMeasuredQueries = 300;
constexpr std::size_t kAnswers = 10;  // Defaults are chosen by recall@10.
constexpr std::size_t kListsCap = 32; // What a search probes and keeps by default, at most, where
constexpr std::size_t kRowsCap = 200; // recall within the cap is not less than kRecallInCap.
constexpr double kRecall = 0.995;
constexpr double kRecallInCap = 0.99;
constexpr std::size_t kMostRows = 6400; // However hard the data: a shortlist longer than this is a
                                        // scan.
constexpr std::size_t kTrainingRowsPerList = 128;
constexpr std::size_t kMostTombstones = 8; // A graph of which more than an eighth are is made anew.

/// Values tried, smallest first, up to the caps.
constexpr std::size_t kListsGrid[] = {1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32};
constexpr std::size_t kRowsGrid[] = {10, 15, 20, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200};

/// Asks a sample of rows for their neighbours, by every row's longest prefix and by stages.
class RecallMeasurement {
  public:
    /// @param index  Holds the rows of `codes` [n, code_bytes()], n >= 2.
    RecallMeasurement(
        const StagedIndex& index, MatrixView<const std::byte> codes,
        MatrixView<const float> originals)
        : index_(index),
          tails_(
              codes.data() + index.head_bytes(), codes.cols(), codes.cols() - index.head_bytes()),
          queries_(index.compressor(), codes, originals, kMeasuredQueries) {
        truth_ = ask_exhaustively(codes);
    }

    /// @param limits  Of every stage but the last.
    /// @returns recall@10 of the staged answers, in [0, 1].
    [[nodiscard]] double operator()(
        std::size_t nprobe, const std::vector<std::size_t>& limits) const {
        StagedRequest request{.k = kAnswers + 1, .stages = {}, .nprobe = nprobe, .accepts = {}};
        for (std::size_t s = 0; s < index_.shape().stage_bytes.size(); ++s) {
            // One more than the limit: the row itself takes a place that a user's query leaves to
            // others.
            request.stages.push_back(
                {index_.shape().stage_bytes[s], s < limits.size() ? limits[s] + 1 : 0});
        }
        const std::vector<std::uint64_t> rows =
            without_own(index_.search(queries_.view(), request, &tails_));
        std::size_t found = 0;
        std::size_t wanted = 0;
        for (std::size_t q = 0; q < queries_.count; ++q) {
            const auto begin = static_cast<std::ptrdiff_t>(q * kAnswers);
            for (std::size_t i = q * kAnswers; i < (q + 1) * kAnswers && truth_[i] != kNoRow; ++i) {
                ++wanted;
                found += static_cast<std::size_t>(
                    std::count(rows.begin() + begin, rows.begin() + begin + kAnswers, truth_[i]));
            }
        }
        return static_cast<double>(found) / static_cast<double>(wanted);
    }

  private:
    [[nodiscard]] std::vector<std::uint64_t> ask_exhaustively(
        MatrixView<const std::byte> codes) const {
        const std::shared_ptr<const Compressor> shared(
            std::shared_ptr<const Compressor>(), &index_.compressor());
        StagedIndex whole(shared, {.stage_bytes = {codes.cols()}, .nlist = 0});
        whole.add(codes);
        const StagedRequest request{.k = kAnswers + 1, .stages = {}, .nprobe = {}, .accepts = {}};
        return without_own(whole.search(queries_.view(), request, nullptr));
    }

    /// Drops each query's own row, or its last answer where that row is not among them:
    /// [queries, kAnswers].
    [[nodiscard]] std::vector<std::uint64_t> without_own(const StagedAnswer& answer) const {
        std::vector<std::uint64_t> rows;
        for (std::size_t q = 0; q < queries_.count; ++q) {
            const auto begin =
                answer.rows.begin() + static_cast<std::ptrdiff_t>(q * (kAnswers + 1));
            std::vector<std::uint64_t> some(begin, begin + kAnswers + 1);
            std::erase(some, queries_.own[q]);
            rows.insert(rows.end(), some.begin(), some.begin() + kAnswers);
        }
        return rows;
    }

    const StagedIndex& index_;
    MemoryTails tails_;
    SampleQueries queries_;
    std::vector<std::uint64_t> truth_; ///< [queries, kAnswers].
};

/// Lists to probe, and rows that each stage but the last keeps.
struct Defaults {
    std::size_t nprobe = 1;
    std::vector<std::size_t> limits;
};

/// Goes past the caps while recall is too low for them: each step doubles what helps more.
Defaults widen(const RecallMeasurement& recall, Defaults now, std::size_t nlist, std::size_t rows) {
    const std::size_t most_rows = std::min(rows, kMostRows);
    while (recall(now.nprobe, now.limits) < kRecallInCap) {
        Defaults lists = now;
        lists.nprobe = std::min(2 * now.nprobe, nlist);
        Defaults longer = now;
        for (std::size_t& limit : longer.limits) {
            limit = std::max(limit, std::min(2 * limit, most_rows));
        }
        const bool lists_grow = lists.nprobe > now.nprobe;
        const bool limits_grow = longer.limits != now.limits;
        if (!lists_grow && !limits_grow) {
            break;
        }
        const bool take_lists =
            lists_grow && (!limits_grow || recall(lists.nprobe, lists.limits) >=
                                               recall(longer.nprobe, longer.limits));
        now = take_lists ? std::move(lists) : std::move(longer);
    }
    return now;
}

/// Takes the smallest nprobe, then the smallest limits, that keep recall. Half of the loss that is
/// allowed goes to the lists.
Defaults shrink(const RecallMeasurement& recall, Defaults now) {
    const double best = recall(now.nprobe, now.limits);
    const double target = std::min(best, kRecall);
    const double lists_target = std::min(best, (1.0 + kRecall) / 2);
    const auto* const fewer = std::ranges::find_if(kListsGrid, [&](std::size_t nprobe) {
        return nprobe < now.nprobe && recall(nprobe, now.limits) >= lists_target;
    });
    if (fewer != std::end(kListsGrid)) {
        now.nprobe = *fewer;
    }
    for (std::size_t s = 0; s < now.limits.size(); ++s) {
        const std::size_t widest = now.limits[s];
        for (const std::size_t limit : kRowsGrid) {
            Defaults tried = now;
            tried.limits[s] = limit;
            if (limit < widest && recall(tried.nprobe, tried.limits) >= target) {
                now = std::move(tried);
                break;
            }
        }
    }
    return now;
}

void report(const ProgressFunction& progress, std::size_t done) {
    if (progress && !progress(
                        {.stage = "defaults",
                         .done = done,
                         .total = 2,
                         .error = {},
                         .held_out_recall = {},
                         .seconds_left = {}})) {
        fail(ErrorKind::kCancelled, "Training was cancelled while search defaults were measured");
    }
}

} // namespace

StagedIndex StagedIndex::trained_anew(
    MatrixView<const std::byte> codes, MatrixView<const float> originals,
    const StagedTrainOptions& options) const {
    const std::size_t dim = compressor_->dim();
    if (codes.empty() || codes.cols() != code_bytes()) {
        fail(
            ErrorKind::kInvalidArgument, "Training codes have a shape other than [n >= 1, ",
            code_bytes(), "]: [", codes.rows(), ", ", codes.cols(), "]");
    }
    if (!originals.empty() && (originals.rows() != codes.rows() || originals.cols() != dim)) {
        fail(
            ErrorKind::kInvalidArgument, "Originals have a shape other than their codes ask for: [",
            originals.rows(), ", ", originals.cols(), "], expected [", codes.rows(), ", ", dim,
            "]");
    }
    StagedIndex next(compressor_, shape_);
    // Limits are measured by scanning: what a structure misses is no reason for longer lists.
    std::shared_ptr<CoarseStructure> fresh = std::exchange(next.structure_, nullptr);
    next.learn_scale_and_lists(codes, options);
    if (options.measures_defaults) {
        next.learn_defaults(codes, originals, options);
    } else {
        next.default_limits_.assign(shape_.stage_bytes.size() - 1, kRowsCap);
    }
    next.adopt_structure(std::move(fresh), *this, codes, options.seed);
    if (rows() > 0) {
        const std::vector<std::byte> heads = all_heads();
        next.add(
            {heads.data(), rows(), head_bytes()}, {},
            {radii_.data(), radii_.empty() ? 0 : rows(), shape_.stage_bytes.size()});
        next.copy_rank_terms(*this);
        next.live_ = live_;
        next.erased_ = erased_;
    }
    return next;
}

/// A graph over the same rows is as good after training as before, unless many of them are
/// tombstones; others are made anew.
void StagedIndex::adopt_structure(
    std::shared_ptr<CoarseStructure> fresh, const StagedIndex& other,
    MatrixView<const std::byte> codes, std::uint64_t seed) {
    if (fresh == nullptr) {
        return;
    }
    const bool keeps =
        other.structure_->outlives_training() && other.erased_ <= other.rows() / kMostTombstones;
    if (keeps) {
        structure_ = other.structure_;
        return;
    }
    structure_ = std::move(fresh);
    const std::vector<std::byte> heads = spread(codes, codes.rows(), head_bytes());
    structure_->train(
        {compressor_.get(), {heads.data(), codes.rows(), head_bytes()}, {}, {}, {}}, seed);
}

void StagedIndex::train(
    MatrixView<const std::byte> codes, MatrixView<const float> originals,
    const StagedTrainOptions& options) {
    *this = trained_anew(codes, originals, options);
}

/// Searches of the other index may be filling in terms that were not known.
void StagedIndex::copy_rank_terms(const StagedIndex& other) {
    rank_terms_.clear();
    for (std::vector<float>& stage : other.rank_terms_) {
        std::vector<float>& terms = rank_terms_.emplace_back(stage.size());
        for (std::size_t row = 0; row < stage.size(); ++row) {
            terms[row] = std::atomic_ref(stage[row]).load(std::memory_order_relaxed);
        }
    }
}

void StagedIndex::learn_scale_and_lists(
    MatrixView<const std::byte> codes, const StagedTrainOptions& options) {
    const std::size_t sampled = std::min(codes.rows(), kMeasuredRows);
    const std::vector<std::byte> heads = spread(codes, sampled, head_bytes());
    std::vector<float> terms(sampled);
    compressor_->row_terms({heads.data(), sampled, head_bytes()}, terms);
    std::erase_if(terms, [](float term) { return !std::isfinite(term); });
    if (!terms.empty()) {
        const auto [low, high] = std::ranges::minmax(terms);
        scale_ = {low, high};
    }
    if (shape_.nlist > codes.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Training rows are fewer than inverted lists: ", codes.rows(), ", expected at least ",
            shape_.nlist);
    }
    if (shape_.nlist > 1) {
        const std::size_t used = std::min(codes.rows(), shape_.nlist * kTrainingRowsPerList);
        const std::vector<std::byte> chosen = spread(codes, used, head_bytes());
        std::vector<float> rows(used * compressor_->dim());
        compressor_->decode(
            {chosen.data(), used, head_bytes()}, {rows.data(), used, compressor_->dim()});
        coarse_ = CoarseQuantizer::train(
            compressor_->metric(), {rows.data(), used, compressor_->dim()}, shape_.nlist,
            options.seed, options.progress);
        lists_.resize(shape_.nlist);
    }
    learned_rows_ = codes.rows();
}

void StagedIndex::use_lists_per_row(std::size_t copies) {
    clear();
    lists_.resize(copies * list_count());
}

void StagedIndex::learn_defaults(
    MatrixView<const std::byte> codes, MatrixView<const float> originals,
    const StagedTrainOptions& options) {
    report(options.progress, 0);
    const std::size_t used = std::min(codes.rows(), kMeasuredRows);
    Defaults defaults{
        std::min(kListsCap, list_count()),
        std::vector<std::size_t>(shape_.stage_bytes.size() - 1, kRowsCap)};
    if (used > 1 && (list_count() > 1 || !defaults.limits.empty())) {
        const std::vector<std::byte> sample = spread(codes, used, code_bytes());
        const MatrixView<const std::byte> view(sample.data(), used, code_bytes());
        const std::vector<std::byte> heads = spread(view, used, head_bytes());
        add({heads.data(), used, head_bytes()});
        std::vector<float> kept;
        if (!originals.empty()) {
            kept = spread(originals, used, compressor_->dim());
        }
        const RecallMeasurement recall(
            *this, view, {kept.data(), kept.size() / compressor_->dim(), compressor_->dim()});
        const auto falls_short = [&] {
            return options.lists_per_row == 0 && list_count() > kListsCap &&
                   recall(defaults.nprobe, defaults.limits) < kRecall;
        };
        const std::size_t most = std::min(list_count(), kMostListsPerRow);
        while (copies() < most && (copies() < options.lists_per_row || falls_short())) {
            use_lists_per_row(copies() + 1);
            add({heads.data(), used, head_bytes()});
        }
        defaults = shrink(recall, widen(recall, std::move(defaults), list_count(), used));
        calibrate(view, {kept.data(), kept.size() / compressor_->dim(), compressor_->dim()});
        clear();
    }
    default_nprobe_ = defaults.nprobe;
    default_limits_ = std::move(defaults.limits);
    report(options.progress, 1);
}

} // namespace arfc
