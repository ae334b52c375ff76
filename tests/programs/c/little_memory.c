// More of files than there is memory, in requests of 64 pages.
#include "common.h"

enum { PAGES = 1024, REQUEST = 64 };

int main(void) {
    int fd = cold_file("much", PAGES * PAGE);
    unsigned char *buffer = malloc(REQUEST * PAGE);
    for (long page = 0; page < PAGES; page += REQUEST) {
        CHECK(pread(fd, buffer, REQUEST * PAGE, page * PAGE) == REQUEST * PAGE);
        for (long i = 0; i < REQUEST * PAGE; i += 511) CHECK(buffer[i] == pattern(page * PAGE + i));
        memset(buffer, page / REQUEST, REQUEST * PAGE);
        CHECK(pwrite(fd, buffer, REQUEST * PAGE, page * PAGE) == REQUEST * PAGE);
    }
    unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (long page = 0; page < PAGES; page++) map[page * PAGE + 1]++;
    // From the mapping into the same file, all of it.
    for (long page = 0; page < PAGES - REQUEST; page += REQUEST)
        CHECK(pwrite(fd, map + page * PAGE + 17, REQUEST * PAGE, (page + REQUEST) * PAGE) == REQUEST * PAGE);
    printf("%lx\n", sum_of(fd));
    return 0;
}
