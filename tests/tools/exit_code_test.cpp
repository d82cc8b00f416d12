#include "terminal/exit_code.h"

#include <gtest/gtest.h>

#include <set>

namespace arfc::tools {
namespace {

TEST(ExitCodeTest, IsThatOfTheDocumentedTable) {
    EXPECT_EQ(exit_code(ErrorKind::kInternal), 1);
    EXPECT_EQ(exit_code(ErrorKind::kInvalidArgument), 2);
    EXPECT_EQ(exit_code(ErrorKind::kNotFound), 3);
    EXPECT_EQ(exit_code(ErrorKind::kAlreadyExists), 4);
    EXPECT_EQ(exit_code(ErrorKind::kFailedPrecondition), 5);
    EXPECT_EQ(exit_code(ErrorKind::kUnsupported), 6);
    EXPECT_EQ(exit_code(ErrorKind::kResourceExhausted), 7);
    EXPECT_EQ(exit_code(ErrorKind::kCorruption), 8);
    EXPECT_EQ(exit_code(ErrorKind::kIo), 9);
    EXPECT_EQ(exit_code(ErrorKind::kUnauthenticated), 10);
    EXPECT_EQ(exit_code(ErrorKind::kPermissionDenied), 11);
    EXPECT_EQ(exit_code(ErrorKind::kDeadlineExceeded), 12);
    EXPECT_EQ(exit_code(ErrorKind::kCancelled), 13);
}

TEST(ExitCodeTest, EveryKindHasOneOfItsOwnAndNoneIsSuccess) {
    std::set<int> codes;
    for (int kind = 0; kind <= static_cast<int>(ErrorKind::kCancelled); ++kind) {
        codes.insert(exit_code(static_cast<ErrorKind>(kind)));
    }
    EXPECT_EQ(codes.size(), 13U);
    EXPECT_EQ(*codes.begin(), 1);
}

} // namespace
} // namespace arfc::tools
