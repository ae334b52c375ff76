// Truncation under mappings, shared and private: SIGBUS past the end, private copies go, and the
// file reads as zeros when it grows again.
#include "common.h"

static sigjmp_buf back;
static void on_bus(int signal) { siglongjmp(back, signal); }

static const char *load(volatile unsigned char *at) {
    static char text[32];
    int signal = sigsetjmp(back, 1);
    if (signal) {
        snprintf(text, sizeof text, "signal %d", signal);
    } else {
        snprintf(text, sizeof text, "%d", *at);
    }
    return text;
}

static const char *store(volatile unsigned char *at) {
    int signal = sigsetjmp(back, 1);
    if (signal) return "a signal";
    *at = 'S';
    return "stored";
}

int main(void) {
    struct sigaction action = {.sa_handler = on_bus};
    MUST(sigaction(SIGBUS, &action, 0));
    MUST(sigaction(SIGSEGV, &action, 0));
    for (int private = 0; private < 2; private++) {
        int fd = cold_file("cut", 8 * PAGE);
        unsigned char *map = (void *)MUST((long)mmap(0, 8 * PAGE, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, fd, 0));
        for (long page = 0; page < 8; page++) map[page * PAGE + 9] = 'p';
        MUST(ftruncate(fd, 3 * PAGE + 100));
        printf("inside: %s\n", load(map + 2 * PAGE + 9));
        printf("same page: %s\n", load(map + 3 * PAGE + 99));
        if (!private) printf("cut: %s\n", load(map + 3 * PAGE + 200));
        printf("past: %s\n", load(map + 4 * PAGE + 9));
        printf("past: %s\n", store(map + 5 * PAGE));
        MUST(ftruncate(fd, 8 * PAGE));
        printf("again: %s\n", load(map + 4 * PAGE + 9));
        printf("again: %s\n", store(map + 5 * PAGE));
        printf("again: %s\n", load(map + 5 * PAGE));
        printf("%lx\n", sum_of(fd));
        MUST(munmap(map + PAGE, 2 * PAGE));
        printf("no mapping: %s\n", load(map + PAGE));
        MUST(mprotect(map, PAGE, PROT_READ));
        printf("read-only: %s\n", store(map));
        MUST(mprotect(map, PAGE, PROT_NONE));
        printf("nothing: %s\n", load(map));
        MUST(mprotect(map, PAGE, PROT_READ | PROT_WRITE));
        printf("all: %s %s\n", load(map + 9), store(map));
        MUST(munmap(map, 8 * PAGE));
        MUST(close(fd));
    }
    // A mapping longer than its file.
    int fd = cold_file("cut", PAGE / 2);
    unsigned char *map = (void *)MUST((long)mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    printf("tail: %s\n", load(map + PAGE - 1));
    printf("next: %s\n", load(map + PAGE));
    map[PAGE / 2 + 1] = 'x';
    MUST(msync(map, PAGE, MS_SYNC));
    MUST(ftruncate(fd, PAGE));
    printf("%lx\n", sum_of(fd));
    // As if the descriptor were all.
    MUST(close(fd));
    MUST(unlink("cut"));
    printf("without a name: %s %s\n", load(map), store(map + 1));
    return 0;
}
