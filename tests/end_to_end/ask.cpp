// arfc_ask <question> <directory> [<value>...]: asks the C++ library one thing about a collection
// and prints how it was refused, the kind on the first line and the message on the second; nothing
// where it was not. Questions:
//
//   create <directory> <dim> <factory> [<model>]
//   write  <directory>                   open it for writing
//   search <directory> <value>...        one query
//   train  <directory>
//   cancel <directory>                   train, and withdraw at the first report of progress

#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/index/collection.h"

namespace arfc::test {
namespace {

void create(const std::string& directory, const std::vector<std::string>& values) {
    Collection::create(
        directory, {.dim = std::stoul(values.at(0)),
                    .factory = values.at(1),
                    .model = values.size() > 2 ? values[2] : ""});
}

void search(const std::string& directory, const std::vector<std::string>& values) {
    std::vector<float> query;
    query.reserve(values.size());
    for (const std::string& value : values) {
        query.push_back(std::stof(value));
    }
    (void)Collection::open(directory, {.read_only = true})->search({query.data(), 1, query.size()});
}

void ask(
    const std::string& question, const std::string& directory,
    const std::vector<std::string>& values) {
    if (question == "create") {
        create(directory, values);
    } else if (question == "write") {
        Collection::open(directory);
    } else if (question == "search") {
        search(directory, values);
    } else if (question == "train") {
        Collection::open(directory)->train();
    } else if (question == "cancel") {
        Collection::open(directory)->train({.progress = [](const Progress&) { return false; }});
    } else {
        throw std::invalid_argument("unknown question: " + question);
    }
}

} // namespace
} // namespace arfc::test

int main(int argc, char** argv) {
    try {
        const std::vector<std::string> arguments(argv + 1, argv + argc);
        arfc::test::ask(arguments.at(0), arguments.at(1), {arguments.begin() + 2, arguments.end()});
    } catch (const arfc::Error& error) {
        std::cout << arfc::to_string(error.kind()) << '\n' << error.what() << '\n';
    } catch (const std::exception& error) {
        std::cerr << "No arfc::Error: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
