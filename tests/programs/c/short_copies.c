// Writes from memory that ends, and reads into memory that ends: at every offset near the border,
// cold and warm, overwriting and growing. What is returned, and what the file holds.
#include "common.h"

int main(void) {
    unsigned char *memory = (void *)MUST((long)mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memset(memory, 'm', 2 * PAGE);
    MUST(munmap(memory + 2 * PAGE, 2 * PAGE));
    unsigned char *end = memory + 2 * PAGE;
    long sum = 0;
    for (int warm = 0; warm < 2; warm++) {
        for (long before = 0; before <= 130; before++) {
            int fd = cold_file("short", 4 * PAGE);
            char byte;
            if (warm) MUST(pread(fd, &byte, 1, PAGE));
            long n = pwrite(fd, end - before, 3 * PAGE, PAGE + 100);
            sum = sum * 31 + (n < 0 ? -errno : n);
            if (before % 13 == 0) told("overwrite", n);
            sum = sum * 31 + (long)sum_of(fd);
            // A growing write: nothing past what is returned may be seen.
            long size = 4 * PAGE + 50;
            n = pwrite(fd, end - before, 2 * PAGE, size);
            struct stat stat;
            MUST(fstat(fd, &stat));
            // (ext4 keeps a size of `size` after a write of nothing.)
            CHECK(n > 0 ? stat.st_size == size + n : stat.st_size == 4 * PAGE || stat.st_size == size);
            MUST(ftruncate(fd, 8 * PAGE));
            sum = sum * 31 + (long)sum_of(fd);
            // A vector with an end in it.
            struct iovec vector[3] = {{end - before, before}, {end, 10}, {memory, 10}};
            n = pwritev(fd, vector, 3, 10);
            if (before % 13 == 0) told("vector", n);
            sum = sum * 31 + (n < 0 ? -errno : n);
            n = pread(fd, end - before, PAGE, 3 * PAGE - 7);
            if (before % 13 == 0) told("read", n);
            sum = sum * 31 + (n < 0 ? -errno : n) + (long)sum_of(fd);
            memset(memory, 'm', 2 * PAGE);
            MUST(close(fd));
        }
    }
    printf("%lx\n", sum);
    return 0;
}
