#pragma once

#include "router.h"

namespace arfc::server {

// The handlers, one endpoint group a file; routes.cpp says which path leads where.

// service_endpoints.cpp
Handler get_service;
Handler get_liveness;
Handler get_readiness;

// collection_endpoints.cpp
Handler list_collections;
Handler get_collection;
Handler create_collection;
Handler delete_collection;

// point_endpoints.cpp
Handler upsert_points;
Handler delete_points;
Handler get_point;

// query_endpoints.cpp
Handler query_points;

// training_endpoints.cpp
Handler train_collection;

} // namespace arfc::server
