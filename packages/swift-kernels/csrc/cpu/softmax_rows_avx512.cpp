#define SWIFT_ISA avx512
#define SWIFT_WIDTH 16
#include "cpu/softmax_rows.h"
