// kill -9 of a writing process: what was acknowledged is there, whole.

#include <fcntl.h>
#include <poll.h>
#include <signal.h> // NOLINT(modernize-deprecated-headers): kill() is POSIX's, not C++'s
#include <sys/wait.h>
#include <unistd.h>

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
const Shape kRaw{.dim = 8, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};

/// A process that writes, until killed.
class CrashWriter {
  public:
    /// @param calls  After which it waits to be killed, where the task is "train"; 0: it goes on.
    CrashWriter(const std::filesystem::path& directory, const char* task, std::uint64_t calls = 0) {
        const std::string most = std::to_string(calls);
        int ends[2];
        if (::pipe(ends) != 0) {
            throw std::runtime_error("pipe failed");
        }
        acknowledgements_ = ends[0];
        process_ = ::fork();
        if (process_ == 0) {
            ::dup2(ends[1], STDOUT_FILENO);
            ::close(ends[0]);
            ::close(ends[1]);
            ::execl(
                ARFC_CRASH_WRITER, ARFC_CRASH_WRITER, directory.c_str(), task,
                calls > 0 ? most.c_str() : nullptr, nullptr);
            ::_exit(127);
        }
        ::close(ends[1]);
    }
    CrashWriter(const CrashWriter&) = delete;
    CrashWriter& operator=(const CrashWriter&) = delete;
    ~CrashWriter() { ::close(acknowledgements_); }

    /// Waits for the next acknowledgement.
    std::optional<std::uint64_t> next() const {
        std::uint64_t step = 0;
        return ::read(acknowledgements_, &step, sizeof(step)) == sizeof(step) ? std::optional(step)
                                                                              : std::nullopt;
    }

    /// Kills it. @returns the last acknowledgement; nothing where there was none.
    std::optional<std::uint64_t> kill() const {
        ::kill(process_, SIGKILL);
        int status = 0;
        ::waitpid(process_, &status, 0);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself";
        std::optional<std::uint64_t> last;
        while (const auto step = next()) {
            last = step;
        }
        return last;
    }

  private:
    int acknowledgements_ = -1;
    ::pid_t process_ = -1;
};

std::unique_ptr<Store> open(const std::filesystem::path& path) {
    return open_store(
        "rocksdb", {.directory = path, .create = false, .read_only = false, .shape = {}});
}

class Crash : public ::testing::TestWithParam<Shape> {};

INSTANTIATE_TEST_SUITE_P(Shapes, Crash, ::testing::Values(kCoded, kRaw), [](const auto& shape) {
    return shape.param.head_bytes > 0 ? "codes" : "raw";
});

TEST_P(Crash, EveryAcknowledgedMutationSurvivesWhole) {
    const arfc::test::TemporaryDirectory directory;
    const auto path = directory / "rocks";
    const bool has_raw = GetParam().head_bytes == 0;
    open_store(
        "rocksdb", {.directory = path, .create = true, .read_only = false, .shape = GetParam()})
        ->close();
    std::uint64_t before = 0;
    for (std::uint64_t round = 0; round < 8; ++round) {
        CrashWriter writer(path, "script");
        ASSERT_EQ(writer.next(), before + 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(mix(round) % 120));
        const std::uint64_t acknowledged = writer.kill().value_or(before + 1);
        const auto store = open(path);
        const auto snapshot = store->snapshot();
        EXPECT_GE(snapshot->epoch(), acknowledged);
        EXPECT_LE(snapshot->epoch(), acknowledged + 1); // Written, and killed before it could say
                                                        // so.
        expect_scripted(*snapshot, store->shape(), has_raw);
        ASSERT_FALSE(HasFailure()) << "round " << round;
        before = snapshot->epoch();
    }
    EXPECT_GT(before, 100U);
}

TEST(CrashOfATraining, CodesAreAllThereOrNotAtAll) {
    const arfc::test::TemporaryDirectory directory;
    int published = 0;
    int unpublished = 0;
    for (int round = 0; round < 8; ++round) {
        const auto path = directory / ("rocks-" + std::to_string(round));
        Expected expected;
        {
            const auto store = open_store(
                "rocksdb", {.directory = path, .create = true, .read_only = false, .shape = kRaw});
            for (PointId id = 0; id < 400; ++id) {
                expected[id] = 1;
            }
            std::vector<PointId> ids(400);
            std::generate(ids.begin(), ids.end(), [id = PointId{0}]() mutable { return id++; });
            store->write(make_batch(kRaw, ids, 1, true).mutation(kRaw), Durability::kSynced);
            store->close();
        }
        const std::uint64_t calls =
            round < 2 ? 400 : mix(static_cast<std::uint64_t>(round)) % 400 + 1;
        // Of the others, half wait, whatever the machine's load; half are killed while they write.
        CrashWriter writer(path, "train", round < 2 || round % 2 == 0 ? 0 : calls);
        while (writer.next() != calls) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(round)); // Some rounds end within
                                                                       // publish_codes().
        const bool was_told = writer.kill() == 0U;
        const auto store = open(path);
        Shape shape = store->shape();
        EXPECT_TRUE(shape.head_bytes > 0 || !was_told) << "published codes are gone";
        ++(shape.head_bytes > 0 ? published : unpublished);
        expect_holds(*store->snapshot(), shape, expected, true);
        if (shape.head_bytes == 0) {
            store->discard_unpublished_codes();
            expect_holds(*store->snapshot(), kRaw, expected, true);
            ARFC_EXPECT_ERROR(
                store->publish_codes(16, 24, "trained"), ErrorKind::kFailedPrecondition,
                "400 rows");
        } else {
            EXPECT_EQ(shape.model_id, "trained");
        }
    }
    EXPECT_GE(unpublished, 3);
    EXPECT_EQ(published + unpublished, 8);
}

} // namespace
} // namespace arfc::storage::test
