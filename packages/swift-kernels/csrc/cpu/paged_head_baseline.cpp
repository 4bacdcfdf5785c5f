#define SWIFT_ISA baseline
#if defined(__GNUC__)
#define SWIFT_WIDTH 4
#else
#define SWIFT_WIDTH 1
#endif
#include "cpu/paged_head.h"
