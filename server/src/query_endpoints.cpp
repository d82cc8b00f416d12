#include <algorithm>
#include <optional>
#include <unordered_map>

#include "distance.h"
#include "endpoints.h"
#include "envelope.h"
#include "json_reader.h"
#include "points.h"
#include "registry.h"

namespace arfc::server {

namespace {

constexpr std::uint64_t kLargestLimit = 100'000; // Answers are made in memory: some tens of
                                                 // megabytes at most.

constexpr std::string_view kQueryFieldsNotOffered[] = {
    "filter", "prefetch", "using", "shard_key", "lookup_from"};
constexpr std::string_view kKindsNotOffered[] = {
    "recommend",
    "discover",
    "context",
    "order_by",
    "fusion",
    "rrf",
    "formula",
    "sample",
    "mmr",
    "indices",
    "values",
    "text",
    "model",
    "image",
    "object",
    "options",
    "relevance_feedback",
};
constexpr std::string_view kOptionalFields[] = {
    "limit", "offset", "score_threshold", "with_payload", "with_vector", "params",
};
constexpr std::string_view kOptionalParameters[] = {"exact", "hnsw_ef", "arfc"};
constexpr std::string_view kOptionalExtensions[] = {"stages", "nprobe", "until", "max_bytes"};
constexpr std::string_view kParametersNotOffered[] = {"indexed_only", "acorn", "idf"};

/// One query as it was asked.
struct Query {
    std::vector<float> embedding; ///< Empty: none was given.
    std::size_t limit = 10;
    std::size_t offset = 0;
    std::optional<float> score_threshold;
    bool with_vector = false;
    SearchOptions search;
};

/// Reads what to search for: an array of numbers, or an object with it under "nearest".
void read_embedding(JsonValue& value, std::size_t dim, std::vector<float>& out) {
    switch (value.type()) {
        case JsonValue::Type::kNumber:
        case JsonValue::Type::kString:
            value.refuse_as_not_offered(); // The id of a point to start from.
        case JsonValue::Type::kObject:
            value.each_field([&](std::string_view name, JsonValue& field) {
                if (name == "nearest" && field.type() == JsonValue::Type::kArray) {
                    append_embedding(field, dim, out, "Query");
                } else if (name == "nearest") {
                    field.refuse_as_not_offered(); // An id, a sparse vector or something to embed.
                } else {
                    field.refuse(name, kKindsNotOffered);
                }
            });
            return;
        case JsonValue::Type::kArray:
        case JsonValue::Type::kBoolean:
        case JsonValue::Type::kNull: append_embedding(value, dim, out, "Query"); return;
    }
}

Stage read_stage(JsonValue& value) {
    Stage stage;
    value.each_field([&](std::string_view name, JsonValue& field) {
        if (name == "bytes") {
            stage.bytes = field.unsigned_number(1);
        } else if (name == "limit") {
            stage.limit = field.unsigned_number(1);
        } else {
            field.refuse(name);
        }
    });
    if (stage.bytes == 0) {
        refuse_missing(value.path().field("bytes").text());
    }
    return stage;
}

/// Reads "certain" or {"confidence": p}.
Until read_until(JsonValue& value) {
    Until until;
    if (value.type() == JsonValue::Type::kObject) {
        value.each_field([&](std::string_view name, JsonValue& field) {
            if (name == "confidence") {
                until.confidence = field.number();
            } else {
                field.refuse(name);
            }
        });
        if (!until.confidence) {
            refuse_missing(value.path().field("confidence").text());
        }
    } else if (const std::string_view word = value.string(); word != "certain") {
        fail(
            ErrorKind::kInvalidArgument,
            "Field is neither \"certain\" nor an object with \"confidence\": ", value.path().text(),
            ", \"", word, "\"");
    }
    return until;
}

void read_extension(JsonValue& extension, SearchOptions& search) {
    std::optional<std::uint64_t> max_bytes;
    extension.each_field([&](std::string_view name, JsonValue& field) {
        if (field.is_absent(name, kOptionalExtensions)) {
            return;
        }
        if (name == "stages") {
            field.each_element(
                [&](std::size_t, JsonValue& stage) { search.stages.push_back(read_stage(stage)); });
        } else if (name == "nprobe") {
            search.nprobe = field.unsigned_number(1);
        } else if (name == "until") {
            search.until = read_until(field);
        } else if (name == "max_bytes") {
            max_bytes = field.unsigned_number(1);
        } else {
            field.refuse(name);
        }
    });
    if (max_bytes && !search.until) {
        refuse_missing(extension.path().field("until").text());
    }
    if (search.until) {
        search.until->max_bytes = max_bytes;
    }
}

void read_parameters(JsonValue& parameters, SearchOptions& search) {
    parameters.each_field([&](std::string_view name, JsonValue& field) {
        if (field.is_absent(name, kOptionalParameters)) {
            return;
        }
        if (name == "exact") {
            search.exact = field.boolean();
        } else if (name == "hnsw_ef") {
            search.ef_search = field.unsigned_number(1); // Without effect where there is no graph,
                                                         // as in Qdrant.
        } else if (name == "arfc") {
            read_extension(field, search);
        } else {
            field.refuse(name, kParametersNotOffered);
        }
    });
}

/// Reads a switch that may also be a selection of fields or vectors, which is not offered.
bool read_switch(JsonValue& value) {
    if (value.type() == JsonValue::Type::kArray || value.type() == JsonValue::Type::kObject) {
        value.refuse_as_not_offered();
    }
    return value.boolean();
}

Query read_query(const std::string& body, std::size_t dim) {
    Query query;
    JsonDocument(body).read([&](std::string_view name, JsonValue& field) {
        if (field.is_absent(name, kOptionalFields)) {
            return;
        }
        if (name == "query") {
            read_embedding(field, dim, query.embedding);
        } else if (name == "limit") {
            query.limit = field.unsigned_number(1, kLargestLimit);
        } else if (name == "offset") {
            query.offset = field.unsigned_number(0, kLargestLimit);
        } else if (name == "score_threshold") {
            query.score_threshold = field.number_as_float();
        } else if (name == "with_payload") {
            query.search.with_payload = read_switch(field);
        } else if (name == "with_vector") {
            query.with_vector = read_switch(field);
        } else if (name == "params") {
            read_parameters(field, query.search);
        } else {
            field.refuse(name, kQueryFieldsNotOffered);
        }
    });
    if (query.embedding.empty()) {
        refuse_missing("query");
    }
    query.search.k = query.limit + query.offset;
    return query;
}

/// Turns the scores into REST's and keeps what was asked for.
std::vector<Hit> select_hits(std::vector<Hit> hits, const Query& query, Metric metric) {
    hits.erase(
        hits.begin(),
        hits.begin() + static_cast<std::ptrdiff_t>(std::min(query.offset, hits.size())));
    for (Hit& hit : hits) {
        hit.score = rest_score(metric, hit.score);
    }
    if (query.score_threshold) {
        std::erase_if(hits, [&](const Hit& hit) {
            return !reaches(metric, hit.score, *query.score_threshold);
        });
    }
    return hits;
}

using Vectors = std::unordered_map<PointId, std::vector<float>>;

Vectors fetch_vectors(const Collection& collection, const std::vector<Hit>& hits) {
    std::vector<PointId> ids;
    ids.reserve(hits.size());
    for (const Hit& hit : hits) {
        ids.push_back(hit.id);
    }
    Vectors vectors;
    for (Collection::Point& point : collection.get(ids, true)) {
        vectors.emplace(point.id, std::move(point.vector));
    }
    return vectors;
}

void write_hit(JsonWriter& json, const Hit& hit, const Query& query, const Vectors& vectors) {
    json.begin_object();
    json.field("id", hit.id);
    json.field("version", 0);
    json.field("score", hit.score);
    if (query.search.with_payload) {
        json.key("payload");
        write_payload(json, hit.payload);
    }
    const auto vector = vectors.find(hit.id); // A point deleted since the search has none.
    if (vector != vectors.end()) {
        json.key("vector");
        write_vector(json, vector->second);
    }
    json.end_object();
}

void write_usage(JsonWriter& json, const SearchAnswer& answer) {
    json.key("arfc");
    json.begin_object();
    json.key("stages");
    json.begin_array();
    for (const StageUsage& stage : answer.stages) {
        json.begin_object();
        json.field("bytes", stage.bytes);
        json.field("candidates", stage.candidates);
        json.field("bytes_read", stage.bytes_read);
        json.field("milliseconds", stage.milliseconds);
        json.end_object();
    }
    json.end_array();
    if (!answer.certainty.empty()) {
        const Certainty certainty = answer.certainty.front();
        json.field("certain", certainty >= Certainty::kCodes);
        json.field("certainty", to_string(certainty));
    }
    json.end_object();
}

} // namespace

Response query_points(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    const Query query = read_query(call.request.body, served->dim);
    SearchAnswer answer = served->collection->search(
        MatrixView<const float>(query.embedding.data(), 1, served->dim), query.search);
    const std::vector<Hit> hits = select_hits(std::move(answer.hits.at(0)), query, served->metric);
    const Vectors vectors =
        query.with_vector ? fetch_vectors(*served->collection, hits) : Vectors();
    Success success(call.request);
    JsonWriter& json = success.result();
    json.begin_object();
    json.key("points");
    json.begin_array();
    for (const Hit& hit : hits) {
        write_hit(json, hit, query, vectors);
    }
    json.end_array();
    write_usage(json, answer);
    json.end_object();
    return success.finish();
}

} // namespace arfc::server
