#include "arfc/index/index_io.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIDMap.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/index_io.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "arfc/index/index_factory.h"
#include "expect_error.h"
#include "temporary_directory.h"
#include "trained_index.h"

namespace arfc {
namespace {

using test::Answer;
using test::kDim;
using test::Rows;
using test::search;
using test::TemporaryDirectory;
using test::trained_index;
using test::unit_rows;

constexpr int kWidth = static_cast<int>(kDim);
constexpr std::size_t kN = 500;

TEST(IndexIo, ReadsBackWhatItWroteToTheBit) {
    const TemporaryDirectory directory;
    const Rows queries(9, 2);
    const Rows rows(kN, 1);
    const Rows unit = unit_rows(kN, 1);
    const std::vector<std::int64_t> ids = [] {
        std::vector<std::int64_t> made(kN);
        for (std::size_t i = 0; i < kN; ++i) {
            made[i] = static_cast<std::int64_t>(i * i);
        }
        return made;
    }();
    for (const std::string factory : {"ARFC12", "ARFC12/4", "ARFC12/6/3,IVF5"}) {
        for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
            for (const bool has_ids : {false, true}) {
                const Rows& held = has_ids ? unit : rows;
                const auto index = trained_index(factory, metric, held);
                has_ids ? index->add_with_ids(kN, held.data(), ids.data())
                        : index->add(kN, held.data());
                (void)search(*index, queries, 3); // Cached row terms are no part of the file.
                write_index(*index, directory / "a");
                const auto read = read_index(directory / "a");
                EXPECT_EQ(search(*read, queries, 10), search(*index, queries, 10)) << factory;
                EXPECT_EQ(read->ntotal, index->ntotal);
                write_index(*read, directory / "b");
                EXPECT_EQ(read_file(directory / "a"), read_file(directory / "b"))
                    << "the same index, other bytes";
                index->add(3, held.data());
                read->add(3, held.data());
                EXPECT_EQ(search(*read, queries, 10), search(*index, queries, 10));
            }
        }
    }
}

TEST(IndexIo, KeepsUntrainedIndexes) {
    const TemporaryDirectory directory;
    write_index(
        *index_factory(kWidth, "IDMap2,ARFC12/4,IVF5", faiss::METRIC_INNER_PRODUCT),
        directory / "a");
    const auto read = read_index(directory / "a");
    EXPECT_FALSE(read->is_trained);
    EXPECT_EQ(read->metric_type, faiss::METRIC_INNER_PRODUCT);
    const Rows rows(kN, 1);
    read->train(kN, rows.data());
    EXPECT_TRUE(read->is_trained);
}

TEST(IndexIo, KeepsIdMaps) {
    const TemporaryDirectory directory;
    const Rows rows(kN, 1);
    const Rows queries(9, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 5 - static_cast<std::int64_t>(i);
    }
    for (const std::string factory :
         {"IDMap,ARFC12/4", "IDMap2,ARFC12/4", "IDMap,Flat", "IDMap2,Flat"}) {
        const auto index = index_factory(kWidth, factory, faiss::METRIC_L2);
        if (!index->is_trained) {
            index->train(kN, rows.data());
        }
        index->add_with_ids(kN, rows.data(), ids.data());
        write_index(*index, directory / "a");
        const auto read = read_index(directory / "a");
        EXPECT_EQ(
            dynamic_cast<faiss::IndexIDMap2*>(read.get()) != nullptr, factory.starts_with("IDMap2"))
            << factory;
        faiss::IDSelectorRange range(-100, 0);
        faiss::SearchParameters params; // Which FAISS's own id maps refuse.
        params.sel = &range;
        EXPECT_EQ(search(*read, queries, 7, &params), search(*index, queries, 7, &params))
            << factory;
    }
}

TEST(IndexIo, WritesFaissIndexesAsFaissDoes) {
    const TemporaryDirectory directory;
    const Rows rows(kN, 1);
    faiss::IndexFlatL2 flat(kWidth);
    flat.add(kN, rows.data());
    write_index(flat, directory / "ours");
    faiss::write_index(&flat, (directory / "theirs").c_str());
    EXPECT_EQ(read_file(directory / "ours"), read_file(directory / "theirs"));
    EXPECT_EQ(search(*read_index(directory / "theirs"), rows, 2), search(flat, rows, 2));
}

TEST(IndexIo, RefusesDamagedFiles) {
    const TemporaryDirectory directory;
    const Rows rows(300, 1);
    auto index = index_factory(kWidth, "IDMap2,ARFC2/1,IVF2", faiss::METRIC_L2); // Small, since
                                                                                 // every byte is
                                                                                 // tried.
    index->train(300, rows.data());
    const std::vector<std::int64_t> ids = {4, 5, 6};
    index->add_with_ids(3, rows.data(), ids.data());
    write_index(*index, directory / "good");
    const std::string good = read_file(directory / "good");
    const std::filesystem::path path = directory / "bad";
    const auto put = [&](const std::string& bytes) {
        std::ofstream(path, std::ios::binary) << bytes;
    };
    const auto expect_refusal = [&](const std::string& bytes, const std::string& what) {
        put(bytes);
        try {
            (void)read_index(path);
            ADD_FAILURE() << "was accepted: " << what;
        } catch (const Error& error) {
            EXPECT_TRUE(
                error.kind() == ErrorKind::kCorruption || error.kind() == ErrorKind::kUnsupported)
                << what << ": " << error.what();
        }
    };
    const auto with_digest = [](const std::string& body) { return body + sha256_hex(body); };
    const std::string body = good.substr(0, good.size() - 64);
    // Every length and byte near the ends, where the sizes are, and a sample between: weights are
    // most of the file.
    const auto is_tried = [&](std::size_t i) {
        return i < 300 || i + 600 > good.size() || i % 997 == 0;
    };
    for (std::size_t i = 0; i < good.size(); ++i) {
        if (is_tried(i)) {
            expect_refusal(good.substr(0, i), "truncated at " + std::to_string(i));
            std::string flipped = good;
            flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
            expect_refusal(flipped, "bit flipped in byte " + std::to_string(i));
        }
        if (i < body.size() && is_tried(i)) {
            expect_refusal(with_digest(body.substr(0, i)), "cut at " + std::to_string(i));
        }
    }
    for (std::size_t i = 0; i < body.size(); ++i) { // Wrong numbers under a right checksum: an
                                                    // error or an index, no crash.
        if (is_tried(i)) {
            std::string bytes = body;
            bytes[i] = static_cast<char>(0xFF);
            put(with_digest(bytes));
            try {
                (void)search(*read_index(path), rows, 2);
            } catch (const Error& error) {
                EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
            }
        }
    }
    expect_refusal(with_digest(body + '\0'), "a byte too many");
    std::string newer = body;
    newer[8] = 1;
    put(with_digest(newer));
    ARFC_EXPECT_ERROR(
        (void)read_index(path), ErrorKind::kUnsupported,
        "newer format: 1, this version reads up to 0");
    put("");
    ARFC_EXPECT_ERROR(
        (void)read_index(path), ErrorKind::kCorruption, "neither ARFC's nor one that FAISS reads");
    ARFC_EXPECT_ERROR((void)read_index(directory / "absent"), ErrorKind::kNotFound, "absent");
}

TEST(IndexIo, LeavesTheOldFileWhereItCannotWrite) {
    const TemporaryDirectory directory;
    const faiss::IndexFlatL2 flat(kWidth);
    ARFC_EXPECT_ERROR(write_index(flat, directory / "no" / "such"), ErrorKind::kIo, "such");
}

} // namespace
} // namespace arfc
