// arfc_storage_crash_writer <directory> <script|train> [calls]: opens a store and works on it until
// it is killed. "script" goes on with the script where the store's epoch stands; "train" gives the
// raw rows that are there codes and publishes them, or waits to be killed after so many calls. Each
// call that returned is told on standard output by eight bytes: the step, or for train the calls so
// far and last, published, 0.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "script.h"

namespace arfc::storage::test {
namespace {

void acknowledge(std::uint64_t step) {
    if (::write(STDOUT_FILENO, &step, sizeof(step)) != sizeof(step)) {
        std::exit(3);
    }
}

void write_script(Store& store) {
    const bool with_raw = store.shape().head_bytes == 0;
    for (std::uint64_t step = store.snapshot()->epoch() + 1;; ++step) {
        const Batch batch = scripted_batch(store.shape(), step, with_raw);
        // Killing the process loses neither kind; syncing each step would make the rounds slow.
        const Durability durability = step % 16 == 0 ? Durability::kSynced : Durability::kBuffered;
        store.write(batch.mutation(store.shape()), durability);
        acknowledge(step);
    }
}

/// Gives each live row the codes of its point at version 1, row by row, then publishes.
/// @param most  Calls after which it waits; 0: it does not.
void train(Store& store, std::uint64_t most) {
    const Shape shape{
        .dim = store.shape().dim, .head_bytes = 16, .tail_bytes = 24, .model_id = "trained"};
    const auto snapshot = store.snapshot();
    std::uint64_t calls = 0;
    snapshot->for_each_point([&](PointId id, Row row) {
        const auto head = head_of(id, 1, shape);
        const auto tail = tail_of(id, 1, shape);
        store.write_codes(row, {head.data(), 1, head.size()}, {tail.data(), 1, tail.size()});
        acknowledge(++calls);
        if (calls == most) {
            ::pause();
        }
    });
    store.publish_codes(shape.head_bytes, shape.tail_bytes, shape.model_id);
    acknowledge(0);
    ::pause();
}

int run(int argc, char** argv) {
    if (argc != 3 && argc != 4) {
        std::fputs("usage: arfc_storage_crash_writer <directory> <script|train> [calls]\n", stderr);
        return 2;
    }
    const auto store = open_store(
        "rocksdb", {.directory = argv[1], .create = false, .read_only = false, .shape = {}});
    if (std::string_view(argv[2]) == "train") {
        train(*store, argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 0);
    } else {
        write_script(*store);
    }
    return 0;
}

} // namespace
} // namespace arfc::storage::test

int main(int argc, char** argv) {
    try {
        return arfc::storage::test::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
