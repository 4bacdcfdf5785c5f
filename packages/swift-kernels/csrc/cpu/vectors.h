// Vectors of SWIFT_WIDTH floats and what is done with them. Included inside the anonymous namespace of a file that is
// compiled once for each instruction set: nothing here may have external linkage.

#if SWIFT_WIDTH > 1
typedef float Floats __attribute__((vector_size(4 * SWIFT_WIDTH)));
typedef std::int32_t Ints __attribute__((vector_size(4 * SWIFT_WIDTH)));
typedef std::uint32_t Bits __attribute__((vector_size(4 * SWIFT_WIDTH)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * SWIFT_WIDTH)));
#define SWIFT_CONVERT(value, Type) __builtin_convertvector(value, Type)
#else
typedef float Floats;
typedef std::int32_t Ints;
typedef std::uint32_t Bits;
typedef std::uint16_t Halves;
#define SWIFT_CONVERT(value, Type) static_cast<Type>(value)
#endif

constexpr std::int64_t WIDTH = SWIFT_WIDTH;

template <class To, class From>
To same_bits(From value) {
    To result;
    static_assert(sizeof(To) == sizeof(From));
    std::memcpy(&result, &value, sizeof(To));
    return result;
}

[[maybe_unused]] Floats all(float value) { return Floats{} + value; }

[[maybe_unused]] Floats larger(Floats a, Floats b) { return a > b ? a : b; }

[[maybe_unused]] Floats load(const float* from) {
    Floats result;
    std::memcpy(&result, from, sizeof(result));
    return result;
}

[[maybe_unused]] void store(float* to, Floats values) { std::memcpy(to, &values, sizeof(values)); }

[[maybe_unused]] float lane(const Floats& values, int i) {
    float result;
    std::memcpy(&result, reinterpret_cast<const char*>(&values) + 4 * i, 4);
    return result;
}

[[maybe_unused]] float largest(Floats values) {
    float result = lane(values, 0);
    for (int i = 1; i < WIDTH; ++i) result = lane(values, i) > result ? lane(values, i) : result;
    return result;
}

[[maybe_unused]] double sum(Floats values) {
    double result = 0;
    for (int i = 0; i < WIDTH; ++i) result += lane(values, i);
    return result;
}

// exp(x) for x <= 88, to about 1 ulp; 0 below the smallest normal number. NaN stays NaN.
[[maybe_unused]] Floats exponential(Floats x) {
    const Floats lowest = all(-87.33654f);
    const Floats clamped = x < lowest ? lowest : x;
    const Floats magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
    const Floats shifted = clamped * 1.44269504088896341f + magic;
    const Floats n = shifted - magic;
    const Floats r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Bits power = ((same_bits<Bits>(shifted) - same_bits<Bits>(magic)) + 127u) << 23;
    const Floats result = p * same_bits<Floats>(power);
    return x < lowest ? all(0.0f) : result;
}
