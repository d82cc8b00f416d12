#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "arfc/index/vector_index.h"
#include "bindings.h"

namespace arfc::python {

namespace {

// clang-tidy 14 does not see that literals are uses of it.
using nb::literals::operator""_a; // NOLINT(misc-unused-using-decls)
using Ids = Vector<const std::int64_t>;
using StagePairs = std::vector<std::pair<std::size_t, std::size_t>>;

/// A VectorIndex that Python threads may share: readers beside each other, a writer alone. Locks
/// are taken without the interpreter's, because whoever holds one may need the interpreter for a
/// progress callback.
class SharedIndex {
  public:
    explicit SharedIndex(std::unique_ptr<VectorIndex> index) : index_(std::move(index)) {}

    /// Calls `task(const VectorIndex&)` beside other readers.
    template <class Task>
    auto read(Task&& task) const {
        const nb::gil_scoped_release unlocked;
        refuse_reentry();
        const std::shared_lock lock(mutex_);
        return task(std::as_const(*index_));
    }

    /// Calls `task(VectorIndex&)` alone.
    template <class Task>
    auto write(Task&& task) {
        const nb::gil_scoped_release unlocked;
        refuse_reentry();
        const std::unique_lock lock(mutex_);
        const Writing writing(writer_);
        return task(*index_);
    }

    /// Calls `task(VectorIndex& self, VectorIndex& other)` with both alone.
    template <class Task>
    void write_both(SharedIndex& other, Task&& task) {
        const nb::gil_scoped_release unlocked;
        refuse_reentry();
        other.refuse_reentry();
        if (&other == this) {
            fail(
                ErrorKind::kInvalidArgument,
                "Index takes in the rows of another, not of itself; rows: ", index_->ntotal());
        }
        const std::scoped_lock lock(mutex_, other.mutex_);
        const Writing writing(writer_);
        const Writing writing_other(other.writer_);
        task(*index_, *other.index_);
    }

    /// What never changes.
    [[nodiscard]] const VectorIndex& constant() const noexcept { return *index_; }

  private:
    /// Names this thread as the writer while it lives.
    class Writing {
      public:
        explicit Writing(std::atomic<std::thread::id>& writer) : writer_(writer) {
            writer_.store(std::this_thread::get_id());
        }
        Writing(const Writing&) = delete;
        Writing& operator=(const Writing&) = delete;
        ~Writing() { writer_.store({}); }

      private:
        std::atomic<std::thread::id>& writer_;
    };

    /// A progress callback that uses the index that calls it would wait for itself.
    void refuse_reentry() const {
        if (writer_.load() == std::this_thread::get_id()) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Index is busy with the call that this callback belongs to");
        }
    }

    std::unique_ptr<VectorIndex> index_;
    mutable std::shared_mutex mutex_;
    std::atomic<std::thread::id> writer_;
};

std::span<const std::int64_t> view(const Ids& ids) noexcept {
    return {ids.data(), ids.shape(0)};
}

VectorSearchParameters search_parameters(
    const StagePairs& stages, std::optional<std::size_t> nprobe,
    std::optional<std::size_t> ef_search, const std::optional<Ids>& allowed,
    const UntilPair& until) {
    VectorSearchParameters parameters;
    for (const auto& [length, limit] : stages) {
        parameters.stages.push_back({.bytes = length, .limit = limit});
    }
    parameters.nprobe = nprobe;
    parameters.ef_search = ef_search;
    parameters.until = to_until(until);
    if (allowed) {
        const std::span<const std::int64_t> ids = view(*allowed);
        parameters.allowed_ids.emplace(ids.begin(), ids.end());
    }
    return parameters;
}

std::unique_ptr<SharedIndex> create(std::size_t dim, const std::string& factory, int metric) {
    if (metric != static_cast<int>(Metric::kInnerProduct) &&
        metric != static_cast<int>(Metric::kL2)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Metric is neither METRIC_INNER_PRODUCT (0) nor METRIC_L2 (1): ", metric);
    }
    const nb::gil_scoped_release unlocked;
    return std::make_unique<SharedIndex>(
        VectorIndex::create(dim, factory, static_cast<Metric>(metric)));
}

std::unique_ptr<SharedIndex> open(const std::string& path) {
    const nb::gil_scoped_release unlocked;
    return std::make_unique<SharedIndex>(VectorIndex::read(path));
}

void train(
    SharedIndex& index, const Matrix<const float>& rows, std::optional<double> time_budget_s,
    std::uint64_t seed, const std::string& device, const nb::object& progress,
    const std::string& model, std::size_t lists_per_row) {
    const VectorTrainOptions options{
        .time_budget_s = time_budget_s,
        .seed = seed,
        .device = device,
        .progress = progress_function(progress),
        .model = model,
        .lists_per_row = lists_per_row};
    index.write([&](VectorIndex& self) { self.train(python::view(rows), options); });
}

void add(SharedIndex& index, const Matrix<const float>& rows) {
    index.write([&](VectorIndex& self) { self.add(python::view(rows)); });
}

void add_with_ids(SharedIndex& index, const Matrix<const float>& rows, const Ids& ids) {
    index.write([&](VectorIndex& self) { self.add_with_ids(python::view(rows), view(ids)); });
}

void search(
    const SharedIndex& index, const Matrix<const float>& queries, const StagePairs& stages,
    std::optional<std::size_t> nprobe, std::optional<std::size_t> ef_search,
    const std::optional<Ids>& allowed, const UntilPair& until, const Matrix<float>& distances,
    const Matrix<std::int64_t>& labels) {
    const VectorSearchParameters parameters =
        search_parameters(stages, nprobe, ef_search, allowed, until);
    index.read([&](const VectorIndex& self) {
        self.search(
            python::view(queries), labels.shape(1), parameters, python::view(distances),
            python::view(labels));
    });
}

/// Searches, and returns a word for how sure each answer is.
nb::list search_certified(
    const SharedIndex& index, const Matrix<const float>& queries, const StagePairs& stages,
    std::optional<std::size_t> nprobe, std::optional<std::size_t> ef_search,
    const std::optional<Ids>& allowed, const UntilPair& until, const Matrix<float>& distances,
    const Matrix<std::int64_t>& labels) {
    VectorSearchParameters parameters =
        search_parameters(stages, nprobe, ef_search, allowed, until);
    std::vector<Certainty> certainty;
    parameters.certainty = &certainty;
    index.read([&](const VectorIndex& self) {
        self.search(
            python::view(queries), labels.shape(1), parameters, python::view(distances),
            python::view(labels));
    });
    return names(certainty);
}

/// Returns (offsets, distances, labels).
nb::tuple range_search(
    const SharedIndex& index, const Matrix<const float>& queries, float radius,
    const StagePairs& stages, std::optional<std::size_t> nprobe,
    std::optional<std::size_t> ef_search, const std::optional<Ids>& allowed,
    const UntilPair& until) {
    const VectorSearchParameters parameters =
        search_parameters(stages, nprobe, ef_search, allowed, until);
    VectorIndex::RangeAnswer answer = index.read([&](const VectorIndex& self) {
        return self.range_search(python::view(queries), radius, parameters);
    });
    const std::size_t found = answer.labels.size();
    std::vector<std::uint64_t> offsets(answer.offsets.begin(), answer.offsets.end());
    const std::size_t count = offsets.size();
    return nb::make_tuple(
        owned_array(std::move(offsets), {count}), owned_array(std::move(answer.distances), {found}),
        owned_array(std::move(answer.labels), {found}));
}

nb::object reconstruct(const SharedIndex& index, std::int64_t id) {
    std::vector<float> row =
        index.read([&](const VectorIndex& self) { return self.reconstruct(id); });
    const std::size_t width = row.size();
    return owned_array(std::move(row), {width});
}

nb::object reconstruct_batch(const SharedIndex& index, const Ids& ids) {
    std::vector<float> rows =
        index.read([&](const VectorIndex& self) { return self.reconstruct(view(ids)); });
    return owned_array(std::move(rows), {ids.shape(0), index.constant().dim()});
}

nb::object reconstruct_rows(const SharedIndex& index, std::size_t first, std::size_t count) {
    std::vector<float> rows =
        index.read([&](const VectorIndex& self) { return self.reconstruct_rows(first, count); });
    return owned_array(std::move(rows), {count, index.constant().dim()});
}

void search_and_reconstruct(
    const SharedIndex& index, const Matrix<const float>& queries, const StagePairs& stages,
    std::optional<std::size_t> nprobe, std::optional<std::size_t> ef_search,
    const std::optional<Ids>& allowed, const UntilPair& until, const Matrix<float>& distances,
    const Matrix<std::int64_t>& labels, const Matrix<float>& reconstructed) {
    const VectorSearchParameters parameters =
        search_parameters(stages, nprobe, ef_search, allowed, until);
    index.read([&](const VectorIndex& self) {
        self.search_and_reconstruct(
            python::view(queries), labels.shape(1), parameters, python::view(distances),
            python::view(labels), python::view(reconstructed));
    });
}

void encode(
    const SharedIndex& index, const Matrix<const float>& rows, const Matrix<std::uint8_t>& codes) {
    index.read([&](const VectorIndex& self) { self.encode(python::view(rows), bytes(codes)); });
}

void decode(
    const SharedIndex& index, const Matrix<const std::uint8_t>& codes, const Matrix<float>& rows) {
    index.read([&](const VectorIndex& self) { self.decode(bytes(codes), python::view(rows)); });
}

void merge_from(SharedIndex& index, SharedIndex& other, std::int64_t add_id) {
    index.write_both(
        other, [&](VectorIndex& self, VectorIndex& from) { self.merge_from(from, add_id); });
}

std::size_t remove_ids(SharedIndex& index, const Ids& ids) {
    return index.write([&](VectorIndex& self) { return self.remove_ids(view(ids)); });
}

void reset(SharedIndex& index) {
    index.write([](VectorIndex& self) { self.reset(); });
}

void write(const SharedIndex& index, const std::string& path) {
    index.read([&](const VectorIndex& self) { self.write(path); });
}

} // namespace

void bind_index(nb::module_& module) {
    nb::class_<SharedIndex>(module, "Index")
        .def(
            "train", &train, "rows"_a.noconvert(), "time_budget_s"_a.none(), "seed"_a, "device"_a,
            "progress"_a.none(), "model"_a, "lists_per_row"_a)
        .def("add", &add, "rows"_a.noconvert())
        .def("add_with_ids", &add_with_ids, "rows"_a.noconvert(), "ids"_a.noconvert())
        .def(
            "search", &search, "queries"_a.noconvert(), "stages"_a, "nprobe"_a.none(),
            "ef_search"_a.none(), "allowed"_a.noconvert().none(), "until"_a.none(),
            "distances"_a.noconvert(), "labels"_a.noconvert())
        .def(
            "search_certified", &search_certified, "queries"_a.noconvert(), "stages"_a,
            "nprobe"_a.none(), "ef_search"_a.none(), "allowed"_a.noconvert().none(),
            "until"_a.none(), "distances"_a.noconvert(), "labels"_a.noconvert())
        .def(
            "range_search", &range_search, "queries"_a.noconvert(), "radius"_a, "stages"_a,
            "nprobe"_a.none(), "ef_search"_a.none(), "allowed"_a.noconvert().none(),
            "until"_a.none())
        .def("reconstruct", &reconstruct, "id"_a)
        .def("reconstruct_batch", &reconstruct_batch, "ids"_a.noconvert())
        .def("reconstruct_rows", &reconstruct_rows, "first"_a, "count"_a)
        .def(
            "search_and_reconstruct", &search_and_reconstruct, "queries"_a.noconvert(), "stages"_a,
            "nprobe"_a.none(), "ef_search"_a.none(), "allowed"_a.noconvert().none(),
            "until"_a.none(), "distances"_a.noconvert(), "labels"_a.noconvert(),
            "reconstructed"_a.noconvert())
        .def("encode", &encode, "rows"_a.noconvert(), "codes"_a.noconvert())
        .def("decode", &decode, "codes"_a.noconvert(), "rows"_a.noconvert())
        .def(
            "code_size",
            [](const SharedIndex& self) {
                return self.read([](const VectorIndex& i) { return i.code_size(); });
            })
        .def("merge_from", &merge_from, "other"_a, "add_id"_a)
        .def(
            "reverse_factory",
            [](const SharedIndex& self) {
                return self.read([](const VectorIndex& i) { return i.reverse_factory(); });
            })
        .def("remove_ids", &remove_ids, "ids"_a.noconvert())
        .def("reset", &reset)
        .def("write", &write, "path"_a)
        .def_prop_ro(
            "ntotal",
            [](const SharedIndex& self) {
                return self.read([](const VectorIndex& i) { return i.ntotal(); });
            })
        .def_prop_ro(
            "is_trained",
            [](const SharedIndex& self) {
                return self.read([](const VectorIndex& i) { return i.is_trained(); });
            })
        .def_prop_ro("dim", [](const SharedIndex& self) { return self.constant().dim(); })
        .def_prop_ro(
            "metric",
            [](const SharedIndex& self) { return static_cast<int>(self.constant().metric()); })
        .def_prop_ro("factory", [](const SharedIndex& self) { return self.constant().factory(); });
    module.def("create_index", &create, "dim"_a, "factory"_a, "metric"_a);
    module.def("read_index", &open, "path"_a);
}

} // namespace arfc::python
