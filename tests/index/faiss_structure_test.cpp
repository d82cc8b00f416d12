#include "faiss_structure.h"

#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "arfc/base/sha256.h"
#include "byte_io.h"
#include "expect_error.h"
#include "factory_spec.h"
#include "structured_index.h"
#include "table_compressor.h"

namespace arfc {
namespace {

using namespace test; // NOLINT(google-build-using-namespace)

constexpr std::size_t kSome = 2500;

/// A string, and the share of a scan's ten rows that is found among 128 candidates, at least.
struct Case {
    std::string coarse;
    double recall;
    bool selects = false;
    bool has_lists = false;
    bool walks = false;
};

void PrintTo(const Case& of, std::ostream* out) {
    *out << of.coarse;
}

class FaissStrings : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(
    Kinds, FaissStrings,
    testing::Values(
        Case{"Flat", 0.98, true}, Case{"SQ8", 0.98, true}, Case{"PQ6", 0.8}, Case{"PQ12x4fs", 0.8},
        Case{"LSH", 0.3}, Case{"RQ3x6", 0.5}, Case{"RQ3x6_Ncqint8", 0.5},
        Case{"RQ6x4fs_Nrq2x4", 0.5}, Case{"LSQ3x4", 0.3}, Case{"IVF16,Flat", 0.98, true, true},
        Case{"IVF16,FlatDedup", 0.98, false, true}, Case{"IVF64,SQ8", 0.9, true, true},
        Case{"IVF16,PQ6", 0.8, true, true}, Case{"IVF16,PQ6+4", 0.8, false, true},
        Case{"IVF16,PQ12x4fs", 0.8}, Case{"IVF16,RQ3x6", 0.5, false, true},
        Case{"IVF16,RQ6x4fsr_Nlsq2x4", 0.5}, Case{"IVF16,PCA16,SH", 0.3, false, true},
        Case{"IVF64_HNSW32,Flat", 0.9, true, true}, Case{"IVF64(SQ8),SQ8", 0.7, true, true},
        Case{"IMI2x4,Flat", 0.5, true, true}, Case{"HNSW16,Flat", 0.95, false, false, true},
        Case{"HNSW16_SQ8", 0.95, false, false, true}, Case{"HNSW16,PQ6", 0.7, false, false, true},
        Case{"NSG16,Flat", 0.95, false, false, true}, Case{"NSG16,PQ6", 0.7, false, false, true},
        Case{"PCA16,PQ8", 0.6}, Case{"PCA16,IVF16,SQ8", 0.7, true, true},
        Case{"OPQ4_8,PQ8x4fs", 0.3}, Case{"Pad32,L2norm,HNSW16,Flat", 0.9, false, false, true},
        Case{"PQ6,RFlat", 0.8}, Case{"IVF16,PQ6,Refine(SQ8)", 0.8}),
    [](const auto& instance) {
        std::string name = instance.param.coarse;
        std::ranges::replace_if(
            name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
        return name;
    });

TEST_P(FaissStrings, FindWhatAScanOfTheHeadsFindsFromManyThreads) {
    const Structured fixture(GetParam().coarse, Metric::kCosine, kSome);
    const StagedAnswer answer = fixture.search({.k = 10});
    EXPECT_TRUE(is_walk(answer, kSome)) << "rows were scanned";
    EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall);
    expect_right_scores(fixture, answer, 10);
    EXPECT_GT(fixture.index.resident_bytes().structure, kSome);
    std::vector<float> long_queries = fixture.model.queries; // A direction is asked for.
    for (float& value : long_queries) {
        value = std::ldexp(value, 100);
    }
    EXPECT_EQ(
        fixture.index.search(view(long_queries, kDim), heads_only(10), nullptr).rows,
        fixture.search(heads_only(10)).rows);
    std::vector<StagedAnswer> answers(4);
    std::vector<std::thread> threads;
    threads.reserve(answers.size());
    for (StagedAnswer& other : answers) {
        threads.emplace_back([&] { other = fixture.search({.k = 10}); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const StagedAnswer& other : answers) {
        EXPECT_EQ(other.rows, answer.rows);
        EXPECT_EQ(other.scores, answer.scores);
    }
}

TEST_P(FaissStrings, TellWhatASearchMayChoose) {
    const Structured fixture(GetParam().coarse, Metric::kL2, kSome);
    const CoarseTraits traits = fixture.index.coarse_traits();
    EXPECT_EQ(traits.selects, GetParam().selects);
    EXPECT_EQ(traits.lists > 0, GetParam().has_lists);
    EXPECT_EQ(traits.takes_ef_search, GetParam().walks);
    EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall);
    StagedRequest request = heads_only(10);
    request.nprobe = traits.lists + 2;
    ARFC_EXPECT_ERROR(
        (void)fixture.search(request), ErrorKind::kInvalidArgument,
        std::to_string(traits.lists + 2) + " of " + GetParam().coarse);
    if (traits.lists > 0) {
        request.nprobe = traits.lists;
        const double all = fixture.recall(request);
        request.nprobe = 1;
        EXPECT_LT(fixture.recall(request), all);
    }
    request = heads_only(10);
    request.ef_search = 500;
    if (!traits.takes_ef_search) {
        ARFC_EXPECT_ERROR(
            (void)fixture.search(request), ErrorKind::kInvalidArgument, "cannot be chosen: 500");
    } else {
        EXPECT_GE(fixture.recall(request), fixture.recall(heads_only(10)));
    }
}

TEST_P(FaissStrings, LeaveTombstonesOutAndAskTheFilter) {
    Structured fixture(GetParam().coarse, Metric::kCosine, kSome);
    const double before = fixture.recall(heads_only(10));
    std::vector<std::uint64_t> gone;
    for (std::uint64_t row = 0; row < kSome; row += 2) {
        gone.push_back(row);
    }
    fixture.index.erase(gone);
    StagedRequest request = heads_only(10);
    const StagedAnswer answer = fixture.search(request);
    EXPECT_TRUE(is_walk(answer, kSome / 2)) << "rows were scanned";
    EXPECT_TRUE(std::ranges::all_of(answer.rows, [](auto row) { return row % 2 == 1; }));
    EXPECT_GE(fixture.recall(request), before - 0.05);
    for (const std::uint64_t every : {1, 3, 1000, 100000}) {
        request.accepts = [every](std::uint64_t row) { return row % every == 7 % every; };
        const StagedAnswer filtered = fixture.search(request);
        const StagedAnswer truth = fixture.scan(request);
        for (const std::uint64_t row : filtered.rows) {
            EXPECT_TRUE(row == kNoRow || (request.accepts(row) && row % 2 == 1)) << row;
        }
        EXPECT_EQ(
            std::ranges::count(filtered.rows, kNoRow), std::ranges::count(truth.rows, kNoRow));
        EXPECT_GE(fixture.recall(request), GetParam().selects ? before - 0.05 : 1.0) << every;
    }
    request.accepts = {};
    fixture.index.compact();
    EXPECT_EQ(fixture.index.rows(), kSome / 2);
    const StagedAnswer packed = fixture.index.search(fixture.model.query_view(), request, nullptr);
    EXPECT_TRUE(is_walk(packed, kSome / 2));
    std::size_t same = 0;
    for (std::size_t i = 0; i < packed.rows.size(); ++i) {
        same += packed.rows[i] * 2 + 1 == answer.rows[i] ? 1 : 0;
    }
    EXPECT_GE(same, packed.rows.size() * 6 / 10);
}

TEST_P(FaissStrings, AnswerTheSameAfterTheyAreReadBack) {
    Structured fixture(GetParam().coarse, Metric::kCosine, kSome);
    const std::string saved = fixture.index.save(42);
    Structured other(GetParam().coarse, Metric::kCosine, 0);
    EXPECT_EQ(other.index.restore(saved).rows, kSome);
    other.add(0, 1000); // In other portions: what is covered is taken from the file.
    other.add(1000, kSome - 1000);
    EXPECT_EQ(other.index.save(42), saved);
    EXPECT_EQ(fixture.index.resident_bytes().structure, other.index.resident_bytes().structure);
    const StagedAnswer before = fixture.search({.k = 10});
    const StagedAnswer after = other.search({.k = 10});
    EXPECT_EQ(before.rows, after.rows);
    EXPECT_EQ(before.scores, after.scores);
    fixture.add(kSome, 700);
    other.add(kSome, 700);
    EXPECT_GE(other.recall(heads_only(10)), GetParam().recall);
    EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall);
    // A copy that another index grows by itself.
    StagedIndex next = fixture.index.trained_anew(fixture.model.code_view(), {});
    EXPECT_EQ(next.rows(), kSome + 700);
    EXPECT_TRUE(
        is_walk(next.search(fixture.model.query_view(), heads_only(10), nullptr), kSome + 700));
}

TEST_P(FaissStrings, AnswerWhateverRowsThereAre) {
    Structured fixture(GetParam().coarse, Metric::kCosine, 0);
    EXPECT_EQ(fixture.search({.k = 3}).rows, std::vector<std::uint64_t>(3 * kQueries, kNoRow));
    fixture.add(0, 5);
    EXPECT_EQ(fixture.search({.k = 9}).rows, fixture.scan({.k = 9}).rows);
    for (std::size_t row = 5; row < 1500; row += 13) { // As upserts come.
        fixture.add(row, 13);
    }
    EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall);
    fixture.index.clear();
    EXPECT_EQ(fixture.search({.k = 3}).rows, std::vector<std::uint64_t>(3 * kQueries, kNoRow));
    fixture.add(0, 1000);
    EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall);
}

TEST_P(FaissStrings, RankByInnerProductOrRefuse) {
    try {
        const Structured fixture(GetParam().coarse, Metric::kInnerProduct, kSome);
        EXPECT_GE(fixture.recall(heads_only(10)), GetParam().recall - 0.25);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.what();
        EXPECT_NE(
            std::string(error.what()).find("\"" + GetParam().coarse + "\""), std::string::npos)
            << error.what();
    }
}

TEST_P(FaissStrings, StandInFactoryStrings) {
    const std::string text = "ARFC12/8," + GetParam().coarse;
    const FactorySpec spec = parse_factory(kDim, text);
    EXPECT_EQ(spec.coarse, GetParam().coarse);
    EXPECT_EQ(spec.nlist, 0U);
    EXPECT_EQ(to_string(spec), text);
}

TEST(FaissStructure, RefusesDamagedFiles) {
    for (const std::string coarse : {"IVF16,PQ6", "HNSW8,SQ8", "PQ12x4fs"}) {
        const Structured saved(coarse, Metric::kCosine, 300);
        const std::string good = saved.index.save(1);
        const std::string body = good.substr(0, good.size() - 64);
        const auto restore = [&](const std::string& bytes) {
            StagedIndex index(saved.model.compressor, saved.index.shape());
            (void)index.restore(bytes + sha256_hex(bytes));
        };
        restore(body);
        for (std::size_t length = 0; length < body.size(); length += 1 + body.size() / 40) {
            ARFC_EXPECT_ERROR(restore(body.substr(0, length)), ErrorKind::kCorruption, "");
        }
        // The last bytes are FAISS's own, and their checksum.
        const std::size_t file = body.size() - saved.index.resident_bytes().structure;
        for (std::size_t i = file; i < body.size(); i += 1 + (body.size() - file) / 60) {
            std::string bytes = body;
            bytes[i] = static_cast<char>(bytes[i] ^ 1);
            ARFC_EXPECT_ERROR(restore(bytes), ErrorKind::kCorruption, "Coarse file");
        }
    }
}

/// What has a checksum, but is not what the factory string says.
TEST(FaissStructure, RefusesAnotherIndexsBytes) {
    const Structured of_lists("IVF16,PQ6", Metric::kCosine, 300);
    const auto file_of = [](const std::string& coarse, std::size_t rows) {
        const Structured fixture(coarse, Metric::kCosine, rows);
        ByteWriter out;
        const auto structure = make_coarse(kDim, Metric::kCosine, coarse);
        std::vector<std::byte> heads(rows * kHead);
        for (std::size_t row = 0; row < rows; ++row) {
            std::copy_n(
                fixture.codes.begin() + static_cast<std::ptrdiff_t>(row * kCodeBytes), kHead,
                heads.begin() + static_cast<std::ptrdiff_t>(row * kHead));
        }
        const HeadRows all{fixture.model.compressor.get(), {heads.data(), rows, kHead}, {}, {}, {}};
        structure->train(all, 0);
        structure->add(all);
        structure->save(out);
        return std::move(out).take();
    };
    const std::string good = file_of("IVF16,SQ8", 600);
    const auto read = [](const std::string& coarse, const std::string& bytes, std::size_t rows) {
        const auto structure = make_coarse(kDim, Metric::kCosine, coarse);
        ByteReader in(bytes, "Coarse file");
        structure->restore(in, rows);
        in.finish();
    };
    read("IVF16,SQ8", good, 600);
    ARFC_EXPECT_ERROR(read("IVF16,SQ8", good, 599), ErrorKind::kCorruption, "600 rows, of 599");
    ARFC_EXPECT_ERROR(read("IVF17,SQ8", good, 600), ErrorKind::kCorruption, "another index than");
    ARFC_EXPECT_ERROR(read("SQ8", good, 600), ErrorKind::kCorruption, "another index than");
    std::string fewer = good;
    fewer[0] = static_cast<char>(fewer[0] - 1);
    ARFC_EXPECT_ERROR(
        read("IVF16,SQ8", fewer, 600), ErrorKind::kCorruption, "another number of rows");
    // A count that there are no bytes for: of all of FAISS's 64-bit numbers, one after the other.
    ByteReader in(good, "Coarse file");
    (void)in.number<std::uint64_t>();
    const std::string faiss(in.text());
    for (std::size_t i = 0; i + 8 <= std::min<std::size_t>(faiss.size(), 200); ++i) {
        std::string bytes = faiss;
        bytes.replace(i, 8, std::string("\xFF\xFF\xFF\xFF\x0F\0\0\0", 8));
        ByteWriter out;
        out.number(std::uint64_t{600});
        out.text(bytes);
        out.array(std::span<const char>(sha256_hex(bytes)));
        try {
            read("IVF16,SQ8", out.bytes(), 600);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kCorruption) << error.what();
        }
    }
}

TEST(FaissStructure, RefusesStringsThatMakeNoSense) {
    for (const std::string coarse :
         {"",
          "Nonsense",
          "PQ",
          "PQ5",
          "PQ0",
          "PQ6x0",
          "PQ6x17",
          "PQ6,",
          ",PQ6",
          "IVF0,Flat",

          "IVF16,",
          "IVF16,IVF16",
          "IVF2000000,Flat",
          "IVF99999999999999999999,Flat",
          "HNSW1,Flat",
          "HNSW0,Flat",
          "HNSW300,Flat",
          "NSG2,Flat",
          "IMI2x11,Flat",
          "ARFC8",
          "PCA12,ARFC8",
          "IVF16(ARFC8),Flat",
          "IDMap,Flat",
          "IDMap2,Flat",
          "Flat,IDMap",
          "PQ6,Refine(ARFC8)",
          "Residual16,PQ6",
          "ZnLattice3x10_4",
          "RCQ2x4",
          "LSCQ2x4",
          "MinMax,SQ8",
          "IVF16(Flat,Flat",
          "IVF16(IVF4,Flat),Flat",
          "IVF16(PCA8,Flat),Flat",
          "PQ6,Refine(IVF4,Flat)",
          "PQ6,Refine(PQ8x4fs)",
          "HNSW16,",
          "HNSW16_",
          "Pad70000,Flat",
          "PQ6 ",
          "pq6"}) {
        SCOPED_TRACE(coarse);
        EXPECT_FALSE(FaissStructure::is_offered(kDim, coarse));
        ARFC_EXPECT_ERROR(
            (void)parse_factory(kDim, "ARFC12/8," + coarse), ErrorKind::kInvalidArgument,
            "\"ARFC12/8," + coarse + "\"");
    }
    EXPECT_FALSE(FaissStructure::is_offered(kDim, std::string("Flat\0", 5)));
    EXPECT_FALSE(FaissStructure::is_offered(kDim, std::string(1000, '(')));
    EXPECT_FALSE(FaissStructure::is_offered(65536, "PQ64x16")) << "17 GB of centroids";
    EXPECT_FALSE(FaissStructure::is_offered(65536, "LSHr")) << "17 GB of rotation";
    EXPECT_FALSE(FaissStructure::is_offered(kDim, "Pad4096,LSHr")) << "its rows become long ones";
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "Pad32,LSHr"));
    ARFC_EXPECT_ERROR(
        (void)parse_factory(kDim, "ARFC12/8,PQ5"), ErrorKind::kInvalidArgument,
        "wrong at column 10, expected IVF<n>, HNSW<m>, NSG<m>, or a FAISS string");
}

TEST(FaissStructure, ProbesAShareOfItsLists) {
    const struct {
        std::string coarse;
        std::size_t lists;
        std::size_t nprobe;
    } cases[] = {
        {"IVF4,Flat", 4, 4},
        {"IVF32,SQ8", 32, 32},
        {"IVF33,Flat", 33, 32},
        {"IVF2048,Flat", 2048, 32},
        {"IVF2112,Flat", 2112, 33},
        {"IVF4096,PQ6", 4096, 64},
        {"PCA16,IVF4096,Flat", 4096, 64},
        {"IVF64,PQ6x4fs", 0, 1},
        {"IVF64,PQ6,RFlat", 0, 1},
        {"Flat", 0, 1},
        {"HNSW16,Flat", 0, 1},
        {"PQ6", 0, 1},
    };
    for (const auto& c : cases) {
        const CoarseTraits traits = make_coarse(kDim, Metric::kL2, c.coarse)->traits();
        EXPECT_EQ(traits.lists, c.lists) << c.coarse;
        EXPECT_EQ(traits.nprobe, c.nprobe) << c.coarse;
    }
}

TEST(FaissStructure, AsksForRowsToLearnFrom) {
    const TrainedModel& model = trained_model(Metric::kCosine);
    for (const auto& [coarse, least] : std::vector<std::pair<std::string, std::size_t>>{
             {"PQ6", 256},
             {"PQ6x4fs", 16},
             {"IVF300,Flat", 300},
             {"IVF16_HNSW8,PQ6", 256},
             {"RQ2x9", 512},
             {"Flat", 1}}) {
        StagedIndex index(model.compressor, {.stage_bytes = {kHead}, .coarse = coarse});
        EXPECT_EQ(index.coarse_traits().training_rows, least) << coarse;
        const std::vector<std::byte> heads = model.columns(0, kHead);
        index.add({heads.data(), 1500, kHead});
        const auto searched = [&] {
            return index.search(model.query_view(), heads_only(3), nullptr).rows;
        };
        const std::vector<std::uint64_t> scanned = searched(); // Answers before it has learned.
        if (least > 1) {
            ARFC_EXPECT_ERROR(
                index.train({heads.data(), least - 1, kHead}, {}), ErrorKind::kInvalidArgument,
                "rows are fewer than the coarse part asks for: " + std::to_string(least - 1) +
                    ", expected at least " + std::to_string(least) + " for \"" + coarse + "\"");
        }
        EXPECT_EQ(searched(), scanned);
        index.train({heads.data(), least, kHead}, {});
        EXPECT_TRUE(index.is_trained());
    }
}

TEST(FaissStructure, CountsTheCandidatesThatItProposes) {
    const Structured fixture("Flat", Metric::kCosine, 1000);
    const StagedAnswer answer =
        fixture.search({.k = 10, .stages = {{kHead, 130}, {kCodeBytes, 0}}});
    EXPECT_EQ(answer.stages.front().candidates, kQueries * 130);
    EXPECT_EQ(answer.stages.front().bytes_read, kQueries * 130 * kHead);
}

/// Rows that come after those that an NSG was made from are scanned until they outnumber them.
TEST(FaissStructure, ScansRowsThatAnIndexDoesNotTake) {
    Structured fixture("NSG16,Flat", Metric::kCosine, 1000);
    const std::size_t before = fixture.index.resident_bytes().structure;
    fixture.add(1000, 900);
    EXPECT_EQ(fixture.index.resident_bytes().structure, before);
    EXPECT_GE(fixture.recall(heads_only(10)), 0.95);
    fixture.add(1900, 101);
    EXPECT_GT(fixture.index.resident_bytes().structure, before + before / 2);
    EXPECT_GE(fixture.recall(heads_only(10)), 0.95);
}

/// More than are decoded at a time, which an index that learns and one that takes its rows at once
/// are given all the same.
TEST(FaissStructure, DecodesAllThatItIsGiven) {
    constexpr std::size_t kGiven = 4500;
    const TrainedModel& model = trained_model(Metric::kCosine);
    const std::vector<std::byte> heads = heads_of(many_codes(Metric::kCosine), 0, kGiven);
    const HeadRows all{model.compressor.get(), {heads.data(), kGiven, kHead}, {}, {}, {}};
    for (const std::string coarse : {"SQ8", "PCA16,SQ8"}) {
        const auto structure = make_coarse(kDim, Metric::kCosine, coarse);
        structure->train(all, 0);
        structure->add(all);
        ASSERT_EQ(structure->rows(), kGiven);
        ByteWriter out;
        structure->save(out); // A count, the file's length, the file, its checksum.
        EXPECT_EQ(structure->bytes(), out.bytes().size() - 8 - 8 - 64);
        std::vector<float> query(kDim);
        for (const std::size_t row : {std::size_t{7}, std::size_t{4095}, kGiven - 9}) {
            model.compressor->decode(all.heads.slice(row, 1), {query.data(), 1, kDim});
            const Proposals found = structure->find(all, {.values = query, .beam = 30});
            EXPECT_EQ(std::ranges::count(found.rows, row), 1) << coarse << ", row " << row;
        }
    }
}

TEST(FaissStructure, IsCopiedWhole) {
    const TrainedModel& model = trained_model(Metric::kL2);
    const std::vector<std::byte> heads = model.columns(0, kHead);
    const HeadRows all{model.compressor.get(), {heads.data(), kRows, kHead}, {}, {}, {}};
    const auto structure = make_coarse(kDim, Metric::kL2, "IVF16,PQ6");
    structure->train(all, 0);
    structure->add(all);
    const auto copy = structure->clone();
    ByteWriter of_structure;
    ByteWriter of_copy;
    structure->save(of_structure);
    copy->save(of_copy);
    EXPECT_EQ(of_structure.bytes(), of_copy.bytes());
    structure->clear();
    EXPECT_EQ(structure->rows(), 0U);
    copy->train(all, 0); // Forgets its rows.
    EXPECT_EQ(copy->rows(), 0U);
    copy->add(all);
    EXPECT_EQ(copy->rows(), kRows);
    const std::vector<float> query(model.queries.begin(), model.queries.begin() + kDim);
    EXPECT_EQ(copy->find(all, {.values = query, .beam = 20}).rows.size(), 20U);
    EXPECT_TRUE(structure->find(all, {.values = query, .beam = 20}).rows.empty());
}

/// The model's rows, of which structures are made without an index around them.
struct Given {
    explicit Given(Metric metric) : model(trained_model(metric)), heads(model.columns(0, kHead)) {}

    [[nodiscard]] HeadRows rows(std::size_t count = kRows) const {
        return {model.compressor.get(), {heads.data(), count, kHead}, {}, {}, {}};
    }

    [[nodiscard]] std::unique_ptr<CoarseStructure> make(
        const std::string& coarse, std::size_t count = kRows) const {
        auto structure = make_coarse(kDim, model.compressor->metric(), coarse);
        structure->train(rows(), 0);
        structure->add(rows(count));
        return structure;
    }

    const TrainedModel& model;
    std::vector<std::byte> heads;
};

/// FAISS's own part of what a structure writes.
std::string faiss_file_of(const CoarseStructure& structure) {
    ByteWriter out;
    structure.save(out);
    ByteReader in(out.bytes(), "Coarse file");
    (void)in.number<std::uint64_t>();
    return std::string(in.text());
}

std::unique_ptr<faiss::Index> read_by_faiss(const std::string& bytes) {
    faiss::VectorIOReader reader;
    reader.data.assign(bytes.begin(), bytes.end());
    return std::unique_ptr<faiss::Index>(faiss::read_index(&reader));
}

/// Restores a structure from the bytes of an index of FAISS's.
void restore_from(
    CoarseStructure& structure, const std::string& file, std::uint64_t count, std::size_t rows) {
    ByteWriter out;
    out.number(count);
    out.text(file);
    out.array(std::span<const char>(sha256_hex(file)));
    ByteReader in(out.bytes(), "Coarse file");
    structure.restore(in, rows);
    in.finish();
}

std::string written(const faiss::Index& index) {
    faiss::VectorIOWriter writer;
    faiss::write_index(&index, &writer);
    return {writer.data.begin(), writer.data.end()};
}

/// Polysemous codes serve a filter that no search here asks for.
TEST(FaissStructure, LearnsNoPolysemousCodes) {
    const Given given(Metric::kL2);
    for (const std::string coarse :
         {"PQ6", "IVF16,PQ6", "PCA16,PQ8", "PQ6,RFlat", "Flat,Refine(PQ6)", "HNSW16,PQ6",
          "NSG16,PQ6"}) {
        std::string plain = coarse;
        plain.insert(plain.find("PQ") + 3, "np");
        // Without rows: threads make graphs of FAISS's that differ.
        EXPECT_TRUE(faiss_file_of(*given.make(coarse, 0)) == faiss_file_of(*given.make(plain, 0)))
            << coarse;
    }
}

TEST(FaissStructure, ComparesByInnerProductUnderCosineWhereFaissCan) {
    const Given given(Metric::kCosine);
    for (const auto& [coarse, metric] : std::vector<std::pair<std::string, faiss::MetricType>>{
             {"Flat", faiss::METRIC_INNER_PRODUCT},
             {"PQ6", faiss::METRIC_INNER_PRODUCT},
             {"LSH", faiss::METRIC_L2},
             {"IMI2x4,Flat", faiss::METRIC_L2}}) {
        EXPECT_EQ(read_by_faiss(faiss_file_of(*given.make(coarse)))->metric_type, metric) << coarse;
    }
    for (const std::string coarse : {"Flat", "SQ8", "PQ6", "IVF16,PQ6", "HNSW16,Flat"}) {
        EXPECT_NO_THROW((void)make_coarse(kDim, Metric::kInnerProduct, coarse)) << coarse;
    }
    ARFC_EXPECT_ERROR(
        (void)make_coarse(kDim, Metric::kInnerProduct, "LSH"), ErrorKind::kUnsupported,
        "FAISS has no such index for the metric ip: \"LSH\"");
    for (const std::string coarse : {"IVF16,PCA16,SH", "HNSW16,PQ6", "NSG16,PQ6"}) {
        ARFC_EXPECT_ERROR(
            (void)make_coarse(kDim, Metric::kInnerProduct, coarse), ErrorKind::kUnsupported,
            "\"" + coarse + "\" (it ranks by distance whatever it is asked for)");
    }
    ARFC_EXPECT_ERROR(
        (void)make_coarse(kDim, Metric::kInnerProduct, "IMI2x4,Flat"), ErrorKind::kUnsupported,
        "FAISS has no such index for the metric ip: \"IMI2x4,Flat\"");
}

TEST(FaissStructure, CoversRowsAsSoonAsAScanCostsMore) {
    const Given given(Metric::kL2);
    const auto structure = given.make("Flat", 255);
    EXPECT_EQ(structure->rows(), 0U);
    for (const std::size_t count : {256, 257, 400, 1000}) {
        structure->add(given.rows(count));
        EXPECT_EQ(structure->rows(), count);
    }
    const auto at_once = given.make("NSG16,Flat", 300); // Takes its rows once.
    at_once->add(given.rows(600));
    EXPECT_EQ(at_once->rows(), 300U);
    at_once->add(given.rows(601));
    EXPECT_EQ(at_once->rows(), 601U);
    const auto untrained = make_coarse(kDim, Metric::kL2, "PQ6");
    untrained->add(given.rows());
    EXPECT_EQ(untrained->rows(), 0U);
    EXPECT_EQ(untrained->bytes(), 0U);
    untrained->train(given.rows(), 0);
    EXPECT_EQ(untrained->rows(), 0U);
    untrained->add(given.rows());
    EXPECT_EQ(untrained->rows(), kRows);
}

/// Where its index takes no selector.
TEST(FaissStructure, AsksForTwiceAsManyRowsUntilEnoughAreAccepted) {
    const Given given(Metric::kL2);
    const auto structure = given.make("PQ6");
    const std::span<const float> query = given.model.query_view().row(0);
    const Proposals best = structure->find(given.rows(), {.values = query, .beam = 1});
    ASSERT_EQ(best.rows.size(), 1U);
    const std::function<bool(std::uint32_t)> all_but_one = [&](std::uint32_t row) {
        return row != best.rows[0];
    };
    const Proposals found =
        structure->find(given.rows(), {.values = query, .beam = 20, .accepts = &all_but_one});
    EXPECT_EQ(found.rows.size(), 39U) << "19 of 20 are not enough";
    EXPECT_EQ(found.scored, 39U);
    EXPECT_EQ(
        structure->find(given.rows(), {.values = query, .beam = kRows, .accepts = &all_but_one})
            .rows.size(),
        kRows - 1);
    const std::function<bool(std::uint32_t)> none = [](std::uint32_t) { return false; };
    EXPECT_TRUE(structure->find(given.rows(), {.values = query, .beam = 20, .accepts = &none})
                    .rows.empty());
}

TEST(FaissStructure, CountsTablesThatAreComputedBeforehand) {
    const Given given(Metric::kL2);
    const auto structure = given.make("IVF16,PQ6");
    EXPECT_EQ(
        structure->bytes(),
        faiss_file_of(*structure).size() + std::size_t{16} * 6 * 256 * sizeof(float));
}

TEST(FaissStructure, LearnsFromAHundredThousandRows) {
    constexpr std::size_t kGiven = 100'300;
    const TableCompressor model(Metric::kL2, 2, {{0, 1.0F}, {1, 1.0F}});
    std::vector<std::byte> heads(kGiven * 2);
    for (std::size_t i = 0; i < heads.size(); ++i) {
        heads[i] = static_cast<std::byte>(i * 7 % 251);
    }
    const HeadRows all{&model, {heads.data(), kGiven, 2}, {}, {}, {}};
    const auto structure = make_coarse(2, Metric::kL2, "SQ8");
    structure->train(all, 0);
    EXPECT_EQ(model.decoded_rows.load(), 100'000U);
}

/// What FAISS's file does not hold is there again when rows are added.
TEST(FaissStructure, GrowsAfterItIsReadBack) {
    const Given given(Metric::kCosine);
    const auto structure = given.make("NSG16,PQ6", 400);
    const auto read = make_coarse(kDim, Metric::kCosine, "NSG16,PQ6");
    restore_from(*read, faiss_file_of(*structure), 400, 400);
    EXPECT_EQ(read->rows(), 400U);
    structure->add(given.rows(900));
    read->add(given.rows(900));
    EXPECT_EQ(read->rows(), 900U);
    const std::span<const float> query = given.model.query_view().row(0);
    const auto rows = read->find(given.rows(900), {.values = query, .beam = 50}).rows;
    std::size_t same = 0;
    for (const auto row : structure->find(given.rows(900), {.values = query, .beam = 50}).rows) {
        same += static_cast<std::size_t>(std::ranges::count(rows, row));
    }
    EXPECT_GE(same, 45U) << "of 50";
}

TEST(FaissStructure, RestoresWhatHasNotLearned) {
    const auto make = [](const std::string& coarse) {
        return make_coarse(kDim, Metric::kL2, coarse);
    };
    EXPECT_EQ(faiss_file_of(*make("PQ6")), "");
    const auto untrained = make("PQ6");
    restore_from(*untrained, "", 0, 10);
    EXPECT_EQ(untrained->rows(), 0U);
    ARFC_EXPECT_ERROR(
        restore_from(*make("PQ6"), "", 1, 10), ErrorKind::kCorruption, "a coarse part of no bytes");
    ARFC_EXPECT_ERROR(
        restore_from(*make("Flat"), "", 0, 10), ErrorKind::kCorruption,
        "a coarse part of no bytes");
}

TEST(FaissStructure, SaysWhatIsWrongWithAnIndexOfFaiss) {
    const Given given(Metric::kL2);
    const auto refuse = [&](const std::string& coarse, const std::string& file,
                            const std::string& text, std::uint64_t count = 600) {
        const auto structure = make_coarse(kDim, Metric::kL2, coarse);
        ARFC_EXPECT_ERROR(
            restore_from(*structure, file, count, count), ErrorKind::kCorruption, text);
        EXPECT_EQ(structure->rows(), 0U);
    };
    const std::string good = faiss_file_of(*given.make("IVF16,SQ8", 600));
    const auto restored = make_coarse(kDim, Metric::kL2, "IVF16,SQ8");
    restore_from(*restored, good, 600, 700);
    EXPECT_EQ(restored->rows(), 600U);
    refuse("IVF16,SQ8", good + "x", "has bytes to spare");
    refuse("IVF16,SQ8", good, "another number of rows", 599);
    const auto changed = [&](const auto& change) {
        const std::unique_ptr<faiss::Index> index = read_by_faiss(good);
        change(dynamic_cast<faiss::IndexIVF&>(*index));
        return written(*index);
    };
    refuse(
        "IVF16,SQ8", changed([](faiss::IndexIVF& index) { index.is_trained = false; }),
        "another index than");
    refuse(
        "IVF16,SQ8",
        changed([](faiss::IndexIVF& index) { index.metric_type = faiss::METRIC_INNER_PRODUCT; }),
        "another index than");
    refuse(
        "IVF16,SQ8", changed([](faiss::IndexIVF& index) {
            index.invlists->resize(3, index.invlists->list_size(3) - 1);
        }),
        "lists of another number of rows");
    for (const std::int64_t id : {600, -2}) {
        refuse(
            "IVF16,SQ8", changed([id](faiss::IndexIVF& index) {
                faiss::InvertedLists::ScopedCodes code(index.invlists, 15, 0);
                index.invlists->update_entry(15, 0, id, code.get());
            }),
            "a list of rows that do not exist");
    }
    refuse(
        "PCA8,SQ8", faiss_file_of(*given.make("PCA16,SQ8", 600)),
        "another index than the factory string's");
    const std::unique_ptr<faiss::Index> flat =
        read_by_faiss(faiss_file_of(*given.make("SQ8", 600)));
    dynamic_cast<faiss::IndexFlatCodes&>(*flat).codes.resize(599 * kDim);
    refuse("SQ8", written(*flat), "\"SQ8\"");
}

TEST(FaissStructure, TakesNumbersUpToTheirLimits) {
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "IVF1,Flat"));
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "IVF1048576,Flat"));
    EXPECT_FALSE(FaissStructure::is_offered(kDim, "IVF1048577,Flat"));
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "HNSW4,Flat"));
    EXPECT_FALSE(FaissStructure::is_offered(kDim, "HNSW3,Flat"));
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "HNSW256,Flat"));
    EXPECT_FALSE(FaissStructure::is_offered(kDim, "HNSW257,Flat"));
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "IVF16,PCA16,SH0.5c")) << "a period, of any size";
    EXPECT_TRUE(FaissStructure::is_offered(kDim, "IMI2x10,Flat"));
    // Of 256 characters, and of one more.
    std::string text;
    for (int i = 0; i < 42; ++i) {
        text += "PCA24,";
    }
    EXPECT_TRUE(FaissStructure::is_offered(kDim, text + "Flat"));
    EXPECT_FALSE(FaissStructure::is_offered(kDim, text + "PQ6x8"));
    for (const auto& [coarse, least] : std::vector<std::pair<std::string, std::size_t>>{
             {"SQ8", 1}, {"PCA16,SQ8", 1}, {"IVF1,Flat", 1}, {"IVF2,Flat", 2}, {"PQ6x6", 64}}) {
        EXPECT_EQ(make_coarse(kDim, Metric::kL2, coarse)->traits().training_rows, least) << coarse;
    }
}

} // namespace
} // namespace arfc
