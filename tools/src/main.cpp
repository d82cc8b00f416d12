#include "program.h"

int main(int argc, char** argv) {
    return arfc::tools::run_program(argc, argv);
}
