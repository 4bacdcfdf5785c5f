#define SWIFT_ISA avx2
#define SWIFT_WIDTH 8
#include "cpu/paged_head.h"
