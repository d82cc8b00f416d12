// What every kind and every shape of model must hold: a new row of compressor_kinds() is tested
// here unasked.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "paired_rows.h"
#include "random_rows.h"

namespace arfc {
namespace {

struct Case {
    std::string kind;
    std::size_t dim;
    std::size_t bytes;
    Metric metric;
    std::size_t rows;
    bool pairs = false; ///< Whether pairs taught the model a map.
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.kind << "_d" << c.dim << "_b" << c.bytes << "_" << to_string(c.metric) << "_n"
               << c.rows << (c.pairs ? "_pairs" : "");
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const CompressorKind& kind : compressor_kinds()) {
        const std::string name(kind.name);
        all.push_back({name, 64, 40, Metric::kCosine, 3000});
        all.push_back({name, 50, 24, Metric::kL2, 2000});
        all.push_back({name, 33, 7, Metric::kInnerProduct, 1000});
        all.push_back({name, 1, 3, Metric::kL2, 300});
        all.push_back({name, 20, 1, Metric::kCosine, 1200}); // One token, and rows held out.
        all.push_back({name, 16, 20, Metric::kCosine, 60});  // Fewer rows than symbols.
        for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
            all.push_back({name, 20, 18, metric, 1200, true});
        }
    }
    return all;
}

class CompressorContract : public ::testing::TestWithParam<Case> {
  protected:
    static const Compressor& model() {
        static std::map<std::string, std::unique_ptr<Compressor>> trained;
        const Case& c = GetParam();
        auto& slot = trained[::testing::PrintToString(c)];
        if (slot == nullptr) {
            TrainOptions options;
            options.kind = c.kind;
            options.code_bytes = c.bytes;
            options.metric = c.metric;
            const auto [queries, relevant] = test::paired_rows(1500, c.dim);
            if (c.pairs) {
                options.pair_queries = test::view(queries, c.dim);
                options.pair_rows = test::view(relevant, c.dim);
            }
            slot = Compressor::train(test::view(test::random_rows(c.rows, c.dim), c.dim), options);
        }
        return *slot;
    }
    static std::vector<std::byte> encode(const std::vector<float>& rows, std::size_t bytes) {
        const std::size_t n = rows.size() / model().dim();
        std::vector<std::byte> codes(n * bytes);
        model().encode(test::view(rows, model().dim()), bytes, {codes.data(), n, bytes});
        return codes;
    }
    static std::vector<float> score(
        const std::vector<float>& queries, const std::vector<std::byte>& codes, std::size_t bytes,
        bool neural = false) {
        const std::size_t m = queries.size() / model().dim();
        const std::size_t n = codes.size() / bytes;
        std::vector<float> scores(m * n);
        model().score(
            test::view(queries, model().dim()), {codes.data(), n, bytes}, neural,
            {scores.data(), m, n});
        return scores;
    }
    static std::vector<std::byte> cut(
        const std::vector<std::byte>& codes, std::size_t from, std::size_t to) {
        std::vector<std::byte> out;
        for (std::size_t i = 0; i < codes.size(); i += from) {
            out.insert(
                out.end(), codes.begin() + static_cast<std::ptrdiff_t>(i),
                codes.begin() + static_cast<std::ptrdiff_t>(i + to));
        }
        return out;
    }
};

TEST_P(CompressorContract, SaysWhatItIs) {
    EXPECT_EQ(model().dim(), GetParam().dim);
    EXPECT_EQ(model().code_bytes(), GetParam().bytes);
    EXPECT_EQ(model().metric(), GetParam().metric);
    EXPECT_EQ(model().id().size(), 64U);
    EXPECT_GT(model().model_bytes(), 0U);
    EXPECT_EQ(model().report().pairs && model().report().pairs->is_kept, GetParam().pairs);
}

TEST_P(CompressorContract, EveryPrefixIsThePrefix) {
    const std::vector<float> rows = test::random_rows(211, GetParam().dim, 5);
    const std::vector<std::byte> full = encode(rows, GetParam().bytes);
    for (std::size_t b = 1; b <= GetParam().bytes; ++b) {
        EXPECT_EQ(encode(rows, b), cut(full, GetParam().bytes, b)) << b;
    }
}

TEST_P(CompressorContract, CodesDependOnTheRowAlone) {
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    const std::vector<float> rows = test::random_rows(400, d, 6);
    const std::vector<std::byte> together = encode(rows, bytes);
    for (const std::size_t batch : {1U, 2U, 7U, 95U, 96U, 97U, 193U}) {
        std::vector<std::byte> pieces;
        for (std::size_t first = 0; first < 400; first += batch) {
            const std::size_t count = std::min<std::size_t>(batch, 400 - first);
            const std::vector<std::byte> piece = encode(
                {rows.begin() + static_cast<std::ptrdiff_t>(first * d),
                 rows.begin() + static_cast<std::ptrdiff_t>((first + count) * d)},
                bytes);
            pieces.insert(pieces.end(), piece.begin(), piece.end());
        }
        EXPECT_EQ(pieces, together) << "batches of " << batch;
    }
    std::vector<std::size_t> order(400);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    std::vector<float> shuffled(rows.size());
    for (std::size_t i = 0; i < 400; ++i) {
        std::copy_n(rows.data() + order[i] * d, d, shuffled.data() + i * d);
    }
    const std::vector<std::byte> codes = encode(shuffled, bytes);
    for (std::size_t i = 0; i < 400; ++i) {
        EXPECT_TRUE(std::equal(
            codes.data() + i * bytes, codes.data() + (i + 1) * bytes,
            together.data() + order[i] * bytes));
    }
}

TEST_P(CompressorContract, ThreadsChangeNothing) {
    const std::vector<float> rows = test::random_rows(500, GetParam().dim, 7);
    const std::vector<float> queries = test::random_rows(9, GetParam().dim, 8);
    const std::size_t before = num_threads();
    std::vector<std::byte> codes;
    std::vector<float> scores;
    for (const std::size_t threads : {1U, 2U, 5U}) {
        set_num_threads(threads);
        const std::vector<std::byte> now = encode(rows, GetParam().bytes);
        const std::vector<float> now_scores = score(queries, now, GetParam().bytes);
        EXPECT_TRUE(codes.empty() || now == codes) << threads;
        EXPECT_TRUE(scores.empty() || now_scores == scores) << threads;
        codes = now;
        scores = now_scores;
    }
    set_num_threads(before);
}

TEST_P(CompressorContract, AScoreDependsOnCodeAndQueryAlone) {
    const std::size_t d = GetParam().dim;
    const std::size_t b = (GetParam().bytes + 1) / 2;
    const std::vector<std::byte> codes = encode(test::random_rows(50, d, 9), b);
    const std::vector<float> queries = test::random_rows(11, d, 10);
    const std::vector<float> together = score(queries, codes, b);
    for (std::size_t q = 0; q < 11; ++q) {
        const std::vector<float> query(
            queries.begin() + static_cast<std::ptrdiff_t>(q * d),
            queries.begin() + static_cast<std::ptrdiff_t>((q + 1) * d));
        for (std::size_t i = 0; i < 50; ++i) {
            const std::vector<std::byte> code(
                codes.begin() + static_cast<std::ptrdiff_t>(i * b),
                codes.begin() + static_cast<std::ptrdiff_t>((i + 1) * b));
            ASSERT_EQ(score(query, code, b)[0], together[q * 50 + i]);
        }
    }
}

TEST_P(CompressorContract, ScoresContinueTableSums) {
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    const std::vector<std::byte> codes = encode(test::random_rows(20, d, 11), bytes);
    const std::vector<float> query = test::random_rows(1, d, 12);
    Compressor::QueryTerms term{};
    model().query_terms(test::view(query, d), {&term, 1});
    std::vector<float> sums(20, term.bias);
    for (std::size_t b = 1; b <= bytes; ++b) {
        // One token at a time, as a stage that continues sums does.
        std::vector<float> table(kSymbols);
        model().query_tables(test::view(query, d), b - 1, {table.data(), 1, kSymbols});
        const std::vector<std::byte> prefix = cut(codes, bytes, b);
        std::vector<float> row_terms(20);
        model().row_terms({prefix.data(), 20, b}, row_terms);
        const std::vector<float> expected = score(query, prefix, b);
        for (std::size_t i = 0; i < 20; ++i) {
            sums[i] += table[std::to_integer<std::size_t>(codes[i * bytes + b - 1])];
            ASSERT_EQ(
                Compressor::combine(model().metric(), sums[i], row_terms[i], term.squared_norm),
                expected[i]);
        }
    }
}

TEST_P(CompressorContract, ScoresAreThoseOfTheReconstruction) {
    if (GetParam().pairs) {
        GTEST_SKIP() << "They are those of mapped rows, which pair_trainer_test.cpp holds";
    }
    constexpr std::size_t kRows = 30;
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    const std::vector<std::byte> codes = encode(test::random_rows(kRows, d, 13), bytes);
    const std::vector<float> query = test::random_rows(1, d, 14);
    double query_norm = 0.0;
    for (const float q : query) {
        query_norm += static_cast<double>(q) * static_cast<double>(q);
    }
    for (const std::size_t b : {std::size_t{1}, (bytes + 1) / 2, bytes}) {
        const std::vector<std::byte> prefix = cut(codes, bytes, b);
        std::vector<float> rows(kRows * d);
        model().decode({prefix.data(), kRows, b}, {rows.data(), kRows, d});
        std::vector<float> terms(kRows);
        model().row_terms({prefix.data(), kRows, b}, terms);
        const std::vector<float> scores = score(query, prefix, b);
        for (std::size_t i = 0; i < kRows; ++i) {
            double product = 0.0;
            for (std::size_t j = 0; j < d; ++j) {
                product += static_cast<double>(rows[i * d + j]) * static_cast<double>(query[j]);
            }
            const auto term = static_cast<double>(terms[i]);
            const double expected = GetParam().metric == Metric::kInnerProduct ? product
                                  : GetParam().metric == Metric::kL2
                                      ? 2.0 * product - term - query_norm
                                      : product * term / std::sqrt(query_norm);
            EXPECT_NEAR(scores[i], expected, 1e-4 * (1.0 + std::fabs(expected)));
        }
    }
}

TEST_P(CompressorContract, ScoresOfDecodedRowsAreThoseOfTables) {
    constexpr std::size_t kRows = 130; // More than a tile.
    constexpr std::size_t kQueries = 19;
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    const std::vector<std::byte> codes = encode(test::random_rows(kRows, d, 13), bytes);
    const std::vector<float> queries = test::random_rows(kQueries, d, 14);
    for (const std::size_t b : {std::size_t{1}, (bytes + 1) / 2, bytes}) {
        const std::vector<std::byte> prefix = cut(codes, bytes, b);
        const std::vector<float> by_tables = score(queries, prefix, b);
        const std::vector<float> by_rows = score(queries, prefix, b, /*neural=*/true);
        for (std::size_t i = 0; i < by_rows.size(); ++i) {
            ASSERT_NEAR(by_rows[i], by_tables[i], 1e-4F * (1.0F + std::fabs(by_tables[i])));
        }
        // A score depends on its code and its query alone, bit for bit.
        constexpr std::size_t kQuery = 17;
        constexpr std::size_t kRow = 101;
        const auto at = static_cast<std::ptrdiff_t>(kRow * b);
        const auto asked = static_cast<std::ptrdiff_t>(kQuery * d);
        const std::vector<float> alone = score(
            {queries.begin() + asked, queries.begin() + asked + static_cast<std::ptrdiff_t>(d)},
            {prefix.begin() + at, prefix.begin() + at + static_cast<std::ptrdiff_t>(b)}, b,
            /*neural=*/true);
        EXPECT_EQ(alone.at(0), by_rows[kQuery * kRows + kRow]);
    }
}

TEST_P(CompressorContract, RowTermsFollowTheLengthOfTheReconstruction) {
    if (GetParam().pairs) {
        GTEST_SKIP() << "It is that of the mapped row, which pair_trainer_test.cpp holds";
    }
    constexpr std::size_t kRows = 30;
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    const std::vector<std::byte> codes = encode(test::random_rows(kRows, d, 15), bytes);
    for (const std::size_t b : {std::size_t{1}, (bytes + 1) / 2, bytes}) {
        const std::vector<std::byte> prefix = cut(codes, bytes, b);
        std::vector<float> rows(kRows * d);
        model().decode({prefix.data(), kRows, b}, {rows.data(), kRows, d});
        std::vector<float> terms(kRows);
        model().row_terms({prefix.data(), kRows, b}, terms);
        for (std::size_t i = 0; i < kRows; ++i) {
            double squared = 0.0;
            for (std::size_t j = 0; j < d; ++j) {
                squared += std::pow(static_cast<double>(rows[i * d + j]), 2.0);
            }
            const auto term = static_cast<double>(terms[i]);
            if (GetParam().metric == Metric::kInnerProduct) {
                EXPECT_EQ(term, 0.0);
            } else if (GetParam().metric == Metric::kL2) {
                EXPECT_NEAR(term, squared, 1e-4 * (1.0 + squared));
            } else {
                const double drawn = std::pow(std::min(squared, 1.0), 0.05);
                EXPECT_NEAR(term * std::sqrt(squared), drawn, 1e-5) << b;
            }
        }
    }
}

TEST_P(CompressorContract, LongerPrefixesReconstructBetter) {
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    std::vector<float> rows = test::random_rows(300, d, 15);
    if (GetParam().metric == Metric::kCosine) {
        for (std::size_t i = 0; i < 300; ++i) {
            double norm = 0.0;
            for (std::size_t j = 0; j < d; ++j) {
                norm += static_cast<double>(rows[i * d + j]) * static_cast<double>(rows[i * d + j]);
            }
            for (std::size_t j = 0; j < d; ++j) {
                rows[i * d + j] =
                    static_cast<float>(static_cast<double>(rows[i * d + j]) / std::sqrt(norm));
            }
        }
    }
    const std::vector<std::byte> codes = encode(rows, bytes);
    double before = std::numeric_limits<double>::infinity();
    for (const std::size_t b : std::set<std::size_t>{1, (bytes + 1) / 2, bytes}) {
        const std::vector<std::byte> prefix = cut(codes, bytes, b);
        std::vector<float> decoded(rows.size());
        model().decode({prefix.data(), 300, b}, {decoded.data(), 300, d});
        double error = 0.0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            error += std::pow(static_cast<double>(rows[i]) - static_cast<double>(decoded[i]), 2);
        }
        EXPECT_LT(error, before) << b;
        before = error;
    }
}

TEST_P(CompressorContract, NoRowsAreFine) {
    EXPECT_TRUE(encode({}, 1).empty());
    EXPECT_TRUE(score({}, encode(test::random_rows(3, GetParam().dim), 1), 1).empty());
    EXPECT_TRUE(score(test::random_rows(3, GetParam().dim), {}, 1).empty());
    model().decode({nullptr, 0, 1}, {nullptr, 0, GetParam().dim});
    model().row_terms({nullptr, 0, 1}, {});
}

TEST_P(CompressorContract, WrongUseIsRefused) {
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    std::vector<float> row = test::random_rows(2, d);
    std::vector<std::byte> codes(2 * bytes);
    const MatrixView<std::byte> out(codes.data(), 2, bytes);
    ARFC_EXPECT_ERROR(
        model().encode({row.data(), 1, d + 1}, bytes, {codes.data(), 1, bytes}),
        ErrorKind::kInvalidArgument, "expected " + std::to_string(d));
    ARFC_EXPECT_ERROR(
        model().encode(test::view(row, d), 0, {codes.data(), 2, 0}), ErrorKind::kInvalidArgument,
        ": 0");
    ARFC_EXPECT_ERROR(
        model().encode(test::view(row, d), bytes + 1, out), ErrorKind::kInvalidArgument,
        ": " + std::to_string(bytes + 1));
    ARFC_EXPECT_ERROR(
        model().encode(test::view(row, d), bytes, {codes.data(), 1, bytes}),
        ErrorKind::kInvalidArgument, "expected [2, ");
    for (const float bad :
         {std::nanf(""), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
        std::vector<float> rows = row;
        rows[d + d / 2] = bad;
        ARFC_EXPECT_ERROR(
            model().encode(test::view(rows, d), bytes, out), ErrorKind::kInvalidArgument,
            "not finite");
        std::vector<float> table(2 * kSymbols);
        ARFC_EXPECT_ERROR(
            model().query_tables(test::view(rows, d), 0, {table.data(), 2, kSymbols}),
            ErrorKind::kInvalidArgument, "row: 1");
    }
    if (GetParam().metric == Metric::kCosine) {
        const std::vector<float> zero(d, 0.0F);
        ARFC_EXPECT_ERROR(encode(zero, bytes), ErrorKind::kInvalidArgument, "zero row");
    }
    std::vector<float> scores(2);
    ARFC_EXPECT_ERROR(
        model().score({row.data(), 1, d}, {codes.data(), 2, bytes}, false, {scores.data(), 2, 1}),
        ErrorKind::kInvalidArgument, "expected [1, 2]");
    std::vector<float> table(kSymbols);
    ARFC_EXPECT_ERROR(
        model().query_tables({row.data(), 1, d}, bytes, {table.data(), 1, kSymbols}),
        ErrorKind::kInvalidArgument, "from token " + std::to_string(bytes));
}

TEST_P(CompressorContract, ShapesThatDoNotFitAreRefused) {
    const std::size_t d = GetParam().dim;
    const std::size_t bytes = GetParam().bytes;
    std::vector<float> rows = test::random_rows(2, d);
    std::vector<std::byte> codes(3 * (bytes + 1));
    std::vector<float> out(3 * (d + kSymbols));
    const auto refuses = [](const auto& call, const std::string& text) {
        ARFC_EXPECT_ERROR(call(), ErrorKind::kInvalidArgument, text);
    };
    const auto two = [&](std::size_t width) {
        return MatrixView<const std::byte>(codes.data(), 2, width);
    };
    const std::string coded = "Codes have a shape other than the rows ask for";
    refuses([&] { model().encode(test::view(rows, d), bytes, {codes.data(), 3, bytes}); }, coded);
    refuses(
        [&] {
            model().encode(test::view(rows, d), bytes, {codes.data(), 2, bytes + 1});
        },
        coded);
    for (const std::size_t width : {std::size_t{0}, bytes + 1}) {
        const std::string length =
            "Code length is outside [1, " + std::to_string(bytes) + "]: " + std::to_string(width);
        refuses([&] { model().decode(two(width), {out.data(), 2, d}); }, length);
        refuses([&] { model().row_terms(two(width), std::span(out).first(2)); }, length);
        for (const bool neural : {false, true}) {
            refuses(
                [&] {
                    model().score(test::view(rows, d), two(width), neural, {out.data(), 2, 2});
                },
                length);
        }
    }
    const std::string decoded = "Embeddings have a shape other than the codes ask for";
    refuses([&] { model().decode(two(bytes), {out.data(), 3, d}); }, decoded);
    refuses([&] { model().decode(two(bytes), {out.data(), 2, d + 1}); }, decoded);
    refuses(
        [&] { model().row_terms(two(bytes), std::span(out).first(3)); },
        "Row terms differ in number from the codes: 3, expected 2");
    Compressor::QueryTerms terms[3];
    refuses(
        [&] { model().query_terms(test::view(rows, d), terms); },
        "Query terms differ in number from the queries: 3, expected 2");
    refuses(
        [&] {
            model().query_terms({rows.data(), 1, d + 1}, std::span(terms).first(1));
        },
        "Embedding width differs from the model's");
    const std::string tables = "Query tables have a shape other than queries and tokens ask for";
    refuses(
        [&] {
            model().query_tables(test::view(rows, d), 0, {out.data(), 1, kSymbols});
        },
        tables);
    refuses(
        [&] {
            model().query_tables(test::view(rows, d), 0, {out.data(), 2, kSymbols - 1});
        },
        tables);
    const std::string scored = "Scores have a shape other than queries and codes ask for";
    for (const bool neural : {false, true}) {
        for (const std::size_t m : {2U, 3U}) {
            refuses(
                [&] {
                    model().score(test::view(rows, d), two(bytes), neural, {out.data(), m, 5 - m});
                },
                scored);
        }
        refuses(
            [&] {
                model().score({rows.data(), 1, d + 1}, two(bytes), neural, {out.data(), 1, 2});
            },
            "Embedding width differs from the model's");
    }
}

TEST_P(CompressorContract, ExtremeScalesStayFinite) {
    const std::size_t d = GetParam().dim;
    std::vector<float> rows = test::random_rows(4, d, 16);
    for (std::size_t j = 0; j < d; ++j) {
        rows[j] *= 1e30F;
        rows[d + j] *= 1e-30F;
    }
    const std::vector<std::byte> codes = encode(rows, GetParam().bytes);
    std::vector<float> decoded(4 * d);
    model().decode({codes.data(), 4, GetParam().bytes}, {decoded.data(), 4, d});
    EXPECT_TRUE(
        std::all_of(decoded.begin(), decoded.end(), [](float v) { return std::isfinite(v); }));
    if (GetParam().metric == Metric::kCosine) { // Scale is no part of a direction.
        const std::vector<std::byte> plain = encode(test::random_rows(4, d, 16), GetParam().bytes);
        EXPECT_EQ(codes, plain);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CompressorContract, ::testing::ValuesIn(cases()),
    [](const auto& instance) { return ::testing::PrintToString(instance.param); });

} // namespace
} // namespace arfc
