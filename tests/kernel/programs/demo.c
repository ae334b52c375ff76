// The main job: a file is written from its own mapping, with the source page out of the cache, or
// out of the page tables; onto itself, across pages, as a vector, and by an append.
#include "common.h"

enum { PAGES = 32 };

static unsigned char *map;
static int fd;

static void begin(void) {
    fd = cold_file("demo", PAGES * PAGE);
    map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
}

static void end(const char *what) {
    struct stat stat;
    MUST(fstat(fd, &stat));
    printf("%s: %ld bytes, %lx\n", what, (long)stat.st_size, sum_of(fd));
    MUST(munmap(map, PAGES * PAGE));
    MUST(close(fd));
}

int main(void) {
    begin();
    for (int page = 0; page < PAGES; page++) {
        CHECK(pwrite(fd, map + page * PAGE + 9, PAGE - 9, page * PAGE) == PAGE - 9);
        MUST(madvise(map, PAGES * PAGE, MADV_DONTNEED));
    }
    end("onto itself");

    begin();
    for (int page = 0; page + 5 < PAGES; page += 2) {
        CHECK(pwrite(fd, map + page * PAGE + 100, 3 * PAGE, (page + 1) * PAGE + 50) == 3 * PAGE);
    }
    end("across pages");

    begin();
    for (int page = 0; page + 8 < PAGES; page += 4) {
        struct iovec parts[3] = {
            {map + page * PAGE + PAGE - 1, 2}, {map + (page + 7) * PAGE, 0}, {map + (page + 5) * PAGE - 7, PAGE}};
        CHECK(pwritev(fd, parts, 3, (page + 2) * PAGE - 1) == PAGE + 2);
    }
    end("as a vector");

    begin();
    MUST(fcntl(fd, F_SETFL, O_APPEND));
    CHECK(write(fd, map, PAGES * PAGE) == PAGES * PAGE);
    end("appended to itself");

    begin();
    for (int page = 0; page < PAGES; page += 3) {
        CHECK(pread(fd, map + page * PAGE, PAGE, (PAGES - 1 - page) * PAGE) == PAGE);
    }
    end("read into itself");
    return 0;
}
