#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "arfc/base/error.h"

/// Expects `statement` to throw an arfc::Error of a kind whose message contains a text.
#define ARFC_EXPECT_ERROR(statement, expected_kind, expected_text)                   \
    try {                                                                            \
        statement;                                                                   \
        ADD_FAILURE() << "no exception from: " #statement;                           \
    } catch (const ::arfc::Error& error) {                                           \
        EXPECT_EQ(::arfc::to_string(error.kind()), ::arfc::to_string(expected_kind)) \
            << error.what();                                                         \
        EXPECT_THAT(std::string(error.what()), ::testing::HasSubstr(expected_text)); \
    }                                                                                \
    static_assert(true, "a semicolon follows")
