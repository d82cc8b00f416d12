#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "arfc/index/collection.h"
#include "bindings.h"

namespace arfc::python {

namespace {

// clang-tidy 14 does not see that literals are uses of it.
using nb::literals::operator""_a; // NOLINT(misc-unused-using-decls)
using TrainedValues = std::tuple<std::string, std::size_t, double, std::optional<double>, bool>;

std::unique_ptr<Collection> create(
    const std::string& directory, std::size_t dim, const std::string& metric,
    const std::string& factory, const std::string& model, bool calibration) {
    const CollectionOptions options{
        .dim = dim,
        .metric = metric_from_string(metric),
        .factory = factory,
        .model = model,
        .calibration = calibration};
    const nb::gil_scoped_release unlocked;
    return Collection::create(directory, options);
}

std::unique_ptr<Collection> open(
    const std::string& directory, bool read_only, const std::string& device) {
    const nb::gil_scoped_release unlocked;
    return Collection::open(directory, {.read_only = read_only, .device = device});
}

TrainedValues train(
    Collection& collection, std::optional<double> time_budget_s, std::uint64_t seed, bool keep_raw,
    double minimum_recall, const std::string& device, const nb::object& progress) {
    const CollectionTrainOptions options{
        .time_budget_s = time_budget_s,
        .seed = seed,
        .keep_raw = keep_raw,
        .minimum_recall = minimum_recall,
        .device = device,
        .progress = progress_function(progress)};
    const nb::gil_scoped_release unlocked;
    const CollectionTrainReport made = collection.train(options);
    return {made.model_id, made.rows, made.seconds, made.held_out_recall, made.raw_dropped};
}

std::span<const PointId> view(const Vector<const std::uint64_t>& ids) noexcept {
    return {ids.data(), ids.shape(0)};
}

void upsert(
    Collection& collection, const Vector<const std::uint64_t>& ids,
    const Matrix<const float>& embeddings, const std::vector<std::string>& payloads, bool wait) {
    const nb::gil_scoped_release unlocked;
    collection.upsert(view(ids), python::view(embeddings), payloads, wait);
}

bool optimize(Collection& collection, const nb::object& progress) {
    const ProgressFunction function = progress_function(progress);
    const nb::gil_scoped_release unlocked;
    return collection.optimize(function);
}

std::size_t remove(Collection& collection, const Vector<const std::uint64_t>& ids, bool wait) {
    const nb::gil_scoped_release unlocked;
    return collection.remove(view(ids), wait);
}

/// Returns (ids, scores, payloads or None, stages, certainty or None): a NumPy vector per query, a
/// tuple per stage, a word per query.
nb::tuple to_tuple(const SearchAnswer& answer, bool with_payload, bool with_certainty) {
    nb::list ids;
    nb::list scores;
    nb::list payloads;
    for (const std::vector<Hit>& hits : answer.hits) {
        std::vector<std::uint64_t> hit_ids;
        std::vector<float> hit_scores;
        nb::list texts;
        for (const Hit& hit : hits) {
            hit_ids.push_back(hit.id);
            hit_scores.push_back(hit.score);
            if (with_payload) {
                texts.append(nb::str(hit.payload.data(), hit.payload.size()));
            }
        }
        ids.append(owned_array(std::move(hit_ids), {hits.size()}));
        scores.append(owned_array(std::move(hit_scores), {hits.size()}));
        payloads.append(texts);
    }
    nb::list stages;
    for (const StageUsage& stage : answer.stages) {
        stages.append(
            nb::make_tuple(stage.bytes, stage.candidates, stage.bytes_read, stage.milliseconds));
    }
    return nb::make_tuple(
        ids, scores, with_payload ? nb::object(payloads) : nb::none(), stages,
        with_certainty ? nb::object(names(answer.certainty)) : nb::none());
}

nb::tuple search(
    const Collection& collection, const Matrix<const float>& queries, std::size_t k,
    const std::vector<std::pair<std::size_t, std::size_t>>& stages,
    std::optional<std::size_t> nprobe, std::optional<std::size_t> ef_search, bool exact,
    bool with_payload, const UntilPair& until) {
    SearchOptions options;
    options.k = k;
    options.nprobe = nprobe;
    options.ef_search = ef_search;
    options.exact = exact;
    options.with_payload = with_payload;
    options.until = to_until(until);
    for (const auto& [length, limit] : stages) {
        options.stages.push_back({.bytes = length, .limit = limit});
    }
    SearchAnswer answer;
    {
        const nb::gil_scoped_release unlocked;
        answer = collection.search(python::view(queries), options);
    }
    return to_tuple(answer, with_payload, until.has_value());
}

/// Returns a list of (id, payload text, vector or None).
nb::list get(
    const Collection& collection, const Vector<const std::uint64_t>& ids, bool with_vector) {
    std::vector<Collection::Point> points;
    {
        const nb::gil_scoped_release unlocked;
        points = collection.get(view(ids), with_vector);
    }
    nb::list read;
    for (Collection::Point& point : points) {
        const std::size_t width = point.vector.size();
        nb::object vector =
            with_vector ? owned_array(std::move(point.vector), {width}) : nb::none();
        read.append(
            nb::make_tuple(point.id, nb::str(point.payload.data(), point.payload.size()), vector));
    }
    return read;
}

nb::dict info(const Collection& collection) {
    CollectionInfo read;
    {
        const nb::gil_scoped_release unlocked;
        read = collection.info();
    }
    nb::dict values;
    values["dim"] = read.dim;
    values["metric"] = std::string(to_string(read.metric));
    values["factory"] = read.factory;
    values["model_id"] = read.model_id;
    values["points"] = read.points;
    values["tombstones"] = read.tombstones;
    values["code_bytes"] = read.code_bytes;
    values["stage_bytes"] = read.stage_bytes;
    values["nlist"] = read.nlist;
    values["default_nprobe"] = read.default_nprobe;
    values["resident_bytes"] = read.resident_bytes;
    values["resident_head_bytes"] = read.resident_head_bytes;
    values["resident_id_bytes"] = read.resident_id_bytes;
    values["resident_norm_bytes"] = read.resident_norm_bytes;
    values["resident_radius_bytes"] = read.resident_radius_bytes;
    values["model_bytes"] = read.model_bytes;
    values["disk_bytes"] = read.disk_bytes;
    values["calibration_rows"] = read.calibration_rows;
    values["calibration_bytes"] = read.calibration_bytes;
    values["has_raw"] = read.has_raw;
    return values;
}

void drop_calibration(Collection& collection) {
    const nb::gil_scoped_release unlocked;
    collection.drop_calibration();
}

void close(Collection& collection) {
    const nb::gil_scoped_release unlocked;
    collection.close();
}

} // namespace

void bind_collection(nb::module_& module) {
    nb::class_<Collection>(module, "Collection")
        .def(
            "train", &train, "time_budget_s"_a.none(), "seed"_a, "keep_raw"_a, "minimum_recall"_a,
            "device"_a, "progress"_a.none())
        .def(
            "upsert", &upsert, "ids"_a.noconvert(), "embeddings"_a.noconvert(), "payloads"_a,
            "wait"_a)
        .def("optimize", &optimize, "progress"_a.none())
        .def("remove", &remove, "ids"_a.noconvert(), "wait"_a)
        .def(
            "search", &search, "queries"_a.noconvert(), "k"_a, "stages"_a, "nprobe"_a.none(),
            "ef_search"_a.none(), "exact"_a, "with_payload"_a, "until"_a.none())
        .def("get", &get, "ids"_a.noconvert(), "with_vector"_a)
        .def("info", &info)
        .def(
            "plan", &plan_collection, "target_recall"_a, "k"_a, "most_bytes_per_row"_a.none(),
            "rows"_a.none(), "seed"_a, "progress"_a.none())
        .def("drop_calibration", &drop_calibration)
        .def("close", &close);
    module.def(
        "create_collection", &create, "directory"_a, "dim"_a, "metric"_a, "factory"_a, "model"_a,
        "calibration"_a);
    module.def("open_collection", &open, "directory"_a, "read_only"_a, "device"_a);
}

} // namespace arfc::python
