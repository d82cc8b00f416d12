// What every backend promises: each test runs over each row of the table.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "arfc/storage/store.h"
#include "expect_error.h"
#include "expect_store.h"
#include "script.h"
#include "temporary_directory.h"

namespace arfc::storage::test {
namespace {

const Shape kCoded{.dim = 8, .head_bytes = 16, .tail_bytes = 24, .model_id = "model-a"};
const Shape kHeadsOnly{.dim = 8, .head_bytes = 16, .tail_bytes = 0, .model_id = "model-a"};
const Shape kRaw{.dim = 8, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};

std::vector<PointId> consecutive(PointId first, std::size_t count) {
    std::vector<PointId> ids(count);
    for (std::size_t i = 0; i < count; ++i) {
        ids[i] = first + i;
    }
    return ids;
}

class StoreContract : public ::testing::TestWithParam<Backend> {
  protected:
    std::unique_ptr<Store> create(const Shape& shape) {
        return open_store(
            GetParam().name, {.directory = directory_ / ("store-" + std::to_string(stores_++)),
                              .create = true,
                              .read_only = false,
                              .shape = shape});
    }

    static Published upsert(
        Store& store, const std::vector<PointId>& ids, std::uint64_t version, bool with_raw) {
        const Batch batch = make_batch(store.shape(), ids, version, with_raw);
        return store.write(batch.mutation(store.shape()), Durability::kBuffered);
    }
    static Published upsert(Store& store, const std::vector<PointId>& ids, std::uint64_t version) {
        return upsert(store, ids, version, store.shape().head_bytes == 0);
    }
    static Published remove(Store& store, const std::vector<PointId>& ids) {
        return store.write(
            {.ids = {}, .heads = {}, .tails = {}, .raw = {}, .payloads = {}, .removals = ids},
            Durability::kBuffered);
    }
    static Expected versions(const std::vector<PointId>& ids, std::uint64_t version) {
        Expected expected;
        for (const PointId id : ids) {
            expected[id] = version;
        }
        return expected;
    }

    /// Writes codes of version `version` for all live rows, as a training would.
    static void write_all_codes(Store& store, const Shape& shape, std::uint64_t version) {
        for (const auto& [id, row] : points_of(*store.snapshot())) {
            const auto head = head_of(id, version, shape);
            const auto tail = tail_of(id, version, shape);
            store.write_codes(
                row, {head.data(), 1, head.size()},
                {tail.data(), tail.empty() ? 0U : 1U, tail.size()});
        }
    }

  private:
    arfc::test::TemporaryDirectory directory_;
    int stores_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Backends, StoreContract, ::testing::ValuesIn(backends().begin(), backends().end()),
    [](const auto& backend) { return std::string(backend.param.name); });

TEST_P(StoreContract, EmptyStoreAnswersEverythingWithNothing) {
    for (const Shape& shape : {kCoded, kHeadsOnly, kRaw}) {
        const auto store = create(shape);
        const auto snapshot = store->snapshot();
        EXPECT_EQ(snapshot->epoch(), 0U);
        EXPECT_EQ(snapshot->next_row(), 0U);
        expect_holds(*snapshot, shape, {}, shape.head_bytes == 0);
        std::vector<std::optional<Row>> found(1);
        snapshot->find(std::vector<PointId>{7}, found);
        EXPECT_EQ(found[0], std::nullopt);
        EXPECT_EQ(store->statistics().points, 0U);
        EXPECT_EQ(store->shape().model_id, shape.model_id);
    }
}

TEST_P(StoreContract, RowsComeBackAsTheyWereWritten) {
    // 300 rows cross blocks of heads; the extremes of ids are ids like others.
    std::vector<PointId> ids = consecutive(1000, 298);
    ids.push_back(0);
    ids.push_back(~PointId{0});
    for (const Shape& shape : {kCoded, kHeadsOnly, kRaw}) {
        const auto store = create(shape);
        const Published published = upsert(*store, ids, 1);
        EXPECT_EQ(published.epoch, 1U);
        EXPECT_EQ(published.first_row, 0U);
        EXPECT_TRUE(published.tombstones.empty());
        EXPECT_EQ(published.removed_points, 0U);
        expect_holds(*store->snapshot(), shape, versions(ids, 1), shape.head_bytes == 0);
        const Statistics statistics = store->statistics();
        EXPECT_EQ(statistics.points, 300U);
        EXPECT_EQ(statistics.rows, 300U);
        EXPECT_GT(statistics.memory_bytes, 0U);
    }
}

TEST_P(StoreContract, CodesAndRawRowsLieSideBySide) {
    const auto store = create(kCoded);
    upsert(*store, consecutive(0, 10), 1, true);
    expect_holds(*store->snapshot(), kCoded, versions(consecutive(0, 10), 1), true);
    upsert(*store, consecutive(10, 10), 1, false);
    const auto snapshot = store->snapshot();
    EXPECT_EQ(raw_rows_of(*snapshot).size(), 10U);
    std::vector<float> raw(kCoded.dim);
    ARFC_EXPECT_ERROR(
        snapshot->read_raw(std::vector<Row>{15}, {raw.data(), 1, raw.size()}), ErrorKind::kNotFound,
        "Row has no raw form: 15");
}

TEST_P(StoreContract, SingleRowsGrowBlocksAsBulkDoes) {
    const auto store = create(kCoded);
    Expected expected;
    for (PointId id = 0; id < 270; ++id) { // More than two blocks of heads of either backend.
        EXPECT_EQ(upsert(*store, {id}, id).first_row, id);
        expected[id] = id;
    }
    expect_holds(*store->snapshot(), kCoded, expected, false);
    EXPECT_EQ(store->snapshot()->epoch(), 270U);
}

TEST_P(StoreContract, ReplacedRowsBecomeTombstones) {
    const auto store = create(kCoded);
    upsert(*store, {1, 2, 3}, 1);
    const Published published = upsert(*store, {3, 1}, 2);
    EXPECT_EQ(published.first_row, 3U);
    EXPECT_EQ(published.tombstones, (std::vector<Row>{0, 2}));
    EXPECT_EQ(published.removed_points, 0U);
    const auto snapshot = store->snapshot();
    expect_holds(*snapshot, kCoded, {{1, 2}, {2, 1}, {3, 2}}, false);
    EXPECT_EQ(points_of(*snapshot), (std::map<PointId, Row>{{1, 4}, {2, 1}, {3, 3}}));
    // Dead rows keep their place among heads and nothing else.
    EXPECT_EQ(heads_of(*snapshot)[0], head_of(1, 1, kCoded));
    std::vector<std::byte> tail(kCoded.tail_bytes);
    std::vector<std::size_t> length(1);
    std::vector<std::string> payload(1);
    snapshot->read_tails(std::vector<Row>{0}, {tail.data(), 1, tail.size()}, length);
    snapshot->read_payloads(std::vector<Row>{0}, payload);
    EXPECT_EQ(length[0], 0U);
    EXPECT_EQ(payload[0], "");
}

TEST_P(StoreContract, DeadRowsLoseTailRawRowAndPayload) {
    const auto store = create(kCoded);
    Batch batch = make_batch(kCoded, {1, 2, 3}, 1, true);
    batch.payloads = {R"({"n": 1})", R"({"n": 2})", R"({"n": 3})"};
    store->write(batch.mutation(kCoded), Durability::kBuffered);
    upsert(*store, {1}, 2, false);
    remove(*store, {3});
    // What was in the rooms for answers does not stay there.
    const std::vector<Row> rows{0, 1, 2, 3, 4};
    const auto snapshot = store->snapshot();
    std::vector<std::string> payloads(5, "before");
    snapshot->read_payloads(rows, payloads);
    EXPECT_EQ(payloads, (std::vector<std::string>{"", R"({"n": 2})", "", payload_of(1, 2), ""}));
    std::vector<std::byte> tails(5 * kCoded.tail_bytes);
    std::vector<std::size_t> lengths(5, 99);
    snapshot->read_tails(rows, {tails.data(), 5, kCoded.tail_bytes}, lengths);
    EXPECT_EQ(lengths, (std::vector<std::size_t>{0, 24, 0, 24, 0}));
    EXPECT_EQ(
        raw_rows_of(*snapshot), (std::map<Row, std::vector<float>>{{1, raw_of(2, 1, kCoded)}}));
    std::vector<float> raw(kCoded.dim);
    for (const Row row : {0, 2, 3, 4}) {
        ARFC_EXPECT_ERROR(
            snapshot->read_raw(std::vector<Row>{row}, {raw.data(), 1, kCoded.dim}),
            ErrorKind::kNotFound, "Row has no raw form: " + std::to_string(row));
    }
    std::vector<std::optional<Row>> found(4, Row{77});
    snapshot->find(std::vector<PointId>{3, 2, 1, 0}, found);
    EXPECT_EQ(found, (std::vector<std::optional<Row>>{std::nullopt, 1, 3, std::nullopt}));
}

TEST_P(StoreContract, NoPayloadsAreReadWhereNoneWasEverWritten) {
    const auto store = create(kCoded);
    Batch batch = make_batch(kCoded, {1}, 1, false);
    batch.payloads.clear();
    store->write(batch.mutation(kCoded), Durability::kBuffered);
    std::vector<std::string> payloads(2, "before");
    store->snapshot()->read_payloads(std::vector<Row>{0, 1}, payloads);
    EXPECT_EQ(payloads, (std::vector<std::string>(2)));
}

TEST_P(StoreContract, OfRepeatedIdsTheLastRowWins) {
    const auto store = create(kCoded);
    Batch batch = make_batch(kCoded, {5, 6}, 1, true);
    const Batch later = make_batch(kCoded, {5}, 2, true);
    const auto append = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    append(batch.ids, later.ids);
    append(batch.heads, later.heads);
    append(batch.tails, later.tails);
    append(batch.raw, later.raw);
    append(batch.payloads, later.payloads);
    const Published published = store->write(batch.mutation(kCoded), Durability::kBuffered);
    EXPECT_EQ(published.tombstones, (std::vector<Row>{0}));
    EXPECT_EQ(store->statistics().points, 2U);
    expect_holds(*store->snapshot(), kCoded, {{5, 2}, {6, 1}}, true);
    EXPECT_EQ(points_of(*store->snapshot()), (std::map<PointId, Row>{{5, 2}, {6, 1}}));
}

TEST_P(StoreContract, RemovalsDropPointsAndIgnoreAbsentOnes) {
    const auto store = create(kCoded);
    upsert(*store, consecutive(0, 10), 1);
    const Published published = remove(*store, {3, 99, 3, 7});
    EXPECT_EQ(published.epoch, 2U);
    EXPECT_EQ(published.removed_points, 2U);
    EXPECT_EQ(published.tombstones, (std::vector<Row>{3, 7}));
    expect_holds(*store->snapshot(), kCoded, versions({0, 1, 2, 4, 5, 6, 8, 9}, 1), false);
    EXPECT_EQ(store->statistics().points, 8U);
    EXPECT_EQ(store->statistics().rows, 10U);
    EXPECT_EQ(upsert(*store, {3}, 5).first_row, 10U);
    EXPECT_TRUE(points_of(*store->snapshot()).contains(3));
}

TEST_P(StoreContract, RemovalsComeBeforeRowsOfTheSameMutation) {
    const auto store = create(kRaw);
    upsert(*store, {1, 2}, 1);
    Batch batch = make_batch(kRaw, {2, 3}, 2, true);
    batch.removals = {1, 2, 3};
    const Published published = store->write(batch.mutation(kRaw), Durability::kSynced);
    EXPECT_EQ(published.removed_points, 2U);
    EXPECT_EQ(published.tombstones, (std::vector<Row>{0, 1}));
    expect_holds(*store->snapshot(), kRaw, {{2, 2}, {3, 2}}, true);
}

TEST_P(StoreContract, MutationsThatChangeNothingLeaveTheEpoch) {
    const auto store = create(kCoded);
    upsert(*store, {1}, 1);
    const std::uint64_t sequence = store->sequence();
    for (const Durability durability : {Durability::kBuffered, Durability::kSynced}) {
        const Published published = store->write({}, durability);
        EXPECT_EQ(published.epoch, 1U);
        EXPECT_EQ(published.first_row, 1U);
        EXPECT_TRUE(published.tombstones.empty());
        EXPECT_EQ(published.removed_points, 0U);
    }
    EXPECT_EQ(remove(*store, {2}).epoch, 1U);
    EXPECT_EQ(store->sequence(), sequence);
}

TEST_P(StoreContract, WidthsAndCountsThatDifferAreRefusedAndChangeNothing) {
    const auto store = create(kCoded);
    upsert(*store, {1}, 1);
    const std::vector<PointId> ids{1, 2};
    const std::vector<std::byte> bytes(200);
    const std::vector<float> floats(200);
    const std::vector<std::string> payloads(3);
    const Mutation good{
        .ids = ids,
        .heads = {bytes.data(), 2, 16},
        .tails = {bytes.data(), 2, 24},
        .raw = {},
        .payloads = {},
        .removals = {}};
    const auto refused = [&](auto change, const char* text) {
        Mutation bad = good;
        change(bad);
        ARFC_EXPECT_ERROR(
            store->write(bad, Durability::kSynced), ErrorKind::kInvalidArgument, text);
    };
    refused(
        [&](Mutation& m) {
            m.heads = {bytes.data(), 2, 15};
        },
        "Heads of a mutation differ from the store's shape: [2, 15], expected [2, 16]");
    refused([&](Mutation& m) { m.heads = {bytes.data(), 1, 16}; }, "[1, 16], expected [2, 16]");
    refused(
        [&](Mutation& m) {
            m.ids = m.ids.first(1);
            m.heads = {bytes.data(), 1, 15};
        },
        "[1, 15], expected [1, 16]");
    refused(
        [&](Mutation& m) {
            m.tails = {bytes.data(), 2, 25};
        },
        "Tails of a mutation differ from the store's shape: [2, 25], expected [2, 24]");
    refused([&](Mutation& m) { m.tails = {}; }, "[0, 0], expected [2, 24]");
    refused(
        [&](Mutation& m) {
            m.raw = {floats.data(), 2, 9};
        },
        "Raw rows of a mutation differ from the store's shape: [2, 9], expected [2, 8]");
    refused([&](Mutation& m) { m.raw = {floats.data(), 1, 8}; }, "[1, 8], expected [2, 8]");
    refused(
        [&](Mutation& m) { m.payloads = payloads; },
        "Payloads of a mutation differ from its ids in number: 3, expected 2");
    EXPECT_EQ(store->snapshot()->epoch(), 1U);
    expect_holds(*store->snapshot(), kCoded, {{1, 1}}, false);

    const auto raw_store = create(kRaw);
    const Mutation coded{
        .ids = ids,
        .heads = {bytes.data(), 2, 16},
        .tails = {},
        .raw = {floats.data(), 2, 8},
        .payloads = {},
        .removals = {}};
    ARFC_EXPECT_ERROR(
        raw_store->write(coded, Durability::kSynced), ErrorKind::kInvalidArgument,
        "Heads of a mutation differ from the store's shape: [2, 16], expected [0, 0]");
    const Mutation bare{
        .ids = ids, .heads = {}, .tails = {}, .raw = {}, .payloads = {}, .removals = {}};
    ARFC_EXPECT_ERROR(
        raw_store->write(bare, Durability::kSynced), ErrorKind::kInvalidArgument,
        "Raw rows of a mutation differ from the store's shape: [0, 0], expected [2, 8]");
}

TEST_P(StoreContract, ShapesThatNoStoreCanHaveAreRefused) {
    const auto refuses = [&](const Shape& shape, const std::string& sentence) {
        ARFC_EXPECT_ERROR(create(shape), ErrorKind::kInvalidArgument, sentence);
    };
    refuses({.dim = 0, .head_bytes = 0, .tail_bytes = 0, .model_id = ""}, "[1, 65536]: 0");
    refuses({.dim = 65537, .head_bytes = 0, .tail_bytes = 0, .model_id = ""}, "[1, 65536]: 65537");
    refuses(
        {.dim = 8, .head_bytes = 0, .tail_bytes = 1, .model_id = ""},
        "Store without heads names tails or a model: 1 bytes");
    refuses(
        {.dim = 8, .head_bytes = 8, .tail_bytes = 0, .model_id = ""},
        "Model id of a store's codes is outside [1, 1024] characters: 0");
    refuses(
        {.dim = 8, .head_bytes = 70000, .tail_bytes = 0, .model_id = "m"},
        "Code parts of a store exceed 65536 bytes: 70000 and 0");
    refuses(
        {.dim = 8, .head_bytes = 8, .tail_bytes = 65537, .model_id = "m"},
        "Code parts of a store exceed 65536 bytes: 8 and 65537");
    refuses(
        {.dim = 8, .head_bytes = 0, .tail_bytes = 0, .model_id = "m"},
        "Store without heads names tails or a model: 0 bytes, model");
    refuses(
        {.dim = 8, .head_bytes = 8, .tail_bytes = 0, .model_id = std::string(1025, 'm')},
        "outside [1, 1024] characters: 1025");
}

TEST_P(StoreContract, TheLargestShapesAreShapes) {
    for (const Shape& shape :
         {Shape{.dim = 65536, .head_bytes = 0, .tail_bytes = 0, .model_id = ""},
          Shape{.dim = 1, .head_bytes = 65536, .tail_bytes = 65536, .model_id = "m"},
          Shape{.dim = 1, .head_bytes = 1, .tail_bytes = 0, .model_id = std::string(1024, 'm')}}) {
        const auto store = create(shape);
        upsert(*store, {1, 2}, 1);
        expect_holds(*store->snapshot(), shape, {{1, 1}, {2, 1}}, shape.head_bytes == 0);
        EXPECT_EQ(store->shape().model_id, shape.model_id);
    }
}

TEST_P(StoreContract, TheSmallestShapesAreShapes) {
    // A float a row, then a byte of head and one of tail.
    const Shape raw{.dim = 1, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};
    const Shape coded{.dim = 1, .head_bytes = 1, .tail_bytes = 1, .model_id = "m"};
    const auto store = create(raw);
    upsert(*store, {1, 2, 3}, 1);
    write_all_codes(*store, coded, 1);
    store->publish_codes(1, 1, "m");
    expect_holds(*store->snapshot(), coded, versions({1, 2, 3}, 1), true);
    const std::vector<std::byte> code(1);
    ARFC_EXPECT_ERROR(
        store->write_codes(0, {code.data(), 1, 1}, {code.data(), 1, 1}),
        ErrorKind::kFailedPrecondition, "Store has codes already");
    ARFC_EXPECT_ERROR(
        store->publish_codes(1, 1, "n"), ErrorKind::kFailedPrecondition,
        "Store has codes of another model");
    store->drop_raw();
    upsert(*store, {2}, 2);
    remove(*store, {3});
    const auto snapshot = store->snapshot();
    expect_holds(*snapshot, coded, {{1, 1}, {2, 2}}, false);
    std::vector<std::byte> tails(4);
    std::vector<std::size_t> lengths(4);
    snapshot->read_tails(std::vector<Row>{0, 1, 2, 3}, {tails.data(), 4, 1}, lengths);
    EXPECT_EQ(lengths, (std::vector<std::size_t>{1, 0, 0, 1}));
    ARFC_EXPECT_ERROR(
        snapshot->read_tails(std::vector<Row>{0, 3}, {tails.data(), 1, 1}, {lengths.data(), 2}),
        ErrorKind::kInvalidArgument, "Room for tails differs from what is asked for: 1");
}

TEST_P(StoreContract, MemoryFollowsWhatIsHeld) {
    const auto store = create(kRaw);
    const std::uint64_t empty = store->statistics().memory_bytes;
    upsert(*store, consecutive(0, 5000), 1);
    const std::uint64_t full = store->statistics().memory_bytes;
    const std::uint64_t floats = 5000 * kRaw.dim * sizeof(float);
    EXPECT_GT(full, empty + floats);
    EXPECT_LT(full, empty + 20 * floats);
}

TEST_P(StoreContract, MemoryCountsEveryPartOfARow) {
    constexpr std::size_t kPart = 8192; // In bytes.
    for (const Shape& shape :
         {Shape{.dim = kPart / sizeof(float), .head_bytes = 0, .tail_bytes = 0, .model_id = ""},
          Shape{.dim = 1, .head_bytes = kPart, .tail_bytes = 0, .model_id = "m"},
          Shape{.dim = 1, .head_bytes = 1, .tail_bytes = kPart, .model_id = "m"}}) {
        const auto store = create(shape);
        const std::uint64_t empty = store->statistics().memory_bytes;
        upsert(*store, consecutive(0, 512), 1);
        const std::uint64_t full = store->statistics().memory_bytes;
        EXPECT_GT(full, empty + 512 * kPart);
        EXPECT_LT(full, empty + 2 * 512 * kPart);
    }
    const auto store = create(kRaw);
    const std::uint64_t empty = store->statistics().memory_bytes;
    Batch batch = make_batch(kRaw, consecutive(0, 512), 1, true);
    batch.payloads.assign(512, std::string(kPart, 'p'));
    store->write(batch.mutation(kRaw), Durability::kBuffered);
    EXPECT_GT(store->statistics().memory_bytes, empty + 512 * kPart);
    EXPECT_LT(store->statistics().memory_bytes, empty + 2 * 512 * kPart);
}

TEST_P(StoreContract, TailsAreReadInAnyOrderAndAtAnyShorterWidth) {
    const auto store = create(kCoded);
    upsert(*store, consecutive(0, 400), 1);
    remove(*store, {200});
    const auto snapshot = store->snapshot();
    std::vector<Row> rows{399, 0, 200, 17, 17, 5000, 3}; // Unsorted, repeated, dead, never written.
    for (Row row = 0; row < 300; ++row) {
        rows.push_back(mix(row) % 400); // More than one batch of look-ups.
    }
    for (const std::size_t width : {0, 1, 23, 24}) {
        std::vector<std::byte> tails(rows.size() * width);
        std::vector<std::size_t> lengths(rows.size(), 99);
        snapshot->read_tails(rows, {tails.data(), rows.size(), width}, lengths);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const bool is_live = rows[i] < 400 && rows[i] != 200;
            ASSERT_EQ(lengths[i], is_live ? width : 0) << "row " << rows[i];
            const auto expected = tail_of(rows[i], 1, kCoded);
            ASSERT_TRUE(std::equal(
                expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(lengths[i]),
                tails.begin() + static_cast<std::ptrdiff_t>(i * width)))
                << "row " << rows[i];
        }
    }
}

TEST_P(StoreContract, RoomsThatDifferFromWhatIsAskedForAreRefused) {
    const auto store = create(kCoded);
    upsert(*store, {1, 2}, 1);
    const auto snapshot = store->snapshot();
    const std::vector<Row> rows{0, 1};
    std::vector<std::byte> bytes(100);
    std::vector<float> floats(100);
    std::vector<std::size_t> lengths(2);
    std::vector<std::string> payloads(1);
    std::vector<std::optional<Row>> found(3);
    ARFC_EXPECT_ERROR(
        snapshot->read_tails(rows, {bytes.data(), 2, 25}, lengths), ErrorKind::kInvalidArgument,
        "Width asked of tails exceeds the store's: 25, expected at most 24");
    ARFC_EXPECT_ERROR(
        snapshot->read_tails(rows, {bytes.data(), 1, 24}, lengths), ErrorKind::kInvalidArgument,
        "1, expected 2");
    ARFC_EXPECT_ERROR(
        snapshot->read_tails(rows, {bytes.data(), 2, 24}, {lengths.data(), 1}),
        ErrorKind::kInvalidArgument, "Room for lengths of tails differs");
    ARFC_EXPECT_ERROR(
        snapshot->read_raw(rows, {floats.data(), 1, 8}), ErrorKind::kInvalidArgument,
        "Room for raw rows differs from what is asked for: 1, expected 2");
    ARFC_EXPECT_ERROR(
        snapshot->read_payloads(rows, payloads), ErrorKind::kInvalidArgument, "1, expected 2");
    ARFC_EXPECT_ERROR(
        snapshot->read_raw(rows, {floats.data(), 2, 7}), ErrorKind::kInvalidArgument,
        "Width asked of raw rows differs from the store's: 7, expected 8");
    ARFC_EXPECT_ERROR(snapshot->find(rows, found), ErrorKind::kInvalidArgument, "3, expected 2");
}

TEST_P(StoreContract, ScansStartAtAnyRow) {
    const auto coded = create(kCoded);
    const auto raw = create(kRaw);
    upsert(*coded, consecutive(0, 300), 1);
    upsert(*raw, consecutive(0, 300), 1);
    remove(*raw, {150, 151, 299});
    for (const Row first : {0, 1, 63, 64, 127, 128, 129, 299, 300, 1000}) {
        const auto heads = heads_of(*coded->snapshot(), first);
        ASSERT_EQ(heads.size(), first < 300 ? 300 - first : 0);
        for (std::size_t i = 0; i < heads.size(); ++i) {
            ASSERT_EQ(heads[i], head_of(first + i, 1, kCoded));
        }
        const auto rows = raw_rows_of(*raw->snapshot(), first);
        for (Row row = 0; row < 300; ++row) {
            const bool is_there = row >= first && row != 150 && row != 151 && row != 299;
            ASSERT_EQ(rows.contains(row), is_there) << "row " << row << " from " << first;
            if (is_there) {
                ASSERT_EQ(rows.at(row), raw_of(row, 1, kRaw));
            }
        }
    }
}

TEST_P(StoreContract, SnapshotsKeepTheirStateThroughEveryKindOfWrite) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 200), 1);
    const auto before = store->snapshot();
    const Expected all = versions(consecutive(0, 200), 1);
    upsert(*store, consecutive(100, 50), 2);
    remove(*store, consecutive(0, 20));
    expect_holds(*before, kRaw, all, true);
    Expected later = all;
    for (PointId id = 0; id < 150; ++id) {
        id < 20 ? static_cast<void>(later.erase(id))
                : static_cast<void>(id >= 100 ? later[id] = 2 : 0);
    }
    const auto middle = store->snapshot();
    write_all_codes(*store, kCoded, 7);
    store->publish_codes(kCoded.head_bytes, kCoded.tail_bytes, kCoded.model_id);
    store->drop_raw();
    expect_holds(*middle, kRaw, later, true);
    expect_holds(*before, kRaw, all, true);
    EXPECT_EQ(before->epoch(), 1U);
    EXPECT_EQ(middle->epoch(), 3U);
    EXPECT_EQ(before->next_row(), 200U);
    EXPECT_LT(before->sequence(), middle->sequence());
    EXPECT_LT(middle->sequence(), store->sequence());
    EXPECT_EQ(store->snapshot()->sequence(), store->sequence());
}

TEST_P(StoreContract, ReadersSeeWholeMutationsWhileAnotherThreadWrites) {
    constexpr std::uint64_t kSteps = 100;
    constexpr int kStatesSeen = 10; // By each of two readers.
    const auto store = create(kCoded);
    std::atomic<int> readers_left = 2;
    std::thread writer([&] {
        for (std::uint64_t step = 1; step <= kSteps || (readers_left > 0 && !HasFailure());
             ++step) {
            store->write(
                scripted_batch(kCoded, step, false).mutation(kCoded), Durability::kBuffered);
            std::this_thread::sleep_for(std::chrono::microseconds(500)); // Time for readers.
        }
    });
    const auto read = [&] {
        std::uint64_t newest = 0;
        Expected expected;
        for (int seen = 0; seen < kStatesSeen && !HasFailure();) {
            const auto snapshot = store->snapshot();
            EXPECT_GE(snapshot->epoch(), newest);
            seen += snapshot->epoch() > newest ? 1 : 0;
            while (newest < snapshot->epoch()) {
                apply_step(expected, ++newest);
            }
            expect_holds(*snapshot, kCoded, expected, false);
            EXPECT_LE(store->statistics().points, 400U);
        }
        --readers_left;
    };
    std::thread first(read);
    std::thread second(read);
    writer.join();
    first.join();
    second.join();
    EXPECT_GE(store->snapshot()->epoch(), kSteps);
    expect_scripted(*store->snapshot(), kCoded, false);
}

TEST_P(StoreContract, CodesCountOnlyOncePublished) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 300), 1);
    remove(*store, {0, 130, 299}); // Dead rows, the last one too: trainings skip them.
    Expected expected = versions(consecutive(0, 300), 1);
    expected.erase(0);
    expected.erase(130);
    expected.erase(299);
    write_all_codes(*store, kCoded, 1);
    expect_holds(*store->snapshot(), kRaw, expected, true);
    EXPECT_EQ(store->shape().head_bytes, 0U);

    store->publish_codes(16, 24, "model-a");
    EXPECT_EQ(store->shape().head_bytes, 16U);
    EXPECT_EQ(store->shape().tail_bytes, 24U);
    EXPECT_EQ(store->shape().model_id, "model-a");
    expect_holds(*store->snapshot(), kCoded, expected, true);
    upsert(*store, {1, 1000}, 2, false); // New rows follow in the same block.
    store->drop_raw();
    expected[1] = 2;
    expected[1000] = 2;
    expect_holds(*store->snapshot(), kCoded, expected, false);
}

TEST_P(StoreContract, CodesMayComeInRunsOfAnySizeAndOrder) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 500), 1);
    const Batch codes = make_batch(kCoded, consecutive(0, 500), 1, false);
    const MatrixView<const std::byte> heads(codes.heads.data(), 500, 16);
    const MatrixView<const std::byte> tails(codes.tails.data(), 500, 24);
    for (const auto& [first, count] : std::vector<std::pair<Row, std::size_t>>{
             {450, 50}, {100, 200}, {0, 0}, {0, 100}, {300, 1}, {301, 149}, {120, 30}}) {
        store->write_codes(first, heads.slice(first, count), tails.slice(first, count));
    }
    store->publish_codes(16, 24, "model-a");
    expect_holds(*store->snapshot(), kCoded, versions(consecutive(0, 500), 1), true);
}

TEST_P(StoreContract, MutationsGoOnDuringATraining) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 100), 1);
    write_all_codes(*store, kCoded, 1);
    upsert(*store, {5, 200}, 1); // Row 5 dies with its codes; rows 100 and 101 have none yet.
    const std::vector<std::byte> stale(40, std::byte{1});
    store->write_codes(5, {stale.data(), 1, 16}, {stale.data(), 1, 24}); // From a snapshot in which
                                                                         // it lived.
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 24, "model-a"), ErrorKind::kFailedPrecondition,
        "2 rows, such as row 10");
    write_all_codes(*store, kCoded, 1);
    store->publish_codes(16, 24, "model-a");
    Expected expected = versions(consecutive(0, 100), 1);
    expected[200] = 1;
    expect_holds(*store->snapshot(), kCoded, expected, true);
    std::vector<std::size_t> lengths(1);
    std::vector<std::byte> tail(24);
    store->snapshot()->read_tails(std::vector<Row>{5}, {tail.data(), 1, 24}, lengths);
    EXPECT_EQ(lengths[0], 0U) << "a dead row has a tail";
}

TEST_P(StoreContract, ASinglePointWithoutCodesKeepsAModelBack) {
    for (const Row bare : {0, 130, 299}) {
        const auto store = create(kRaw);
        upsert(*store, consecutive(0, 300), 1);
        const Batch codes = make_batch(kCoded, consecutive(0, 300), 1, false);
        const MatrixView<const std::byte> heads(codes.heads.data(), 300, 16);
        const MatrixView<const std::byte> tails(codes.tails.data(), 300, 24);
        store->write_codes(0, heads.slice(0, bare), tails.slice(0, bare));
        store->write_codes(
            bare + 1, heads.slice(bare + 1, 299 - bare), tails.slice(bare + 1, 299 - bare));
        ARFC_EXPECT_ERROR(
            store->publish_codes(16, 24, "model-a"), ErrorKind::kFailedPrecondition,
            "1 rows, such as row " + std::to_string(bare));
        EXPECT_EQ(store->shape().head_bytes, 0U);
        store->write_codes(bare, heads.slice(bare, 1), tails.slice(bare, 1));
        store->publish_codes(16, 24, "model-a");
        expect_holds(*store->snapshot(), kCoded, versions(consecutive(0, 300), 1), true);
    }
}

TEST_P(StoreContract, TheLastRowsMayBeDeadWhenCodesComeAndOthersFollow) {
    const Batch codes = make_batch(kCoded, consecutive(0, 257), 1, false);
    const MatrixView<const std::byte> heads(codes.heads.data(), 257, 16);
    const MatrixView<const std::byte> tails(codes.tails.data(), 257, 24);
    // Blocks of heads end behind 64 rows or 128.
    for (const auto& [count, live] : std::vector<std::pair<std::size_t, std::size_t>>{
             {1, 0}, {128, 128}, {129, 128}, {129, 127}, {256, 127}}) {
        const auto store = create(kRaw);
        upsert(*store, consecutive(0, count), 1);
        remove(*store, consecutive(live, count - live));
        store->write_codes(0, heads.slice(0, live), tails.slice(0, live));
        store->publish_codes(16, 24, "model-a");
        Expected expected = versions(consecutive(0, live), 1);
        expect_holds(*store->snapshot(), kCoded, expected, true);
        upsert(*store, consecutive(1000, 3), 1, false);
        store->drop_raw();
        expected.merge(versions(consecutive(1000, 3), 1));
        expect_holds(*store->snapshot(), kCoded, expected, false);
        ASSERT_FALSE(HasFailure()) << count << " rows, live: " << live;
    }
}

TEST_P(StoreContract, DiscardingSparesCodesThatArePublished) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 200), 1);
    write_all_codes(*store, kCoded, 1);
    store->publish_codes(16, 24, "model-a");
    const std::uint64_t sequence = store->sequence();
    store->discard_unpublished_codes();
    EXPECT_EQ(store->sequence(), sequence);
    expect_holds(*store->snapshot(), kCoded, versions(consecutive(0, 200), 1), true);
}

TEST_P(StoreContract, PublishingIsIdempotentAndKeepsToOneModel) {
    const auto store = create(kRaw);
    upsert(*store, {1}, 1);
    write_all_codes(*store, kCoded, 1);
    store->publish_codes(16, 24, "model-a");
    const std::uint64_t sequence = store->sequence();
    store->publish_codes(16, 24, "model-a");
    EXPECT_EQ(store->sequence(), sequence);
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 24, "model-b"), ErrorKind::kFailedPrecondition,
        "model model-a with 16 and 24 bytes, not model model-b with 16 and 24");
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 23, "model-a"), ErrorKind::kFailedPrecondition, "16 and 23");
    const std::vector<std::byte> code(40);
    ARFC_EXPECT_ERROR(
        store->write_codes(0, {code.data(), 1, 16}, {code.data(), 1, 24}),
        ErrorKind::kFailedPrecondition, "Store has codes already");
}

TEST_P(StoreContract, CodesThatDoNotFitAreRefused) {
    const auto store = create(kRaw);
    upsert(*store, {1, 2}, 1);
    const std::vector<std::byte> code(200);
    const auto codes = [&](std::size_t rows, std::size_t width) {
        return MatrixView<const std::byte>(code.data(), rows, width);
    };
    ARFC_EXPECT_ERROR(
        store->write_codes(1, codes(2, 16), codes(2, 24)), ErrorKind::kInvalidArgument,
        "rows 1 to 3, expected below 2");
    ARFC_EXPECT_ERROR(
        store->write_codes(~Row{0}, codes(2, 16), codes(2, 24)), ErrorKind::kInvalidArgument,
        "expected below 2");
    ARFC_EXPECT_ERROR(
        store->write_codes(0, codes(2, 16), codes(1, 24)), ErrorKind::kInvalidArgument,
        "Tails differ from heads in number: 1, expected 2");
    ARFC_EXPECT_ERROR(
        store->write_codes(0, codes(2, 0), {}), ErrorKind::kInvalidArgument, "0 and 0");
    const std::vector<std::byte> wide(65537);
    ARFC_EXPECT_ERROR(
        store->write_codes(0, {wide.data(), 1, 65537}, {}), ErrorKind::kInvalidArgument,
        "[1, 65536] and [0, 65536] bytes: 65537 and 0");
    ARFC_EXPECT_ERROR(
        store->write_codes(0, codes(1, 16), {wide.data(), 1, 65537}), ErrorKind::kInvalidArgument,
        "[1, 65536] and [0, 65536] bytes: 16 and 65537");
    ARFC_EXPECT_ERROR(
        store->write_codes(0, codes(1, 16), codes(1, 0)), ErrorKind::kInvalidArgument,
        "Tails differ from heads in number: 1, expected 0");
    store->write_codes(2, codes(0, 16), codes(0, 24)); // Nothing, behind the last row.
    store->write_codes(0, codes(1, 16), codes(1, 24));
    ARFC_EXPECT_ERROR(
        store->write_codes(1, codes(1, 16), codes(1, 25)), ErrorKind::kInvalidArgument,
        "Widths of codes differ from those written before: 16 and 25, expected 16 and 24");
    ARFC_EXPECT_ERROR(
        store->write_codes(1, codes(1, 17), codes(1, 24)), ErrorKind::kInvalidArgument,
        "Widths of codes differ from those written before: 17 and 24, expected 16 and 24");
    ARFC_EXPECT_ERROR(
        store->publish_codes(17, 24, "model-a"), ErrorKind::kInvalidArgument, "17 and 24");
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 25, "model-a"), ErrorKind::kInvalidArgument, "16 and 25");
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 24, ""), ErrorKind::kInvalidArgument, "characters: 0");
    EXPECT_EQ(store->shape().head_bytes, 0U);
}

TEST_P(StoreContract, DiscardedCodesLeaveNothingToALaterTraining) {
    const auto store = create(kRaw);
    upsert(*store, consecutive(0, 200), 1);
    const Shape wide{.dim = 8, .head_bytes = 32, .tail_bytes = 64, .model_id = "model-b"};
    write_all_codes(*store, wide, 3);
    store->discard_unpublished_codes();
    const std::uint64_t sequence = store->sequence();
    store->discard_unpublished_codes();
    EXPECT_EQ(store->sequence(), sequence) << "there was nothing left to discard";
    expect_holds(*store->snapshot(), kRaw, versions(consecutive(0, 200), 1), true);
    ARFC_EXPECT_ERROR(
        store->publish_codes(16, 0, "model-a"), ErrorKind::kFailedPrecondition, "200 rows");
    write_all_codes(*store, kHeadsOnly, 1);
    store->publish_codes(16, 0, "model-a");
    expect_holds(*store->snapshot(), kHeadsOnly, versions(consecutive(0, 200), 1), true);
}

TEST_P(StoreContract, AStoreWithoutRowsMayBeGivenAModel) {
    const auto store = create(kRaw);
    store->publish_codes(16, 24, "model-a");
    upsert(*store, {4}, 1);
    expect_holds(*store->snapshot(), kCoded, {{4, 1}}, false);
}

TEST_P(StoreContract, RawRowsAreNotDroppedWhileTheyAreAllThereIs) {
    const auto store = create(kRaw);
    upsert(*store, {1}, 1);
    ARFC_EXPECT_ERROR(store->drop_raw(), ErrorKind::kFailedPrecondition, "Raw rows are all that");
    expect_holds(*store->snapshot(), kRaw, {{1, 1}}, true);
}

TEST_P(StoreContract, DroppedRawRowsStayDroppedAndNewOnesMayFollow) {
    const auto store = create(kCoded);
    upsert(*store, consecutive(0, 50), 1, true);
    store->drop_raw();
    EXPECT_EQ(store->statistics().rows, 50U);
    store->drop_raw();
    expect_holds(*store->snapshot(), kCoded, versions(consecutive(0, 50), 1), false);
    upsert(*store, {100}, 2, true);
    EXPECT_EQ(
        raw_rows_of(*store->snapshot()),
        (std::map<Row, std::vector<float>>{{50, raw_of(100, 2, kCoded)}}));
}

TEST_P(StoreContract, AClosedStoreRefusesAndItsSnapshotsGoOn) {
    const auto store = create(kCoded);
    upsert(*store, {1}, 1);
    const auto snapshot = store->snapshot();
    store->close();
    expect_holds(*snapshot, kCoded, {{1, 1}}, false);
    ARFC_EXPECT_ERROR(upsert(*store, {2}, 1), ErrorKind::kFailedPrecondition, "Store is closed");
    ARFC_EXPECT_ERROR(
        static_cast<void>(store->snapshot()), ErrorKind::kFailedPrecondition, "Store is closed");
    ARFC_EXPECT_ERROR(
        static_cast<void>(store->statistics()), ErrorKind::kFailedPrecondition, "Store is closed");
    ARFC_EXPECT_ERROR(store->drop_raw(), ErrorKind::kFailedPrecondition, "Store is closed");
    ARFC_EXPECT_ERROR(
        store->discard_unpublished_codes(), ErrorKind::kFailedPrecondition, "Store is closed");
    ARFC_EXPECT_ERROR(store->close(), ErrorKind::kFailedPrecondition, "Store is closed");
}

TEST_P(StoreContract, WhatIsNotThereIsNotOpened) {
    ARFC_EXPECT_ERROR(
        open_store(
            GetParam().name, {.directory = "/nonexistent/arfc-store",
                              .create = false,
                              .read_only = false,
                              .shape = {}}),
        ErrorKind::kNotFound, "Store ");
    ARFC_EXPECT_ERROR(
        open_store(
            GetParam().name, {.directory = "/nonexistent/arfc-store",
                              .create = true,
                              .read_only = true,
                              .shape = kRaw}),
        ErrorKind::kInvalidArgument, "Store cannot be created read-only");
}

TEST(Backends, UnknownNamesAreRefused) {
    ARFC_EXPECT_ERROR(
        open_store("leveldb", {}), ErrorKind::kInvalidArgument,
        "Store backend is not one of rocksdb, memory: \"leveldb\"");
}

TEST(Backends, InMemoryARowTakesMoreThanItsBytes) {
    const Shape shape{.dim = 1, .head_bytes = 1, .tail_bytes = 0, .model_id = "m"};
    const auto store = open_store("memory", {.create = true, .shape = shape});
    const std::uint64_t empty = store->statistics().memory_bytes;
    Batch batch = make_batch(shape, consecutive(0, 512), 1, false);
    batch.payloads.clear();
    store->write(batch.mutation(shape), Durability::kBuffered);
    // A payload's place, the point, and the vector that holds points with the same lowest bits.
    constexpr std::size_t kLeast =
        sizeof(std::string) + sizeof(std::pair<PointId, Row>) + sizeof(std::vector<PointId>);
    EXPECT_GT(store->statistics().memory_bytes, empty + 512 * kLeast);
    EXPECT_EQ(store->statistics().disk_bytes, 0U);
}

TEST(Backends, EachSaysWhatItIs) {
    ASSERT_EQ(backends().size(), 2U);
    for (const Backend& backend : backends()) {
        EXPECT_TRUE(backend.summary.ends_with(".")) << backend.name;
    }
}

} // namespace
} // namespace arfc::storage::test
