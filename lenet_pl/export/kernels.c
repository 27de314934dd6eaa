//// requantize
/* Round to the nearest integer, and halves to the even one. */
static int32_t round_to_even(float value)
{
    int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;
    const int odd = whole % 2 != 0;

    if (rest > 0.5F || (odd && !(rest < 0.5F))) {
        ++whole;
    } else if (rest < -0.5F || (odd && !(rest > -0.5F))) {
        --whole;
    }
    return whole;
}

/* Scale a sum to 8 bits. */
static uint8_t requantize(int32_t sum, float scale, int32_t zero)
{
    const float value = (float)sum * scale;

    if (value <= (float)-zero) {
        return 0;
    }
    if (value >= (float)(255 - zero)) {
        return 255;
    }
    return (uint8_t)(round_to_even(value) + zero);
}

//// convolution
/* Convolution; zero is the value that stands for 0 in the input, out_zero that in the output. */
typedef struct {
    int32_t depth, height, width;         /* input of a group */
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, top, left; /* strides and margins */
    int32_t out_height, out_width;
    int32_t zero, out_zero;
    const int8_t *weights;
    const int32_t *bias;
    const float *scale;
} convolution;

/* Compute one channel of the output, row by row; sums has room for a row. */
static void convolve(const convolution *layer, const uint8_t *in, int32_t channel, int32_t *sums, uint8_t *out)
{
    const int32_t area = layer->kernel_height * layer->kernel_width;
    const int8_t *kernel = layer->weights + channel * layer->depth * area;
    const int32_t step = layer->stride_x;
    const int32_t zero = layer->zero;
    int32_t y, x, d, i, j;

    for (y = 0; y < layer->out_height; ++y) {
        const int32_t y0 = y * layer->stride_y - layer->top;
        const int32_t i0 = y0 < 0 ? -y0 : 0;
        const int32_t i1 = y0 + layer->kernel_height > layer->height ? layer->height - y0 : layer->kernel_height;

        for (x = 0; x < layer->out_width; ++x) {
            sums[x] = layer->bias[channel];
        }
        for (d = 0; d < layer->depth; ++d) {
            for (i = i0; i < i1; ++i) {
                const uint8_t *row = in + (d * layer->height + y0 + i) * layer->width;
                const int8_t *weights = kernel + d * area + i * layer->kernel_width;

                for (j = 0; j < layer->kernel_width; ++j) {
                    const int32_t weight = weights[j];
                    const int32_t shift = j - layer->left; /* column x of the output has x * step + shift */
                    const int32_t fit = layer->width > shift ? (layer->width - 1 - shift) / step + 1 : 0;
                    const int32_t x0 = shift < 0 ? (step - 1 - shift) / step : 0;
                    const int32_t x1 = fit < layer->out_width ? fit : layer->out_width;

                    if (step == 1) {
                        for (x = x0; x < x1; ++x) {
                            sums[x] += ((int32_t)row[x + shift] - zero) * weight;
                        }
                    } else {
                        for (x = x0; x < x1; ++x) {
                            sums[x] += ((int32_t)row[x * step + shift] - zero) * weight;
                        }
                    }
                }
            }
        }
        for (x = 0; x < layer->out_width; ++x) {
            *out++ = requantize(sums[x], layer->scale[channel], layer->out_zero);
        }
    }
}

//// max_pool
/* Maximum of each window of one channel; in and out may be the same. */
static void max_pool(const uint8_t *in, int32_t width, int32_t window_y, int32_t window_x, int32_t stride_y,
                     int32_t stride_x, int32_t out_height, int32_t out_width, uint8_t *out)
{
    int32_t y, x, i, j;

    for (y = 0; y < out_height; ++y) {
        for (x = 0; x < out_width; ++x) {
            const uint8_t *corner = in + y * stride_y * width + x * stride_x;
            uint8_t largest = 0;

            for (i = 0; i < window_y; ++i) {
                for (j = 0; j < window_x; ++j) {
                    const uint8_t value = corner[i * width + j];
                    largest = value > largest ? value : largest;
                }
            }
            *out++ = largest;
        }
    }
}

//// look_up
/* Apply a function of single values. */
static void look_up(const uint8_t table[256], int32_t count, uint8_t *values)
{
    int32_t k;

    for (k = 0; k < count; ++k) {
        values[k] = table[values[k]];
    }
}

//// linear
/* Sum of the weighted inputs of one unit. */
static int32_t weighted_sum(const int8_t *weights, int32_t bias, const uint8_t *in, int32_t count, int32_t zero)
{
    int32_t sum = bias;
    int32_t k;

    for (k = 0; k < count; ++k) {
        sum += ((int32_t)in[k] - zero) * weights[k];
    }
    return sum;
}

//// resize
/* Divide by a power of two, and round halves to the even integer. */
static int32_t divide(int32_t value, int32_t bits)
{
    const int32_t whole = value >> bits;
    const int32_t rest = value - (whole << bits);
    const int32_t half = (int32_t)1 << (bits - 1);

    return whole + (rest > half || (rest == half && whole % 2 != 0));
}

