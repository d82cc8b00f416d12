#include "planner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "arfc/base/error.h"
#include "factory_spec.h"
#include "staged_trial.h"

namespace arfc {
namespace {

constexpr std::size_t kMostQueries = 4000;
constexpr std::size_t kComparedQueries = 500;
constexpr double kHardlyAnyLoss = 0.003; // Of recall, in searches that are to show a code's.
constexpr double kWorthAStructure = 0.9; // Of the time: timing itself is no surer than a tenth.
constexpr std::size_t kRowsPerList = 39; // As k-means asks for.
constexpr double kListsPerRoot = 4;      // Of the rows' square root, as FAISS's guidelines say.
constexpr std::size_t kLeastLists = 16;
constexpr std::size_t kLeastListedRows = 50'000; // Fewer are scanned in some 60 us.
constexpr std::size_t kTimedQueries = 51;
constexpr double kIdBytes = 8;

// What a collection's store takes of a row beside its code, read off the files of 60,000 rows: an
// entry of `ids`, and one of `tail` where there is one. Heads are packed in blocks.
constexpr double kStoredIdBytes = 12.5;
constexpr double kStoredTailBytes = 13.5;

/// In answers wanted.
constexpr double kLimits[] = {1,  1.5, 2,  3,  4,  6,   8,   12,  16,
                              24, 32,  48, 64, 96, 128, 256, 512, 1024};
constexpr std::size_t kLists[] = {1,  2,  3,  4,  6,   8,   12,  16,  24,
                                  32, 48, 64, 96, 128, 256, 512, 1024};
constexpr std::size_t kBeams[] = {16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
constexpr std::size_t kHeads[] = {8, 16, 32};

/// Code lengths to choose from: steps of a fourth to an eighth of the length.
std::vector<std::size_t> lengths_up_to(std::size_t most) {
    std::vector<std::size_t> lengths;
    for (std::size_t bytes = 4; bytes < most;
         bytes += std::max<std::size_t>(2, std::bit_floor(bytes) / 4)) {
        lengths.push_back(bytes);
    }
    lengths.push_back(most);
    return lengths;
}

/// Says whether a length is shown: 4, 6, 8, 12, 16, 24, 32, 48, ... and the longest.
bool is_shown(std::size_t bytes, std::size_t most) {
    const std::size_t power = std::bit_floor(bytes);
    return bytes == power || bytes == power + power / 2 || bytes == most;
}

double mean(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

template <class T>
T median(std::vector<T> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
}

using Trial = std::shared_ptr<const StagedTrial>;

/// A way to search that is being weighed.
struct Configuration {
    std::size_t length = 0; ///< Place among the lengths.
    Trial trial;
    Trial scan;    ///< The same without lists or graph.
    Trial quarter; ///< The same over a quarter of the sample; null where `trial` can be told to
                   ///< look at one.
    SearchEffort effort{};
    RecallEstimate predicted{};
    double milliseconds = 0;
};

class Planner {
  public:
    Planner(const PlanSample& sample, const PlanOptions& options, std::size_t rows)
        : sample_(sample), options_(options), rows_(rows),
          doublings_(
              std::log2(static_cast<double>(rows) / static_cast<double>(sample.codes.rows()))),
          choosing_(sample.queries * 3 / 4),
          ground_(sample, lengths_up_to(sample.codes.cols()), options.progress) {}

    Plan make() {
        std::vector<std::size_t> shown;
        for (std::size_t i = 0; i < ground_.lengths().size(); ++i) {
            if (is_shown(ground_.lengths()[i], ground_.lengths().back())) {
                shown.push_back(i);
            }
        }
        const std::size_t count = shown.size();
        std::vector<Configuration> points;
        for (std::size_t i = 0; i < count; ++i) {
            report(i, count + 1);
            points.push_back(point_of(shown[i]));
        }
        report(count, count + 1);
        const std::size_t length = length_to_choose();
        for (Configuration& candidate : candidates_of(length)) {
            points.push_back(std::move(candidate));
        }
        time(points);
        Plan plan;
        for (std::size_t i = 0; i < count; ++i) {
            plan.curve.push_back(planned(points[i]));
        }
        plan.chosen = planned(fastest(std::span(points).subspan(count)));
        plan.reaches_target = plan.chosen.predicted_recall >= options_.target_recall;
        plan.reference =
            sample_.originals.empty() ? PlanReference::kLongestPrefix : PlanReference::kOriginals;
        plan.rows = rows_;
        plan.sample_rows = sample_.codes.rows();
        plan.queries = choosing_;
        plan.test_queries = sample_.queries - choosing_;
        plan.model_bytes = sample_.compressor->model_bytes();
        return plan;
    }

  private:
    void report(std::size_t done, std::size_t total) const {
        if (options_.progress &&
            !options_.progress({.stage = "searches", .done = done, .total = total})) {
            fail(ErrorKind::kCancelled, "Plan was cancelled after measuring code lengths: ", done);
        }
    }

    /// What every row's code of a length finds.
    [[nodiscard]] RecallEstimate ceiling(std::size_t length) const {
        return estimate_recall(
            ground_.recalls_by_size(length, 0, choosing_), doublings_, sample_.k);
    }

    /// Says what a search finds in all the rows: what its codes find, less what the search misses
    /// of that. The first is measured on every query that chooses, the second on some of them,
    /// which tell it as well because they are asked both ways. Beyond the sample what is missed
    /// grows with the rows as it did from a quarter of the sample to the whole, at most as they do.
    [[nodiscard]] RecallEstimate predict(const Configuration& configuration) const {
        const std::size_t asked = std::min(kComparedQueries, choosing_);
        const auto loss = [&](const StagedTrial& trial, Part part) {
            return 1.0 - mean(trial.recalls(configuration.effort, part, 0, asked)) /
                             mean(ground_.recalls(configuration.length, part, 0, asked));
        };
        const RecallEstimate all = ceiling(configuration.length);
        double lost = loss(*configuration.trial, Part::kWhole);
        double most_kept = 1.0 - lost;
        if (doublings_ > 0 && lost > 0) {
            const StagedTrial& smaller =
                configuration.quarter == nullptr ? *configuration.trial : *configuration.quarter;
            const double least = 0.5 / static_cast<double>(asked * sample_.k);
            const double before = std::max(least, loss(smaller, Part::kFirstQuarter));
            const double growth = std::clamp(std::log2(lost / before) / 2, 0.0, 1.0);
            lost = std::min(1.0, lost * std::exp2(growth * doublings_));
        } else if (doublings_ > 0) {
            lost = 0;
            most_kept = 1;
        }
        const double kept = 1.0 - lost;
        return {
            std::min(1.0, all.recall * kept), all.low * std::min(1.0, kept),
            std::min(1.0, all.high * std::max(kept, most_kept))};
    }

    /// Gives a candidate the least effort of several, ascending, that finds what is wanted.
    /// @returns whether one does; else it has the greatest.
    template <class Set>
    bool seek(Configuration& candidate, double wanted, std::size_t efforts, const Set& set) const {
        std::size_t low = 0;
        std::size_t high = efforts; // Of the efforts below `low` none is enough; `high` is, or the
                                    // end.
        RecallEstimate at_high{};
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            set(candidate.effort, middle);
            const RecallEstimate estimate = predict(candidate);
            if (estimate.recall >= wanted) {
                high = middle;
                at_high = estimate;
            } else {
                low = middle + 1;
                candidate.predicted = estimate;
            }
        }
        if (high == efforts) {
            set(candidate.effort, efforts - 1);
            return false;
        }
        set(candidate.effort, high);
        candidate.predicted = at_high;
        return true;
    }

    bool seek_limit(Configuration& candidate, double wanted) const {
        if (candidate.trial->shape().stage_bytes.size() == 1) {
            candidate.predicted = predict(candidate);
            return candidate.predicted.recall >= wanted;
        }
        return seek(
            candidate, wanted, std::size(kLimits),
            [&](SearchEffort& effort, std::size_t i) { effort.limit = limit(i); });
    }

    [[nodiscard]] std::size_t limit(std::size_t place) const {
        return static_cast<std::size_t>(std::ceil(kLimits[place] * static_cast<double>(sample_.k)));
    }

    /// Returns an index without lists or graph; the same for the same lengths.
    Trial scan_of(std::size_t head, std::size_t length) {
        const std::size_t bytes = ground_.lengths()[length];
        Trial& trial = scans_[{head, bytes}];
        if (trial == nullptr) {
            StagedShape shape{.stage_bytes = {head}};
            if (head < bytes) {
                shape.stage_bytes.push_back(bytes);
            }
            trial =
                std::make_shared<StagedTrial>(sample_, ground_, shape, Part::kWhole, options_.seed);
        }
        return trial;
    }

    Configuration scan_configuration(std::size_t head, std::size_t length) {
        const Trial trial = scan_of(head, length);
        return {.length = length, .trial = trial, .scan = trial};
    }

    /// Returns the head that serves most sizes, or the length itself where it is short.
    [[nodiscard]] std::size_t usual_head(std::size_t length) const {
        const std::size_t bytes = ground_.lengths()[length];
        return bytes > 16 ? 16 : std::min<std::size_t>(bytes, 8);
    }

    /// A length of the curve: scanned by its head, with hardly any loss.
    Configuration point_of(std::size_t length) {
        const double wanted = ceiling(length).recall - kHardlyAnyLoss;
        Configuration point = scan_configuration(usual_head(length), length);
        if (!seek_limit(point, wanted)) {
            point = scan_configuration(ground_.lengths()[length], length);
            seek_limit(point, wanted);
        }
        return point;
    }

    /// Returns the shortest length that reaches the target within the budget, or the best that
    /// keeps the budget.
    std::size_t length_to_choose() {
        std::optional<std::size_t> best;
        double best_recall = 0;
        for (std::size_t i = 0; i < ground_.lengths().size() && least_bytes(i) <= budget(); ++i) {
            const double recall = ceiling(i).recall;
            if (recall >= options_.target_recall) {
                return i;
            }
            if (!best || recall > best_recall) {
                best = i;
                best_recall = recall;
            }
        }
        if (!best) {
            fail(
                ErrorKind::kInvalidArgument,
                "Budget is below what the shortest code takes, in bytes a row: ", budget(),
                ", expected at least ", std::ceil(least_bytes(0)));
        }
        return *best;
    }

    [[nodiscard]] double budget() const {
        return options_.most_bytes_per_row.value_or(std::numeric_limits<double>::infinity());
    }

    /// The way to scan a length that takes the fewest bytes: a tail costs a key of its own on disk,
    /// a whole code more memory.
    Configuration least_configuration(std::size_t length) {
        const std::size_t bytes = ground_.lengths()[length];
        Configuration whole = scan_configuration(bytes, length);
        if (bytes <= kHeads[0]) {
            return whole;
        }
        Configuration two_stages = scan_configuration(kHeads[0], length);
        return bytes_of(whole) <= bytes_of(two_stages) ? whole : two_stages;
    }

    double least_bytes(std::size_t length) {
        return options_.most_bytes_per_row ? bytes_of(least_configuration(length)) : 0;
    }

    /// Ways to search a length that keep the budget; those that keep recall have it.
    std::vector<Configuration> candidates_of(std::size_t length) {
        const double most = ceiling(length).recall;
        const double wanted =
            most >= options_.target_recall ? options_.target_recall : most - kHardlyAnyLoss;
        std::vector<Configuration> candidates;
        const auto take = [&](Configuration candidate) {
            if (bytes_of(candidate) <= budget()) {
                candidates.push_back(std::move(candidate));
            }
        };
        for (const std::size_t head : kHeads) {
            if (head >= ground_.lengths()[length]) {
                break;
            }
            Configuration two_stages = scan_configuration(head, length);
            if (seek_limit(two_stages, wanted)) {
                take(std::move(two_stages));
            }
        }
        Configuration one_stage = scan_configuration(ground_.lengths()[length], length);
        if (candidates.empty() || bytes_of(one_stage) <= bytes_of(candidates.front())) {
            seek_limit(one_stage, wanted);
            take(std::move(one_stage));
        }

        // Half of what may be missed is the shortlist's, half the structure's.
        Configuration base = scan_configuration(usual_head(length), length);
        if (seek_limit(base, wanted + (most - wanted) / 2)) {
            add_lists(base, wanted, take);
            add_graph(base, wanted, take);
        }
        if (candidates.empty()) { // What keeps the budget finds too little.
            candidates.push_back(least_configuration(length));
            seek_limit(candidates.back(), wanted);
        }
        std::ranges::stable_sort( // So that more bytes must be worth it: fastest().
            candidates, {}, [&](const Configuration& candidate) { return bytes_of(candidate); });
        return candidates;
    }

    /// As many lists as the rows planned for ask for and the sample can teach.
    template <class Take>
    void add_lists(const Configuration& base, double wanted, const Take& take) {
        const std::size_t lists = std::bit_floor(std::min(
            sample_.codes.rows() / kRowsPerList,
            static_cast<std::size_t>(kListsPerRoot * std::sqrt(static_cast<double>(rows_)))));
        if (rows_ < kLeastListedRows || lists < kLeastLists) {
            return;
        }
        Configuration candidate = base;
        candidate.trial = std::make_shared<StagedTrial>(
            sample_, ground_,
            StagedShape{.stage_bytes = base.trial->shape().stage_bytes, .nlist = lists},
            Part::kWhole, options_.seed);
        const auto efforts =
            static_cast<std::size_t>(std::ranges::upper_bound(kLists, lists) - std::begin(kLists));
        if (seek(candidate, wanted, efforts, [&](SearchEffort& effort, std::size_t i) {
                effort.nprobe = kLists[i];
            })) {
            take(std::move(candidate));
        }
    }

    template <class Take>
    void add_graph(const Configuration& base, double wanted, const Take& take) {
        constexpr std::size_t kLinks = 32;
        constexpr double kLinkBytes = 8.0 * kLinks;
        if (!options_.most_bytes_per_row || bytes_of(base) + kLinkBytes > budget()) {
            return;
        }
        const StagedShape shape{
            .stage_bytes = base.trial->shape().stage_bytes,
            .coarse = "HNSW" + std::to_string(kLinks)};
        Configuration candidate = base;
        candidate.trial =
            std::make_shared<StagedTrial>(sample_, ground_, shape, Part::kWhole, options_.seed);
        candidate.quarter = std::make_shared<StagedTrial>(
            sample_, ground_, shape, Part::kFirstQuarter, options_.seed);
        if (seek(candidate, wanted, std::size(kBeams), [&](SearchEffort& effort, std::size_t i) {
                effort.ef_search = kBeams[i];
            })) {
            take(std::move(candidate));
        }
    }

    [[nodiscard]] double resident_of(const Configuration& candidate) const {
        TrialBytes bytes = candidate.trial->bytes();
        if (candidate.quarter != nullptr) { // Of a graph the difference tells what grows.
            const TrialBytes less = candidate.quarter->bytes();
            const auto rows = static_cast<double>(candidate.trial->rows());
            const auto fewer = static_cast<double>(candidate.quarter->rows());
            const double all = bytes.per_row * rows;
            bytes.per_row = (all - less.per_row * fewer) / (rows - fewer);
            bytes.fixed = all - bytes.per_row * rows;
        }
        return bytes.per_row + bytes.fixed / static_cast<double>(rows_) + kIdBytes;
    }

    [[nodiscard]] double disk_of(const Configuration& candidate) const {
        const bool has_tail = candidate.trial->shape().stage_bytes.size() > 1;
        return static_cast<double>(ground_.lengths()[candidate.length]) + kStoredIdBytes +
               (has_tail ? kStoredTailBytes : 0.0);
    }

    [[nodiscard]] double bytes_of(const Configuration& candidate) const {
        return resident_of(candidate) + disk_of(candidate);
    }

    /// Times the candidates in turns, so that what else the machine does falls on each alike.
    void time(std::vector<Configuration>& candidates) {
        std::vector<std::vector<double>> milliseconds(candidates.size());
        std::vector<std::vector<std::size_t>> scanned(candidates.size());
        for (std::size_t i = 0; i < kTimedQueries; ++i) {
            for (std::size_t c = 0; c < candidates.size(); ++c) {
                const TrialCost cost =
                    candidates[c].trial->cost(candidates[c].effort, i % sample_.queries);
                milliseconds[c].push_back(cost.milliseconds);
                scanned[c].push_back(cost.scanned);
            }
        }
        const double growth =
            static_cast<double>(rows_) / static_cast<double>(sample_.codes.rows());
        for (std::size_t c = 0; c < candidates.size(); ++c) {
            Configuration& candidate = candidates[c];
            candidate.milliseconds = median(milliseconds[c]);
            if (candidate.quarter != nullptr) { // A walk's length grows with the logarithm.
                candidate.milliseconds *= std::log2(static_cast<double>(rows_)) /
                                          std::log2(static_cast<double>(sample_.codes.rows()));
            } else if (growth > 1) {
                candidate.milliseconds += (growth - 1) * static_cast<double>(median(scanned[c])) *
                                          milliseconds_a_row(candidate);
            }
        }
    }

    /// What lies behind the head does not matter, but whether anything does.
    double milliseconds_a_row(const Configuration& configuration) {
        const std::vector<std::size_t>& stages = configuration.scan->shape().stage_bytes;
        const auto [place, is_new] = rates_.try_emplace({stages.front(), stages.size()}, 0.0);
        if (is_new) {
            place->second = configuration.scan->milliseconds_a_row(configuration.effort);
        }
        return place->second;
    }

    /// Returns the fastest of those that reach the target, or the best where none does.
    [[nodiscard]] const Configuration& fastest(std::span<const Configuration> candidates) const {
        const Configuration* fastest = nullptr;
        for (const Configuration& candidate : candidates) {
            const bool reaches = candidate.predicted.recall >= options_.target_recall;
            if (reaches && (fastest == nullptr ||
                            candidate.milliseconds < kWorthAStructure * fastest->milliseconds)) {
                fastest = &candidate;
            }
        }
        return fastest != nullptr
                 ? *fastest
                 : *std::ranges::max_element(candidates, {}, [](const Configuration& candidate) {
                       return candidate.predicted.recall;
                   });
    }

    [[nodiscard]] PlannedPoint planned(const Configuration& candidate) const {
        const StagedShape& shape = candidate.trial->shape();
        PlannedPoint point;
        point.factory = to_string(FactorySpec{
            .stage_bytes = shape.stage_bytes, .nlist = shape.nlist, .coarse = shape.coarse});
        for (const std::size_t bytes : shape.stage_bytes) {
            const bool is_last = bytes == shape.stage_bytes.back();
            point.stages.push_back({bytes, is_last ? sample_.k : candidate.effort.limit});
        }
        point.nprobe = candidate.effort.nprobe;
        point.ef_search = candidate.effort.ef_search;
        point.predicted_recall = candidate.predicted.recall;
        point.recall_low = candidate.predicted.low;
        point.recall_high = candidate.predicted.high;
        point.measured_recall = mean(candidate.trial->recalls(
            candidate.effort, Part::kWhole, choosing_, sample_.queries - choosing_));
        point.resident_bytes_per_row = resident_of(candidate);
        point.disk_bytes_per_row = disk_of(candidate);
        point.milliseconds = candidate.milliseconds;
        return point;
    }

    const PlanSample& sample_;
    const PlanOptions& options_;
    std::size_t rows_;
    double doublings_;     ///< log2 of rows_ over the sample's.
    std::size_t choosing_; ///< Queries [0, choosing_) choose, the others measure.
    PrefixRecall ground_;
    std::map<std::pair<std::size_t, std::size_t>, Trial> scans_;  ///< By head and length.
    std::map<std::pair<std::size_t, std::size_t>, double> rates_; ///< By head and stages.
};

} // namespace

Plan make_plan(const PlanSample& sample, const PlanOptions& options, std::size_t rows) {
    return Planner(sample, options, rows).make();
}

void check_plan_options(const PlanOptions& options) {
    if (!(options.target_recall > 0.0 && options.target_recall <= 1.0)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Target recall is outside (0, 1]: ", options.target_recall);
    }
    if (options.k < 1) {
        fail(ErrorKind::kInvalidArgument, "Number of answers is less than one: ", options.k);
    }
    if (options.most_bytes_per_row && !(*options.most_bytes_per_row > 0.0)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Budget is not above zero, in bytes a row: ", *options.most_bytes_per_row);
    }
    if (options.rows && *options.rows < 1) {
        fail(ErrorKind::kInvalidArgument, "Number of rows to plan for is zero");
    }
}

std::size_t least_plan_rows(std::size_t k) noexcept {
    return kLeastPlanRows + 10 * std::min(k, kMostPlanRows);
}

std::size_t plan_queries(std::size_t rows) noexcept {
    return std::min(rows, kMostQueries);
}

} // namespace arfc
