// A disk that fills up: each call says so, what was written before stays, and what is removed makes
// room. `kept` was synced before, and is looked at afterwards.
#include "common.h"

enum { KEPT = 300000, PIECE = 10000 };

static unsigned char buffer[PIECE];

// Writes the pattern to a file until the disk is full, or `limit`; how much was written.
static long fill(const char *name, long limit) {
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
    long size = 0;
    while (size < limit) {
        for (long at = 0; at < PIECE; at++) buffer[at] = pattern(size + at);
        long wanted = limit - size < PIECE ? limit - size : PIECE;
        long written = write(fd, buffer, wanted);
        if (written < 0) {
            CHECK(errno == ENOSPC);
            break;
        }
        CHECK(written > 0);
        size += written;
    }
    // Room was promised by the writes.
    MUST(fsync(fd));
    MUST(close(fd));
    return size;
}

static void check(const char *name, long size) {
    struct stat status;
    int fd = MUST(open(name, O_RDONLY));
    MUST(fstat(fd, &status));
    CHECK(status.st_size == size);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    for (long from = 0; from < size; from += PIECE) {
        long got = MUST(pread(fd, buffer, PIECE, from));
        CHECK(got == (size - from < PIECE ? size - from : PIECE));
        for (long at = 0; at < got; at++) CHECK(buffer[at] == pattern(from + at));
    }
    MUST(close(fd));
}

// The number of a free name's directory entry is not limited: only its block and inode are.
static int make_names(void) {
    char name[64];
    for (int number = 0; number < 100000; number++) {
        snprintf(name, sizeof name, "d%d", number);
        if (mkdir(name, 0755)) {
            CHECK(errno == ENOSPC);
            return number;
        }
    }
    return -1;
}

static sigjmp_buf back;

static void on_bus_error(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

// A page of a hole that is written by way of a mapping gets room when it is touched.
static void check_mapping(void) {
    int fd = MUST(open("mapped", O_RDWR | O_CREAT, 0644));
    MUST(ftruncate(fd, 64 * PAGE));
    volatile unsigned char *map = (void *)MUST((long)mmap(0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    signal(SIGBUS, on_bus_error);
    volatile long touched = 0;
    if (sigsetjmp(back, 1) == 0) {
        for (; touched < 64; touched++) map[touched * PAGE] = 1;
        CHECK(!"a full disk has no room for 64 pages");
    }
    for (long page = 0; page < 64; page++) CHECK(map[page * PAGE] == (page < touched));
    MUST(fsync(fd));
    MUST(close(fd));
}

int main(void) {
    struct stat status;
    CHECK(fill("kept", KEPT) == KEPT);
    for (int round = 0; round < 3; round++) {
        long size = fill("large", 1L << 40);
        CHECK(size > PIECE);
        check("large", size);
        check("kept", KEPT);
        int names = make_names();
        CHECK(names >= 0);
        int fd = MUST(open("large", O_RDWR));
        CHECK(fallocate(fd, 0, size, 1 << 20) == -1 && errno == ENOSPC);
        MUST(fstat(fd, &status));
        CHECK(status.st_size == size);
        if (round == 0) check_mapping();
        // What is written already can be written again.
        for (long at = 0; at < 100; at++) buffer[at] = pattern(size / 2 + at);
        CHECK(pwrite(fd, buffer, 100, size / 2) == 100);
        MUST(fsync(fd));
        MUST(close(fd));
        check("large", size);
        char name[64];
        while (names--) {
            snprintf(name, sizeof name, "d%d", names);
            MUST(rmdir(name));
        }
        if (round < 2) MUST(unlink("large"));
    }
    MUST(stat("large", &status));
    printf("%ld\n", (long)status.st_size);
    return 0;
}
