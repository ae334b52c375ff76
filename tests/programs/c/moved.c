// fallocate that takes pages out of a file and puts pages in: by descriptor and through a mapping,
// the file is what it would be if its tail were copied. A file system that cannot do it has it done
// by hand, so that the sums are the same on all.
#include "common.h"

#define MOST (24 * PAGE)

static unsigned char model[MOST];
static long size;

static unsigned long state = 1;
static long below(long limit) {
    state = state * 6364136223846793005UL + 1442695040888963407UL;
    return (long)((state >> 33) % (unsigned long)limit);
}

static void by_hand(int fd, int mode, long at, long len) {
    static unsigned char tail[MOST], zeros[MOST];
    if (mode == FALLOC_FL_COLLAPSE_RANGE) {
        long moves = MUST(pread(fd, tail, MOST, at + len));
        CHECK(pwrite(fd, tail, moves, at) == moves);
        MUST(ftruncate(fd, at + moves));
    } else {
        long moves = MUST(pread(fd, tail, MOST, at));
        CHECK(pwrite(fd, zeros, len, at) == len);
        CHECK(pwrite(fd, tail, moves, at + len) == moves);
    }
}

static void move(int fd, int mode, long at, long len) {
    if (fallocate(fd, mode, at, len) == -1) {
        CHECK(errno == EOPNOTSUPP);
        by_hand(fd, mode, at, len);
    }
    if (mode == FALLOC_FL_COLLAPSE_RANGE) {
        memmove(model + at, model + at + len, size - at - len);
        size -= len;
    } else {
        memmove(model + at + len, model + at, size - at);
        memset(model + at, 0, len);
        size += len;
    }
}

static void check(int fd, const unsigned char *map) {
    static unsigned char read[MOST];
    CHECK(pread(fd, read, MOST, 0) == size);
    CHECK(memcmp(read, model, size) == 0);
    CHECK(memcmp(map, model, size) == 0);
    CHECK(MUST(lseek(fd, 0, SEEK_END)) == size);
}

int main(void) {
    size = 10 * PAGE + 100;
    int fd = cold_file("moved", size);
    for (long at = 0; at < size; at++) model[at] = pattern(at);
    unsigned char *map = (void *)MUST((long)mmap(0, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    check(fd, map);
    for (long round = 0; round < 400; round++) {
        long pages = 1 + below(3), at = below(size / PAGE) * PAGE;
        switch (below(6)) {
        case 0:
            if (at + pages * PAGE < size && size > 4 * PAGE) move(fd, FALLOC_FL_COLLAPSE_RANGE, at, pages * PAGE);
            break;
        case 1:
            if (size + pages * PAGE <= MOST) move(fd, FALLOC_FL_INSERT_RANGE, at, pages * PAGE);
            break;
        case 2:
            MUST(fsync(fd));
            break;
        case 3: {
            unsigned char bytes[3 * PAGE];
            long pos = below(size), len = 1 + below(sizeof bytes);
            if (pos + len > size) len = size - pos;
            memset(bytes, (int)round, len);
            CHECK(pwrite(fd, bytes, len, pos) == len);
            memset(model + pos, (int)round, len);
            break;
        }
        default: {
            long pos = below(size);
            map[pos] = model[pos] = (unsigned char)(round * 3);
        }
        }
        check(fd, map);
    }
    MUST(munmap(map, MOST));
    printf("%ld bytes, %lx\n", size, sum_of(fd));
    return 0;
}
