// A store that fails now and then: each descriptor learns of a failed writeback once. Not for Linux
// alone, whose stores do not fail.
#include "common.h"

int main(void) {
    int first = MUST(open("failing", O_RDWR | O_CREAT | O_TRUNC, 0644));
    int second = MUST(open("failing", O_RDWR));
    int found = 0;
    for (int round = 0; round < 2000 && found < 5; round++) {
        char bytes[100];
        memset(bytes, 'a' + round % 26, sizeof bytes);
        if (pwrite(first, bytes, sizeof bytes, round % 50 * PAGE) < 0) CHECK(errno == ENOSPC || errno == EIO);
        if (fsync(first) == 0) continue;
        CHECK(errno == EIO);
        CHECK(fsync(second) == -1 && errno == EIO);
        // What it has been told of is not told again; another failure is.
        int again = fsync(second), later = fsync(second);
        CHECK(again == 0 || later == 0);
        found++;
    }
    CHECK(found == 5);
    printf("told on both\n");
    return 0;
}
