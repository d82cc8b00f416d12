#include "errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace arfc::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

/// Takes what is logged for as long as it lives.
class CapturedLog {
  public:
    CapturedLog() : before_(spdlog::default_logger()) {
        spdlog::set_default_logger(std::make_shared<spdlog::logger>(
            "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
    }
    CapturedLog(const CapturedLog&) = delete;
    CapturedLog& operator=(const CapturedLog&) = delete;
    ~CapturedLog() { spdlog::set_default_logger(before_); }

    [[nodiscard]] std::string text() const { return text_.str(); }

  private:
    std::shared_ptr<spdlog::logger> before_;
    std::ostringstream text_;
};

Response response_to(const auto& exception) {
    const Request request{.method = Method::kPut, .target = "/a", .number = 7};
    try {
        throw exception;
    } catch (...) {
        return response_of_current_exception(request);
    }
}

TEST(ErrorsTest, EveryKindHasItsStatus) {
    const std::pair<ErrorKind, unsigned> expected[] = {
        {ErrorKind::kInvalidArgument, 400},  {ErrorKind::kNotFound, 404},
        {ErrorKind::kAlreadyExists, 409},    {ErrorKind::kFailedPrecondition, 409},
        {ErrorKind::kUnsupported, 501},      {ErrorKind::kResourceExhausted, 503},
        {ErrorKind::kCorruption, 500},       {ErrorKind::kIo, 500},
        {ErrorKind::kInternal, 500},         {ErrorKind::kUnauthenticated, 401},
        {ErrorKind::kPermissionDenied, 403}, {ErrorKind::kDeadlineExceeded, 504},
        {ErrorKind::kCancelled, 499},
    };
    const CapturedLog log;
    for (const auto& [kind, status] : expected) {
        const Response response = response_to(Error(kind, "What happened: 3"));
        EXPECT_EQ(response.status, status) << to_string(kind);
        const auto body = nlohmann::json::parse(response.body);
        EXPECT_EQ(body["status"]["kind"], to_string(kind));
        EXPECT_TRUE(body["time"].is_number());
        EXPECT_EQ(body["status"]["error"] == "What happened: 3", kind != ErrorKind::kInternal);
    }
}

TEST(ErrorsTest, ExhaustionSaysWhenToRetry) {
    const CapturedLog log;
    EXPECT_THAT(
        response_to(Error(ErrorKind::kResourceExhausted, "Disk is full")).headers,
        ElementsAre(Pair("Retry-After", "1")));
    EXPECT_EQ(response_to(std::bad_alloc()).status, 503U);
}

TEST(ErrorsTest, InternalMessagesGoToTheLogAlone) {
    const CapturedLog log;
    for (const Response& response :
         {response_to(Error(ErrorKind::kInternal, "secret")),
          response_to(std::logic_error("secret")), response_to(1)}) {
        EXPECT_EQ(response.status, 500U);
        EXPECT_THAT(response.body, Not(HasSubstr("secret")));
        EXPECT_THAT(response.body, HasSubstr("request 7"));
    }
    EXPECT_THAT(log.text(), HasSubstr("Request 7 failed, PUT /a: secret"));
}

TEST(ErrorsTest, TheClientsOwnMistakesAreNotLogged) {
    const CapturedLog log;
    (void)response_to(Error(ErrorKind::kInvalidArgument, "Field is unknown: x"));
    (void)response_to(Error(ErrorKind::kUnsupported, "Field is not offered: y"));
    EXPECT_EQ(log.text(), "");
}

} // namespace
} // namespace arfc::server
