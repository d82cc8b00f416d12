// ARFC_CERTAINTY_CASES=2000000 arfc_index_tests --gtest_filter='Certainty.Never*'

#include "arfc/index/certainty.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "expect_error.h"
#include "staged_index.h"
#include "structured_index.h"
#include "trained_model.h"
#include "vector_compressor.h"

namespace arfc {
namespace {

using test::kCodeBytes;
using test::kDim;
using test::kQueries;
using test::kRows;
using test::trained_model;
using test::TrainedModel;
using test::VectorCompressor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Tails of which some end early.
class RaggedTails final : public TailSource {
  public:
    RaggedTails(
        const std::vector<std::byte>& codes, std::size_t width, std::size_t head,
        std::vector<std::size_t> lengths)
        : codes_(codes), width_(width), head_(head), lengths_(std::move(lengths)) {}

    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            lengths[i] = std::min(tails.cols(), lengths_[rows[i]] - head_);
            const std::byte* const from = codes_.data() + rows[i] * width_ + head_;
            std::copy_n(from, lengths[i], tails.row(i).data());
        }
    }

  private:
    const std::vector<std::byte>& codes_;
    std::size_t width_;
    std::size_t head_;
    std::vector<std::size_t> lengths_; ///< [rows], of whole codes.
};

/// What a random case is drawn from.
enum class Symbols { kFading, kWhole, kNoTail, kHuge, kTiny, kCancelling, kSteep, kSteeper };
constexpr int kKinds = 8;

std::vector<float> random_symbols(
    Symbols kind, std::size_t tokens, std::size_t dim, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> whole(-2, 2);
    std::vector<float> symbols;
    for (std::size_t t = 0; t < tokens; ++t) {
        const float fading = kind == Symbols::kSteep   ? 0.1F
                           : kind == Symbols::kSteeper ? 0.02F
                                                       : 0.5F;
        const float scale =
            std::pow(fading, static_cast<float>(t)) * (kind == Symbols::kHuge   ? 1e5F
                                                       : kind == Symbols::kTiny ? 1e-5F
                                                                                : 1.0F);
        for (std::size_t i = 0; i < kSymbols * dim; ++i) {
            const bool is_zero = kind == Symbols::kNoTail && t > 0;
            // What the first tokens add and take away again leaves rounding, and little else.
            const float common = kind != Symbols::kCancelling || t > 1 ? 0.0F
                               : t == 0                                ? 3e3F
                                                                       : -3e3F;
            symbols.push_back(
                is_zero                   ? 0.0F
                : kind == Symbols::kWhole ? static_cast<float>(whole(random))
                                          : common + scale * normal(random));
        }
    }
    return symbols;
}

double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0.0;
    for (std::size_t j = 0; j < a.size(); ++j) {
        sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    }
    return sum;
}

/// Returns how close rows are, larger = closer, in float64.
double similarity(Metric metric, std::span<const float> query, std::span<const float> row) {
    const double product = dot(query, row);
    if (metric == Metric::kInnerProduct) {
        return product;
    }
    if (metric == Metric::kL2) {
        double squared = 0.0;
        for (std::size_t j = 0; j < row.size(); ++j) {
            const double apart = static_cast<double>(query[j]) - static_cast<double>(row[j]);
            squared += apart * apart;
        }
        return -squared;
    }
    const double lengths = std::sqrt(dot(query, query) * dot(row, row));
    return lengths > 0.0 ? product / lengths : 0.0;
}

/// An index that stands for many, and the truth about it.
struct Case {
    Case(std::mt19937& random, Metric metric)
        : draw(random), dim(1 + draw() % 6), tokens(1 + draw() % 5) {
        const auto kind = static_cast<Symbols>(draw() % kKinds);
        compressor = std::make_shared<VectorCompressor>(
            metric, dim, random_symbols(kind, tokens, dim, random));
        StagedShape shape{.nlist = draw() % 3 == 0 ? 2U + draw() % 3 : 0U};
        for (std::size_t bytes = 1; bytes < tokens; ++bytes) {
            if (draw() % 2 == 0) {
                shape.stage_bytes.push_back(bytes);
            }
        }
        shape.stage_bytes.push_back(tokens);
        shape.error_radii = draw() % 4 != 0;
        index = std::make_unique<StagedIndex>(compressor, shape);
        if (draw() % 3 != 0 || shape.nlist > 0) {
            add_codes(20);
            index->train({codes.data(), 20, tokens}, {}, {.lists_per_row = 1});
        }
    }

    /// Replaces the rows.
    void draw_rows() {
        index->clear();
        codes.clear();
        lengths.clear();
        live.clear();
        // Many: more than a proof ranks before it goes by bounds.
        const std::size_t count = 1 + draw() % (draw() % 3 == 0 ? 250 : 40);
        add_codes(count);
        originals.resize(count * dim);
        compressor->decode({codes.data(), count, tokens}, {originals.data(), count, dim});
        constexpr float kNoise[] = {0.0F, 1e-6F, 0.003F, 0.01F, 0.03F, 0.3F};
        const float noise = kNoise[draw() % std::size(kNoise)];
        std::normal_distribution<float> normal;
        for (std::size_t i = 0; i < count; ++i) {
            const std::span<float> row(originals.data() + i * dim, dim);
            const auto length = static_cast<float>(std::sqrt(dot(row, row)));
            for (float& value : row) {
                value += noise * length * normal(draw);
            }
            if (compressor->metric() == Metric::kCosine) { // Of no meaning there.
                for (float& value : row) {
                    value *= length > 0.0F ? 3.0F : 1.0F;
                }
                row[0] += dot(row, row) > 0.0 ? 0.0F : 1.0F;
            }
        }
        const std::size_t head = index->head_bytes();
        std::vector<std::byte> heads;
        for (std::size_t row = 0; row < count; ++row) {
            const auto code = codes.begin() + static_cast<std::ptrdiff_t>(row * tokens);
            heads.insert(heads.end(), code, code + static_cast<std::ptrdiff_t>(head));
            live.push_back(true);
        }
        // The first rows come as a writer adds them, others as they are found in a store; of these
        // some end early.
        const std::size_t whole = draw() % (count + 1);
        const std::vector<float> terms = index->rank_terms({codes.data(), whole, tokens});
        const std::vector<ErrorRadius> radii =
            index->error_radii({codes.data(), whole, tokens}, {originals.data(), whole, dim});
        const std::size_t stages = index->shape().stage_bytes.size();
        index->add(
            {heads.data(), whole, head}, {terms.data(), stages > 1 ? whole : 0, stages - 1},
            {radii.data(), radii.empty() ? 0 : whole, stages});
        index->add({heads.data() + whole * head, count - whole, head});
        for (std::size_t row = 0; row < count; ++row) {
            const bool is_ragged = row >= whole && tokens > head && draw() % 4 == 0;
            lengths.push_back(is_ragged ? head + draw() % (tokens - head) : tokens);
        }
        for (std::uint64_t row = 0; row < count; ++row) {
            if (draw() % 8 == 0) {
                index->erase(std::vector<std::uint64_t>{row});
                live[row] = false;
            }
        }
    }

    [[nodiscard]] std::vector<float> draw_query() {
        std::normal_distribution<float> normal;
        std::vector<float> query(dim);
        const std::size_t from = draw() % lengths.size();
        const bool is_row = draw() % 3 == 0;
        for (std::size_t j = 0; j < dim; ++j) {
            query[j] = is_row ? originals[from * dim + j] : normal(draw);
        }
        query[0] += dot(query, query) > 0.0 ? 0.0F : 1.0F;
        return query;
    }

    /// Scores every row by all the tokens it has, as search must. @returns [rows].
    [[nodiscard]] std::vector<float> scores(std::span<const float> query) const {
        std::vector<float> tables(tokens * kSymbols);
        compressor->query_tables({query.data(), 1, dim}, 0, {tables.data(), 1, tables.size()});
        Compressor::QueryTerms terms{};
        compressor->query_terms({query.data(), 1, dim}, {&terms, 1});
        std::vector<float> out;
        for (std::size_t row = 0; row < lengths.size(); ++row) {
            const std::byte* const code = codes.data() + row * tokens;
            float sum = terms.bias;
            for (std::size_t t = 0; t < lengths[row]; ++t) {
                sum += tables[t * kSymbols + std::to_integer<std::size_t>(code[t])];
            }
            float term = 0.0F;
            compressor->row_terms({code, 1, lengths[row]}, {&term, 1});
            out.push_back(Compressor::combine(compressor->metric(), sum, term, terms.squared_norm));
        }
        return out;
    }

    void add_codes(std::size_t count) {
        const std::size_t symbols = draw() % 2 == 0 ? kSymbols : 3; // Few: rows repeat.
        for (std::size_t i = 0; i < count * tokens; ++i) {
            codes.push_back(static_cast<std::byte>(draw() % symbols));
        }
    }

    std::mt19937& draw;
    std::size_t dim;
    std::size_t tokens;
    std::shared_ptr<const VectorCompressor> compressor;
    std::unique_ptr<StagedIndex> index;
    std::vector<std::byte> codes;     ///< [rows, tokens].
    std::vector<float> originals;     ///< [rows, dim].
    std::vector<std::size_t> lengths; ///< [rows].
    std::vector<bool> live;           ///< [rows].
};

/// What happened in many cases.
struct Tally {
    std::size_t cases = 0;
    std::size_t none = 0;
    std::size_t by_codes = 0;
    std::size_t by_originals = 0;
    std::size_t by_originals_among_more = 0; ///< Where there were rows beside the answer.
};

void check_case(Case& with, Tally& tally) {
    const std::vector<float> query = with.draw_query();
    const Metric metric = with.compressor->metric();
    StagedRequest request{.k = 1 + with.draw() % 6};
    request.until = Until{};
    if (with.draw() % 4 == 0) {
        request.until->max_bytes = 1 + with.draw() % (with.codes.size() * 2);
    }
    std::set<std::uint64_t> refused;
    if (with.draw() % 3 == 0) {
        for (std::uint64_t row = 0; row < with.lengths.size(); ++row) {
            if (with.draw() % 3 == 0) {
                refused.insert(row);
            }
        }
        request.accepts = [&](std::uint64_t row) { return !refused.contains(row); };
    }
    const auto is_in = [&](std::uint64_t row) { return with.live[row] && !refused.contains(row); };
    const RaggedTails tails(with.codes, with.tokens, with.index->head_bytes(), with.lengths);
    const StagedAnswer answer = with.index->search({query.data(), 1, with.dim}, request, &tails);
    ++tally.cases;
    ASSERT_EQ(answer.certainty.size(), 1U);
    std::size_t bytes = 0;
    for (const StageUsage& stage : answer.stages) {
        bytes += stage.bytes_read;
    }
    ASSERT_LE(bytes, request.until->max_bytes.value_or(bytes));
    const std::vector<float> scores = with.scores(query);
    if (answer.certainty[0] == Certainty::kNone) {
        ++tally.none;
        ASSERT_TRUE(request.until->max_bytes);
        for (std::size_t i = 0; i < request.k && answer.rows[i] != kNoRow; ++i) {
            ASSERT_TRUE(is_in(answer.rows[i]));
            ASSERT_EQ(answer.scores[i], scores[answer.rows[i]]); // Few rows, no wrong score.
        }
        return;
    }
    const auto best = test::brute_force(scores, request.k, is_in);
    std::set<std::uint64_t> chosen;
    for (std::size_t i = 0; i < request.k; ++i) {
        ASSERT_EQ(answer.rows[i], i < best.size() ? best[i].row : kNoRow);
        ASSERT_EQ(answer.scores[i], i < best.size() ? best[i].score : -kInfinity);
        chosen.insert(answer.rows[i]);
    }
    tally.by_codes += answer.certainty[0] == Certainty::kCodes ? 1 : 0;
    if (answer.certainty[0] != Certainty::kOriginals) {
        return;
    }
    ++tally.by_originals;
    double least = std::numeric_limits<double>::infinity();
    double most = -least;
    for (std::uint64_t row = 0; row < scores.size(); ++row) {
        const std::span<const float> original(with.originals.data() + row * with.dim, with.dim);
        const double exact = similarity(metric, query, original);
        if (is_in(row)) {
            chosen.contains(row) ? least = std::min(least, exact) : most = std::max(most, exact);
        }
    }
    tally.by_originals_among_more += std::isfinite(most) ? 1 : 0;
    ASSERT_GT(least, most);
}

TEST(Certainty, NeverProvesWhatBruteForceRefutes) {
    const char* const asked = std::getenv("ARFC_CERTAINTY_CASES");
    const std::size_t cases = asked == nullptr ? 150'000 : std::strtoull(asked, nullptr, 10);
    std::mt19937 random(7);
    Tally tally;
    while (tally.cases < cases) {
        Case with(random, static_cast<Metric>(random() % 3));
        for (int rows = 0; rows < 20; ++rows) {
            with.draw_rows();
            for (int query = 0; query < 20; ++query) {
                ASSERT_NO_FATAL_FAILURE(check_case(with, tally)) << "case " << tally.cases;
            }
        }
    }
    std::cout << tally.cases << " cases: " << tally.by_codes << " proved by codes, "
              << tally.by_originals << " by originals (" << tally.by_originals_among_more
              << " among more rows than were asked for), " << tally.none << " out of bytes\n";
    EXPECT_GT(tally.by_codes, cases / 4);
    EXPECT_GT(tally.by_originals_among_more, cases / 100);
    EXPECT_GT(tally.none, cases / 100);
}

class CertaintyOfEveryMetric : public testing::TestWithParam<Metric> {};

INSTANTIATE_TEST_SUITE_P(
    Metrics, CertaintyOfEveryMetric,
    testing::Values(Metric::kCosine, Metric::kL2, Metric::kInnerProduct),
    [](const auto& instance) { return std::string(to_string(instance.param)); });

/// An index of the model that tests share, with error radii, and its rows.
struct Trained {
    explicit Trained(
        Metric metric, std::vector<std::size_t> stage_bytes = {3, 6, kCodeBytes},
        std::size_t nlist = 7, const std::string& coarse = {}, bool error_radii = true)
        : model(trained_model(metric)),
          index(
              model.compressor, {.stage_bytes = std::move(stage_bytes),
                                 .nlist = nlist,
                                 .coarse = coarse,
                                 .error_radii = error_radii}) {
        index.train(model.code_view(), model.row_view());
        add();
    }

    void add() {
        const std::size_t stages = index.shape().stage_bytes.size();
        const std::vector<std::byte> heads = model.columns(0, index.head_bytes());
        const std::vector<float> terms = index.rank_terms(model.code_view());
        const std::vector<ErrorRadius> radii =
            index.error_radii(model.code_view(), model.row_view());
        index.add(
            {heads.data(), kRows, index.head_bytes()},
            {terms.data(), stages > 1 ? kRows : 0, stages - 1},
            {radii.data(), radii.empty() ? 0 : kRows, stages});
    }

    [[nodiscard]] StagedAnswer search(
        const StagedRequest& request, MatrixView<const float> queries) const {
        const MemoryTails tails(
            model.codes.data() + index.head_bytes(), kCodeBytes, kCodeBytes - index.head_bytes());
        return index.search(queries, request, &tails);
    }
    [[nodiscard]] StagedAnswer search(const StagedRequest& request) const {
        return search(request, model.query_view());
    }
    /// Scores every row by its whole code.
    [[nodiscard]] StagedAnswer exact(std::size_t k, MatrixView<const float> queries) const {
        StagedRequest request{.k = k};
        for (const std::size_t bytes : index.shape().stage_bytes) {
            request.stages.push_back({bytes, kRows});
        }
        request.exhaustive = true;
        return search(request, queries);
    }

    const TrainedModel& model;
    StagedIndex index;
};

StagedRequest certain(std::size_t k) {
    return {.k = k, .until = Until{}};
}

StagedRequest confident(std::size_t k, double confidence) {
    return {.k = k, .until = Until{.confidence = confidence}};
}

std::size_t bytes_read(const StagedAnswer& answer) {
    return std::accumulate(
        answer.stages.begin(), answer.stages.end(), std::size_t{0},
        [](std::size_t sum, const StageUsage& stage) { return sum + stage.bytes_read; });
}

TEST_P(CertaintyOfEveryMetric, ProvesByARealModelWhateverFindsCandidates) {
    struct Finder {
        std::size_t nlist;
        std::string coarse;
    };
    for (const Finder& finder : {Finder{0, ""}, Finder{7, ""}, Finder{0, "HNSW8"}}) {
        for (const std::vector<std::size_t>& lengths : std::vector<std::vector<std::size_t>>{
                 {kCodeBytes}, {3, kCodeBytes}, {3, 6, kCodeBytes}}) {
            for (const bool error_radii : {false, true}) {
                const Trained with(GetParam(), lengths, finder.nlist, finder.coarse, error_radii);
                for (const std::size_t k : {1, 10, 100}) {
                    const StagedAnswer answer = with.search(certain(k));
                    const StagedAnswer exact = with.exact(k, with.model.query_view());
                    ASSERT_EQ(answer.rows, exact.rows);
                    ASSERT_EQ(answer.scores, exact.scores);
                    EXPECT_TRUE(std::ranges::all_of(answer.certainty, [](Certainty certainty) {
                        return certainty >= Certainty::kCodes;
                    }));
                }
            }
        }
    }
}

TEST_P(CertaintyOfEveryMetric, ReadsFewerTailsWithErrorRadii) {
    const Trained plain(GetParam(), {6, kCodeBytes}, 0, "", false);
    const Trained radii(GetParam(), {6, kCodeBytes}, 0, "", true);
    const std::size_t heads = kQueries * kRows * 6;
    const std::size_t without = bytes_read(plain.search(certain(10))) - heads;
    const std::size_t with = bytes_read(radii.search(certain(10))) - heads;
    EXPECT_LE(without, kQueries * kRows * 6); // No tail is read twice.
    EXPECT_LT(with, without) << heads;
    EXPECT_EQ(radii.index.resident_bytes().error_radii, kRows * 2 * 2);
    EXPECT_EQ(plain.index.resident_bytes().error_radii, 0U);
}

/// Clusters that are far apart, of points that the code knows almost exactly: here the nearest
/// originals can be told from all others.
TEST_P(CertaintyOfEveryMetric, ProvesByOriginalsWhereResidualsAreSmallerThanGaps) {
    constexpr std::size_t kDims = 4;
    std::vector<float> symbols(2 * kSymbols * kDims);
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        symbols[i] = (i < symbols.size() / 2 ? 1.0F : 0.01F) * normal(random);
    }
    const auto compressor =
        std::make_shared<const VectorCompressor>(GetParam(), kDims, std::move(symbols));
    std::vector<std::byte> codes;
    for (std::size_t row = 0; row < 256; ++row) {
        codes.push_back(static_cast<std::byte>(row));
        codes.push_back(static_cast<std::byte>(random() % 256));
    }
    std::vector<float> originals(256 * kDims);
    compressor->decode({codes.data(), 256, 2}, {originals.data(), 256, kDims});
    for (float& value : originals) {
        value += 1e-4F * normal(random);
    }
    StagedIndex index(compressor, {.stage_bytes = {1, 2}, .error_radii = true});
    index.train({codes.data(), 256, 2}, {originals.data(), 256, kDims});
    std::vector<std::byte> heads;
    for (std::size_t row = 0; row < 256; ++row) {
        heads.push_back(codes[2 * row]);
    }
    const auto radii = index.error_radii({codes.data(), 256, 2}, {originals.data(), 256, kDims});
    index.add({heads.data(), 256, 1}, {}, {radii.data(), 256, 2});
    const MemoryTails tails(codes.data() + 1, 2, 1);
    std::vector<float> queries(500 * kDims);
    for (float& value : queries) {
        value = normal(random);
    }
    const StagedAnswer answer = index.search({queries.data(), 500, kDims}, certain(3), &tails);
    std::size_t proved = 0;
    for (std::size_t q = 0; q < 500; ++q) {
        if (answer.certainty[q] < Certainty::kOriginals) {
            EXPECT_EQ(answer.certainty[q], Certainty::kCodes);
            continue;
        }
        ++proved;
        std::vector<std::size_t> order(256);
        std::iota(order.begin(), order.end(), 0U);
        const auto closeness = [&](std::size_t row) {
            return similarity(
                GetParam(), {queries.data() + q * kDims, kDims},
                {originals.data() + row * kDims, kDims});
        };
        std::ranges::sort(order, std::greater<>(), closeness);
        const std::set<std::uint64_t> nearest(order.begin(), order.begin() + 3);
        const auto found = answer.rows.begin() + static_cast<std::ptrdiff_t>(3 * q);
        EXPECT_EQ(std::set<std::uint64_t>(found, found + 3), nearest);
    }
    EXPECT_GT(proved, 400U); // .8 of them.
}

TEST_P(CertaintyOfEveryMetric, CoversQueriesThatTookNoPartInCalibration) {
    const Trained with(GetParam());
    constexpr std::size_t kAsked = 600;
    // Middles of two and three of other rows, as train() asks, and rows themselves.
    std::vector<float> queries = test::random_rows(kAsked, kDim, 99);
    for (std::size_t q = 0; q < kAsked; ++q) {
        for (std::size_t j = 0; q % 3 != 0 && j < kDim; ++j) {
            queries[q * kDim + j] =
                (queries[q * kDim + j] * static_cast<float>(q % 3) + queries[(q - 1) * kDim + j]) /
                static_cast<float>(q % 3 + 1);
        }
    }
    for (const std::size_t k : {1, 5, 10, 50}) {
        const StagedAnswer exact = with.exact(k, test::view(queries, kDim));
        for (const double confidence : {0.8, 0.95, 0.99}) {
            const StagedAnswer answer =
                with.search(confident(k, confidence), test::view(queries, kDim));
            std::size_t covered = 0;
            for (std::size_t q = 0; q < kAsked; ++q) {
                EXPECT_GE(answer.certainty[q], Certainty::kConfident);
                const auto rows = answer.rows.begin() + static_cast<std::ptrdiff_t>(q * k);
                covered += std::equal(
                               rows, rows + static_cast<std::ptrdiff_t>(k),
                               exact.rows.begin() + static_cast<std::ptrdiff_t>(q * k))
                             ? 1
                             : 0;
            }
            // Three standard deviations of as many coin tosses, and as much for the calibration's.
            const double spread = std::sqrt(confidence * (1.0 - confidence) / kAsked);
            EXPECT_GE(static_cast<double>(covered) / kAsked, confidence - 6.0 * spread)
                << "k " << k << ", confidence " << confidence;
        }
    }
}

TEST_P(CertaintyOfEveryMetric, AsksMoreOfMoreConfidence) {
    const Trained with(GetParam());
    std::size_t before = 0;
    for (const double confidence : {0.5, 0.9, 0.99, 0.99999}) {
        const StagedAnswer answer = with.search(confident(10, confidence));
        EXPECT_GE(bytes_read(answer), before);
        before = bytes_read(answer);
    }
    // More than 600 questions can vouch for, and more answers than were calibrated: nothing is cut,
    // which proves the answer.
    for (const StagedRequest& request : {confident(10, 0.99999), confident(101, 0.5)}) {
        const StagedAnswer answer = with.search(request);
        EXPECT_EQ(answer.certainty, std::vector<Certainty>(kQueries, Certainty::kCodes));
        EXPECT_EQ(answer.rows, with.exact(request.k, with.model.query_view()).rows);
        EXPECT_EQ(answer.stages.back().candidates, kQueries * kRows);
    }
}

TEST_P(CertaintyOfEveryMetric, KeepsToABudget) {
    const Trained with(GetParam());
    const StagedAnswer unbound = with.search(certain(10));
    for (const bool is_proof : {true, false}) {
        for (const std::size_t budget : {1, 2, 50, 4000, 6000, 100'000}) {
            StagedRequest request = is_proof ? certain(10) : confident(10, 0.9);
            request.until->max_bytes = budget;
            const StagedAnswer answer = with.search(request);
            EXPECT_LE(bytes_read(answer), kQueries * budget);
            for (std::size_t q = 0; q < kQueries; ++q) {
                if (budget < kRows * 3 && is_proof) { // Not even the heads.
                    EXPECT_EQ(answer.certainty[q], Certainty::kNone);
                }
                if (answer.certainty[q] >= Certainty::kCodes) {
                    EXPECT_TRUE(std::equal(
                        answer.rows.begin() + static_cast<std::ptrdiff_t>(q * 10),
                        answer.rows.begin() + static_cast<std::ptrdiff_t>(q * 10 + 10),
                        unbound.rows.begin() + static_cast<std::ptrdiff_t>(q * 10)));
                }
            }
            if (budget == 100'000) { // More than there is.
                EXPECT_EQ(answer.rows, is_proof ? unbound.rows : answer.rows);
                EXPECT_TRUE(std::ranges::none_of(answer.certainty, [](Certainty certainty) {
                    return certainty == Certainty::kNone;
                }));
            }
        }
    }
}

TEST(Certainty, TakesTiesByTheSmallerRow) {
    std::vector<float> symbols(2 * kSymbols, 0.0F);
    symbols[1] = 1.0F;
    const auto compressor =
        std::make_shared<const VectorCompressor>(Metric::kInnerProduct, 1, symbols);
    StagedIndex index(compressor, {.stage_bytes = {1, 2}, .error_radii = true});
    std::vector<std::byte> codes; // 300 equal rows, then one that is better.
    for (std::size_t row = 0; row < 301; ++row) {
        codes.push_back(static_cast<std::byte>(row == 300 ? 1 : 2));
        codes.push_back(std::byte{0});
    }
    std::vector<std::byte> heads;
    for (std::size_t row = 0; row < 301; ++row) {
        heads.push_back(codes[2 * row]);
    }
    index.add({heads.data(), 301, 1});
    const MemoryTails tails(codes.data() + 1, 2, 1);
    const std::vector<float> query = {1.0F};
    const StagedAnswer answer = index.search({query.data(), 1, 1}, certain(4), &tails);
    EXPECT_EQ(answer.rows, (std::vector<std::uint64_t>{300, 0, 1, 2}));
    EXPECT_EQ(answer.certainty[0], Certainty::kCodes);
    // As many rows as answers, or fewer: nothing else could be nearer.
    const StagedAnswer all = index.search({query.data(), 1, 1}, certain(301), &tails);
    EXPECT_EQ(all.certainty[0], Certainty::kOriginals);
    StagedRequest none = certain(3);
    none.accepts = [](std::uint64_t) { return false; };
    const StagedAnswer nothing = index.search({query.data(), 1, 1}, none, &tails);
    EXPECT_EQ(nothing.rows, std::vector<std::uint64_t>(3, kNoRow));
    EXPECT_EQ(nothing.certainty[0], Certainty::kOriginals);
}

/// A row whose head is far, whose code is nearer and whose original is nearest: a proof by codes
/// need not read it, one by originals must not overlook it.
TEST(Certainty, MindsRowsThatItDidNotRead) {
    std::vector<float> symbols(2 * kSymbols, 0.0F);
    symbols[0] = 10.0F; // The answer's head,
    symbols[1] = 5.0F;  // that of the row in question,
    symbols[2] = 6.0F;  // and of many, which are ranked before it.
    symbols[kSymbols + 1] = 4.9F;
    const auto compressor =
        std::make_shared<const VectorCompressor>(Metric::kInnerProduct, 1, symbols);
    std::vector<std::byte> codes = {std::byte{0}, std::byte{0}, std::byte{1}, std::byte{1}};
    std::vector<float> originals(2);
    for (std::size_t i = 0; i < 300; ++i) {
        codes.insert(codes.end(), {std::byte{2}, std::byte{0}});
        originals.push_back(6.0F);
    }
    std::vector<std::byte> heads;
    for (std::size_t i = 0; i < codes.size(); i += 2) {
        heads.push_back(codes[i]);
    }
    const MemoryTails tails(codes.data() + 1, 2, 1);
    const std::vector<float> query = {1.0F};
    const struct {
        float original_of_answer;
        float original_of_row;
        std::size_t ranked;
        Certainty certainty;
    } cases[] = {
        {9.5F, 10.3F, 201, Certainty::kCodes}, // Is read for the second proof, and forbids it.
        {9.95F, 9.88F, 200, Certainty::kOriginals}}; // Cannot be as near, whatever it is.
    for (const auto& c : cases) {
        originals[0] = c.original_of_answer;
        originals[1] = c.original_of_row;
        StagedIndex index(compressor, {.stage_bytes = {1, 2}, .error_radii = true});
        const auto radii = index.error_radii({codes.data(), 302, 2}, {originals.data(), 302, 1});
        index.add({heads.data(), 302, 1}, {}, {radii.data(), 302, 2});
        const StagedAnswer answer = index.search({query.data(), 1, 1}, certain(1), &tails);
        EXPECT_EQ(answer.rows[0], 0U);
        EXPECT_EQ(answer.stages[1].candidates, c.ranked);
        EXPECT_EQ(answer.certainty[0], c.certainty);
    }
}

/// Rows whose heads are longer or shorter than any that was trained on: the byte of their terms
/// tells only on which side they are, and of a scale of no width not even that.
TEST(Certainty, MindsHeadsBeyondTheScaleOfTraining) {
    std::vector<float> symbols(2 * kSymbols * 2, 0.0F);
    for (std::size_t k = 0; k < kSymbols; ++k) {
        symbols[2 * k] = 0.3F + 0.01F * static_cast<float>(k);
        symbols[2 * k + 1] = 0.2F * static_cast<float>(k % 7);
        symbols[2 * (kSymbols + k)] = 0.05F * static_cast<float>(k % 5);
    }
    std::vector<std::byte> codes;
    std::vector<std::byte> heads;
    for (std::size_t row = 0; row < 1024; ++row) {
        heads.push_back(static_cast<std::byte>(row % kSymbols));
        codes.insert(codes.end(), {heads.back(), static_cast<std::byte>(row % 5)});
    }
    const MemoryTails tails(codes.data() + 1, 2, 1);
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        const auto compressor = std::make_shared<const VectorCompressor>(metric, 2, symbols);
        std::vector<float> originals(1024 * 2);
        compressor->decode({codes.data(), 1024, 2}, {originals.data(), 1024, 2});
        for (const std::size_t spread : {0, 1, 3}) { // Trained on one head, on two, on a few.
            std::vector<std::byte> taught;
            for (std::size_t row = 0; row < 40; ++row) {
                taught.push_back(static_cast<std::byte>(100 + row % (spread + 1)));
                taught.push_back(std::byte{1});
            }
            StagedIndex index(compressor, {.stage_bytes = {1, 2}, .error_radii = true});
            index.train({taught.data(), 40, 2}, {});
            const auto radii =
                index.error_radii({codes.data(), 1024, 2}, {originals.data(), 1024, 2});
            index.add({heads.data(), 1024, 1}, {}, {radii.data(), 1024, 2});
            for (int turn = 0; turn < 32; ++turn) {
                const float angle = 0.2F * static_cast<float>(turn);
                const std::vector<float> query = {2.0F * std::cos(angle), 2.0F * std::sin(angle)};
                const MatrixView<const float> view(query.data(), 1, 2);
                const StagedAnswer answer = index.search(view, certain(3), &tails);
                StagedRequest all{.k = 3, .stages = {{1, 1024}, {2, 0}}};
                all.exhaustive = true;
                ASSERT_EQ(answer.rows, index.search(view, all, &tails).rows)
                    << to_string(metric) << ", " << spread << ", " << angle;
            }
        }
    }
}

TEST(Certainty, LeavesSearchesWithoutUntilAsTheyWere) {
    const Trained plain(Metric::kCosine, {3, 6, kCodeBytes}, 7, "", false);
    const Trained radii(Metric::kCosine);
    const StagedAnswer answer = plain.search({.k = 10});
    EXPECT_TRUE(answer.certainty.empty());
    EXPECT_EQ(answer.rows, radii.search({.k = 10}).rows);
    EXPECT_EQ(answer.scores, radii.search({.k = 10}).scores);
}

TEST_P(CertaintyOfEveryMetric, IsWrittenAndReadWithTheIndex) {
    Trained with(GetParam());
    with.index.erase(std::vector<std::uint64_t>{3, 700});
    const std::vector<std::byte> heads = with.model.columns(0, 3);
    StagedIndex read(with.model.compressor, with.index.shape());
    (void)read.restore(with.index.save());
    read.add({heads.data(), kRows, 3});
    read.erase(std::vector<std::uint64_t>{3, 700});
    EXPECT_TRUE(std::ranges::equal(read.all_error_radii(), with.index.all_error_radii()));
    EXPECT_EQ(read.calibrated_by(), with.index.calibrated_by());
    const MemoryTails tails(with.model.codes.data() + 3, kCodeBytes, kCodeBytes - 3);
    for (const StagedRequest& request : {certain(10), confident(10, 0.9)}) {
        const StagedAnswer before = with.search(request);
        const StagedAnswer after = read.search(with.model.query_view(), request, &tails);
        EXPECT_EQ(before.rows, after.rows);
        EXPECT_EQ(before.certainty, after.certainty);
    }
    read.compact();
    EXPECT_EQ(read.all_error_radii().size(), (kRows - 2) * 3);
    EXPECT_TRUE(std::ranges::equal(
        read.all_error_radii().subspan(3 * 3, 3), with.index.all_error_radii().subspan(4 * 3, 3)));
    StagedIndex other(with.model.compressor, {.stage_bytes = {3, 6, kCodeBytes}, .nlist = 7});
    ARFC_EXPECT_ERROR(
        (void)other.restore(with.index.save()), ErrorKind::kFailedPrecondition,
        "another factory string");
}

TEST(Certainty, RefusesWhatCannotBe) {
    const Trained with(Metric::kCosine);
    const auto refuses = [&](const StagedRequest& request, const std::string& text) {
        ARFC_EXPECT_ERROR((void)with.search(request), ErrorKind::kInvalidArgument, text);
    };
    for (const double confidence : {0.0, 1.0, -0.5, 1.5, std::nan("")}) {
        refuses(confident(10, confidence), "Confidence is outside (0, 1)");
    }
    StagedRequest request = certain(10);
    request.until->max_bytes = 0;
    refuses(request, "fewer than one: 0");
    request = certain(10);
    request.stages = {{3, 100}};
    refuses(request, "takes no stages");
    request = certain(10);
    request.nprobe = 3;
    refuses(request, "takes no stages, nprobe");
    request = certain(10);
    request.exhaustive = true;
    refuses(request, "exhaustive scan of its own");
    refuses(certain(0), "Number of answers is outside");
    const MemoryTails tails(with.model.codes.data() + 3, kCodeBytes, kCodeBytes - 3);
    const auto is_in = [](std::size_t, float) { return true; };
    ARFC_EXPECT_ERROR(
        (void)with.index.range_search(with.model.query_view(), certain(1), is_in, &tails),
        ErrorKind::kInvalidArgument, "takes no until");
    StagedIndex untrained(with.model.compressor, {.stage_bytes = {3, kCodeBytes}});
    ARFC_EXPECT_ERROR(
        (void)untrained.search(with.model.query_view(), confident(10, 0.9), &tails),
        ErrorKind::kFailedPrecondition, "no calibration");
    EXPECT_EQ( // A proof needs none.
        untrained.search(with.model.query_view(), certain(10), &tails).certainty,
        std::vector<Certainty>(kQueries, Certainty::kOriginals));
    const std::vector<ErrorRadius> radii(kRows);
    const std::vector<std::byte> heads = with.model.columns(0, 3);
    ARFC_EXPECT_ERROR(
        untrained.add({heads.data(), kRows, 3}, {}, {radii.data(), kRows, 1}),
        ErrorKind::kInvalidArgument, "Error radii have a shape");
}

TEST(Certainty, RoundsRadiiUp) {
    std::mt19937 random(5);
    std::uniform_real_distribution<double> exponent(-40.0, 37.0);
    for (int i = 0; i < 100'000; ++i) {
        const double radius = std::pow(10.0, exponent(random));
        const double kept = radius_of(round_up(radius));
        ASSERT_GE(kept, radius);
        if (radius > 1e-37) { // Where floats keep their precision.
            ASSERT_LE(kept, radius * (1.0 + 1.0 / 250.0));
        }
    }
    EXPECT_EQ(radius_of(round_up(0.0)), 0.0);
    EXPECT_EQ(radius_of(round_up(1.0)), 1.0);
    EXPECT_GT(radius_of(round_up(1.0 + 1e-15)), 1.0);
    for (const double unknown :
         {std::nan(""), 1e39, std::numeric_limits<double>::infinity(), -1.0}) {
        EXPECT_EQ(round_up(unknown), kUnknownRadius);
    }
    EXPECT_EQ(radius_of(kUnknownRadius), std::numeric_limits<double>::infinity());
}

/// What bounds stand on: sums of a real model differ from products with what it decodes to by no
/// more than it says.
TEST_P(CertaintyOfEveryMetric, StandsOnSumsThatErrNoMoreThanModelsSay) {
    const TrainedModel& model = trained_model(GetParam());
    const Compressor& compressor = *model.compressor;
    double largest_share = 0.0;
    for (const std::size_t bytes : {1, 5, 12}) {
        const std::vector<std::byte> codes = model.columns(0, bytes);
        std::vector<float> decoded(kRows * kDim);
        compressor.decode({codes.data(), kRows, bytes}, {decoded.data(), kRows, kDim});
        std::vector<float> tables(kQueries * bytes * kSymbols);
        compressor.query_tables(model.query_view(), 0, {tables.data(), kQueries, bytes * kSymbols});
        std::vector<Compressor::QueryTerms> terms(kQueries);
        compressor.query_terms(model.query_view(), terms);
        for (std::size_t q = 0; q < kQueries; ++q) {
            const std::span<const float> query = model.query_view().row(q);
            const double length = std::sqrt(dot(query, query));
            const bool is_unit = GetParam() == Metric::kCosine;
            for (std::size_t row = 0; row < kRows; ++row) {
                const std::span<const float> to(decoded.data() + row * kDim, kDim);
                float sum = terms[q].bias;
                for (std::size_t t = 0; t < bytes; ++t) {
                    sum += tables
                        [(q * bytes + t) * kSymbols +
                         std::to_integer<std::size_t>(codes[row * bytes + t])];
                }
                const double exact = dot(query, to) / (is_unit ? length : 1.0);
                const double allowed =
                    compressor.sum_error(bytes, std::sqrt(dot(to, to))) * (is_unit ? 1.0 : length);
                const double error = std::abs(static_cast<double>(sum) - exact);
                ASSERT_LE(error, allowed);
                largest_share = std::max(largest_share, error / allowed);
            }
        }
    }
    EXPECT_GT(largest_share, 0.0); // There is rounding.
}

} // namespace
} // namespace arfc
