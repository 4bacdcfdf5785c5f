#define SWIFT_ISA avx2
#define SWIFT_WIDTH 8
#define SWIFT_VECTORS 2
#include "cpu/skinny_columns.h"
