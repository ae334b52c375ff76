// A store that fails now and then: each descriptor learns of a failed writeback once. Not for Linux
// alone, whose stores do not fail.
#include "common.h"

int main(void) {
    int first = MUST(open("failing", O_RDWR | O_CREAT | O_TRUNC, 0644));
    int second = MUST(open("failing", O_RDWR));
    int on_both = 0;
    for (int round = 0; round < 5000 && on_both < 5; round++) {
        char bytes[100];
        memset(bytes, 'a' + round % 26, sizeof bytes);
        if (pwrite(first, bytes, sizeof bytes, round % 50 * PAGE) < 0) CHECK(errno == ENOSPC || errno == EIO);
        if (fsync(first) == 0) continue;
        CHECK(errno == EIO);
        // The store may have failed in its sync, which is the caller's affair alone.
        if (fsync(second) == 0) continue;
        CHECK(errno == EIO);
        on_both++;
        // Neither is told of the same failure again. Another one may come, but not two in a row.
        for (int which = 0; which < 2; which++) {
            int fd = which ? second : first;
            int again = fsync(fd), later = fsync(fd);
            CHECK(again == 0 || later == 0);
        }
    }
    printf("told on both: %d times\n", on_both);
    return 0;
}
