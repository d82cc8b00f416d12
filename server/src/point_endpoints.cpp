#include "endpoints.h"
#include "envelope.h"
#include "json_reader.h"
#include "points.h"
#include "registry.h"

namespace arfc::server {

namespace {

constexpr std::string_view kUpsertFieldsNotOffered[] = {
    "shard_key", "update_filter", "update_mode"};
constexpr std::string_view kDeleteFieldsNotOffered[] = {"filter", "shard_key"};

/// Points on their way into a collection.
struct Batch {
    std::vector<PointId> ids;
    std::vector<float> embeddings; ///< [n, dim].
    std::vector<std::string> payloads;
};

/// Returns a payload's text, "" for null.
std::string read_payload(JsonValue& value) {
    std::string payload;
    if (value.take_null()) {
        return payload;
    }
    if (value.type() != JsonValue::Type::kObject) {
        value.refuse_value("Payload is not an object");
    }
    JsonWriter writer(payload);
    value.copy_to(writer);
    return payload;
}

void read_point(JsonValue& point, std::size_t dim, Batch& batch) {
    bool has_id = false;
    bool has_vector = false;
    std::string payload;
    point.each_field([&](std::string_view name, JsonValue& field) {
        if (name == "id") {
            batch.ids.push_back(read_point_id(field));
            has_id = true;
        } else if (name == "vector") {
            append_embedding(field, dim, batch.embeddings);
            has_vector = true;
        } else if (name == "payload") {
            payload = read_payload(field);
        } else {
            field.refuse(name);
        }
    });
    if (!has_id || !has_vector) {
        refuse_missing(point.path().field(has_id ? "vector" : "id").text());
    }
    batch.payloads.push_back(std::move(payload));
}

void read_columns(JsonValue& columns, std::size_t dim, Batch& batch) {
    bool has_payloads = false;
    columns.each_field([&](std::string_view name, JsonValue& field) {
        if (name == "ids") {
            field.each_element(
                [&](std::size_t, JsonValue& id) { batch.ids.push_back(read_point_id(id)); });
        } else if (name == "vectors") {
            if (field.type() == JsonValue::Type::kObject) {
                field.refuse_as_not_offered(); // Named vectors.
            }
            field.each_element([&](std::size_t, JsonValue& vector) {
                append_embedding(vector, dim, batch.embeddings);
            });
        } else if (name == "payloads") {
            if (field.take_null()) {
                return;
            }
            has_payloads = true;
            field.each_element([&](std::size_t, JsonValue& payload) {
                batch.payloads.push_back(read_payload(payload));
            });
        } else {
            field.refuse(name);
        }
    });
    const std::size_t rows = batch.embeddings.size() / dim;
    if (batch.ids.size() != rows || (has_payloads && batch.payloads.size() != rows)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Columns of a batch differ in length: batch has ids, vectors, payloads ",
            batch.ids.size(), ", ", rows, ", ", batch.payloads.size());
    }
}

Batch read_batch(const std::string& body, std::size_t dim) {
    Batch batch;
    bool has_points = false;
    JsonDocument(body).read([&](std::string_view name, JsonValue& field) {
        const bool is_points = name == "points" || name == "batch";
        if (is_points && has_points) {
            fail(ErrorKind::kInvalidArgument, "Body has both: points, batch");
        }
        has_points = has_points || is_points;
        if (name == "points") {
            field.each_element(
                [&](std::size_t, JsonValue& point) { read_point(point, dim, batch); });
        } else if (name == "batch") {
            read_columns(field, dim, batch);
        } else {
            field.refuse(name, kUpsertFieldsNotOffered);
        }
    });
    if (!has_points) {
        refuse_missing("points");
    }
    return batch;
}

std::vector<PointId> read_ids(const std::string& body) {
    std::vector<PointId> ids;
    bool has_points = false;
    JsonDocument(body).read([&](std::string_view name, JsonValue& field) {
        if (name == "points") {
            field.each_element(
                [&](std::size_t, JsonValue& id) { ids.push_back(read_point_id(id)); });
            has_points = true;
        } else {
            field.refuse(name, kDeleteFieldsNotOffered);
        }
    });
    if (!has_points) {
        refuse_missing("points");
    }
    return ids;
}

Response updated(const Call& call) {
    Success success(call.request);
    success.result().begin_object();
    success.result().field("status", call.wait ? "completed" : "acknowledged");
    success.result().end_object();
    return success.finish();
}

} // namespace

Response upsert_points(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    const Batch batch = read_batch(call.request.body, served->dim);
    const MatrixView<const float> embeddings(
        batch.embeddings.data(), batch.ids.size(), served->dim);
    served->collection->upsert(batch.ids, embeddings, batch.payloads, call.wait);
    return updated(call);
}

Response delete_points(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    const std::vector<PointId> ids = read_ids(call.request.body);
    served->collection->remove(ids, call.wait);
    return updated(call);
}

Response get_point(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    const PointId id = point_id_from_text(call.captures[1], "id");
    const auto points = served->collection->get({&id, 1}, true);
    if (points.empty()) {
        fail(
            ErrorKind::kNotFound, "There is no such point in collection ", call.captures[0], ": ",
            id);
    }
    Success success(call.request);
    JsonWriter& json = success.result();
    json.begin_object();
    json.field("id", points[0].id);
    json.key("payload");
    write_payload(json, points[0].payload);
    json.key("vector");
    write_vector(json, points[0].vector);
    json.end_object();
    return success.finish();
}

} // namespace arfc::server
