#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "arfc/base/error.h"
#include "arfc/index/collection.h"
#include "count_option.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBatchQueries = 1024;
constexpr std::size_t kShownPayloadBytes = 100;

struct SearchArguments {
    std::string collection;
    std::string query;
    std::string queries;
    std::string format = "auto";
    std::string stages;
    SearchOptions options;
};

/// Queries as rows, [count, dim].
struct Queries {
    std::vector<float> values;
    std::size_t dim = 0;
};

Queries read_queries(const SearchArguments& arguments, std::size_t dim) {
    if (!arguments.query.empty()) {
        Queries queries{.values = parse_vector(arguments.query)};
        queries.dim = queries.values.size(); // The collection refuses another width than its own.
        return queries;
    }
    Queries queries{.dim = dim};
    const auto reader = open_rows(arguments.queries, arguments.format, dim);
    RowBatch batch;
    while (reader->next(kBatchQueries, batch)) {
        if (!batch.rejected.empty()) {
            fail(
                ErrorKind::kInvalidArgument, "Query ", batch.rejected.front().row,
                " cannot be read: ", batch.rejected.front().reason);
        }
        queries.values.insert(
            queries.values.end(), batch.embeddings.begin(), batch.embeddings.end());
    }
    return queries;
}

/// Adds what a later batch of queries cost to what the earlier ones did.
void add_usage(std::vector<StageUsage>& total, const std::vector<StageUsage>& batch) {
    total.resize(std::max(total.size(), batch.size()));
    for (std::size_t i = 0; i < batch.size(); ++i) {
        total[i].bytes = batch[i].bytes;
        total[i].candidates += batch[i].candidates;
        total[i].bytes_read += batch[i].bytes_read;
        total[i].milliseconds += batch[i].milliseconds;
    }
}

SearchAnswer search_all(
    const Collection& collection, const Queries& queries, const SearchOptions& options,
    Terminal& terminal) {
    const MatrixView<const float> all(
        queries.values.data(), queries.values.size() / queries.dim, queries.dim);
    SearchAnswer answer;
    for (std::size_t first = 0; first < all.rows(); first += kBatchQueries) {
        StopSignal::throw_if_came();
        const std::size_t count = std::min(kBatchQueries, all.rows() - first);
        SearchAnswer part = collection.search(all.slice(first, count), options);
        std::move(part.hits.begin(), part.hits.end(), std::back_inserter(answer.hits));
        add_usage(answer.stages, part.stages);
        if (all.rows() > kBatchQueries) {
            terminal.progress(
                "search", static_cast<double>(first + count) / static_cast<double>(all.rows()),
                grouped(first + count) + " of " + grouped(all.rows()) + " queries");
        }
    }
    return answer;
}

Json hit_json(const Hit& hit, bool with_payload) {
    Json json = {{"id", hit.id}, {"score", hit.score}};
    if (with_payload) {
        // A payload was valid JSON when it was stored; should it not be, its text is shown.
        Json payload = Json::parse(hit.payload, nullptr, /*allow_exceptions=*/false);
        json["payload"] = hit.payload.empty()    ? Json()
                        : payload.is_discarded() ? Json(hit.payload)
                                                 : std::move(payload);
    }
    return json;
}

Json answer_json(const SearchAnswer& answer, bool with_payload) {
    Json results = Json::array();
    for (const std::vector<Hit>& hits : answer.hits) {
        Json list = Json::array();
        for (const Hit& hit : hits) {
            list.push_back(hit_json(hit, with_payload));
        }
        results.push_back({{"query", results.size()}, {"hits", std::move(list)}});
    }
    Json stages = Json::array();
    for (const StageUsage& stage : answer.stages) {
        stages.push_back(
            {{"bytes", stage.bytes},
             {"candidates", stage.candidates},
             {"bytes_read", stage.bytes_read},
             {"milliseconds", stage.milliseconds}});
    }
    return {{"results", std::move(results)}, {"stages", std::move(stages)}};
}

std::string answer_text(const SearchAnswer& answer) {
    std::string text;
    for (std::size_t i = 0; i < answer.hits.size(); ++i) {
        text += "query " + std::to_string(i) + "\n";
        for (const Hit& hit : answer.hits[i]) {
            std::string payload = hit.payload.substr(0, kShownPayloadBytes);
            payload += hit.payload.size() > kShownPayloadBytes ? "..." : "";
            text += "  " + with_digits(static_cast<double>(hit.score), 6) + "  id " +
                    std::to_string(hit.id) + (payload.empty() ? "" : "  " + payload) + "\n";
        }
    }
    for (const StageUsage& stage : answer.stages) {
        text += std::to_string(stage.bytes) + " bytes: " + grouped(stage.candidates) +
                " rows scored, " + readable_bytes(stage.bytes_read) + " read, " +
                with_digits(stage.milliseconds, 1) + " ms\n";
    }
    return text;
}

void search(SearchArguments arguments, Terminal& terminal) {
    const StopSignal stop;
    if (arguments.query.empty() == arguments.queries.empty()) {
        fail(ErrorKind::kInvalidArgument, "Give one of --query and --queries, and only one");
    }
    if (!arguments.stages.empty()) {
        for (const StageArgument& stage : parse_stages(arguments.stages)) {
            arguments.options.stages.push_back({.bytes = stage.bytes, .limit = stage.limit});
        }
    }
    // Read-only, so that it works beside a process that writes.
    const auto collection = Collection::open(arguments.collection, {.read_only = true});
    const Queries queries = read_queries(arguments, collection->info().dim);
    const SearchAnswer answer = search_all(*collection, queries, arguments.options, terminal);
    terminal.result(answer_json(answer, arguments.options.with_payload), answer_text(answer));
}

} // namespace

Run declare_search(CLI::App& command) {
    const auto arguments = std::make_shared<SearchArguments>();
    SearchOptions& options = arguments->options;
    command.add_option("--collection", arguments->collection, "Collection directory")->required();
    command.add_option("--query", arguments->query, "One query: \"[0.1, -2, ...]\"");
    command.add_option("--queries", arguments->queries, "File of queries");
    command.add_option("--format", arguments->format, "Of --queries: one of " + row_format_names())
        ->capture_default_str();
    add_count(command, "-k", options.k, "Answers a query")->capture_default_str();
    command.add_option(
        "--stages", arguments->stages,
        "Prefix lengths and the rows that each keeps, such as 16:200,96");
    add_count(command, "--nprobe", options.nprobe, "Lists of an IVF index to scan");
    add_count(
        command, "--ef-search", options.ef_search,
        "Rows that a walk through a graph keeps in view");
    command.add_flag("--exact", options.exact, "Scan everything and rank by the longest code");
    command.add_flag(
        "--with-payload", options.with_payload, "Show what was stored with the points");
    return [arguments](Terminal& terminal) { search(*arguments, terminal); };
}

} // namespace arfc::tools
