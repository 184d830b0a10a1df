// A CUDA driver without a GPU, for tests: what cudarc calls of libcuda, on host memory.
//
// Work on streams is queued, as on a GPU, and done when somebody waits for it; all streams share one
// queue. Copies from and to pinned memory are queued too, others are done at once, as the real
// driver does them. Kernels are the same text that a GPU gets, run thread by thread. It shows the
// order and the bounds of calls, accounting and errors; it shows nothing of races, speed or cuBLAS.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, BAD_DEVICE = 101, NOT_FOUND = 500 };

// A GPU's allocator gives whole granules.
enum { GRANULE = 512 };

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int devices(void) { return setting("ELIS_FAKE_DEVICES", 1); }
static size_t total(void) { return (size_t)setting("ELIS_FAKE_MIB", 64) << 20; }

// Memory of the device, and pinned memory of the host, in two lists.
typedef struct Piece {
    char *at;
    size_t len;
    struct Piece *next;
} Piece;
static Piece *on_device, *pinned;

static size_t used(void) {
    size_t sum = 0;
    for (Piece *p = on_device; p; p = p->next) sum += p->len;
    return sum;
}

static int inside(Piece *list, uint64_t at, size_t len) {
    for (Piece *p = list; p; p = p->next)
        if (at >= (uint64_t)p->at && at + len <= (uint64_t)p->at + p->len) return 1;
    return 0;
}

static void *take(Piece **list, size_t len) {
    Piece *p = malloc(sizeof *p);
    len = (len + GRANULE - 1) / GRANULE * GRANULE;
    *p = (Piece){malloc(len), len, *list};
    memset(p->at, 0xCD, len);
    *list = p;
    return p->at;
}

static int give(Piece **list, uint64_t at) {
    for (; *list; list = &(*list)->next)
        if ((uint64_t)(*list)->at == at) {
            Piece *gone = *list;
            *list = gone->next;
            free(gone->at);
            free(gone);
            return OK;
        }
    return INVALID;
}

// The kernels, as host functions of one thread.
static struct { unsigned x; } threadIdx, blockIdx, blockDim;
#define KERNEL static void
#include "kernels.cu"

// The queue.
enum { COPY, SET, FREE, STORE };
typedef struct Work {
    int kind;
    uint64_t to, from;
    size_t len;
    int value;
    unsigned grid, block, words, count;
    uint64_t rows, cells, pool;
    struct Work *next;
} Work;
static Work *first, **last = &first;
static uint64_t queued, done;

static void perform(Work *work) {
    switch (work->kind) {
    case COPY: memmove((void *)work->to, (void *)work->from, work->len); break;
    case SET: memset((void *)work->to, work->value, work->len); break;
    case FREE: give(&on_device, work->to); break;
    case STORE:
        blockDim.x = work->block;
        for (blockIdx.x = 0; blockIdx.x < work->grid; blockIdx.x++)
            for (threadIdx.x = 0; threadIdx.x < work->block; threadIdx.x++)
                kv_store((void *)work->rows, (void *)work->cells, (void *)work->pool, work->words,
                         work->count);
    }
}

static int wait_for(uint64_t ticket) {
    while (done < ticket && first) {
        Work *work = first;
        first = work->next;
        if (!first) last = &first;
        perform(work);
        free(work);
        done++;
    }
    return OK;
}

static int queue(Work work) {
    *last = malloc(sizeof work);
    **last = work;
    (*last)->next = NULL;
    last = &(*last)->next;
    queued++;
    return OK;
}

// Devices.
int cuInit(unsigned flags) { return devices() ? OK : NO_DEVICE; }
int cuDeviceGetCount(int *count) { return *count = devices(), OK; }
int cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= devices()) return BAD_DEVICE;
    return *device = ordinal, OK;
}
int cuDeviceGetName(char *name, int len, int device) {
    return snprintf(name, len, "Pretender %d", device), OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    // Compute capability 8.0, and memory that is taken in the order of a stream.
    *value = attribute == 75 ? 8 : attribute == 115;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    return *context = (void *)(intptr_t)(device + 1), OK;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
static __thread void *current;
int cuCtxSetCurrent(void *context) { return current = context, OK; }
int cuCtxSynchronize(void) { return wait_for(queued); }
int cuCtxGetCurrent(void **context) { return *context = current, OK; }

// Memory.
int cuMemGetInfo_v2(size_t *free, size_t *all) {
    wait_for(queued);
    *all = total();
    *free = total() - used();
    return OK;
}
int cuMemAllocAsync(uint64_t *at, size_t len, void *stream) {
    wait_for(queued);
    if (!len) return INVALID;
    if (used() + len > total()) return NO_MEMORY;
    return *at = (uint64_t)take(&on_device, len), OK;
}
int cuMemFreeAsync(uint64_t at, void *stream) { return queue((Work){FREE, at}); }
int cuMemHostAlloc(void **at, size_t len, unsigned flags) {
    if (!len) return INVALID;
    return *at = take(&pinned, len), OK;
}
int cuMemFreeHost(void *at) {
    // Work that still names it would read or write what is somebody else's by then.
    for (Work *work = first; work; work = work->next)
        if (inside(pinned, work->to, 1) || inside(pinned, work->from, 1)) abort();
    return give(&pinned, (uint64_t)at);
}
static int copy(uint64_t to, uint64_t from, size_t len, uint64_t host) {
    queue((Work){COPY, to, from, len});
    return inside(pinned, host, len) ? OK : wait_for(queued);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, void *from, size_t len, void *stream) {
    if (!inside(on_device, to, len)) return INVALID;
    return copy(to, (uint64_t)from, len, (uint64_t)from);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t len, void *stream) {
    if (!inside(on_device, from, len)) return INVALID;
    return copy((uint64_t)to, from, len, (uint64_t)to);
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t len, void *stream) {
    if (!inside(on_device, at, len)) return INVALID;
    return queue((Work){SET, at, 0, len, value});
}

// Streams and events; an event is the number of what was queued before it.
int cuStreamCreate(void **stream, unsigned flags) { return *stream = malloc(1), OK; }
int cuStreamDestroy_v2(void *stream) { return free(stream), OK; }
int cuStreamSynchronize(void *stream) { return wait_for(queued); }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return OK; }
int cuEventCreate(uint64_t **event, unsigned flags) {
    return *event = calloc(1, sizeof **event), OK;
}
int cuEventRecord(uint64_t *event, void *stream) { return *event = queued, OK; }
int cuEventSynchronize(uint64_t *event) { return wait_for(*event); }
int cuEventDestroy_v2(uint64_t *event) { return free(event), OK; }

// Modules and kernels.
int cuModuleLoadData(void **module, const void *image) { return *module = (void *)1, OK; }
int cuModuleUnload(void *module) { return OK; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    if (strcmp(name, "kv_store")) return NOT_FOUND;
    return *function = (void *)1, OK;
}
int cuLaunchKernel(void *function, unsigned grid, unsigned gy, unsigned gz, unsigned block,
                   unsigned by, unsigned bz, unsigned shared, void *stream, void **args, void **extra) {
    if (!grid || !block || block > 1024 || gy * gz * by * bz != 1) return INVALID;
    Work work = {STORE, .grid = grid, .block = block};
    memcpy(&work.rows, args[0], 8);
    memcpy(&work.cells, args[1], 8);
    memcpy(&work.pool, args[2], 8);
    memcpy(&work.words, args[3], 4);
    memcpy(&work.count, args[4], 4);
    return queue(work);
}

int cuGetErrorName(int error, const char **text) {
    *text = error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
                                 : "CUDA_ERROR";
    return OK;
}
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }
