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
    write_index(*index_factory(1, "ARFC4", faiss::METRIC_L2), directory / "narrow");
    EXPECT_EQ(read_index(directory / "narrow")->d, 1);
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
        EXPECT_EQ(read->ntotal, static_cast<std::int64_t>(kN));
        EXPECT_EQ(read->d, kWidth);
        if (factory.starts_with("IDMap2")) {
            std::vector<float> row(kDim);
            std::vector<float> expected(kDim);
            index->reconstruct(ids[7], expected.data());
            read->reconstruct(ids[7], row.data());
            EXPECT_EQ(row, expected);
        }
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
    put(good.substr(0, 75)); // Magic, format and checksum are 76 bytes.
    ARFC_EXPECT_ERROR(
        (void)read_index(path), ErrorKind::kCorruption, "Index file is too short, in bytes: 75");
    put(good.substr(0, 76));
    ARFC_EXPECT_ERROR(
        (void)read_index(path), ErrorKind::kCorruption, "differs from its checksum; bytes: 76");
    put("");
    ARFC_EXPECT_ERROR(
        (void)read_index(path), ErrorKind::kCorruption, "neither ARFC's nor one that FAISS reads");
    ARFC_EXPECT_ERROR((void)read_index(directory / "absent"), ErrorKind::kNotFound, "absent");
}

/// Numbers that contradict each other under a right checksum.
TEST(IndexIo, RefusesFilesThatContradictThemselves) {
    const TemporaryDirectory directory;
    const Rows rows(kN, 1);
    const auto body_of = [&](const faiss::Index& index) {
        write_index(index, directory / "good");
        const std::string bytes = read_file(directory / "good");
        return bytes.substr(0, bytes.size() - 64);
    };
    const auto refuse = [&](std::string body, std::size_t offset, auto value,
                            const std::string& text) {
        std::memcpy(body.data() + offset, &value, sizeof(value));
        write_file_atomically(directory / "bad", body + sha256_hex(body));
        ARFC_EXPECT_ERROR((void)read_index(directory / "bad"), ErrorKind::kCorruption, text);
    };
    constexpr std::size_t kFlags = 8 + 4; // After magic and format.
    constexpr std::size_t kIds = kFlags + 1;
    const auto index = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    const std::string plain = body_of(*index);
    constexpr std::size_t kWidthAt = kIds + 8; // There are no ids.
    refuse(plain, kFlags, std::uint8_t{3}, "kind of id map 3");
    refuse(plain, kFlags, std::uint8_t{1}, "0 ids of 500 rows");
    refuse(plain, kWidthAt, std::uint32_t{0}, "embedding width 0");
    refuse(plain, kWidthAt, std::uint32_t{65537}, "embedding width 65537");
    refuse(plain, kWidthAt, std::uint32_t{25}, "the model has width 24");
    refuse(plain, kWidthAt + 4, std::uint8_t{3}, "metric 3");
    refuse(plain, kWidthAt + 4, std::uint8_t{0}, "and metric l2");
    refuse(plain, kWidthAt + 4 + 1 + 8, std::uint8_t{'X'}, "Factory string is wrong");
    const std::size_t rows_at = plain.size() - 1 - kN * 12 - 8;
    refuse(plain, rows_at, std::uint64_t{kN - 1}, "499 rows, of which lists cover 500");
    const auto mapped = index_factory(kWidth, "IDMap,ARFC12/4", faiss::METRIC_L2);
    std::string of_map = body_of(*mapped);
    of_map.insert(kIds + 8, 8, '\0');
    refuse(of_map, kIds, std::uint64_t{1}, "1 ids of 0 rows");
    of_map = body_of(*index_factory(kWidth, "PCA16,ARFC8/4", faiss::METRIC_L2));
    const std::size_t transforms = kIds + 8;
    const std::size_t inner = transforms + 8 + 5 + 4 + 1; // Text, width, whether it is trained.
    refuse(of_map, inner, std::uint32_t{17}, "rows of 16 floats, the index takes 17");
    refuse(of_map, transforms + 8 + 5, std::uint32_t{0}, "embedding width 0");
    refuse(of_map, transforms + 8 + 5, std::uint32_t{65537}, "embedding width 65537");
    refuse(of_map, transforms + 8 + 5, std::uint32_t{15}, "outside [1, 15] floats: 16");
}

TEST(IndexIo, LeavesTheOldFileWhereItCannotWrite) {
    const TemporaryDirectory directory;
    const faiss::IndexFlatL2 flat(kWidth);
    ARFC_EXPECT_ERROR(write_index(flat, directory / "no" / "such"), ErrorKind::kIo, "such");
}

TEST(IndexIo, RefusesIdMapsOfFaissWithTooFewIds) {
    const TemporaryDirectory directory;
    const Rows rows(3, 1);
    faiss::IndexFlatL2 flat(kWidth);
    faiss::IndexIDMap map(&flat);
    const std::vector<std::int64_t> ids = {4, 5, 6};
    map.add_with_ids(3, rows.data(), ids.data());
    map.id_map.pop_back();
    faiss::write_index(&map, (directory / "bad").c_str());
    ARFC_EXPECT_ERROR(
        (void)read_index(directory / "bad"), ErrorKind::kCorruption,
        "ids that differ in number from its rows: 2, expected 3");
}

} // namespace
} // namespace arfc
