#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <new>
#include <numeric>
#include <optional>
#include <utility>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/error.h"
#include "best_rows.h"
#include "head_sieve.h"
#include "look_ups.h"
#include "parallel.h"
#include "refinement.h"
#include "score_bounds.h"
#include "staged_index.h"

namespace arfc {
namespace {

constexpr std::size_t kQueries = 64;           // Answered together: their 80 later tables are 5 MB.
constexpr std::size_t kCandidates = 4'000'000; // Bound of all queries' candidates together: 100 MB.
constexpr std::size_t kScanRows = HeadBlock::kMostRows; // Scored between two looks at the best:
                                                        // sums stay in L1.
constexpr std::size_t kFirstRows = 256;         // The same before there is a threshold to look for.
constexpr std::size_t kQueriesWorthColumns = 2; // That share a list: transposing it costs as much
                                                // as two sieves.
constexpr std::size_t kRankRows = 64;           // Tails read at once for a query,
constexpr std::size_t kReadRows = 1024;         // and for a batch.
constexpr std::size_t kSharedTailBytes = std::size_t{64} << 20U; // Of a batch; of more each query
                                                                 // reads its own.
constexpr std::size_t kRowsWorthAThread = 16'384;                // 20 us of a scan.
constexpr std::size_t kDefaultLimit = 200; // Of an index that has not measured better.
constexpr std::size_t kMeasuredK = 10;     // Default limits are measured for this many answers.
constexpr std::size_t kSampledRows = 1024; // Asked of, to know how many a filter accepts.
constexpr std::size_t kMostAnswers = std::numeric_limits<std::int32_t>::max();
constexpr float kNoScore = -std::numeric_limits<float>::infinity();

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

float load(float& value) noexcept {
    return std::atomic_ref<float>(value).load(std::memory_order_relaxed);
}

void store(float& value, float with) noexcept {
    std::atomic_ref<float>(value).store(with, std::memory_order_relaxed);
}

/// Tails of some rows, read once.
class ReadTails final : public TailSource {
  public:
    /// @param rows   Any order, and repeated.
    /// @param width  Of a tail, in bytes, >= 1.
    ReadTails(std::vector<std::uint64_t> rows, std::size_t width, const TailSource& source)
        : rows_(std::move(rows)) {
        std::ranges::sort(rows_);
        rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
        tails_.resize(rows_.size() * width);
        lengths_.resize(rows_.size());
        for_each_in_parallel((rows_.size() + kReadRows - 1) / kReadRows, [&](std::size_t part) {
            const std::size_t first = part * kReadRows;
            const std::size_t count = std::min(kReadRows, rows_.size() - first);
            source.read_tails(
                {rows_.data() + first, count}, {tails_.data() + first * width, count, width},
                {lengths_.data() + first, count});
        });
    }

    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        const std::size_t width = tails_.size() / rows_.size();
        auto found = rows_.begin();
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (i > 0 && rows[i] < rows[i - 1]) {
                found = rows_.begin();
            }
            found = std::lower_bound(found, rows_.end(), rows[i]);
            const auto place = static_cast<std::size_t>(found - rows_.begin());
            lengths[i] = lengths_[place];
            std::memcpy(tails.row(i).data(), tails_.data() + place * width, lengths[i]);
        }
    }

  private:
    std::vector<std::uint64_t> rows_; ///< Ascending.
    std::vector<std::byte> tails_;    ///< [rows, width].
    std::vector<std::size_t> lengths_;
};

} // namespace

/// One call of StagedIndex::search: checks it, then runs blocks of queries through the stages.
class StagedIndex::Search {
  public:
    Search(
        const StagedIndex& index, MatrixView<const float> queries, const StagedRequest& request,
        const TailSource* tails)
        : index_(index), queries_(queries), request_(request), tails_(tails) {
        check();
        check_refinement();
        plan_stages();
        plan_lists();
        plan_structure();
        plan_filter();
    }

    StagedAnswer run() {
        answer_.rows.assign(queries_.rows() * request_.k, kNoRow);
        answer_.scores.assign(queries_.rows() * request_.k, kNoScore);
        if (request_.until) {
            answer_.certainty.assign(queries_.rows(), Certainty::kNone);
            level_lengths_ = index_.level_lengths();
        }
        terms_.resize(queries_.rows());
        index_.compressor().query_terms(queries_, terms_);
        const std::size_t most = std::max<std::size_t>(stages_.front().limit, 1);
        const std::size_t block = std::clamp<std::size_t>(kCandidates / most, 1, kQueries);
        for (std::size_t first = 0; first < queries_.rows(); first += block) {
            run_block(first, std::min(block, queries_.rows() - first));
        }
        return std::move(answer_);
    }

    /// Scores every accepted row of the probed lists by the last stage's prefix.
    StagedRangeAnswer run_range(const RangeTest& is_in) {
        for (const Stage& stage : request_.stages) {
            if (stage.limit != 0) {
                fail(
                    ErrorKind::kInvalidArgument,
                    "Range search keeps every row within the radius, so its stages have no limit: ",
                    stage.limit);
            }
        }
        terms_.resize(queries_.rows());
        index_.compressor().query_terms(queries_, terms_);
        const std::size_t tokens = stages_.back().bytes;
        std::vector<Candidates> found(queries_.rows());
        for (std::size_t first = 0; first < queries_.rows(); first += kQueries) {
            const std::size_t count = std::min(kQueries, queries_.rows() - first);
            AlignedFloats tables(count * tokens * kSymbols);
            index_.compressor().query_tables(
                queries_.slice(first, count), 0, {tables.data(), count, tokens * kSymbols});
            for_each_in_parallel(count, [&](std::size_t q) {
                const float* const table = tables.data() + q * tokens * kSymbols;
                found[first + q] = scan_range(first + q, table, is_in);
            });
        }
        return joined(found);
    }

  private:
    using Candidates = std::vector<Candidate>;

    /// Numbers counted while threads work on a stage.
    struct Counts {
        std::atomic<std::size_t> rows = 0;
        std::atomic<std::size_t> bytes = 0;
    };

    void check() const {
        if (queries_.cols() != index_.compressor().dim()) {
            fail(
                ErrorKind::kInvalidArgument,
                "Query width differs from the index's: ", queries_.cols(), ", expected ",
                index_.compressor().dim());
        }
        if (request_.k < 1 || request_.k > kMostAnswers) {
            fail(
                ErrorKind::kInvalidArgument, "Number of answers is outside [1, ", kMostAnswers,
                "]: ", request_.k);
        }
        const std::size_t nlist = std::max<std::size_t>(traits_.lists, 1);
        if (request_.nprobe && (*request_.nprobe < 1 || *request_.nprobe > nlist)) {
            const std::string& coarse = index_.shape().coarse;
            fail(
                ErrorKind::kInvalidArgument, "Number of lists to probe is outside [1, ", nlist,
                "]: ", *request_.nprobe, coarse.empty() ? "" : " of ", coarse);
        }
        if (request_.ef_search && !traits_.takes_ef_search) {
            fail(
                ErrorKind::kInvalidArgument,
                "Index has no graph, so efSearch cannot be chosen: ", *request_.ef_search);
        }
        if (request_.ef_search &&
            (*request_.ef_search < 1 || *request_.ef_search > kMostEfSearch)) {
            fail(
                ErrorKind::kInvalidArgument, "efSearch is outside [1, ", kMostEfSearch,
                "]: ", *request_.ef_search);
        }
        std::size_t previous = 0;
        for (const Stage& stage : request_.stages) {
            if (stage.bytes <= previous || stage.bytes > index_.code_bytes()) {
                fail(
                    ErrorKind::kInvalidArgument, "Stage lengths do not ascend within [1, ",
                    index_.code_bytes(), "]: ", stage.bytes, " after ", previous);
            }
            const bool is_last = &stage == &request_.stages.back();
            if (!is_last && stage.limit != 0 && stage.limit < request_.k) {
                fail(
                    ErrorKind::kInvalidArgument, "Stage of ", stage.bytes,
                    " bytes keeps fewer rows than are asked for: ", stage.limit,
                    ", expected at least ", request_.k);
            }
            previous = stage.bytes;
        }
        if (!request_.stages.empty() && request_.stages.front().bytes != index_.head_bytes()) {
            fail(
                ErrorKind::kInvalidArgument,
                "First stage is not the index's shortest prefix: ", request_.stages.front().bytes,
                ", expected ", index_.head_bytes());
        }
    }

    void check_refinement() const {
        if (!request_.until) {
            return;
        }
        const Until& until = *request_.until;
        check_until(until);
        if (!request_.stages.empty() || request_.nprobe || request_.ef_search ||
            request_.exhaustive) {
            fail(
                ErrorKind::kInvalidArgument,
                "Until decides what is scanned and kept, so a search with it takes no stages, "
                "nprobe, efSearch or exhaustive scan of its own; stages: ",
                request_.stages.size());
        }
        if (until.confidence && index_.calibrated_by() == 0 && cuts()) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Index has no calibration, so it knows no confidence; train it, or let the "
                "collection optimize(), and ask again for: ",
                *until.confidence);
        }
    }

    /// Says whether a search by stages and lists leaves out any row.
    [[nodiscard]] bool cuts() const noexcept {
        return index_.shape().stage_bytes.size() > 1 || index_.list_count() > 1;
    }

    void plan_stages() {
        const std::vector<Stage> defaults = index_.default_stages(request_.k);
        stages_ = request_.stages.empty() ? defaults : request_.stages;
        for (Stage& stage : stages_) {
            const auto same = std::ranges::find(defaults, stage.bytes, &Stage::bytes);
            if (stage.limit == 0) {
                stage.limit = same != defaults.end() ? same->limit : defaults.front().limit;
            }
        }
        for (const Stage& stage : stages_) {
            answer_.stages.push_back({.bytes = stage.bytes});
        }
        if (stages_.size() == 1 && index_.scan_term_kind() == TermKind::kLevel) {
            // The scan chose by rounded terms: the same sums are ranked by exact ones.
            stages_.front().limit = defaults.front().limit;
            stages_.push_back({.bytes = index_.head_bytes(), .limit = request_.k});
        }
        if (stages_.back().bytes > index_.head_bytes() && tails_ == nullptr) {
            fail(
                ErrorKind::kInternal,
                "Search asks for tokens beyond the head and was given no place to read them");
        }
        stages_.back().limit = request_.k;
        for (Stage& stage : stages_) {
            stage.limit = std::min(stage.limit, index_.rows());
        }
    }

    /// Where the caller leaves the number of lists to the index, they are to hold as many rows that
    /// a filter accepts as the first stage keeps: of a rare one, all lists are scanned.
    void plan_lists() {
        const std::size_t lists = index_.list_count();
        nprobe_ = request_.exhaustive || request_.until
                    ? lists
                    : std::min(request_.nprobe.value_or(index_.default_nprobe_), lists);
        if (request_.until && request_.until->confidence) {
            plan_ = index_.calibration_.plan(*request_.until->confidence, request_.k, lists);
            nprobe_ = plan_.nprobe;
            return;
        }
        if (!request_.accepts || request_.nprobe || nprobe_ == lists) {
            return;
        }
        const double in_a_list =
            accepted_share() * static_cast<double>(index_.rows()) / static_cast<double>(lists);
        const auto wanted = static_cast<double>(stages_.front().limit);
        nprobe_ = wanted < in_a_list * static_cast<double>(lists)
                    ? std::max(nprobe_, static_cast<std::size_t>(std::ceil(wanted / in_a_list)))
                    : lists;
    }

    /// Decides whether the coarse structure is worth asking: a walk passes through rows that are
    /// not accepted, a scan does not score them.
    void plan_structure() {
        ask_ = request_.accepts || index_.erased_ > 0;
        const CoarseStructure* const structure = index_.structure_.get();
        if (structure == nullptr || request_.exhaustive || request_.until ||
            structure->rows() > index_.rows() || structure->rows() == 0 ||
            (request_.accepts && !traits_.selects)) {
            return;
        }
        beam_ = std::max(request_.ef_search.value_or(kDefaultEfSearch), stages_.front().limit);
        // Among rows of which a share is accepted a walk scores 1 / share times as many as among
        // all; rows that are not covered are scanned either way.
        const double share = accepted_share();
        uses_structure_ = static_cast<double>(structure->expected_scored(beam_)) <
                          share * share * static_cast<double>(structure->rows());
        heads_ = index_.head_rows();
    }

    /// Asks a sample of the rows. @returns a share in [0, 1].
    [[nodiscard]] double accepted_share() const {
        if (!request_.accepts) {
            return static_cast<double>(index_.live_rows()) / static_cast<double>(index_.rows());
        }
        const std::size_t asked = std::min(kSampledRows, index_.rows());
        std::size_t accepted = 0;
        for (std::size_t i = 0; i < asked; ++i) {
            accepted += is_accepted(static_cast<std::uint32_t>(i * index_.rows() / asked)) ? 1 : 0;
        }
        return static_cast<double>(accepted) / static_cast<double>(asked);
    }

    /// Where many queries will meet the same rows, each row is asked about once; otherwise when it
    /// is met.
    void plan_filter() {
        const bool is_met_once =
            uses_structure_
                ? queries_.rows() * index_.structure_->expected_scored(beam_) < index_.rows()
                : queries_.rows() * nprobe_ < index_.list_count();
        if (!request_.accepts || is_met_once) {
            return;
        }
        accepted_.resize(index_.rows());
        for (std::size_t row = 0; row < accepted_.size(); ++row) {
            accepted_[row] = index_.live_[row] && request_.accepts(row);
        }
    }

    [[nodiscard]] bool is_accepted(std::uint32_t row) const {
        if (!accepted_.empty()) {
            return accepted_[row];
        }
        return index_.live_[row] && (!request_.accepts || request_.accepts(row));
    }

    /// Returns room for so many tables, the same for every block: new pages cost as much as a tenth
    /// of filling them.
    [[nodiscard]] std::span<float> room_for_tables(std::size_t tables) {
        if (tables_.size() < tables * kSymbols) {
            tables_ = AlignedFloats(tables * kSymbols);
        }
        return {tables_.data(), tables * kSymbols};
    }

    void run_block(std::size_t first, std::size_t count) {
        if (request_.until) {
            refine_block(first, count);
            return;
        }
        const MatrixView<const float> block = queries_.slice(first, count);
        std::vector<Candidates> best(count);
        std::size_t done = 0; // Tokens in the sums.
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            const Clock::time_point start = Clock::now();
            Counts counts;
            const std::size_t tokens = stages_[s].bytes - done;
            const std::span<float> tables = room_for_tables(count * tokens);
            if (tokens > 0) {
                index_.compressor().query_tables(
                    block, done, {tables.data(), count, tokens * kSymbols});
            }
            if (s == 0 && !uses_structure_) {
                best = scan_lists(first, count, tables, counts);
            } else {
                const std::optional<ReadTails> read = tails_of(best, s);
                const TailSource* const tails = read ? &*read : tails_;
                for_each_in_parallel(count, [&](std::size_t q) {
                    const float* const table = tables.data() + q * tokens * kSymbols;
                    best[q] = s == 0 ? scan_proposals(first + q, table, counts)
                                     : rank(first + q, s, done, table, tails, best[q], counts);
                });
            }
            done = stages_[s].bytes;
            const bool is_exact_pass = s >= answer_.stages.size(); // Of rows that the stage has
                                                                   // counted already.
            StageUsage& usage = is_exact_pass ? answer_.stages.back() : answer_.stages[s];
            usage.candidates += is_exact_pass ? 0 : counts.rows.load();
            usage.bytes_read += is_exact_pass ? 0 : counts.bytes.load();
            usage.milliseconds += milliseconds_since(start);
        }
        for (std::size_t q = 0; q < count; ++q) {
            set_answer(first + q, best[q]);
        }
    }

    void set_answer(std::size_t query, const Candidates& best) {
        for (std::size_t i = 0; i < best.size(); ++i) {
            answer_.rows[query * request_.k + i] = best[i].row;
            answer_.scores[query * request_.k + i] = best[i].score;
        }
    }

    /// Reads tails for the refinement of one query.
    class Reader final : public PrefixReader {
      public:
        /// @param tables  Of all tokens.
        /// @param counts  [stages].
        Reader(
            const Search& search, std::size_t query, const float* tables,
            std::vector<Counts>& counts)
            : search_(search), query_(query), tables_(tables), counts_(counts),
              tails_(kMostRows * (search.index_.code_bytes() - search.index_.head_bytes())) {}

        std::size_t read(std::size_t stage, std::span<Candidate> rows) override {
            const std::size_t width = search_.stages_[stage].bytes - search_.index_.head_bytes();
            const std::size_t done =
                std::ranges::max(rows, {}, [](const Candidate& row) { return row.tokens; }).tokens;
            const MatrixView<std::byte> tails(tails_.data(), rows.size(), width);
            const std::size_t bytes =
                search_.continue_sums(rows, done, tables_ + done * kSymbols, search_.tails_, tails);
            search_.set_scores(query_, stage, rows, tails);
            counts_[stage].rows += rows.size();
            counts_[stage].bytes += bytes;
            return bytes;
        }

        [[nodiscard]] float term(std::size_t stage, std::uint32_t row) const override {
            std::vector<std::vector<float>>& terms = search_.index_.rank_terms_;
            return stage == 0 || terms.empty() ? std::numeric_limits<float>::quiet_NaN()
                                               : load(terms[stage - 1][row]);
        }

        [[nodiscard]] double radius(std::size_t stage, std::uint32_t row) const override {
            return search_.radius(stage, row);
        }

      private:
        const Search& search_;
        std::size_t query_;
        const float* tables_;
        std::vector<Counts>& counts_;
        std::vector<std::byte> tails_;
    };

    [[nodiscard]] double radius(std::size_t stage, std::uint32_t row) const noexcept {
        const std::size_t at = row * index_.shape().stage_bytes.size() + stage;
        return radius_of(index_.radii_.empty() ? kUnknownRadius : index_.radii_[at]);
    }

    /// Answers queries until their answers are proved or likely enough.
    void refine_block(std::size_t first, std::size_t count) {
        const Clock::time_point start = Clock::now();
        const std::size_t width = stages_.back().bytes * kSymbols;
        const std::span<float> tables = room_for_tables(count * stages_.back().bytes);
        index_.compressor().query_tables(
            queries_.slice(first, count), 0, {tables.data(), count, width});
        std::vector<Counts> counts(stages_.size());
        std::vector<RefinedAnswer> answers(count);
        for_each_in_parallel(count, [&](std::size_t q) {
            answers[q] = refine(first + q, tables.data() + q * width, counts);
        });
        for (std::size_t q = 0; q < count; ++q) {
            set_answer(first + q, answers[q].best);
            answer_.certainty[first + q] = answers[q].certainty;
        }
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            answer_.stages[s].candidates += counts[s].rows.load();
            answer_.stages[s].bytes_read += counts[s].bytes.load();
        }
        answer_.stages.front().milliseconds += milliseconds_since(start); // Stages take turns.
    }

    RefinedAnswer refine(
        std::size_t query, const float* tables, std::vector<Counts>& counts) const {
        const std::vector<std::size_t>& lengths = index_.shape().stage_bytes;
        const ScoreBounds bounds(
            index_.compressor(), lengths, queries_.row(query), tables, terms_[query]);
        const bool is_proof = !request_.until->confidence;
        std::vector<MetRow> rows;
        const bool is_whole = meet_heads(query, tables, is_proof ? &bounds : nullptr, rows);
        counts.front().rows += rows.size();
        counts.front().bytes += rows.size() * index_.head_bytes();
        std::optional<std::size_t> left = request_.until->max_bytes;
        if (left) {
            *left -= std::min(*left, rows.size() * index_.head_bytes());
        }
        if (nprobe_ < index_.list_count() && index_.copies() > 1) { // Met in several lists.
            const auto row = [](const MetRow& met) { return met.candidate.row; };
            std::ranges::sort(rows, {}, row);
            const auto again = std::ranges::unique(rows, {}, row);
            rows.erase(again.begin(), again.end());
        }
        Reader reader(*this, query, tables, counts);
        Refinement refinement(reader, lengths, request_.k, left);
        if (is_proof) {
            const std::size_t ranked = lengths.size() > 1 ? stages_[lengths.size() - 2].limit : 0;
            return refinement.until_certain(std::move(rows), ranked, bounds, is_whole);
        }
        return refinement.until_confident(
            std::move(rows), plan_.margins, is_whole, is_whole && nprobe_ == index_.list_count());
    }

    /// Scores the heads of the probed lists, the nearest list first, as far as the budget bears:
    /// room for the tails of k rows, or half of it, is kept.
    /// @param bounds  Null: distances are not asked for.
    /// @returns whether every accepted row of the lists was met.
    bool meet_heads(
        std::size_t query, const float* tables, const ScoreBounds* bounds,
        std::vector<MetRow>& rows) const {
        const std::size_t width = index_.head_bytes();
        std::size_t most = std::numeric_limits<std::size_t>::max();
        if (request_.until->max_bytes) {
            const std::size_t budget = *request_.until->max_bytes;
            const std::size_t tail = index_.code_bytes() - width;
            const std::size_t tails = std::min(budget / 2, request_.k * tail);
            most = (budget - tails) / width;
        }
        bool is_whole = true;
        for_each_list(lists_to_meet(query), [&](const List& list) {
            for (std::size_t at = 0; at < index_.list_rows(list) && is_whole; ++at) {
                if (ask_ && !is_accepted(index_.row_at(list, at))) {
                    continue;
                }
                if (rows.size() == most) {
                    is_whole = false;
                    return;
                }
                rows.push_back(met_row(list, at, query, tables, bounds));
            }
        });
        return is_whole;
    }

    [[nodiscard]] std::vector<std::uint32_t> lists_to_meet(std::size_t query) const {
        return index_.list_count() == 1 ? std::vector<std::uint32_t>{0}
                                        : index_.nearest_lists(queries_.slice(query, 1), nprobe_);
    }

    [[nodiscard]] MetRow met_row(
        const List& list, std::size_t at, std::size_t query, const float* tables,
        const ScoreBounds* bounds) const {
        const std::size_t width = index_.head_bytes();
        MetRow met;
        met.candidate = {
            .sum = terms_[query].bias,
            .row = index_.row_at(list, at),
            .tokens = static_cast<std::uint32_t>(width),
            .head = list.heads.data() + at * width};
        add_look_ups(tables, met.candidate.head, width, width, 1, &met.candidate.sum);
        met.candidate.score = score_of_head(list, at, met.candidate.sum, query);
        if (bounds != nullptr && std::isfinite(radius(0, met.candidate.row))) {
            const Bounds length = !list.levels.empty() ? level_lengths_[list.levels[at]]
                                : !list.terms.empty()  ? bounds->length(list.terms[at])
                                                       : Bounds{};
            met.set_distance(bounds->distance(0, met.candidate.sum, length));
        }
        return met;
    }

    /// Scores what the coarse structure proposes and the rows that it does not cover.
    Candidates scan_proposals(std::size_t query, const float* tables, Counts& counts) const {
        const CoarseStructure& structure = *index_.structure_;
        const std::function<bool(std::uint32_t)> accepts = [this](std::uint32_t row) {
            return is_accepted(row);
        };
        const Proposals proposals = structure.find(
            heads_, {.values = queries_.row(query),
                     .tables = tables,
                     .terms = terms_[query],
                     .beam = beam_,
                     .nprobe = request_.nprobe.value_or(traits_.nprobe),
                     .accepts = ask_ ? &accepts : nullptr});
        std::vector<std::size_t> places;
        for (const std::uint32_t row : proposals.rows) {
            if (!ask_ || is_accepted(row)) {
                places.push_back(row);
            }
        }
        std::ranges::sort(places);
        const std::size_t later = places.size();
        for (std::size_t row = structure.rows(); row < index_.rows(); ++row) {
            if (!ask_ || is_accepted(static_cast<std::uint32_t>(row))) {
                places.push_back(row);
            }
        }
        const std::size_t scored = proposals.scored + places.size() - later;
        counts.rows += scored;
        counts.bytes += scored * index_.head_bytes();
        if (places.size() < request_.k) { // Cut off by rows that are not accepted.
            return std::move(
                scan_lists(query, 1, {tables, index_.head_bytes() * kSymbols}, counts).front());
        }
        Scan scan{query, tables, BestRows(stages_.front().limit), std::nullopt}; // Most is kept.
        Scan* const scans[] = {&scan};
        Room room(index_.head_bytes());
        for (std::size_t first = 0; first < places.size(); first += kScanRows) {
            const std::size_t count = std::min(kScanRows, places.size() - first);
            score_places(index_.lists_.front(), {places.data() + first, count}, room, scans);
        }
        return std::move(scan.best).take();
    }

    /// Returns among how many threads the rows of one query are divided, where queries are fewer
    /// than threads and rows are many.
    [[nodiscard]] std::size_t parts_of_a_scan(std::size_t queries) const {
        const std::size_t threads = threads_for_parallel();
        if (uses_structure_ || queries >= threads) {
            return 1;
        }
        const std::size_t rows =
            index_.rows() * probed_copies() / index_.list_count() * nprobe_; // About.
        return std::clamp<std::size_t>(rows / kRowsWorthAThread, 1, threads / queries);
    }

    /// Returns how many queries are scanned together, so that rows which several of them look at
    /// are transposed once.
    [[nodiscard]] std::size_t queries_together(std::size_t queries) const {
        const std::size_t threads = threads_for_parallel();
        const std::size_t together = (queries + threads - 1) / threads;
        const bool share = together * nprobe_ >= kQueriesWorthColumns * index_.list_count();
        return can_sieve() && share ? together : 1;
    }

    /// One query's way through the lists.
    struct Scan {
        std::size_t query;
        const float* tables; ///< [head_bytes, kSymbols].
        BestRows best;
        std::optional<HeadSieve> sieve; ///< Nothing: every row is scored by floats.
    };

    /// Room for rows that are looked at together.
    struct Room {
        explicit Room(std::size_t head_bytes)
            : block(std::min(head_bytes, kMostSieveTokens)), heads(kScanRows * head_bytes) {}
        HeadBlock block;
        std::vector<std::byte> heads;                    ///< Of rows that are not adjacent,
        std::array<std::uint8_t, kScanRows> levels = {}; ///< and their levels.
    };

    /// @param tables  [count, head_bytes, kSymbols].
    std::vector<Candidates> scan_lists(
        std::size_t first, std::size_t count, std::span<const float> tables, Counts& counts) const {
        const std::vector<std::uint32_t> probed = probed_lists(first, count);
        const MatrixView<const std::uint32_t> lists(probed.data(), count, nprobe_);
        const std::size_t parts = parts_of_a_scan(count);
        const std::size_t together = parts > 1 ? 1 : queries_together(count);
        const std::size_t groups = (count + together - 1) / together;
        std::vector<Candidates> of_parts(count * parts);
        for_each_in_parallel(groups * parts, [&](std::size_t i) {
            const std::size_t begin = i / parts * together;
            const std::size_t end = std::min(begin + together, count);
            std::vector<Scan> scans;
            scans.reserve(end - begin);
            for (std::size_t q = begin; q < end; ++q) {
                const float* const of_query = tables.data() + q * index_.head_bytes() * kSymbols;
                scans.push_back(
                    {first + q, of_query, BestRows(stages_.front().limit, probed_copies()),
                     sieve_of(first + q, of_query)});
            }
            if (scans.size() == 1) {
                scan_part(scans.front(), lists.row(begin), {i % parts, parts}, counts);
            } else {
                scan_shared(scans, lists.slice(begin, end - begin), counts);
            }
            for (std::size_t q = begin; q < end; ++q) {
                of_parts[q * parts + i % parts] = std::move(scans[q - begin].best).take();
            }
        });
        return parts == 1 ? of_parts : joined_parts(of_parts, parts);
    }

    [[nodiscard]] std::vector<Candidates> joined_parts(
        const std::vector<Candidates>& of_parts, std::size_t parts) const {
        std::vector<Candidates> best(of_parts.size() / parts);
        for (std::size_t q = 0; q < best.size(); ++q) {
            BestRows of_all(stages_.front().limit, probed_copies());
            for (std::size_t part = 0; part < parts; ++part) {
                for (const Candidate& candidate : of_parts[q * parts + part]) {
                    of_all.push(candidate);
                }
            }
            best[q] = std::move(of_all).take();
        }
        return best;
    }

    /// Returns how often a row may be met: where every list is probed, the first list of each row
    /// is enough.
    [[nodiscard]] std::size_t probed_copies() const noexcept {
        return nprobe_ == index_.list_count() ? 1 : index_.copies();
    }

    template <class Work>
    void for_each_list(std::span<const std::uint32_t> lists, const Work& work) const {
        for (const std::uint32_t list : lists) {
            for (std::size_t copy = 0; copy < probed_copies(); ++copy) {
                work(index_.lists_[copy * index_.list_count() + list]);
            }
        }
    }

    /// Returns the lists of each query, the nearest first: [count, nprobe_].
    [[nodiscard]] std::vector<std::uint32_t> probed_lists(
        std::size_t first, std::size_t count) const {
        if (nprobe_ < index_.list_count()) {
            return index_.nearest_lists(queries_.slice(first, count), nprobe_);
        }
        std::vector<std::uint32_t> lists(count * nprobe_);
        for (std::size_t i = 0; i < lists.size(); ++i) {
            lists[i] = static_cast<std::uint32_t>(i % nprobe_);
        }
        return lists;
    }

    /// One of equal parts of the rows of several lists.
    struct Part {
        std::size_t number = 0;
        std::size_t count = 1;
    };

    /// Scans a part of the lists of one query, the nearest list first.
    void scan_part(
        Scan& scan, std::span<const std::uint32_t> lists, const Part& part, Counts& counts) const {
        std::size_t rows = 0;
        for_each_list(lists, [&](const List& list) { rows += index_.list_rows(list); });
        const std::size_t begin = rows * part.number / part.count;
        const std::size_t end = rows * (part.number + 1) / part.count;
        Scan* const scans[] = {&scan};
        Room room(index_.head_bytes());
        std::size_t before = 0;
        std::size_t scored = 0;
        for_each_list(lists, [&](const List& list) {
            const std::size_t size = index_.list_rows(list);
            const std::size_t from = std::clamp(begin, before, before + size) - before;
            const std::size_t to = std::clamp(end, before, before + size) - before;
            scored += scan_list(list, from, to, room, scans);
            before += size;
        });
        counts.rows += scored;
        counts.bytes += scored * index_.head_bytes();
    }

    /// Scans the lists of several queries, each list for all that probe it. The nearest list of
    /// each comes before the others, so that these are met with a threshold.
    void scan_shared(
        std::span<Scan> scans, MatrixView<const std::uint32_t> lists, Counts& counts) const {
        struct Visit {
            std::uint32_t list;
            Scan* scan;
        };
        std::vector<Visit> nearest;
        std::vector<Visit> others;
        for (std::size_t q = 0; q < scans.size(); ++q) {
            nearest.push_back({lists.row(q).front(), &scans[q]});
            for (const std::uint32_t list : lists.row(q).subspan(1)) {
                others.push_back({list, &scans[q]});
            }
        }
        Room room(index_.head_bytes());
        std::size_t scored = 0;
        for (std::vector<Visit>* const visits : {&nearest, &others}) {
            std::ranges::stable_sort(*visits, {}, &Visit::list);
            for (auto visit = visits->begin(); visit != visits->end();) {
                std::vector<Scan*> of_list;
                const std::uint32_t number = visit->list;
                for (; visit != visits->end() && visit->list == number; ++visit) {
                    of_list.push_back(visit->scan);
                }
                for_each_list({&number, 1}, [&](const List& list) {
                    const std::size_t rows = index_.list_rows(list);
                    scored += scan_list(list, 0, rows, room, of_list) * of_list.size();
                });
            }
        }
        counts.rows += scored;
        counts.bytes += scored * index_.head_bytes();
    }

    /// Says whether lists are such that a sieve may pass over their rows.
    [[nodiscard]] bool can_sieve() const noexcept {
        const bool has_terms = index_.compressor().metric() != Metric::kInnerProduct;
        const bool has_levels = index_.scan_term_kind() == TermKind::kLevel;
        return has_terms == has_levels && // Float terms are as many as rows.
               HeadSieve::is_available(index_.head_bytes());
    }

    /// Makes what passes over rows of lists that cannot be among the best; nothing where it would
    /// not pay.
    [[nodiscard]] std::optional<HeadSieve> sieve_of(std::size_t query, const float* tables) const {
        if (!can_sieve()) {
            return std::nullopt;
        }
        const bool has_levels = index_.scan_term_kind() == TermKind::kLevel;
        return HeadSieve::make(
            tables, index_.head_bytes(), index_.compressor().metric(), terms_[query],
            has_levels ? std::span<const float>(levels_) : std::span<const float>());
    }

    /// Scans the places [first, end) of a list for queries. @returns how many rows were scored for
    /// each.
    std::size_t scan_list(
        const List& list, std::size_t first, std::size_t end, Room& room,
        std::span<Scan* const> scans) const {
        const auto rows_together = [&] {
            return std::ranges::all_of(
                       scans, [](const Scan* scan) { return std::isfinite(scan->best.least()); })
                     ? kScanRows
                     : kFirstRows;
        };
        if (!ask_) {
            for (std::size_t at = first; at < end;) {
                const std::size_t count = std::min(rows_together(), end - at);
                score_run(list, at, count, room, scans);
                at += count;
            }
            return end - first;
        }
        std::array<std::size_t, kScanRows> places = {};
        std::size_t scored = 0;
        while (first < end) {
            const std::size_t most = rows_together();
            std::size_t count = 0;
            for (; count < most && first < end; ++first) {
                if (is_accepted(index_.row_at(list, first))) {
                    places[count++] = first;
                }
            }
            score_places(list, {places.data(), count}, room, scans);
            scored += count;
        }
        return scored;
    }

    /// Rows of a list, side by side.
    struct Block {
        const std::byte* heads;     ///< [count, head_bytes].
        const std::uint8_t* levels; ///< [count]; null: the list has none.
        std::size_t count;          ///< At most kScanRows.
        std::size_t first;          ///< Place of the first in the list, and the others follow;
        const std::size_t* places;  ///< or [count] places of all.
        [[nodiscard]] std::size_t place(std::size_t i) const noexcept {
            return places == nullptr ? first + i : places[i];
        }
    };

    /// @param places  At most kScanRows of the list; ascending.
    void score_places(
        const List& list, std::span<const std::size_t> places, Room& room,
        std::span<Scan* const> scans) const {
        if (places.empty()) {
            return;
        }
        const std::size_t count = places.size();
        if (places.back() - places.front() == count - 1) {
            score_run(list, places.front(), count, room, scans);
            return;
        }
        const std::size_t width = index_.head_bytes();
        for (std::size_t i = 0; i < count; ++i) {
            std::memcpy(
                room.heads.data() + i * width, list.heads.data() + places[i] * width, width);
            if (!list.levels.empty()) {
                room.levels[i] = list.levels[places[i]];
            }
        }
        const std::uint8_t* const levels = list.levels.empty() ? nullptr : room.levels.data();
        score_block(list, {room.heads.data(), levels, count, 0, places.data()}, room, scans);
    }

    /// Scores `count` rows of a list, at most kScanRows, from place `first` on.
    void score_run(
        const List& list, std::size_t first, std::size_t count, Room& room,
        std::span<Scan* const> scans) const {
        const std::byte* const heads = list.heads.data() + first * index_.head_bytes();
        const std::uint8_t* const levels =
            list.levels.empty() ? nullptr : list.levels.data() + first;
        score_block(list, {heads, levels, count, first, nullptr}, room, scans);
    }

    void score_block(
        const List& list, const Block& block, Room& room, std::span<Scan* const> scans) const {
        room.block.take(block.heads, block.levels, block.count, scans.size() > 1);
        for (Scan* const scan : scans) {
            if (scan->sieve && std::isfinite(scan->best.least()) &&
                sieve_block(list, block, room.block, *scan)) {
                continue;
            }
            const std::size_t width = index_.head_bytes();
            std::array<float, kScanRows> sums; // NOLINT: read as far as it is written
            std::fill_n(sums.begin(), block.count, terms_[scan->query].bias);
            add_look_ups(scan->tables, block.heads, width, width, block.count, sums.data());
            for (std::size_t i = 0; i < block.count; ++i) {
                keep(list, block.place(i), sums[i], *scan);
            }
        }
    }

    /// Scores only the rows that the sieve lets pass, or says that they are too many for it to pay.
    [[nodiscard]] bool sieve_block(
        const List& list, const Block& block, HeadBlock& heads, Scan& scan) const {
        std::array<std::uint16_t, kScanRows> passed; // NOLINT: read as far as it is written
        const std::size_t found = scan.sieve->pass(heads, scan.best.least(), passed.data());
        if (found > block.count / 4) { // Look-ups of rows side by side are faster.
            return false;
        }
        const std::size_t width = index_.head_bytes();
        for (std::size_t i = 0; i < found; ++i) {
            float sum = terms_[scan.query].bias;
            add_look_ups(scan.tables, block.heads + passed[i] * width, width, width, 1, &sum);
            keep(list, block.place(passed[i]), sum, scan);
        }
        return true;
    }

    /// Combines the sum of a head's look-ups with the term that the list keeps of its row.
    [[nodiscard]] float score_of_head(
        const List& list, std::size_t place, float sum, std::size_t query) const {
        const float term = !list.levels.empty() ? levels_[list.levels[place]]
                         : !list.terms.empty()  ? list.terms[place]
                                                : 0.0F;
        return orderable(Compressor::combine(
            index_.compressor().metric(), sum, term, terms_[query].squared_norm));
    }

    /// Pushes the row at a place of a list where it may be among the best.
    void keep(const List& list, std::size_t place, float sum, Scan& scan) const {
        const float score = score_of_head(list, place, sum, scan.query);
        if (scan.best.may_admit(score)) {
            const std::size_t width = index_.head_bytes();
            scan.best.push(
                {.score = score,
                 .sum = sum,
                 .row = index_.row_at(list, place),
                 .tokens = static_cast<std::uint32_t>(width),
                 .head = list.heads.data() + place * width});
        }
    }

    /// @param tables  Of all tokens of the last stage.
    Candidates scan_range(std::size_t query, const float* tables, const RangeTest& is_in) const {
        Candidates found;
        for_each_list(probed_lists(query, 1), [&](const List& list) {
            scan_list_range(list, query, tables, is_in, found);
        });
        std::ranges::sort(found, {}, &Candidate::row); // A row may be in several of the lists.
        const auto is_same = [](const Candidate& a, const Candidate& b) { return a.row == b.row; };
        found.erase(std::unique(found.begin(), found.end(), is_same), found.end());
        return found;
    }

    void scan_list_range(
        const List& list, std::size_t query, const float* tables, const RangeTest& is_in,
        Candidates& found) const {
        const std::size_t head = index_.head_bytes();
        const std::size_t rows = index_.list_rows(list);
        const float* const later_tables = tables + head * kSymbols;
        std::vector<std::byte> tails(kRankRows * (stages_.back().bytes - head));
        std::array<Candidate, kRankRows> some;
        for (std::size_t first = 0; first < rows;) {
            std::size_t count = 0;
            for (; count < kRankRows && first < rows; ++first) {
                const std::uint32_t row = index_.row_at(list, first);
                if (!ask_ || is_accepted(row)) {
                    some[count++] = {
                        .sum = terms_[query].bias,
                        .row = row,
                        .tokens = static_cast<std::uint32_t>(head),
                        .head = list.heads.data() + first * head};
                }
            }
            const std::span<Candidate> block(some.data(), count);
            add_heads(tables, block);
            const MatrixView<std::byte> tail(tails.data(), count, stages_.back().bytes - head);
            continue_sums(block, head, later_tables, tails_, tail);
            if (tail.cols() == 0 && !list.terms.empty()) {
                set_scores_of_heads(query, list, block);
            } else {
                set_scores(query, stages_.size() - 1, block, tail);
            }
            std::ranges::copy_if(block, std::back_inserter(found), [&](const Candidate& candidate) {
                return is_in(query, candidate.score);
            });
        }
    }

    /// Adds the look-ups of the heads, side by side where heads are adjacent.
    void add_heads(const float* tables, std::span<Candidate> candidates) const {
        const std::size_t width = index_.head_bytes();
        std::array<float, kRankRows> sums{};
        std::ranges::transform(candidates, sums.begin(), &Candidate::sum);
        for (std::size_t i = 0; i < candidates.size();) {
            std::size_t end = i + 1;
            while (end < candidates.size() &&
                   candidates[end].head == candidates[end - 1].head + width) {
                ++end;
            }
            add_look_ups(tables, candidates[i].head, width, width, end - i, sums.data() + i);
            i = end;
        }
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            candidates[i].sum = sums[i];
        }
    }

    /// Combines sums with the float terms that a list of an index of one stage keeps.
    void set_scores_of_heads(
        std::size_t query, const List& list, std::span<Candidate> candidates) const {
        for (Candidate& candidate : candidates) {
            const auto place = static_cast<std::size_t>(candidate.head - list.heads.data());
            candidate.score = orderable(Compressor::combine(
                index_.compressor().metric(), candidate.sum,
                list.terms[place / index_.head_bytes()], terms_[query].squared_norm));
        }
    }

    static StagedRangeAnswer joined(const std::vector<Candidates>& found) {
        StagedRangeAnswer answer;
        answer.offsets.push_back(0);
        for (const Candidates& rows : found) {
            answer.offsets.push_back(answer.offsets.back() + rows.size());
        }
        answer.rows.resize(answer.offsets.back());
        answer.scores.resize(answer.offsets.back());
        for (std::size_t q = 0; q < found.size(); ++q) {
            const auto first = static_cast<std::ptrdiff_t>(answer.offsets[q]);
            std::ranges::transform(found[q], answer.rows.begin() + first, &Candidate::row);
            std::ranges::transform(found[q], answer.scores.begin() + first, &Candidate::score);
        }
        return answer;
    }

    /// Reads the tails of all candidates together, each row once, where that is worth a copy and
    /// they fit in memory.
    [[nodiscard]] std::optional<ReadTails> tails_of(
        const std::vector<Candidates>& batch, std::size_t s) const {
        const std::size_t width = stages_[s].bytes - index_.head_bytes();
        std::size_t count = 0;
        for (const Candidates& candidates : batch) {
            count += candidates.size();
        }
        if (count == 0 || width == 0 || tails_->is_resident() || count > kSharedTailBytes / width) {
            return std::nullopt;
        }
        std::vector<std::uint64_t> rows;
        rows.reserve(count);
        for (const Candidates& candidates : batch) {
            std::ranges::transform(candidates, std::back_inserter(rows), &Candidate::row);
        }
        return ReadTails(std::move(rows), width, *tails_);
    }

    /// Scores candidates by a longer prefix.
    /// @param done    Tokens that the sums of the stage before hold.
    /// @param tables  Of tokens [done, stage's bytes).
    Candidates rank(
        std::size_t query, std::size_t s, std::size_t done, const float* tables,
        const TailSource* source, Candidates& candidates, Counts& counts) const {
        const std::size_t head = index_.head_bytes();
        const std::size_t width = stages_[s].bytes - head;
        BestRows best(stages_[s].limit);
        // Rows in order, as a store reads them best.
        std::ranges::sort(candidates, {}, &Candidate::row);
        std::vector<std::byte> tails(std::min(kRankRows, candidates.size()) * width);
        for (std::size_t first = 0; first < candidates.size(); first += kRankRows) {
            const std::span<Candidate> some =
                std::span(candidates)
                    .subspan(first, std::min(kRankRows, candidates.size() - first));
            const MatrixView<std::byte> tail(tails.data(), some.size(), width);
            counts.bytes += continue_sums(some, done, tables, source, tail);
            set_scores(query, s, some, tail);
            for (const Candidate& candidate : some) {
                best.push(candidate);
            }
        }
        counts.rows += candidates.size();
        return std::move(best).take();
    }

    /// Reads tails and adds the look-ups of their tokens from `done` on. @returns the bytes read.
    /// @param tails  Out; of no column where the sums of the heads are whole.
    std::size_t continue_sums(
        std::span<Candidate> candidates, std::size_t done, const float* tables,
        const TailSource* source, MatrixView<std::byte> tails) const {
        const std::size_t width = tails.cols();
        if (width == 0) {
            return 0;
        }
        std::array<std::uint64_t, kRankRows> rows{};
        std::array<std::size_t, kRankRows> lengths{};
        std::ranges::transform(
            candidates, rows.begin(), [](const Candidate& candidate) { return candidate.row; });
        source->read_tails(
            {rows.data(), candidates.size()}, tails, {lengths.data(), candidates.size()});
        const std::size_t skip = done - index_.head_bytes(); // Bytes of the tail that the sums
                                                             // hold.
        std::array<float, kRankRows> sums{};
        std::ranges::transform(candidates, sums.begin(), &Candidate::sum);
        for (std::size_t i = 0; i < candidates.size();) { // Tails of one length, side by side.
            const std::size_t length = lengths[i];
            const std::size_t tokens = candidates[i].tokens;
            std::size_t end = i + 1;
            while (end < candidates.size() && lengths[end] == length &&
                   candidates[end].tokens == tokens) {
                ++end;
            }
            if (tokens == done && length > skip) { // A row that stopped before stays where it
                                                   // stopped.
                add_look_ups(
                    tables, tails.row(i).data() + skip, width, length - skip, end - i,
                    sums.data() + i);
                for (Candidate& candidate : candidates.subspan(i, end - i)) {
                    candidate.tokens = static_cast<std::uint32_t>(index_.head_bytes() + length);
                }
            }
            i = end;
        }
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            candidates[i].sum = sums[i];
        }
        return std::accumulate(
            lengths.begin(), lengths.begin() + static_cast<std::ptrdiff_t>(candidates.size()),
            std::size_t{0});
    }

    /// Combines sums with the row terms of the prefixes that they cover.
    void set_scores(
        std::size_t query, std::size_t s, std::span<Candidate> candidates,
        MatrixView<const std::byte> tails) const {
        const Metric metric = index_.compressor().metric();
        std::array<float, kRankRows> terms{};
        if (metric != Metric::kInnerProduct) {
            find_terms(stages_[s].bytes, candidates, tails, terms);
        }
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            candidates[i].score = orderable(Compressor::combine(
                metric, candidates[i].sum, terms[i], terms_[query].squared_norm));
        }
    }

    void find_terms(
        std::size_t bytes, std::span<const Candidate> candidates, MatrixView<const std::byte> tails,
        std::span<float> terms) const {
        const std::vector<std::size_t>& lengths = index_.shape().stage_bytes;
        const auto known = std::find(lengths.begin() + 1, lengths.end(), bytes);
        std::vector<float>* const cache =
            known == lengths.end()
                ? nullptr
                : &index_.rank_terms_[static_cast<std::size_t>(known - lengths.begin()) - 1];
        std::vector<std::size_t> missing;
        std::vector<std::byte> codes;
        for (const Candidate& candidate : candidates) {
            if (cache != nullptr) {
                __builtin_prefetch(cache->data() + candidate.row);
            }
        }
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            const bool is_whole = candidates[i].tokens == bytes;
            terms[i] = cache != nullptr && is_whole ? load((*cache)[candidates[i].row])
                                                    : std::numeric_limits<float>::quiet_NaN();
            if (!std::isnan(terms[i])) {
                continue;
            }
            if (!is_whole) {
                terms[i] = term_of(candidates[i], tails.row(i));
                continue;
            }
            missing.push_back(i);
            append_code(candidates[i], tails.row(i), codes);
        }
        std::vector<float> computed(missing.size());
        if (!missing.empty()) {
            index_.compressor().row_terms({codes.data(), missing.size(), bytes}, computed);
        }
        for (std::size_t i = 0; i < missing.size(); ++i) {
            terms[missing[i]] = computed[i];
            if (cache != nullptr) {
                store((*cache)[candidates[missing[i]].row], computed[i]);
            }
        }
    }

    void append_code(
        const Candidate& candidate, std::span<const std::byte> tail,
        std::vector<std::byte>& codes) const {
        const std::size_t head = index_.head_bytes();
        codes.insert(codes.end(), candidate.head, candidate.head + head);
        codes.insert(
            codes.end(), tail.begin(),
            tail.begin() + static_cast<std::ptrdiff_t>(candidate.tokens - head));
    }

    [[nodiscard]] float term_of(const Candidate& candidate, std::span<const std::byte> tail) const {
        std::vector<std::byte> code;
        append_code(candidate, tail, code);
        float term = 0.0F;
        index_.compressor().row_terms({code.data(), 1, code.size()}, {&term, 1});
        return term;
    }

    const StagedIndex& index_;
    MatrixView<const float> queries_;
    const StagedRequest& request_;
    const TailSource* tails_;
    CoarseTraits traits_ = index_.coarse_traits();
    std::vector<Stage> stages_; ///< With limits; one more than the answer's where the head is
                                ///< ranked exactly.
    std::size_t nprobe_ = 1;
    bool ask_ = false;                          ///< Not every row is to be scored.
    bool uses_structure_ = false;               ///< Else every list that is probed is scanned.
    std::size_t beam_ = 0;                      ///< Of a walk through the structure.
    HeadRows heads_;                            ///< What the structure reads.
    std::vector<bool> accepted_;                ///< [rows]; empty: asked when met.
    std::vector<Compressor::QueryTerms> terms_; ///< [m].
    AlignedFloats tables_;                      ///< Of the block that is answered.
    std::array<float, 256> levels_ = index_.level_terms();
    std::array<Bounds, 256> level_lengths_ = {}; ///< Of a refinement.
    Calibration::Plan plan_;                     ///< Of a confidence.
    StagedAnswer answer_;
};

std::array<float, 256> StagedIndex::level_terms() const noexcept {
    std::array<float, 256> terms = {};
    for (std::size_t level = 0; level < terms.size(); ++level) {
        terms[level] = scale_.term(static_cast<std::uint8_t>(level));
    }
    return terms;
}

void check_until(const Until& until) {
    if (until.confidence && !(*until.confidence > 0.0 && *until.confidence < 1.0)) {
        fail(ErrorKind::kInvalidArgument, "Confidence is outside (0, 1): ", *until.confidence);
    }
    if (until.max_bytes && *until.max_bytes < 1) {
        fail(
            ErrorKind::kInvalidArgument,
            "Bytes that a search may read for a query are fewer than one: ", *until.max_bytes);
    }
}

/// Returns the lengths of reconstructions whose terms have each level; those of the first and the
/// last may lie beyond the scale.
std::array<Bounds, 256> StagedIndex::level_lengths() const {
    constexpr double kHalfStep = 0.51; // A little more, for rounding.
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    std::array<Bounds, 256> lengths = {};
    if (!shape_.error_radii || scan_term_kind() != TermKind::kLevel) {
        return lengths;
    }
    const bool is_inverse = compressor_->metric() == Metric::kCosine;
    const auto highest = static_cast<double>(scale_.high);
    const double half = kHalfStep * (highest - static_cast<double>(scale_.low)) / 255.0 +
                        0x1p-21 * std::abs(highest);
    for (std::size_t level = 0; level < lengths.size(); ++level) {
        const auto middle = static_cast<double>(scale_.term(static_cast<std::uint8_t>(level)));
        const auto low = static_cast<float>(middle - half);
        const auto high = static_cast<float>(middle + half);
        // A scale of no width gives every term the first level.
        const bool is_first = level == 0 || !(low > 0.0F);
        const bool is_last = level == 255 || !(scale_.high > scale_.low);
        const double of_low = is_inverse ? ScoreBounds::length(*compressor_, low).most
                                         : ScoreBounds::length(*compressor_, low).least;
        const double of_high = is_inverse ? ScoreBounds::length(*compressor_, high).least
                                          : ScoreBounds::length(*compressor_, high).most;
        lengths[level] = is_inverse
                           ? Bounds{is_last ? 0.0 : of_high, is_first ? kInfinity : of_low}
                           : Bounds{is_first ? 0.0 : of_low, is_last ? kInfinity : of_high};
    }
    return lengths;
}

StagedAnswer StagedIndex::search(
    MatrixView<const float> queries, const StagedRequest& request, const TailSource* tails) const {
    try {
        return Search(*this, queries, request, tails).run();
    } catch (const std::bad_alloc&) {
        fail(
            ErrorKind::kResourceExhausted,
            "Memory ran out in a search for queries and answers each: ", queries.rows(), ", ",
            request.k);
    }
}

StagedRangeAnswer StagedIndex::range_search(
    MatrixView<const float> queries, const StagedRequest& request, const RangeTest& is_in,
    const TailSource* tails) const {
    if (request.until) {
        fail(
            ErrorKind::kInvalidArgument,
            "Range search leaves out no row of the lists it probes, so it takes no until; "
            "queries: ",
            queries.rows());
    }
    try {
        StagedRequest of_lists = request;
        of_lists.exhaustive = request.exhaustive || structure_ != nullptr; // A walk finds the
                                                                           // nearest rows, not all
                                                                           // of them.
        return Search(*this, queries, of_lists, tails).run_range(is_in);
    } catch (const std::bad_alloc&) {
        fail(
            ErrorKind::kResourceExhausted,
            "Memory ran out in a range search; ask for a smaller radius or fewer queries: ",
            queries.rows());
    }
}

std::vector<Stage> StagedIndex::default_stages(std::size_t k) const {
    std::vector<Stage> stages;
    for (std::size_t i = 0; i < shape_.stage_bytes.size(); ++i) {
        const bool is_last = i + 1 == shape_.stage_bytes.size();
        const std::size_t measured =
            i < default_limits_.size() ? default_limits_[i] : kDefaultLimit;
        const std::size_t factor = (std::max(k, kMeasuredK) + kMeasuredK - 1) / kMeasuredK;
        stages.push_back(
            {.bytes = shape_.stage_bytes[i],
             .limit = is_last ? k : std::max(k, measured * factor)});
    }
    return stages;
}

} // namespace arfc
