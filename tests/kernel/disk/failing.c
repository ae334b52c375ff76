// A disk that fails some reads and writes: calls fail with EIO, loads with SIGBUS, a sync tells each
// failure once, and what was synced in the end is there.
#include "common.h"

enum { FILES = 8, PAGES = 40, TRIES = 200 };

static char page[PAGE];
static long failures;

// Repeats what may fail with EIO until it does not.
#define TRY(call)                                       \
    ({                                                  \
        long result_, tries_ = 0;                       \
        while ((result_ = (long)(call)) == -1) {        \
            CHECK(errno == EIO && tries_++ < TRIES);    \
            failures++;                                 \
        }                                               \
        result_;                                        \
    })

static void fill_page(int file, long number) {
    for (long at = 0; at < PAGE; at++) page[at] = pattern(at) + file * 3 + number;
}

static int check_page(const volatile char *bytes, int file, long number) {
    for (long at = 0; at < PAGE; at++) {
        if (bytes[at] != (char)(pattern(at) + file * 3 + number)) return 0;
    }
    return 1;
}

static sigjmp_buf back;

static void on_bus_error(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static void check_mapping(int fd, int file) {
    const volatile char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0));
    for (long number = 0; number < PAGES; number++) {
        volatile int tries = 0;
        if (sigsetjmp(back, 1)) {
            failures++;
            CHECK(tries++ < TRIES);
        }
        CHECK(check_page(map + number * PAGE, file, number));
    }
    MUST(munmap((void *)map, PAGES * PAGE));
}

int main(void) {
    char name[16];
    signal(SIGBUS, on_bus_error);
    for (int file = 0; file < FILES; file++) {
        snprintf(name, sizeof name, "f%d", file);
        int fd = TRY(open(name, O_RDWR | O_CREAT, 0644));
        for (long number = 0; number < PAGES; number++) {
            fill_page(file, number);
            CHECK(TRY(pwrite(fd, page, PAGE, number * PAGE)) == PAGE);
        }
        TRY(fsync(fd));
        CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
        for (long number = 0; number < PAGES; number++) {
            CHECK(TRY(pread(fd, page, PAGE, number * PAGE)) == PAGE);
            CHECK(check_page(page, file, number));
        }
        CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
        check_mapping(fd, file);
        MUST(close(fd));
    }
    CHECK(failures > 0);
    return 0;
}
