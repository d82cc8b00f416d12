#include "model_argument.h"

#include <gtest/gtest.h>

#include <fstream>

#include "expect_error.h"
#include "temporary_directory.h"

namespace arfc::tools {
namespace {

namespace fs = std::filesystem;

class ModelArgumentTest : public ::testing::Test {
  protected:
    void make_model(const std::string& folder) const {
        fs::create_directories(directory_ / folder);
        std::ofstream(directory_ / folder / "config.json") << "{}";
    }
    std::string found(const std::string& argument) const {
        return model_directory(argument, program_).string();
    }

    test::TemporaryDirectory directory_;
    fs::path program_ = directory_ / "bin" / "arfc";
};

TEST_F(ModelArgumentTest, APathIsItself) {
    EXPECT_EQ(found("models/mine"), "models/mine");
    EXPECT_EQ(found(""), "");
    EXPECT_EQ(found("./ready:mine"), "./ready:mine");
    EXPECT_EQ(found("readymade"), "readymade");
}

TEST_F(ModelArgumentTest, AReadyModelLiesBesideTheProgram) {
    make_model("share/arfc/models/one");
    EXPECT_EQ(found("ready:one"), (directory_ / "share/arfc/models/one").string());
}

TEST_F(ModelArgumentTest, OrInThePackageThatTheProgramCameWith) {
    make_model("lib/python3.12/site-packages/arfc/models/one");
    EXPECT_EQ(
        found("ready:one"), (directory_ / "lib/python3.12/site-packages/arfc/models/one").string());
    make_model("share/arfc/models/one"); // What was installed with the program goes first.
    EXPECT_EQ(found("ready:one"), (directory_ / "share/arfc/models/one").string());
}

TEST_F(ModelArgumentTest, OtherNamesAreToldWhichThereAre) {
    make_model("share/arfc/models/two");
    make_model("share/arfc/models/one");
    fs::create_directories(directory_ / "share/arfc/models/empty");
    for (const char* const name : {"three", "", "empty", "..", "one/", "../models/one"}) {
        ARFC_EXPECT_ERROR(
            (void)found(std::string("ready:") + name), ErrorKind::kNotFound,
            std::string("No ready model of this name comes with arfc: \"") + name +
                "\", there is: one, two");
    }
}

TEST_F(ModelArgumentTest, WithoutAnyTheProgramIsNamed) {
    ARFC_EXPECT_ERROR(
        (void)found("ready:one"), ErrorKind::kNotFound,
        "none is installed beside " + program_.string());
    fs::create_directories(directory_ / "lib/python3.11/site-packages");
    std::ofstream(directory_ / "lib/python3") << "no folder";
    ARFC_EXPECT_ERROR((void)found("ready:one"), ErrorKind::kNotFound, "none is installed beside");
}

} // namespace
} // namespace arfc::tools
