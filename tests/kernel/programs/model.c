// Random operations on a file, compared with an array of bytes after each: the program is its own
// control. The seed is fixed, or the first argument.
#include "common.h"

enum { MOST = 96 * 1024, STEPS = 1500 };

static unsigned char model[MOST], buffer[MOST];
static long size;
static unsigned long state;
static int fd;

static unsigned long draw(unsigned long below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state % below;
}

static void fill(long bytes) {
    for (long at = 0; at < bytes; at++) buffer[at] = (unsigned char)draw(256);
}

static void grow(long to) {
    if (to > size) size = to;
}

static void compare(int step) {
    struct stat stat;
    MUST(fstat(fd, &stat));
    long n = MUST(pread(fd, buffer, MOST, 0));
    if (n == size && stat.st_size == size && !memcmp(buffer, model, size)) return;
    long at = 0;
    while (at < n && at < size && buffer[at] == model[at]) at++;
    printf("step %d: %ld bytes of %ld, the first wrong one at %ld\n", step, n, size, at);
    exit(1);
}

static void step(int number) {
    long at = draw(MOST), bytes = draw(number % 5 ? 3 * PAGE : MOST);
    if (at + bytes > MOST) bytes = MOST - at;
    switch (draw(9)) {
    case 0:
    case 1:
        fill(bytes);
        CHECK(pwrite(fd, buffer, bytes, at) == bytes);
        memcpy(model + at, buffer, bytes);
        if (bytes > 0) grow(at + bytes);
        break;
    case 2: {
        // From the file's own mapping, the source and the target in the same pages.
        long from = draw(MOST);
        if (from + bytes > size) from = 0, bytes = bytes < size ? bytes : size;
        unsigned char *map = (void *)MUST((long)mmap(0, MOST, PROT_READ, MAP_SHARED, fd, 0));
        if (from + bytes > at && at + bytes > from) {
            // What overlapping bytes become is not defined: a copy of them is written.
            memcpy(buffer, map + from, bytes);
            CHECK(pwrite(fd, buffer, bytes, at) == bytes);
        } else {
            CHECK(pwrite(fd, map + from, bytes, at) == bytes);
        }
        memmove(model + at, model + from, bytes);
        if (bytes > 0) grow(at + bytes);
        MUST(munmap(map, MOST));
        break;
    }
    case 3: {
        long n = MUST(pread(fd, buffer, bytes, at));
        long there = at < size ? (bytes < size - at ? bytes : size - at) : 0;
        CHECK(n == there && !memcmp(buffer, model + at, n));
        break;
    }
    case 4: {
        if (at + bytes > size) break;
        unsigned char *map = (void *)MUST((long)mmap(0, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        CHECK(!memcmp(map + at, model + at, bytes));
        fill(bytes);
        memcpy(map + at, buffer, bytes);
        memcpy(model + at, buffer, bytes);
        if (draw(2)) MUST(msync(map, MOST, MS_SYNC));
        MUST(munmap(map, MOST));
        break;
    }
    case 5:
        MUST(ftruncate(fd, at));
        if (at < size) memset(model + at, 0, size - at);
        size = at;
        break;
    case 6:
        if (bytes == 0) break;
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes));
        memset(model + at, 0, bytes);
        break;
    case 7:
        if (bytes == 0) break;
        MUST(fallocate(fd, 0, at, bytes));
        grow(at + bytes);
        break;
    default:
        if (draw(2)) MUST(fsync(fd));
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
}

int main(int count, char **arguments) {
    state = count > 1 ? strtoul(arguments[1], 0, 0) * 2 + 1 : 0x5eed;
    fd = MUST(open("model", O_RDWR | O_CREAT | O_TRUNC, 0644));
    for (int number = 0; number < STEPS; number++) {
        step(number);
        compare(number);
    }
    printf("%d steps: %ld bytes, %lx\n", STEPS, size, sum_of(fd));
    return 0;
}
