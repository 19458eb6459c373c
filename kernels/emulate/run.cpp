// Runs one block: its threads are fibers, each with a stack of its own, switched at barriers.
#include "device.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulate {

__thread Extents thread_index, block_index, block_extents, grid_extents;

namespace {

constexpr unsigned THREADS_MAX = 1024, LANES = 32, EXCHANGED_MAX = 64;
constexpr size_t STACK_BYTES = 64 << 10;

// 1. Switching between stacks.

#ifdef __x86_64__
using Context = void *; // the stack pointer; everything else lies on the stack
extern "C" void emulate_switch(Context *from, Context to);
asm(R"(
.text
.type emulate_switch,@function
emulate_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size emulate_switch,.-emulate_switch
)");
void switch_context(Context *from, Context *to) { emulate_switch(from, *to); }
void start_context(Context *context, char *stack, void (*body)()) {
    auto top = (void **)(((uintptr_t)stack + STACK_BYTES) & ~(uintptr_t)15);
    *--top = nullptr;       // the body never returns
    *--top = (void *)body;  // return address of the first switch
    for (int i = 0; i < 6; i++) *--top = nullptr;
    *context = top;
}
#else
using Context = ucontext_t;
void switch_context(Context *from, Context *to) { swapcontext(from, to); }
void start_context(Context *context, char *stack, void (*body)()) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = nullptr;
    makecontext(context, body, 0);
}
#endif

// 2. The threads of the block that this worker runs.

enum State : unsigned char { READY, AT_BLOCK, AT_WARP, DONE };

struct Warp {
    unsigned char slots[2][LANES * EXCHANGED_MAX]; // two, because fast lanes hand in before slow ones have read
    unsigned sizes[LANES];
};

struct Copy {
    void *to;
    const void *from;
    unsigned bytes;
};

struct Worker {
    Context scheduler, fibers[THREADS_MAX];
    char *stacks = nullptr;
    State states[THREADS_MAX];
    unsigned char turns[THREADS_MAX]; // slot of the next exchange
    Warp warps[THREADS_MAX / LANES];
    std::vector<Copy> copies[THREADS_MAX]; // that a thread has not waited for
    unsigned threads, current;
    unsigned long blocks = 0;
    Entry entry;
    const Argument *arguments;
    unsigned count;
    char *message;
    size_t message_len;
    bool failed;

    ~Worker() {
        if (stacks) munmap(stacks, STACK_BYTES * THREADS_MAX);
    }
};

thread_local Worker worker;

void yield(State state) {
    worker.states[worker.current] = state;
    switch_context(&worker.fibers[worker.current], &worker.scheduler);
}

void body() {
    worker.entry(worker.arguments, worker.count);
    yield(DONE);
    abort(); // a thread that has ended is not resumed
}

void resume(unsigned thread) {
    worker.current = thread;
    const unsigned x = block_extents.x, y = block_extents.y;
    thread_index = {thread % x, thread / x % y, thread / (x * y)};
    switch_context(&worker.scheduler, &worker.fibers[thread]);
}

bool all(unsigned from, unsigned to, State state) {
    for (unsigned t = from; t < to; t++)
        if (worker.states[t] != state) return false;
    return true;
}

// Lets threads go on whose barrier is complete; false when nothing can.
bool release() {
    bool released = false;
    for (unsigned first = 0; first < worker.threads; first += LANES)
        if (all(first, first + LANES, AT_WARP)) {
            memset(worker.states + first, READY, LANES);
            released = true;
        }
    if (!released && all(0, worker.threads, AT_BLOCK)) {
        memset(worker.states, READY, worker.threads);
        released = true;
    }
    return released;
}

void run_threads(bool reversed) {
    while (!worker.failed) {
        for (unsigned i = 0; i < worker.threads && !worker.failed; i++) {
            const unsigned thread = reversed ? worker.threads - 1 - i : i;
            if (worker.states[thread] == READY) resume(thread);
        }
        if (worker.failed || all(0, worker.threads, DONE)) return;
        if (!release()) {
            unsigned waiting[4] = {};
            for (unsigned t = 0; t < worker.threads; t++) waiting[worker.states[t]]++;
            worker.failed = true;
            snprintf(worker.message, worker.message_len,
                     "of %u threads %u wait at a barrier of the block, %u at one of their warp, %u have ended",
                     worker.threads, waiting[AT_BLOCK], waiting[AT_WARP], waiting[DONE]);
        }
    }
}

} // namespace

// 3. What kernels call.

void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    const int n = snprintf(worker.message, worker.message_len, "block (%u, %u, %u), thread (%u, %u, %u): ", block_index.x,
                           block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z);
    vsnprintf(worker.message + n, worker.message_len - n, format, list);
    va_end(list);
    worker.failed = true;
    yield(DONE);
    abort(); // a failed block is not resumed
}

void block_barrier() { yield(AT_BLOCK); }

const unsigned char *warp_exchange(const void *mine, unsigned size) {
    const unsigned thread = worker.current, lane = thread % LANES;
    Warp &warp = worker.warps[thread / LANES];
    const unsigned turn = worker.turns[thread]++ & 1;
    if (size > EXCHANGED_MAX) fail("%u bytes between lanes", size);
    memcpy(warp.slots[turn] + (size_t)size * lane, mine, size);
    warp.sizes[lane] = size;
    yield(AT_WARP);
    if (warp.sizes[0] != warp.sizes[lane]) fail("lanes of a warp exchange at different places");
    return warp.slots[turn];
}

void copy_later(void *to, const void *from, unsigned bytes) {
    worker.copies[worker.current].push_back({to, from, bytes});
}

void wait_for_copies() {
    for (const Copy &copy : worker.copies[worker.current])
        copy.from ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
    worker.copies[worker.current].clear();
}

void Poisoned::touch() {
    if (block == worker.blocks) return;
    block = worker.blocks;
    memset(memory, 0xff, size);
}

} // namespace emulate

// Runs the block `at` of a grid. 0, or 1 with a message.
extern "C" int emulate_block(const emulate::Kernel *kernel, const emulate::Argument *arguments, unsigned count,
                             const unsigned *grid, const unsigned *block, const unsigned *at, int reversed,
                             char *message, size_t message_len) {
    using namespace emulate;
    grid_extents = {grid[0], grid[1], grid[2]};
    block_extents = {block[0], block[1], block[2]};
    block_index = {at[0], at[1], at[2]};
    Worker &w = worker;
    w.threads = block[0] * block[1] * block[2];
    w.message = message, w.message_len = message_len, w.failed = false;
    if (w.threads == 0 || w.threads > kernel->threads_max || w.threads % LANES) {
        snprintf(message, message_len, "blocks of %u threads: whole warps, at most %u", w.threads, kernel->threads_max);
        return 1;
    }
    if (!w.stacks) {
        void *memory = mmap(nullptr, STACK_BYTES * THREADS_MAX, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            snprintf(message, message_len, "no memory for the stacks of %u threads", THREADS_MAX);
            return 1;
        }
        w.stacks = (char *)memory;
    }
    w.entry = kernel->entry, w.arguments = arguments, w.count = count, w.blocks++;
    for (unsigned t = 0; t < w.threads; t++) {
        w.states[t] = READY, w.turns[t] = 0, w.copies[t].clear();
        start_context(&w.fibers[t], w.stacks + STACK_BYTES * t, body);
    }
    run_threads(reversed != 0);
    return w.failed;
}
