#include "router.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "errors.h"
#include "expect_error.h"
#include "registry.h"
#include "temporary_directory.h"

namespace arfc::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Response echo(const Call& call, Registry& /*registry*/) {
    Response response;
    for (const std::string& capture : call.captures) {
        response.body += "<" + capture + ">";
    }
    response.body += call.wait ? " wait" : "";
    return response;
}

Response fail_inside(const Call& /*call*/, Registry& /*registry*/) {
    throw std::runtime_error("secret");
}

constexpr Route kTable[] = {
    {Method::kGet, "/", echo},
    {Method::kGet, "/a", echo},
    {Method::kPut, "/a/{x}", echo, RunsOn::kPool, true},
    {Method::kGet, "/a/{x}", echo},
    {Method::kPost, "/a/{x}/b/query", echo},
    {Method::kGet, "/a/{x}/b/{y}", echo},
    {Method::kGet, "/fail", fail_inside},
};

class RouterTest : public ::testing::Test {
  protected:
    Response ask(
        Method method, const std::string& target, const std::string& body = "",
        const std::string& type = "") {
        return handle(
            {.method = method, .target = target, .content_type = type, .body = body, .number = 42},
            registry_, kTable);
    }
    static std::string message(const Response& response) {
        return nlohmann::json::parse(response.body)["status"]["error"];
    }

    test::TemporaryDirectory directory_;
    Registry registry_{directory_.path()};
};

TEST_F(RouterTest, MatchesSegmentsAndCapturesThem) {
    EXPECT_EQ(ask(Method::kGet, "/").body, "");
    EXPECT_EQ(ask(Method::kGet, "/a/one").body, "<one>");
    EXPECT_EQ(ask(Method::kPost, "/a/one/b/query").body, "<one>");
    EXPECT_EQ(ask(Method::kGet, "/a/one/b/query").body, "<one><query>");
    EXPECT_EQ(ask(Method::kGet, "/a/one/b/2").body, "<one><2>");
}

TEST_F(RouterTest, DecodesCapturesAfterSplitting) {
    EXPECT_EQ(ask(Method::kGet, "/a/o%6Ee").body, "<one>");
    EXPECT_EQ(ask(Method::kGet, "/a/x%2Fy%2f..").body, "<x/y/..>");
    EXPECT_EQ(ask(Method::kGet, "/a/a+b").body, "<a+b>");
    for (const std::string broken : {"/a/%", "/a/%2", "/a/%zz", "/a/x%1"}) {
        const Response response = ask(Method::kGet, broken);
        EXPECT_EQ(response.status, 400U) << broken;
        EXPECT_THAT(
            message(response), HasSubstr("Percent sign is not followed by two hexadecimal digits"));
    }
}

TEST_F(RouterTest, AnswersUnknownPathsWith404AndThePath) {
    for (const std::string path :
         {"/b", "/a/", "//", "/a/one/", "/a/one/b", "/a/one/b/2/3", "a", "", "/A"}) {
        const Response response = ask(Method::kGet, path + "?wait=true");
        EXPECT_EQ(response.status, 404U) << path;
        EXPECT_EQ(message(response), "There is no such path: " + path);
        EXPECT_EQ(nlohmann::json::parse(response.body)["status"]["kind"], "not_found");
    }
}

TEST_F(RouterTest, AnswersOtherMethodsWith405AndThoseAllowed) {
    const Response response = ask(Method::kDelete, "/a/one");
    EXPECT_EQ(response.status, 405U);
    EXPECT_THAT(response.headers, ElementsAre(Pair("Allow", "PUT, GET")));
    EXPECT_EQ(
        message(response), "Path does not take this method: DELETE /a/one, expected PUT, GET");
    EXPECT_EQ(ask(Method::kOther, "/").status, 405U);
}

TEST_F(RouterTest, ReadsTheWaitParameter) {
    EXPECT_EQ(ask(Method::kPut, "/a/x").body, "<x>");
    EXPECT_EQ(ask(Method::kPut, "/a/x?wait=true").body, "<x> wait");
    EXPECT_EQ(ask(Method::kPut, "/a/x?&wait=%74rue&").body, "<x> wait");
    EXPECT_EQ(ask(Method::kPut, "/a/x?wait=false").body, "<x>");
    const Response unclear = ask(Method::kPut, "/a/x?wait=yes");
    EXPECT_EQ(unclear.status, 400U);
    EXPECT_EQ(message(unclear), "Query parameter is not true or false: wait, \"yes\"");
}

TEST_F(RouterTest, RefusesOtherParameters) {
    const Response misplaced = ask(Method::kGet, "/a/x?wait=true");
    EXPECT_EQ(misplaced.status, 400U);
    EXPECT_EQ(message(misplaced), "Query parameter is unknown: wait");
    EXPECT_EQ(ask(Method::kPut, "/a/x?wiat=true").status, 400U);
    const Response later = ask(Method::kPut, "/a/x?ordering=strong");
    EXPECT_EQ(later.status, 501U);
    EXPECT_EQ(message(later), "Query parameter is not offered: ordering");
}

TEST_F(RouterTest, TakesJsonBodiesOnly) {
    for (const std::string type : {"", "application/json", "Application/JSON; charset=\"UTF-8\""}) {
        EXPECT_EQ(ask(Method::kPut, "/a/x", "{}", type).status, 200U) << type;
    }
    for (const std::string type :
         {"text/plain", "application/jsonl", "application/json; charset=latin1"}) {
        const Response response = ask(Method::kPut, "/a/x", "{}", type);
        EXPECT_EQ(response.status, 415U) << type;
        EXPECT_EQ(message(response), "Content-Type is not application/json: " + type);
    }
    EXPECT_EQ(ask(Method::kPut, "/a/x", "", "text/plain").status, 200U); // There is no body to
                                                                         // speak of.
}

TEST_F(RouterTest, WithholdsWhatAnExceptionSays) {
    const Response response = ask(Method::kGet, "/fail");
    EXPECT_EQ(response.status, 500U);
    EXPECT_THAT(response.body, ::testing::Not(HasSubstr("secret")));
    EXPECT_THAT(message(response), HasSubstr("request 42"));
    EXPECT_EQ(nlohmann::json::parse(response.body)["status"]["kind"], "internal");
}

TEST_F(RouterTest, AnswersStayJsonWhateverThePathHolds) {
    const Response response = ask(Method::kGet, "/b\"\\\x01\xFF");
    EXPECT_EQ(response.status, 404U);
    EXPECT_TRUE(nlohmann::json::accept(response.body)) << response.body;
}

TEST(RoutesTest, NoTwoAreAlikeAndEachIsFound) {
    std::set<std::pair<Method, std::string_view>> seen;
    for (const Route& route : routes()) {
        EXPECT_TRUE(seen.emplace(route.method, route.pattern).second) << route.pattern;
        std::string path(route.pattern);
        for (const std::string capture : {"{collection}", "{id}"}) {
            const std::size_t at = path.find(capture);
            if (at != std::string::npos) {
                path.replace(at, capture.size(), "7");
            }
        }
        EXPECT_EQ(match(routes(), route.method, path).route, &route) << path;
    }
}

TEST(RoutesTest, OnlyTheServicesOwnRunOnTheInputThread) {
    for (const Route& route : routes()) {
        const bool of_collections = route.pattern.starts_with("/collections");
        EXPECT_EQ(route.runs_on == RunsOn::kPool, of_collections) << route.pattern;
    }
    EXPECT_FALSE(may_block({.method = Method::kGet, .target = "/healthz"}));
    EXPECT_TRUE(may_block({.method = Method::kGet, .target = "/collections"}));
    EXPECT_FALSE(may_block({.method = Method::kGet, .target = "/collections/%"}));
}

TEST(QueryParametersTest, SplitsAndDecodes) {
    EXPECT_THAT(query_parameters("/a"), IsEmpty());
    EXPECT_THAT(query_parameters("/a?"), IsEmpty());
    EXPECT_THAT(
        query_parameters("/a?b=1&c&d=%20+x&=e&f=g=h"),
        ElementsAre(
            Pair("b", "1"), Pair("c", ""), Pair("d", "  x"), Pair("", "e"), Pair("f", "g=h")));
}

} // namespace
} // namespace arfc::server
