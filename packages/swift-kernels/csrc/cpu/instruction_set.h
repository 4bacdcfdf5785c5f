#pragma once

namespace swift::kernels {

// The best instruction set that this machine has and that was compiled.
enum class InstructionSet { baseline, avx2, avx512 };

InstructionSet instruction_set();

const char* instruction_set_name();

// SWIFT_EACH_INSTRUCTION_SET(declare): declare(isa) for every compiled one. SWIFT_CHOOSE(function): the address of
// isa::function of the best one.
#ifdef SWIFT_X86
#define SWIFT_EACH_INSTRUCTION_SET(declare) declare(baseline) declare(avx2) declare(avx512)
#define SWIFT_CHOOSE(function)                                             \
    (instruction_set() == InstructionSet::avx512 ? &avx512::function       \
     : instruction_set() == InstructionSet::avx2 ? &avx2::function         \
                                                 : &baseline::function)
#else
#define SWIFT_EACH_INSTRUCTION_SET(declare) declare(baseline)
#define SWIFT_CHOOSE(function) (&baseline::function)
#endif

}  // namespace swift::kernels
