// What only the durable backend promises: reopening, other processes, directories.

#include <rocksdb/db.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "arfc/storage/manifest.h"
#include "arfc/storage/store.h"
#include "byte_order.h"
#include "expect_error.h"
#include "expect_store.h"
#include "head_blocks.h"
#include "rocks_database.h"
#include "rocks_snapshot.h"
#include "script.h"
#include "temporary_directory.h"
#include "unprivileged.h"

namespace arfc::storage::test {
namespace {

const Shape kCoded{.dim = 8, .head_bytes = 16, .tail_bytes = 24, .model_id = "model-a"};
const Shape kRaw{.dim = 8, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};

/// Rows of 4 KiB; 5,000 of them lie between these two sizes on disk.
const Shape kWide{.dim = 1024, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};
constexpr std::uint64_t kFilled = std::uint64_t{19} << 20U;
constexpr std::uint64_t kEmptied = std::uint64_t{4} << 20U;

class RocksStoreTest : public ::testing::Test {
  protected:
    [[nodiscard]] std::filesystem::path path() const { return directory_ / "rocks"; }

    std::unique_ptr<Store> create(const Shape& shape) {
        return open_store(
            "rocksdb", {.directory = path(), .create = true, .read_only = false, .shape = shape});
    }
    std::unique_ptr<Store> open(const std::string& model_id = "") {
        return open_store(
            "rocksdb",
            {.directory = path(),
             .create = false,
             .read_only = false,
             .shape = {.dim = 0, .head_bytes = 0, .tail_bytes = 0, .model_id = model_id}});
    }
    std::unique_ptr<Store> open_read_only() {
        return open_store(
            "rocksdb", {.directory = path(), .create = false, .read_only = true, .shape = {}});
    }
    static void run_script(Store& store, std::uint64_t first, std::uint64_t last) {
        const bool with_raw = store.shape().head_bytes == 0;
        for (std::uint64_t step = first; step <= last; ++step) {
            store.write(
                scripted_batch(store.shape(), step, with_raw).mutation(store.shape()),
                Durability::kBuffered);
        }
    }

    /// Opens the directory as RocksDB alone sees it, to change what no store would.
    template <class Change>
    void tamper(Change change) {
        const auto database = RocksDatabase::open(path());
        change(*database);
    }

    arfc::test::TemporaryDirectory directory_;
};

TEST_F(RocksStoreTest, AStoreIsTheSameAfterReopening) {
    for (const bool is_closed : {true, false}) {
        const std::uint64_t steps = is_closed ? 60 : 120;
        auto store = is_closed ? create(kCoded) : open();
        run_script(*store, store->snapshot()->epoch() + 1, steps);
        const std::uint64_t sequence = store->sequence();
        if (is_closed) {
            store->close();
        }
        store.reset(); // Where it was not closed, the log is replayed.
        const auto reopened = open("model-a");
        EXPECT_EQ(reopened->sequence(), sequence);
        EXPECT_EQ(reopened->snapshot()->epoch(), steps);
        EXPECT_EQ(reopened->shape().head_bytes, 16U);
        EXPECT_EQ(reopened->shape().tail_bytes, 24U);
        expect_scripted(*reopened->snapshot(), kCoded, false);
    }
}

TEST_F(RocksStoreTest, WritingGoesOnInThePartlyFilledBlock) {
    Expected expected;
    auto store = create(kCoded);
    for (std::uint64_t round = 0; round < 40; ++round) { // 40 x 7 rows: over two blocks of 128.
        std::vector<PointId> ids;
        for (PointId id = round * 7; id < round * 7 + 7; ++id) {
            ids.push_back(id);
            expected[id] = round;
        }
        store->write(make_batch(kCoded, ids, round, false).mutation(kCoded), Durability::kSynced);
        store.reset();
        store = open();
    }
    expect_holds(*store->snapshot(), kCoded, expected, false);
}

TEST_F(RocksStoreTest, DataThatFillsManyFilesIsReadBack) {
    // 12 x 3,000 rows of 4 KiB exceed the write buffers: flushed files, compactions and snapshots
    // across them.
    const Shape shape{.dim = 1024, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};
    const auto store = create(shape);
    std::vector<float> raw(3000 * shape.dim);
    std::shared_ptr<const Snapshot> early;
    for (std::uint64_t round = 0; round < 12; ++round) {
        std::vector<PointId> ids(3000);
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = (round * 1500 + i) % 9000;
            for (std::size_t j = 0; j < shape.dim; ++j) {
                raw[i * shape.dim + j] =
                    static_cast<float>(ids[i]) + static_cast<float>(round) / 16.0F;
            }
        }
        store->write(
            {.ids = ids,
             .heads = {},
             .tails = {},
             .raw = {raw.data(), ids.size(), shape.dim},
             .payloads = {},
             .removals = {}},
            Durability::kBuffered);
        if (round == 1) {
            early = store->snapshot();
        }
    }
    EXPECT_GT(store->statistics().disk_bytes, std::uint64_t{64} << 20U);
    EXPECT_EQ(store->statistics().points, 9000U);
    for (const auto& [snapshot, points] : {std::pair{early, 4500U}, {store->snapshot(), 9000U}}) {
        std::map<Row, PointId> ids;
        snapshot->for_each_point([&](PointId id, Row row) { ids[row] = id; });
        ASSERT_EQ(ids.size(), points);
        std::size_t visited = 0;
        snapshot->for_each_raw(0, [&](Row first, MatrixView<const float> run) {
            for (std::size_t i = 0; i < run.rows(); ++i, ++visited) {
                const Row row = first + i;
                const Row round = row / 3000;
                const float expected =
                    static_cast<float>(ids.at(row)) + static_cast<float>(round) / 16.0F;
                ASSERT_EQ(run.row(i)[0], expected) << "row " << row;
                ASSERT_EQ(run.row(i)[shape.dim - 1], expected) << "row " << row;
            }
        });
        ASSERT_EQ(visited, points);
    }
}

/// Makes a store of 5,000 rows of 4 KiB that has codes and raw rows.
std::unique_ptr<Store> fill(std::unique_ptr<Store> store) {
    const std::size_t dim = store->shape().dim;
    std::vector<PointId> ids(5000);
    std::vector<float> raw(ids.size() * dim, 0.5F);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = i;
    }
    Mutation mutation;
    mutation.ids = ids;
    mutation.raw = {raw.data(), ids.size(), dim};
    store->write(mutation, Durability::kSynced);
    const std::vector<std::byte> heads(ids.size() * 16);
    store->write_codes(0, {heads.data(), ids.size(), 16}, {});
    store->publish_codes(16, 0, "model-a");
    EXPECT_GT(store->statistics().disk_bytes, kFilled);
    return store;
}

void write_point(Store& store, PointId id, bool with_raw) {
    const Batch batch = make_batch(store.shape(), {id}, 1, with_raw);
    store.write(batch.mutation(store.shape()), Durability::kSynced);
}

std::size_t count_raw(const Snapshot& snapshot) {
    std::size_t rows = 0;
    snapshot.for_each_raw(0, [&](Row, MatrixView<const float> run) { rows += run.rows(); });
    return rows;
}

TEST_F(RocksStoreTest, RawRowsAreVisitedAMebibyteAtATime) {
    const auto store = fill(create(kWide));
    std::vector<std::size_t> runs;
    store->snapshot()->for_each_raw(
        100, [&](Row, MatrixView<const float> run) { runs.push_back(run.rows()); });
    std::vector<std::size_t> expected(19, 256); // Of 4 KiB.
    expected.push_back(4900 - 19 * 256);
    EXPECT_EQ(runs, expected);
}

TEST_F(RocksStoreTest, ScansLeaveTheCacheToLookUpsAndMemoryCountsIt) {
    fill(create(kWide))->close();
    const auto store = open(); // Nothing is in write buffers any more.
    const auto snapshot = store->snapshot();
    const std::uint64_t before = store->statistics().memory_bytes;
    EXPECT_EQ(count_raw(*snapshot), 5000U);
    EXPECT_EQ(heads_of(*snapshot).size(), 5000U);
    constexpr std::uint64_t kLittle = std::uint64_t{1} << 20U;
    EXPECT_LT(store->statistics().memory_bytes, before + kLittle);
    std::vector<Row> rows(2500);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = 2 * i;
    }
    std::vector<float> raw(rows.size() * kWide.dim);
    snapshot->read_raw(rows, {raw.data(), rows.size(), kWide.dim});
    EXPECT_GT(store->statistics().memory_bytes, before + raw.size() * sizeof(float));
    EXPECT_LT(store->statistics().memory_bytes, before + 3 * raw.size() * sizeof(float));
}

TEST_F(RocksStoreTest, DroppedRawRowsGiveTheirSpaceBackAtOnce) {
    const auto store = fill(create(kWide));
    store->drop_raw();
    EXPECT_LT(store->statistics().disk_bytes, kEmptied);
    EXPECT_EQ(count_raw(*store->snapshot()), 0U);
}

TEST_F(RocksStoreTest, DroppedRawRowsGiveTheirSpaceBackOnceNoSnapshotReadsThem) {
    const auto store = fill(create(kWide));
    auto before = store->snapshot();
    store->drop_raw();
    const auto after = store->snapshot(); // As a collection always holds one.
    write_point(*store, 1, false);
    EXPECT_GT(store->statistics().disk_bytes, kFilled);
    EXPECT_EQ(count_raw(*before), 5000U);
    before.reset();
    write_point(*store, 2, false);
    EXPECT_LT(store->statistics().disk_bytes, kEmptied);
    EXPECT_EQ(count_raw(*after), 0U);
    EXPECT_EQ(heads_of(*after).size(), 5000U);
}

TEST_F(RocksStoreTest, DroppingAgainGivesBackWhatASnapshotHeld) {
    const auto store = fill(create(kWide));
    auto before = store->snapshot();
    store->drop_raw();
    EXPECT_GT(store->statistics().disk_bytes, kFilled);
    before.reset();
    store->drop_raw(); // No row is left to drop.
    EXPECT_LT(store->statistics().disk_bytes, kEmptied);
}

TEST_F(RocksStoreTest, DroppedRawRowsGiveTheirSpaceBackAtTheNextOpening) {
    {
        const auto store = fill(create(kWide));
        const auto before = store->snapshot();
        store->drop_raw();
        store->close();
    }
    EXPECT_LT(open()->statistics().disk_bytes, kEmptied);
}

TEST_F(RocksStoreTest, GivingSpaceBackSparesWhatCameAfterTheDrop) {
    const auto store = fill(create(kWide));
    auto before = store->snapshot();
    store->drop_raw();
    write_point(*store, 7000, true);
    before.reset();
    write_point(*store, 7001, true);
    write_point(*store, 7002, false);
    store->drop_raw();
    EXPECT_EQ(count_raw(*store->snapshot()), 0U);
    write_point(*store, 7003, true);
    write_point(*store, 7004, true);
    EXPECT_EQ(count_raw(*store->snapshot()), 2U);
}

TEST_F(RocksStoreTest, DiscardedCodesGiveTheirSpaceBackAtOnceOrAtTheNextOpening) {
    constexpr std::size_t kCount = 5000;
    constexpr std::size_t kPart = 4096;
    const std::vector<std::byte> part(kCount * kPart, std::byte{0x5A});
    std::vector<PointId> ids(kCount);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = i;
    }
    const std::vector<float> raw(kCount * kRaw.dim, 0.5F);
    auto store = create(kRaw);
    Mutation mutation;
    mutation.ids = ids;
    mutation.raw = {raw.data(), kCount, kRaw.dim};
    store->write(mutation, Durability::kSynced);
    for (const bool is_read : {false, true}) {
        store->write_codes(0, {part.data(), kCount, kPart}, {part.data(), kCount, kPart});
        EXPECT_GT(store->statistics().disk_bytes, 2 * kFilled);
        {
            const auto before = is_read ? store->snapshot() : nullptr;
            store->discard_unpublished_codes();
            if (is_read) {
                EXPECT_GT(store->statistics().disk_bytes, kFilled);
                store->close();
            }
        }
        if (is_read) {
            store = open();
        }
        EXPECT_LT(store->statistics().disk_bytes, kEmptied) << is_read;
    }
    EXPECT_EQ(count_raw(*store->snapshot()), kCount);
}

TEST_F(RocksStoreTest, AnotherModelIsRefused) {
    create(kCoded)->close();
    ARFC_EXPECT_ERROR(
        open("model-b"), ErrorKind::kFailedPrecondition,
        path().string() + ", model \"model-a\", expected \"model-b\"");
    EXPECT_EQ(open("model-a")->shape().model_id, "model-a");
    EXPECT_EQ(open("")->shape().model_id, "model-a");
}

TEST_F(RocksStoreTest, AModelIsExpectedWhereThereIsNone) {
    create(kRaw)->close();
    ARFC_EXPECT_ERROR(
        open("model-b"), ErrorKind::kFailedPrecondition, "model \"\", expected \"model-b\"");
}

TEST_F(RocksStoreTest, ASecondWriterIsRefused) {
    const auto store = create(kRaw);
    ARFC_EXPECT_ERROR(open(), ErrorKind::kFailedPrecondition, path().string());
    store->close();
    EXPECT_NO_THROW(open());
}

TEST_F(RocksStoreTest, AnExistingStoreIsNotCreatedAgain) {
    create(kRaw)->close();
    ARFC_EXPECT_ERROR(create(kRaw), ErrorKind::kAlreadyExists, path().string());
    EXPECT_NO_THROW(open());
}

TEST_F(RocksStoreTest, DirectoriesThatHoldNoStoreAreToldApart) {
    ARFC_EXPECT_ERROR(open(), ErrorKind::kNotFound, "Store does not exist: " + path().string());
    ARFC_EXPECT_ERROR(open_read_only(), ErrorKind::kNotFound, path().string());
    std::filesystem::create_directory(path());
    ARFC_EXPECT_ERROR(open(), ErrorKind::kNotFound, path().string());
    std::ofstream(path() / "notes.txt") << "not a store";
    ARFC_EXPECT_ERROR(open(), ErrorKind::kCorruption, path().string());
    ARFC_EXPECT_ERROR(open_read_only(), ErrorKind::kCorruption, path().string());
    ARFC_EXPECT_ERROR(create(kRaw), ErrorKind::kAlreadyExists, path().string());
    EXPECT_TRUE(std::filesystem::exists(path() / "notes.txt"));
    std::filesystem::remove_all(path());
    std::ofstream(path()) << "a file";
    ARFC_EXPECT_ERROR(open(), ErrorKind::kIo, "Store is not a directory: " + path().string());
    ARFC_EXPECT_ERROR(create(kRaw), ErrorKind::kIo, path().string());
}

TEST_F(RocksStoreTest, ADatabaseOfAnotherProgramIsNotAStore) {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, path().string(), &db).ok());
    delete db;
    ARFC_EXPECT_ERROR(
        open(), ErrorKind::kCorruption, "a column family is missing: " + path().string());
    ARFC_EXPECT_ERROR(open_read_only(), ErrorKind::kCorruption, path().string());
}

TEST_F(RocksStoreTest, ADirectoryWithoutParentIsNotFound) {
    const auto nested = directory_ / "absent/rocks";
    ARFC_EXPECT_ERROR(
        open_store(
            "rocksdb", {.directory = nested, .create = true, .read_only = false, .shape = kRaw}),
        ErrorKind::kNotFound, nested.string());
}

TEST_F(RocksStoreTest, AReadOnlyDirectoryIsAnIoErrorWithThePath) {
    const Unprivileged unprivileged(directory_.path());
    ARFC_EXPECT_ERROR(create(kRaw), ErrorKind::kIo, path().string());
}

TEST_F(RocksStoreTest, AStoreInAReadOnlyDirectoryCanBeReadButNotWritten) {
    {
        const auto store = create(kCoded);
        run_script(*store, 1, 10);
        store->close();
    }
    std::filesystem::permissions(
        directory_.path(), std::filesystem::perms::group_exec | std::filesystem::perms::others_exec,
        std::filesystem::perm_options::add);
    const Unprivileged unprivileged(path());
    ARFC_EXPECT_ERROR(open(), ErrorKind::kIo, path().string());
    expect_scripted(*open_read_only()->snapshot(), kCoded, false);
}

TEST_F(RocksStoreTest, ANewerFormatIsUnsupported) {
    create(kRaw)->close();
    tamper([](RocksDatabase& database) {
        std::string record = "arfc store\n";
        append_little_endian(record, kFormat + 1);
        ASSERT_TRUE(database.db().Put({}, database.handle(Family::kMeta), kFormatKey, record).ok());
    });
    ARFC_EXPECT_ERROR(
        open(), ErrorKind::kUnsupported, path().string() + ", format 1, expected at most 0");
    ARFC_EXPECT_ERROR(open_read_only(), ErrorKind::kUnsupported, "format 1");
}

TEST_F(RocksStoreTest, FamiliesThatDisagreeAreCorruption) {
    Row last_row = 0;
    {
        const auto store = create(kCoded);
        run_script(*store, 1, 10);
        last_row = store->snapshot()->next_row() - 1;
        ASSERT_NE(last_row % 128, 127U);
        store->close();
    }
    tamper([](RocksDatabase& database) {
        State state = database.state();
        state.next_row += 1;
        const std::string record = encode_state(state);
        ASSERT_TRUE(database.db().Put({}, database.handle(Family::kMeta), kStateKey, record).ok());
    });
    const Row rows = last_row + 1;
    ARFC_EXPECT_ERROR(
        open(), ErrorKind::kCorruption,
        "Last block of heads does not end with the last row: " + path().string() + ", " +
            std::to_string(rows % 128) + " rows, expected " + std::to_string(rows % 128 + 1));
    // A reader waits a second for its writer; but there is none that could complete anything.
    ARFC_EXPECT_ERROR(
        open_read_only(), ErrorKind::kCorruption,
        "Last block of heads does not end with the last row");
    tamper([](RocksDatabase& database) {
        ASSERT_TRUE(database.db().Delete({}, database.handle(Family::kMeta), kStateKey).ok());
    });
    ARFC_EXPECT_ERROR(open(), ErrorKind::kCorruption, "State record of a store is missing");
}

TEST_F(RocksStoreTest, AMissingBlockOfHeadsIsCorruption) {
    {
        const auto store = create(kCoded);
        run_script(*store, 1, 30);
        ASSERT_GT(store->snapshot()->next_row(), 400U);
        store->close();
    }
    tamper([](RocksDatabase& database) {
        ASSERT_TRUE(
            database.db().Delete({}, database.handle(Family::kHead), Key::of_row(1).view()).ok());
    });
    ARFC_EXPECT_ERROR(heads_of(*open()->snapshot()), ErrorKind::kCorruption, "block 2, expected 1");
}

TEST_F(RocksStoreTest, ValuesOfAnotherLengthAreCorruptionThatNamesThem) {
    const Batch batch = make_batch(kCoded, {0, 1, 2}, 1, true);
    create(kCoded)->write(batch.mutation(kCoded), Durability::kSynced);
    tamper([](RocksDatabase& database) {
        const auto put = [&](Family family, std::string_view key, const std::string& value) {
            ASSERT_TRUE(database.db().Put({}, database.handle(family), key, value).ok());
        };
        put(Family::kTail, Key::of_row(0).view(), std::string(23, 't'));
        put(Family::kTail, Key::of_row(1).view(), std::string(25, 't'));
        put(Family::kRaw, Key::of_row(1).view(), std::string(31, 'r'));
        put(Family::kIds, Key::of_point(1).view(), "seven b");
        put(Family::kIds, "\x01 key", "12345678"); // Behind the points.
    });
    const auto store = open();
    auto snapshot = store->snapshot();
    const std::vector<Row> rows{0, 1};
    const std::span<const Row> second = std::span(rows).last(1);
    std::vector<std::byte> tail(kCoded.tail_bytes);
    std::vector<std::size_t> length(1);
    snapshot->read_tails(std::span(rows).first(1), {tail.data(), 1, tail.size()}, length);
    EXPECT_EQ(length[0], 23U) << "tails may be truncated";
    ARFC_EXPECT_ERROR(
        snapshot->read_tails(second, {tail.data(), 1, tail.size()}, length), ErrorKind::kCorruption,
        "Tail is longer than the store's: " + path().string() +
            ", row 1, 25 bytes, expected at most 24");
    const std::string raw_text =
        "Length of a raw row does not fit: " + path().string() + ", row 1, 31 bytes, expected 32";
    std::vector<float> raw(kCoded.dim);
    ARFC_EXPECT_ERROR(
        snapshot->read_raw(second, {raw.data(), 1, raw.size()}), ErrorKind::kCorruption, raw_text);
    ARFC_EXPECT_ERROR(count_raw(*snapshot), ErrorKind::kCorruption, raw_text);
    const std::string row_text =
        "Length of a point's row number does not fit: " + path().string() + ", 7 bytes, expected 8";
    std::vector<std::optional<Row>> found(1);
    ARFC_EXPECT_ERROR(
        snapshot->find(std::vector<PointId>{1}, found), ErrorKind::kCorruption, row_text);
    ARFC_EXPECT_ERROR(points_of(*snapshot), ErrorKind::kCorruption, row_text);
    snapshot.reset();
    store->close();
    tamper([](RocksDatabase& database) {
        ASSERT_TRUE(database.db()
                        .Put({}, database.handle(Family::kIds), Key::of_point(1).view(), "12345678")
                        .ok());
    });
    ARFC_EXPECT_ERROR(
        points_of(*open()->snapshot()), ErrorKind::kCorruption,
        "Length of a key does not fit: " + path().string() + ", 5 bytes, expected 9");
}

TEST_F(RocksStoreTest, BlocksOfOtherRowsAreCorruption) {
    std::vector<PointId> ids(300);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = i;
    }
    const Batch batch = make_batch(kCoded, ids, 1, false);
    create(kCoded)->write(batch.mutation(kCoded), Durability::kSynced);
    const std::string_view heads(
        reinterpret_cast<const char*>(batch.heads.data()), batch.heads.size());
    const auto put = [&](std::uint64_t block, std::string_view part) {
        tamper([&](RocksDatabase& database) {
            const std::string value = encode_head_block(block, part);
            ASSERT_TRUE(
                database.db()
                    .Put({}, database.handle(Family::kHead), Key::of_row(block).view(), value)
                    .ok());
        });
    };
    put(0, heads.substr(0, 127 * 16));
    {
        const auto store = open();
        ARFC_EXPECT_ERROR(
            heads_of(*store->snapshot()), ErrorKind::kCorruption,
            "Rows of a block of heads differ: " + path().string() +
                ", block 0, 127 rows, expected 128");
        EXPECT_EQ(heads_of(*store->snapshot(), 128).size(), 172U) << "it is not asked for";
    }
    put(3, heads.substr(0, 16));
    ARFC_EXPECT_ERROR(
        heads_of(*open()->snapshot(), 128), ErrorKind::kCorruption,
        "Block of heads is missing or follows the last row: " + path().string() +
            ", block 3, expected 3");
    tamper([](RocksDatabase& database) {
        for (const std::uint64_t block : {2, 3}) {
            ASSERT_TRUE(database.db()
                            .Delete({}, database.handle(Family::kHead), Key::of_row(block).view())
                            .ok());
        }
    });
    ARFC_EXPECT_ERROR(
        open(), ErrorKind::kCorruption,
        "Last block of heads is missing: " + path().string() + ", block 2");
}

TEST_F(RocksStoreTest, AFormatRecordOfAnotherProgramIsNotAStore) {
    for (const std::string& record :
         {std::string("arfc store\n\0\0\0", 14), std::string("ARFC store\n\0\0\0\0", 15)}) {
        std::filesystem::remove_all(path());
        create(kRaw)->close();
        tamper([&](RocksDatabase& database) {
            ASSERT_TRUE(
                database.db().Put({}, database.handle(Family::kMeta), kFormatKey, record).ok());
        });
        ARFC_EXPECT_ERROR(
            open(), ErrorKind::kCorruption, "its format record is missing: " + path().string());
    }
}

TEST_F(RocksStoreTest, ASnapshotThatCannotBeReadHoldsNothing) {
    create(kRaw)->close();
    const auto database = RocksDatabase::open(path());
    ASSERT_TRUE(database->db().Delete({}, database->handle(Family::kMeta), kStateKey).ok());
    ARFC_EXPECT_ERROR(
        const RocksSnapshot snapshot(database), ErrorKind::kCorruption,
        "State record of a store is missing: " + path().string());
    std::uint64_t snapshots = 99;
    ASSERT_TRUE(database->db().GetIntProperty(rocksdb::DB::Properties::kNumSnapshots, &snapshots));
    EXPECT_EQ(snapshots, 0U);
}

TEST_F(RocksStoreTest, AReaderKeepsFilesThatItsWriterDeletes) {
    create(kRaw)->close();
    constexpr Row kFiles = 20; // Of one family, so that not all are opened with a small limit.
    const auto files = [&] {
        std::size_t tables = 0;
        for (const auto& entry : std::filesystem::directory_iterator(path())) {
            tables += entry.path().extension() == ".sst" ? 1 : 0;
        }
        return tables;
    };
    const auto writer = RocksDatabase::open(path());
    rocksdb::DB& db = writer->db();
    rocksdb::ColumnFamilyHandle* const raw = writer->handle(Family::kRaw);
    ASSERT_TRUE(db.SetOptions(raw, {{"disable_auto_compactions", "true"}}).ok());
    for (Row row = 0; row < kFiles; ++row) {
        ASSERT_TRUE(db.Put({}, raw, Key::of_row(row).view(), std::to_string(row)).ok());
        ASSERT_TRUE(db.Put({}, raw, Key::of_row(kFiles).view(), "in every file").ok());
        ASSERT_TRUE(db.Flush({}, raw).ok());
    }
    ASSERT_GE(files(), kFiles);
    const auto reader = RocksDatabase::open_read_only(path());
    ASSERT_TRUE(db.CompactRange({}, raw, nullptr, nullptr).ok());
    ASSERT_LT(files(), kFiles / 2);
    for (Row row = 0; row < kFiles; ++row) {
        EXPECT_EQ(reader->get({}, Family::kRaw, Key::of_row(row).view()), std::to_string(row));
    }
}

TEST_F(RocksStoreTest, AReaderSeesEveryAcknowledgedRowAndRefusesToWrite) {
    const auto writer = create(kCoded);
    run_script(*writer, 1, 25); // In the log alone: nothing was flushed.
    const auto reader = open_read_only();
    EXPECT_EQ(reader->snapshot()->epoch(), 25U);
    EXPECT_EQ(reader->sequence(), writer->sequence());
    expect_scripted(*reader->snapshot(), kCoded, false);
    EXPECT_GT(reader->statistics().disk_bytes, 0U);
    run_script(*writer, 26, 40);
    EXPECT_EQ(reader->snapshot()->epoch(), 25U); // As of its opening.
    expect_scripted(*reader->snapshot(), kCoded, false);
    EXPECT_EQ(open_read_only()->snapshot()->epoch(), 40U);

    const std::string text = "Store is open read-only: " + path().string();
    ARFC_EXPECT_ERROR(
        reader->write({}, Durability::kBuffered), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(reader->write_codes(0, {}, {}), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(
        reader->publish_codes(16, 24, "model-a"), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(reader->discard_unpublished_codes(), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(reader->drop_raw(), ErrorKind::kFailedPrecondition, text);
    reader->close();
}

TEST_F(RocksStoreTest, ReadersOpenWhileTheWriterFlushesAndCompacts) {
    const Shape shape{.dim = 1024, .head_bytes = 16, .tail_bytes = 24, .model_id = "model-a"};
    const auto writer = create(shape);
    constexpr std::uint64_t kSteps = 400; // 45 rows x 4 KiB a step: a flush about every 90 steps.
    constexpr int kReaders = 6;
    std::atomic<bool> is_enough = false;
    std::atomic<std::uint64_t> acknowledged = 0;
    std::thread thread([&] {
        for (std::uint64_t step = 1; !is_enough || step <= kSteps; ++step) {
            writer->write(scripted_batch(shape, step, true).mutation(shape), Durability::kBuffered);
            acknowledged = step;
            std::this_thread::sleep_for(std::chrono::milliseconds(1)); // Leaves readers a part of
                                                                       // two cores.
        }
    });
    for (int opened = 0; (opened < kReaders || acknowledged < kSteps) && !HasFailure(); ++opened) {
        const std::uint64_t at_least = acknowledged;
        const auto reader = open_read_only();
        EXPECT_GE(reader->snapshot()->epoch(), at_least);
        expect_scripted(*reader->snapshot(), shape, true);
    }
    is_enough = true;
    thread.join();
}

TEST_F(RocksStoreTest, AReadersPrivateDirectoryGoesWithIt) {
    create(kRaw)->close();
    const auto count = [] {
        int readers = 0;
        for (const auto& entry :
             std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
            readers += entry.path().filename().string().starts_with("arfc-reader-") ? 1 : 0;
        }
        return readers;
    };
    const arfc::test::TemporaryDirectory temporary; // Of this test alone, so that counting is safe.
    ASSERT_EQ(::setenv("TMPDIR", temporary.path().c_str(), 1), 0);
    {
        const auto reader = open_read_only();
        EXPECT_EQ(count(), 1);
    }
    EXPECT_EQ(count(), 0);
    ASSERT_EQ(::unsetenv("TMPDIR"), 0);
}

TEST_F(RocksStoreTest, CodesThatAnEndedProcessLeftAreDiscarded) {
    {
        const auto store = create(kRaw);
        run_script(*store, 1, 20);
        const std::vector<std::byte> codes(100 * 96, std::byte{0xEE});
        store->write_codes(0, {codes.data(), 100, 32}, {codes.data(), 100, 64});
    }
    auto store = open();
    EXPECT_EQ(store->shape().head_bytes, 0U);
    expect_scripted(*store->snapshot(), kRaw, true);
    store->discard_unpublished_codes();
    store.reset();
    for (const Family family : {Family::kHead, Family::kTail}) {
        tamper([&](RocksDatabase& database) {
            const std::unique_ptr<rocksdb::Iterator> left(
                database.db().NewIterator({}, database.handle(family)));
            left->SeekToFirst();
            EXPECT_FALSE(left->Valid());
        });
    }
    store = open();
    run_script(*store, 21, 25);
    for (const auto& [id, row] : points_of(*store->snapshot())) { // Another training, of other
                                                                  // widths, needs no help.
        const auto version = store->snapshot()->epoch();
        const auto head = head_of(id, version, kCoded);
        const auto tail = tail_of(id, version, kCoded);
        store->write_codes(row, {head.data(), 1, 16}, {tail.data(), 1, 24});
    }
    store->publish_codes(16, 24, "model-a");
    EXPECT_EQ(heads_of(*store->snapshot()).size(), store->snapshot()->next_row());
}

} // namespace
} // namespace arfc::storage::test
