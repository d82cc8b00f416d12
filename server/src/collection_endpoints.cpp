#include "distance.h"
#include "endpoints.h"
#include "envelope.h"
#include "json_reader.h"
#include "registry.h"

namespace arfc::server {

namespace {

constexpr std::uint64_t kLargestDim = 65536;

constexpr std::string_view kCollectionFieldsNotOffered[] = {
    "shard_number",    "sharding_method", "replication_factor", "write_consistency_factor",
    "on_disk_payload", "payload",         "id_tracker",         "hnsw_config",
    "wal_config",      "init_from",       "optimizers_config",  "quantization_config",
    "sparse_vectors",  "metadata",        "strict_mode_config",
};

constexpr std::string_view kVectorFieldsNotOffered[] = {
    "hnsw_config", "quantization_config", "on_disk", "memory", "datatype", "multivector_config",
};

void read_vectors(JsonValue& vectors, CollectionOptions& options) {
    bool has_distance = false;
    vectors.each_field([&](std::string_view name, JsonValue& field) {
        if (name == "size") {
            options.dim = field.unsigned_number(1, kLargestDim);
        } else if (name == "distance") {
            options.metric = metric_from_distance(field.string());
            has_distance = true;
        } else if (field.type() == JsonValue::Type::kObject) {
            field.refuse_as_not_offered(); // A named vector, or one of the fields below.
        } else {
            field.refuse(name, kVectorFieldsNotOffered);
        }
    });
    if (options.dim == 0) {
        refuse_missing("vectors.size");
    }
    if (!has_distance) {
        refuse_missing("vectors.distance");
    }
}

void read_extension(JsonValue& extension, CollectionOptions& options) {
    extension.each_field([&](std::string_view name, JsonValue& field) {
        if (name == "factory") {
            options.factory = std::string(field.string());
        } else if (name == "model") {
            options.model = std::string(field.string());
        } else {
            field.refuse(name);
        }
    });
}

CollectionOptions read_collection_options(const std::string& body) {
    CollectionOptions options;
    JsonDocument(body).read([&](std::string_view name, JsonValue& field) {
        if (name == "vectors") {
            read_vectors(field, options);
        } else if (name == "arfc") {
            read_extension(field, options);
        } else {
            field.refuse(name, kCollectionFieldsNotOffered);
        }
    });
    if (options.dim == 0) {
        refuse_missing("vectors");
    }
    return options;
}

/// What Qdrant's clients require of a collection's configuration; zeros stand for parts that arfc
/// does not have.
void write_config(JsonWriter& json, const CollectionInfo& info) {
    json.key("config");
    json.begin_object();
    json.key("params");
    json.begin_object();
    json.key("vectors");
    json.begin_object();
    json.field("size", info.dim);
    json.field("distance", distance_name(info.metric));
    json.end_object();
    json.field("shard_number", 1);
    json.field("replication_factor", 1);
    json.field("write_consistency_factor", 1);
    json.field("on_disk_payload", true);
    json.end_object();
    json.key("hnsw_config");
    json.json(R"({"m":0,"ef_construct":0,"full_scan_threshold":0})");
    json.key("optimizer_config");
    json.json(R"({"default_segment_number":1,"flush_interval_sec":0})");
    json.end_object();
}

void write_extension(JsonWriter& json, const CollectionInfo& info) {
    json.key("arfc");
    json.begin_object();
    json.field("factory", info.factory);
    json.key("model_id");
    if (info.model_id.empty()) {
        json.null();
    } else {
        json.value(info.model_id);
    }
    json.field("code_bytes", info.code_bytes);
    json.key("stage_bytes");
    json.begin_array();
    for (const std::size_t bytes : info.stage_bytes) {
        json.value(bytes);
    }
    json.end_array();
    json.field("nlist", info.nlist);
    json.field("default_nprobe", info.default_nprobe);
    json.field("has_raw", info.has_raw);
    json.field("tombstones", info.tombstones);
    json.field("resident_bytes", info.resident_bytes);
    json.field("resident_head_bytes", info.resident_head_bytes);
    json.field("resident_id_bytes", info.resident_id_bytes);
    json.field("resident_norm_bytes", info.resident_norm_bytes);
    json.field("model_bytes", info.model_bytes);
    json.field("disk_bytes", info.disk_bytes);
    json.end_object();
}

Response done(const Request& request) {
    Success success(request);
    success.result().value(true);
    return success.finish();
}

} // namespace

Response list_collections(const Call& call, Registry& registry) {
    Success success(call.request);
    JsonWriter& json = success.result();
    json.begin_object();
    json.key("collections");
    json.begin_array();
    for (const std::string& name : registry.names()) {
        json.begin_object();
        json.field("name", name);
        json.end_object();
    }
    json.end_array();
    json.end_object();
    return success.finish();
}

Response get_collection(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    const CollectionInfo info = served->collection->info();
    Success success(call.request);
    JsonWriter& json = success.result();
    json.begin_object();
    json.field("status", served->trainings > 0 ? "yellow" : "green");
    json.field("optimizer_status", "ok");
    json.field("points_count", info.points);
    json.field("indexed_vectors_count", info.points);
    json.field("segments_count", 1);
    write_config(json, info);
    json.key("payload_schema");
    json.begin_object();
    json.end_object();
    write_extension(json, info);
    json.end_object();
    return success.finish();
}

Response create_collection(const Call& call, Registry& registry) {
    check_collection_name(call.captures[0]);
    registry.create(call.captures[0], read_collection_options(call.request.body));
    return done(call.request);
}

Response delete_collection(const Call& call, Registry& registry) {
    registry.remove(call.captures[0]);
    return done(call.request);
}

} // namespace arfc::server
