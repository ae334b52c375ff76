// Threads of one process write a file from its own mapping, while others map, protect, lock,
// truncate and copy the same memory. What a write returns depends on which thread was faster; what
// the file holds does not: each byte is 0, or one that was written at its place of a page.
#include "common.h"

enum { PAGES = 16, ROUNDS = 150, THREADS = 2 };

static unsigned char *map;
static int fd;

static unsigned draw(unsigned *seed) { return *seed = *seed * 1103515245 + 12345, *seed >> 16; }

// The upper half of a byte differs from write to write, and is never 0; the lower one tells its place.
static int is_right(unsigned char byte, long at) { return byte == 0 || (byte >> 4 && (byte & 15) == at % 16); }

static void *writer(void *number) {
    unsigned seed = (unsigned)(long)number;
    unsigned char bytes[PAGE];
    for (int round = 0; round < ROUNDS; round++) {
        long from = draw(&seed) % (PAGES - 2) * PAGE, to = draw(&seed) % (PAGES - 2) * PAGE;
        long n = pwrite(fd, map + from, 2 * PAGE, to);
        CHECK(n >= 0 || errno == EFAULT);
        // Two threads change the address space at a time.
        unsigned char *own = (void *)MUST((long)mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, to));
        MUST(munmap(own, 2 * PAGE));
        unsigned upper = (draw(&seed) % 15 + 1) << 4;
        for (int at = 0; at < PAGE; at++) bytes[at] = (unsigned char)(upper | at % 16);
        CHECK(pwrite(fd, bytes, PAGE, to) == PAGE);
        n = MUST(pread(fd, bytes, PAGE, from));
        for (int at = 0; at < n; at++) CHECK(is_right(bytes[at], at));
    }
    return 0;
}

static void map_again(void) {
    MUST(mmap(map, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0));
}

// One kind of disturbance.
static void disturb(const char *what, unsigned *seed) {
    long page = draw(seed) % PAGES * PAGE;
    if (!strcmp(what, "munmap")) {
        MUST(munmap(map + page, PAGE));
        map_again();
    } else if (!strcmp(what, "mprotect")) {
        MUST(mprotect(map + page, PAGE, PROT_NONE));
        MUST(mprotect(map + page, PAGE, PROT_READ | PROT_WRITE));
    } else if (!strcmp(what, "mlock")) {
        // Past the end of the file there is nothing to lock.
        if (mlock(map + page, PAGE) == 0) MUST(munlock(map + page, PAGE));
    } else if (!strcmp(what, "truncate")) {
        MUST(ftruncate(fd, page));
        MUST(ftruncate(fd, PAGES * PAGE));
    } else if (!strcmp(what, "fork")) {
        pid_t child = MUST(fork());
        if (child == 0) _exit(pwrite(fd, map + page, PAGE, 0) < 0);
        int status;
        MUST(waitpid(child, &status, 0));
        CHECK(WIFEXITED(status));
    } else {
        MUST(madvise(map + page, PAGE, MADV_DONTNEED));
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
}

int main(void) {
    static const char *kinds[] = {"munmap", "mprotect", "mlock", "truncate", "fork", "dropped pages"};
    for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        unsigned seed = kind;
        pthread_t threads[THREADS];
        fd = MUST(open("against", O_RDWR | O_CREAT | O_TRUNC, 0644));
        MUST(ftruncate(fd, PAGES * PAGE));
        map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        for (long number = 0; number < THREADS; number++) CHECK(!pthread_create(&threads[number], 0, writer, (void *)(number + 7 * kind)));
        for (int round = 0; round < ROUNDS / 2; round++) disturb(kinds[kind], &seed);
        for (int number = 0; number < THREADS; number++) CHECK(!pthread_join(threads[number], 0));
        unsigned char bytes[PAGES * PAGE];
        long n = MUST(pread(fd, bytes, sizeof bytes, 0));
        for (long at = 0; at < n; at++) CHECK(is_right(bytes[at], at));
        MUST(munmap(map, PAGES * PAGE));
        MUST(close(fd));
        printf("against %s: done\n", kinds[kind]);
    }
    return 0;
}
