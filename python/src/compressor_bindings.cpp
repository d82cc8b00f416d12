#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <tuple>

#include "arfc/compressor/compressor.h"
#include "bindings.h"

namespace arfc::python {

namespace {

// clang-tidy 14 does not see that literals are uses of it.
using nb::literals::operator""_a; // NOLINT(misc-unused-using-decls)
using Report =
    std::tuple<std::size_t, std::size_t, double, bool, nb::dict, nb::dict, nb::list, nb::object>;

std::unique_ptr<Compressor> train(
    const Matrix<const float>& embeddings, std::size_t code_bytes, const std::string& metric,
    std::optional<double> time_budget_s, std::uint64_t seed, bool relations, bool features,
    const std::string& device, const nb::object& progress, const std::string& checkpoint,
    double checkpoint_every_s, bool resume, bool compact,
    const std::optional<Matrix<const float>>& queries,
    const std::optional<Matrix<const float>>& pair_queries,
    const std::optional<Matrix<const float>>& pair_rows,
    const std::array<double, 3>& prefix_schedule) {
    TrainOptions options{
        .code_bytes = code_bytes,
        .metric = metric_from_string(metric),
        .time_budget_s = time_budget_s,
        .seed = seed,
        .relations = relations,
        .prefix_schedule = {prefix_schedule[0], prefix_schedule[1], prefix_schedule[2]},
        .features = features,
        .compact = compact,
        .device = device,
        .progress = progress_function(progress),
        .checkpoint = checkpoint,
        .checkpoint_every_s = checkpoint_every_s,
        .resume = resume};
    if (queries) {
        options.queries = view(*queries);
    }
    if (pair_queries && pair_rows) {
        options.pair_queries = view(*pair_queries);
        options.pair_rows = view(*pair_rows);
    }
    const nb::gil_scoped_release unlocked;
    return Compressor::train(view(embeddings), options);
}

std::unique_ptr<Compressor> open(const std::string& directory, const std::string& device) {
    const nb::gil_scoped_release unlocked;
    return Compressor::open(directory, device);
}

/// Returns (pairs, is_kept, (queries, before, after) of seen ones, and of unseen ones), or None.
nb::object pair_report(const std::optional<PairReport>& made) {
    if (!made) {
        return nb::none();
    }
    const auto accuracy = [](const PairAccuracy& of) {
        return nb::make_tuple(of.queries, of.before, of.after);
    };
    return nb::make_tuple(made->pairs, made->is_kept, accuracy(made->seen), accuracy(made->unseen));
}

nb::dict recall_by_bytes(std::span<const HeldOutRecall> recall) {
    nb::dict out;
    for (const HeldOutRecall& point : recall) {
        out[nb::int_(point.bytes)] = point.recall_at_10;
    }
    return out;
}

Report report(const Compressor& compressor) {
    const TrainReport& made = compressor.report();
    nb::list parts;
    for (const PartReport& part : made.parts) {
        parts.append(nb::make_tuple(part.part, part.is_kept, recall_by_bytes(part.recall)));
    }
    nb::dict residuals;
    for (const HeldOutResidual& point : made.residuals) {
        residuals[nb::int_(point.bytes)] = point.share;
    }
    return {
        made.trained_rows,
        made.held_out_rows,
        made.seconds,
        made.stopped_by_budget,
        recall_by_bytes(made.recall),
        residuals,
        parts,
        pair_report(made.pairs)};
}

/// Returns (rows, beyond threshold, [(bytes, residual, held-out residual, ratio, threshold)]).
std::tuple<std::size_t, bool, nb::list> drift(
    const Compressor& compressor, const Matrix<const float>& embeddings) {
    const Drift drift = [&] {
        const nb::gil_scoped_release unlocked;
        return compressor.drift(view(embeddings));
    }();
    nb::list points;
    for (const DriftPoint& point : drift.points) {
        points.append(nb::make_tuple(
            point.bytes, point.residual, point.held_out_residual, point.ratio, point.threshold));
    }
    return {drift.rows, drift.is_beyond_threshold(), points};
}

void encode(
    const Compressor& compressor, const Matrix<const float>& embeddings,
    const Matrix<std::uint8_t>& codes) {
    const nb::gil_scoped_release unlocked;
    compressor.encode(view(embeddings), codes.shape(1), bytes(codes));
}

void decode(
    const Compressor& compressor, const Matrix<const std::uint8_t>& codes,
    const Matrix<float>& embeddings) {
    const nb::gil_scoped_release unlocked;
    compressor.decode(bytes(codes), view(embeddings));
}

void score(
    const Compressor& compressor, const Matrix<const float>& queries,
    const Matrix<const std::uint8_t>& codes, bool neural, const Matrix<float>& scores) {
    const nb::gil_scoped_release unlocked;
    compressor.score(view(queries), bytes(codes), neural, view(scores));
}

void features(
    const Compressor& compressor, const Matrix<const float>& embeddings,
    const Matrix<float>& features) {
    const nb::gil_scoped_release unlocked;
    compressor.features(view(embeddings), view(features));
}

void save(const Compressor& compressor, const std::string& directory) {
    const nb::gil_scoped_release unlocked;
    compressor.save(directory);
}

void remove_checkpoint(const std::string& directory) {
    const nb::gil_scoped_release unlocked;
    Compressor::remove_checkpoint(directory);
}

} // namespace

void bind_compressor(nb::module_& module) {
    nb::class_<Compressor>(module, "Compressor")
        .def_prop_ro("dim", &Compressor::dim)
        .def_prop_ro("code_bytes", &Compressor::code_bytes)
        .def_prop_ro(
            "metric", [](const Compressor& self) { return std::string(to_string(self.metric())); })
        .def_prop_ro("id", [](const Compressor& self) { return self.id(); })
        .def_prop_ro("model_bytes", &Compressor::model_bytes)
        .def_prop_ro("report", &report)
        .def("drift", &drift, "embeddings"_a.noconvert())
        .def("encode", &encode, "embeddings"_a.noconvert(), "codes"_a.noconvert())
        .def("decode", &decode, "codes"_a.noconvert(), "embeddings"_a.noconvert())
        .def(
            "score", &score, "queries"_a.noconvert(), "codes"_a.noconvert(), "neural"_a,
            "scores"_a.noconvert())
        .def_prop_ro("has_features", &Compressor::has_features)
        .def("features", &features, "embeddings"_a.noconvert(), "features"_a.noconvert())
        .def("save", &save, "directory"_a);
    module.def(
        "train_compressor", &train, "embeddings"_a.noconvert(), "code_bytes"_a, "metric"_a,
        "time_budget_s"_a.none(), "seed"_a, "relations"_a, "features"_a, "device"_a,
        "progress"_a.none(), "checkpoint"_a, "checkpoint_every_s"_a, "resume"_a, "compact"_a,
        "queries"_a.noconvert().none(), "pair_queries"_a.noconvert().none(),
        "pair_rows"_a.noconvert().none(), "prefix_schedule"_a);
    module.def("remove_checkpoint", &remove_checkpoint, "directory"_a);
    module.def("open_compressor", &open, "directory"_a, "device"_a);
    module.def("set_num_threads", &set_num_threads, "threads"_a);
    module.def("num_threads", &num_threads);
}

} // namespace arfc::python
