#define SWIFT_ISA avx512
#define SWIFT_WIDTH 16
#include "cpu/paged_head.h"
