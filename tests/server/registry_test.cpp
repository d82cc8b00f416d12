#include "registry.h"

#include <atomic>
#include <fstream>
#include <thread>

#include "expect_error.h"
#include "temporary_directory.h"

namespace arfc::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RegistryTest : public ::testing::Test {
  protected:
    static CollectionOptions options() {
        CollectionOptions options;
        options.dim = 4;
        options.factory = "ARFC4";
        return options;
    }
    static void put(ServedCollection& served, PointId id) {
        const float row[4] = {1, 2, 3, 4};
        served.collection->upsert({&id, 1}, {row, 1, 4});
    }
    /// Makes a collection whose manifest is not what was written.
    void damage(const std::string& name) const {
        { Registry(directory_.path()).create(name, options()); }
        std::ofstream(directory_ / name / "manifest.json")
            << "{\"this is\": \"no manifest of ours\"}";
    }

    test::TemporaryDirectory directory_;
};

TEST_F(RegistryTest, MakesItsDirectory) {
    const Registry registry(directory_ / "a");
    EXPECT_TRUE(std::filesystem::is_directory(directory_ / "a"));
    EXPECT_THAT(registry.names(), IsEmpty());
}

TEST_F(RegistryTest, RefusesADirectoryThatCannotBe) {
    std::ofstream(directory_ / "file") << "x";
    ARFC_EXPECT_ERROR(
        Registry(directory_ / "file"), ErrorKind::kIo, (directory_ / "file").string());
    ARFC_EXPECT_ERROR(
        Registry(directory_ / "file" / "below"), ErrorKind::kIo, "Data directory cannot be made");
}

TEST_F(RegistryTest, OpensWhatIsThere) {
    {
        Registry registry(directory_.path());
        registry.create("a", options());
        registry.create("b", options());
        put(*registry.find("b"), 9);
    }
    const Registry registry(directory_.path());
    EXPECT_THAT(registry.names(), ElementsAre("a", "b"));
    EXPECT_EQ(registry.find("b")->collection->info().points, 1U);
    EXPECT_EQ(registry.find("b")->dim, 4U);
}

TEST_F(RegistryTest, ReportsADamagedCollectionAndServesTheOthers) {
    damage("bad");
    { Registry(directory_.path()).create("good", options()); }
    Registry registry(directory_.path());
    EXPECT_THAT(registry.names(), ElementsAre("bad", "good"));
    EXPECT_EQ(registry.find("good")->collection->info().points, 0U);
    ARFC_EXPECT_ERROR((void)registry.find("bad"), ErrorKind::kCorruption, "");
    ARFC_EXPECT_ERROR(registry.create("bad", options()), ErrorKind::kAlreadyExists, "bad");
    registry.remove("bad");
    EXPECT_THAT(registry.names(), ElementsAre("good"));
    registry.create("bad", options());
    EXPECT_EQ(registry.find("bad")->dim, 4U);
}

TEST_F(RegistryTest, LeavesFoldersThatAreNoCollectionsAlone) {
    std::filesystem::create_directory(directory_ / "photos");
    std::ofstream(directory_ / "photos" / "cat") << "x";
    std::filesystem::create_directory(directory_ / "with.dot");
    std::ofstream(directory_ / "a_file") << "x";
    Registry registry(directory_.path());
    EXPECT_THAT(registry.names(), IsEmpty());
    ARFC_EXPECT_ERROR(registry.remove("photos"), ErrorKind::kNotFound, "photos");
    ARFC_EXPECT_ERROR(registry.create("photos", options()), ErrorKind::kAlreadyExists, "photos");
    EXPECT_TRUE(std::filesystem::exists(directory_ / "photos" / "cat"));
    EXPECT_TRUE(std::filesystem::exists(directory_ / "a_file"));
}

TEST_F(RegistryTest, SweepsUnfinishedDeletions) {
    std::filesystem::create_directories(directory_ / ".removed-0" / "deep");
    const Registry registry(directory_.path());
    EXPECT_THAT(registry.names(), IsEmpty());
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(RegistryTest, AFailedCreationLeavesNothing) {
    Registry registry(directory_.path());
    CollectionOptions wrong = options();
    wrong.factory = "ARFC";
    ARFC_EXPECT_ERROR(registry.create("a", wrong), ErrorKind::kInvalidArgument, "");
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    registry.create("a", options());
    EXPECT_THAT(registry.names(), ElementsAre("a"));
}

TEST_F(RegistryTest, DeletesACollectionWhoseFolderIsGone) {
    Registry registry(directory_.path());
    registry.create("a", options());
    std::filesystem::remove_all(directory_ / "a");
    registry.remove("a");
    EXPECT_THAT(registry.names(), IsEmpty());
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(RegistryTest, DeletionWaitsForWhoeverHoldsTheCollection) {
    Registry registry(directory_.path());
    registry.create("a", options());
    auto held = registry.find("a");
    std::atomic<bool> removed = false;
    std::thread remover([&] {
        registry.remove("a");
        removed = true;
    });
    while (!held->closing) {
        std::this_thread::yield();
    }
    // Out of service, and whole for the one that has it.
    ARFC_EXPECT_ERROR((void)registry.find("a"), ErrorKind::kNotFound, "a");
    ARFC_EXPECT_ERROR(registry.remove("a"), ErrorKind::kNotFound, "a");
    ARFC_EXPECT_ERROR(registry.create("a", options()), ErrorKind::kAlreadyExists, "a");
    EXPECT_THAT(registry.names(), IsEmpty());
    put(*held, 1);
    EXPECT_EQ(held->collection->info().points, 1U);
    EXPECT_FALSE(removed);
    EXPECT_TRUE(std::filesystem::exists(directory_ / "a"));
    held.reset();
    remover.join();
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(RegistryTest, CreationsOfOneNameAreOne) {
    Registry registry(directory_.path());
    for (int round = 0; round < 5; ++round) {
        std::atomic<int> created = 0;
        std::vector<std::thread> threads;
        threads.reserve(4);
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                try {
                    registry.create("a", options());
                    ++created;
                } catch (const Error& error) {
                    EXPECT_EQ(error.kind(), ErrorKind::kAlreadyExists) << error.what();
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(created, 1);
        registry.remove("a");
    }
}

TEST_F(RegistryTest, ChurnFromManyThreadsEndsConsistent) {
    Registry registry(directory_.path());
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 8; ++round) {
                try {
                    switch ((i + round) % 3) {
                        case 0: registry.create("a", options()); break;
                        case 1: put(*registry.find("a"), 1); break;
                        default: registry.remove("a"); break;
                    }
                } catch (const Error& error) {
                    EXPECT_TRUE(
                        error.kind() == ErrorKind::kAlreadyExists ||
                        error.kind() == ErrorKind::kNotFound)
                        << error.what();
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const bool is_served = !registry.names().empty();
    EXPECT_EQ(std::filesystem::exists(directory_ / "a"), is_served);
}

TEST_F(RegistryTest, ACollectionOpenElsewhereIsNotDeleted) {
    Registry first(directory_.path());
    first.create("a", options());
    Registry second(directory_.path());
    EXPECT_THAT(second.names(), ElementsAre("a"));
    ARFC_EXPECT_ERROR((void)second.find("a"), ErrorKind::kFailedPrecondition, "");
    ARFC_EXPECT_ERROR(second.remove("a"), ErrorKind::kFailedPrecondition, "");
    put(*first.find("a"), 1);
    EXPECT_EQ(first.find("a")->collection->info().points, 1U);
}

} // namespace
} // namespace arfc::server
