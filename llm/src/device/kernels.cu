// Kernels of our own, compiled when a model is loaded. Numbers are moved as words of 32 bits,
// whatever they are: a head has an even count of them.

#ifndef KERNEL // Tests compile the same text as functions of the host.
#define KERNEL extern "C" __global__ void
#endif

// Writes rows of keys and values into the cells of a KV pool, one word a thread.
KERNEL kv_store(const unsigned *rows, const unsigned *cells, unsigned *pool, unsigned row_words,
                unsigned count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        unsigned long long cell = cells[i / row_words];
        pool[cell * row_words + i % row_words] = rows[i];
    }
}
