#include "faiss_structure.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "arfc/base/sha256.h"
#include "byte_io.h"
#include "expect_error.h"
#include "factory_spec.h"
#include "structured_index.h"

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

} // namespace
} // namespace arfc
