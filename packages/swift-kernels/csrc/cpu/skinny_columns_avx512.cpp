#define SWIFT_ISA avx512
#define SWIFT_WIDTH 16
#define SWIFT_VECTORS 4
#include "cpu/skinny_columns.h"
