#include "arfc/index/plan.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iomanip>
#include <memory>
#include <optional>
#include <sstream>

#include "arfc/base/error.h"
#include "arfc/index/collection.h"
#include "count_option.h"
#include "ingest/row_check.h"
#include "ingest/row_sample.h"
#include "model_argument.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "terminal/key_values.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBatchRows = 4096;

struct PlanArguments {
    std::string input; ///< A file of rows, or a collection.
    std::string format = "auto";
    std::string model;
    double recall = 0.9;
    std::size_t k = 10;
    std::optional<double> bytes;
    std::optional<std::size_t> rows;
    std::uint64_t seed = 0;
};

Json stages_json(const PlannedPoint& point) {
    Json stages = Json::array();
    for (const Stage& stage : point.stages) {
        stages.push_back({{"bytes", stage.bytes}, {"limit", stage.limit}});
    }
    return stages;
}

Json to_json(const PlannedPoint& point) {
    Json json = {{"factory", point.factory}, {"stages", stages_json(point)}};
    if (point.nprobe) {
        json["nprobe"] = *point.nprobe;
    }
    if (point.ef_search) {
        json["ef_search"] = *point.ef_search;
    }
    json.update(Json{
        {"predicted_recall", point.predicted_recall},
        {"recall_interval", {point.recall_low, point.recall_high}},
        {"measured_recall", point.measured_recall},
        {"bytes_per_row", point.bytes_per_row()},
        {"resident_bytes_per_row", point.resident_bytes_per_row},
        {"disk_bytes_per_row", point.disk_bytes_per_row},
        {"milliseconds", point.milliseconds}});
    return json;
}

Json to_json(const Plan& plan) {
    Json curve = Json::array();
    for (const PlannedPoint& point : plan.curve) {
        curve.push_back(to_json(point));
    }
    return {
        {"chosen", to_json(plan.chosen)},
        {"reaches_target", plan.reaches_target},
        {"reference", to_string(plan.reference)},
        {"rows", plan.rows},
        {"sample_rows", plan.sample_rows},
        {"queries", plan.queries},
        {"test_queries", plan.test_queries},
        {"model_bytes", plan.model_bytes},
        {"curve", std::move(curve)}};
}

/// Writes what `arfc search` takes: "--stages 16:30,24 --nprobe 8".
std::string search_options(const PlannedPoint& point) {
    std::string stages;
    for (const Stage& stage : point.stages) {
        stages += (stages.empty() ? "" : ",") + std::to_string(stage.bytes);
        if (&stage != &point.stages.back()) {
            stages += ":" + std::to_string(stage.limit);
        }
    }
    std::string text = "--stages " + stages;
    if (point.nprobe) {
        text += " --nprobe " + std::to_string(*point.nprobe);
    }
    if (point.ef_search) {
        text += " --ef-search " + std::to_string(*point.ef_search);
    }
    return text;
}

std::string curve_text(const Plan& plan) {
    std::ostringstream text;
    text << std::left << std::setw(18) << "factory" << std::right;
    for (const char* const title : {"recall", "measured", "resident", "disk", "ms"}) {
        text << std::setw(10) << title;
    }
    text << '\n';
    for (const PlannedPoint& point : plan.curve) {
        text << std::left << std::setw(18) << point.factory << std::right << std::setw(10)
             << with_digits(point.predicted_recall, 3) << std::setw(10)
             << with_digits(point.measured_recall, 3) << std::setw(10)
             << with_digits(point.resident_bytes_per_row, 1) << std::setw(10)
             << with_digits(point.disk_bytes_per_row, 1) << std::setw(10)
             << with_digits(point.milliseconds, 3) << '\n';
    }
    return text.str();
}

std::string verdict(const Plan& plan, const PlanArguments& arguments) {
    const std::string recall = "recall@" + std::to_string(arguments.k);
    if (plan.reaches_target) {
        return text_of(
            "Reaches ", recall, " of ", arguments.recall, " with ",
            with_digits(plan.chosen.bytes_per_row(), 1), " bytes a row");
    }
    return text_of(
        "No code ", arguments.bytes ? "within the budget " : "of the model ", "reaches ", recall,
        " of ", arguments.recall, "; this is the best of those that ",
        arguments.bytes ? "keep it" : "there are");
}

std::string plan_text(const Plan& plan, const PlanArguments& arguments) {
    const PlannedPoint& chosen = plan.chosen;
    std::string text = verdict(plan, arguments) + ".\n\n";
    text += key_values(
        {{"factory", chosen.factory},
         {"search", search_options(chosen)},
         {"recall", with_digits(chosen.predicted_recall, 3) + ", between " +
                        with_digits(chosen.recall_low, 3) + " and " +
                        with_digits(chosen.recall_high, 3) + " at 95 %, against " +
                        (plan.reference == PlanReference::kOriginals ? "the rows' exact neighbours"
                                                                     : "the longest prefix")},
         {"measured", with_digits(chosen.measured_recall, 3) + " by " + grouped(plan.test_queries) +
                          " queries that took no part, among " + grouped(plan.sample_rows) +
                          " rows"},
         {"bytes a row",
          with_digits(chosen.resident_bytes_per_row, 1) + " resident, " +
              with_digits(chosen.disk_bytes_per_row, 1) +
              " on disk; the model: " + readable_bytes(plan.model_bytes) + ", " +
              with_digits(
                  static_cast<double>(plan.model_bytes) / static_cast<double>(plan.rows), 1) +
              " a row"},
         {"a query", with_digits(chosen.milliseconds, 3) + " ms on this machine" +
                         (plan.rows > plan.sample_rows ? ", scaled by the rows scanned" : "")},
         {"rows", grouped(plan.rows)}});
    return text + "\nOther lengths, searched with hardly any loss\n" + curve_text(plan);
}

ProgressFunction planning_progress(Terminal& terminal) {
    return [&terminal](const Progress& progress) {
        const double fraction =
            static_cast<double>(progress.done) / static_cast<double>(progress.total);
        terminal.progress(
            progress.stage, fraction, grouped(progress.done) + " of " + grouped(progress.total));
        return !StopSignal::came();
    };
}

Plan plan_file(const PlanArguments& arguments, PlanOptions options, Terminal& terminal) {
    if (arguments.model.empty()) {
        fail(
            ErrorKind::kInvalidArgument,
            "A file of rows is planned for with a model; give --model DIR: ", arguments.input);
    }
    const auto model = Compressor::open(model_directory(arguments.model), "cpu");
    const auto reader = open_rows(arguments.input, arguments.format, model->dim());
    RowSample sample(model->dim(), kMostPlanRows, arguments.seed, reader->rows().value_or(0));
    RowBatch batch;
    while (reader->next(kBatchRows, batch)) {
        StopSignal::throw_if_came();
        reject_unusable(batch, model->metric());
        sample.add(batch.view());
        terminal.progress(
            "read", reader->fraction_read(), grouped(sample.rows_offered()) + " rows");
    }
    options.rows = options.rows.value_or(std::max<std::uint64_t>(sample.rows_offered(), 1));
    return plan(*model, sample.rows(), options);
}

Plan plan_collection(const PlanArguments& arguments, const PlanOptions& options) {
    if (!arguments.model.empty()) {
        fail(
            ErrorKind::kInvalidArgument,
            "A collection has a model of its own; leave --model out: ", arguments.model);
    }
    return Collection::open(arguments.input, {.read_only = true})->plan(options);
}

void make_plan(const PlanArguments& arguments, Terminal& terminal) {
    const StopSignal stop;
    const PlanOptions options{
        .target_recall = arguments.recall,
        .k = arguments.k,
        .most_bytes_per_row = arguments.bytes,
        .rows = arguments.rows,
        .seed = arguments.seed,
        .progress = planning_progress(terminal)};
    const Plan made = std::filesystem::is_directory(arguments.input)
                        ? plan_collection(arguments, options)
                        : plan_file(arguments, options, terminal);
    terminal.result(to_json(made), plan_text(made, arguments));
}

} // namespace

Run declare_plan(CLI::App& command) {
    const auto arguments = std::make_shared<PlanArguments>();
    command.add_option("input,--input", arguments->input, "File of embeddings, or a collection")
        ->required();
    command.add_option("--format", arguments->format, "One of " + row_format_names())
        ->capture_default_str();
    command.add_option("--model", arguments->model, std::string(kModelArgument) + "; of a file");
    command.add_option("--recall", arguments->recall, "recall@k to reach, in (0, 1]")
        ->capture_default_str();
    add_count(command, "-k", arguments->k, "Answers a query")->capture_default_str();
    command.add_option(
        "--bytes", arguments->bytes, "Most bytes a row, resident and on disk, ids included");
    add_count(command, "--rows", arguments->rows, "Rows to plan for, where not those of the input");
    add_count(command, "--seed", arguments->seed, "Same file and seed: same sample")
        ->capture_default_str();
    return [arguments](Terminal& terminal) { make_plan(*arguments, terminal); };
}

} // namespace arfc::tools
