#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "registry.h"
#include "router.h"
#include "temporary_directory.h"

namespace arfc::server {

/// An answer, read.
struct Answer {
    unsigned status = 0;
    nlohmann::json body;

    [[nodiscard]] const nlohmann::json& result() const { return body.at("result"); }
    [[nodiscard]] std::string error() const { return body.at("status").at("error"); }
    [[nodiscard]] std::string kind() const { return body.at("status").at("kind"); }
};

/// The REST door over a data directory of the test's own, without a connection.
class DoorTest : public ::testing::Test {
  protected:
    Answer ask(Method method, const std::string& target, const std::string& body = "") {
        const Response response = handle(
            {.method = method,
             .target = target,
             .content_type = body.empty() ? "" : "application/json",
             .body = body},
            *registry_);
        Answer answer{response.status, nlohmann::json::parse(response.body)};
        EXPECT_TRUE(answer.body.at("time").is_number()) << response.body;
        if (response.status == 200) {
            EXPECT_EQ(answer.body.at("status"), "ok") << response.body;
        }
        return answer;
    }

    /// Expects a refusal with this status whose message contains a text.
    void refused(
        Method method, const std::string& target, const std::string& body, unsigned status,
        const std::string& text) {
        const Answer answer = ask(method, target, body);
        ASSERT_EQ(answer.status, status) << body << " -> " << answer.body;
        EXPECT_THAT(answer.error(), ::testing::HasSubstr(text)) << body;
    }

    /// Creates a collection of 4-wide float32 rows.
    void create(const std::string& name, const std::string& distance = "Cosine") {
        const Answer answer =
            ask(Method::kPut, "/collections/" + name,
                R"({"vectors":{"size":4,"distance":")" + distance +
                    R"("},"arfc":{"factory":"ARFC4"}})");
        ASSERT_EQ(answer.status, 200U) << answer.body;
    }

    void upsert(const std::string& name, const std::string& points) {
        const Answer answer =
            ask(Method::kPut, "/collections/" + name + "/points?wait=true",
                R"({"points":)" + points + "}");
        ASSERT_EQ(answer.status, 200U) << answer.body;
        ASSERT_EQ(answer.result(), nlohmann::json({{"status", "completed"}}));
    }

    /// Ends the registry and begins another over the same directory.
    void reopen() {
        registry_.reset();
        registry_ = std::make_unique<Registry>(directory_.path());
    }

    test::TemporaryDirectory directory_;
    std::unique_ptr<Registry> registry_ = std::make_unique<Registry>(directory_.path());
};

} // namespace arfc::server
