// Writes pages of a file from a mapping of the same file, cold: each page onto itself, onto its
// neighbours, and across borders.
#include "common.h"

enum { PAGES = 64 };

int main(void) {
    static const long lengths[] = {1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 17};
    for (unsigned which = 0; which < sizeof lengths / sizeof *lengths; which++) {
        for (long shift = -1; shift <= 1; shift++) {
            int fd = cold_file("own", PAGES * PAGE);
            unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
            long written = 0;
            for (long page = 4; page < PAGES - 8; page += 4) {
                long from = page * PAGE + 5, to = from + shift * PAGE;
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
                written += MUST(pwrite(fd, map + from, lengths[which], to));
            }
            printf("%ld bytes by %ld: %ld, %lx\n", lengths[which], shift, written, sum_of(fd));
            MUST(munmap(map, PAGES * PAGE));
            MUST(close(fd));
        }
    }
    // Read into the mapping of the same pages.
    int fd = cold_file("own", PAGES * PAGE);
    unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (long page = 0; page < PAGES; page += 3) told("read onto itself", pread(fd, map + page * PAGE, PAGE, page * PAGE));
    printf("%lx\n", sum_of(fd));
    return 0;
}
