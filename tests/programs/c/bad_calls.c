// Pointers that a program must not use, and calls that mean nothing: an errno, as on Linux.
#include "common.h"

int main(void) {
    int fd = cold_file("bad", 4 * PAGE);
    int other = cold_file("other", 4 * PAGE);
    int reads = MUST(open("bad", O_RDONLY)), writes = MUST(open("bad", O_WRONLY));
    int appends = MUST(open("bad", O_RDWR | O_APPEND));
    static const unsigned long bad[] = {0, 8, 0xffff800000000000UL, 0xffffffffffffff00UL, 0x8000000000000000UL, 0x7ffffffff000UL, 0x800000000000UL};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *at = (void *)bad[i];
        printf("pointer %u\n", i);
        told("read", read(fd, at, 10));
        told("write", write(fd, at, 10));
        told("pread", pread(fd, at, 3 * PAGE, 100));
        told("pwrite", pwrite(fd, at, 3 * PAGE, 100));
        told("readv", readv(fd, at, 1));
        told("writev", writev(fd, at, 2));
        struct iovec vector[2] = {{"abc", 3}, {at, 5}};
        told("writev to it", pwritev(fd, vector, 2, 7));
        told("stat", fstat(fd, at));
        told("open", open(at, O_RDONLY));
        told("copy", copy_file_range(fd, at, other, 0, 10, 0));
        told("msync", msync(at, PAGE, MS_SYNC));
    }
    char byte = 'b';
    told("read of a writer", read(writes, &byte, 1));
    told("write of a reader", write(reads, &byte, 1));
    told("pread before", pread(fd, &byte, 1, -1));
    told("pwrite before", pwrite(fd, &byte, 1, -5));
    told("lseek before", lseek(fd, -1, SEEK_SET));
    told("lseek", lseek(fd, 0, 77));
    told("lseek to data", lseek(fd, 3 * PAGE, SEEK_DATA));
    told("lseek to a hole", lseek(fd, 100, SEEK_HOLE));
    told("lseek to data past the end", lseek(fd, 4 * PAGE, SEEK_DATA));
    told("truncate", ftruncate(fd, -1));
    told("truncate of a reader", ftruncate(reads, 5));
    told("room for nothing", fallocate(fd, 0, 5, 0));
    told("room before", fallocate(fd, FALLOC_FL_KEEP_SIZE, -5, 10));
    told("a hole that grows", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    told("a hole of zeros", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE, 0, 10));
    told("a hole of a reader", fallocate(reads, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 10));
    told("a hole", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, PAGE - 10, 20));
    told("room", fallocate(fd, FALLOC_FL_KEEP_SIZE, 100, 10 * PAGE));
    told("vector too long", writev(fd, (void *)&byte, 1025));
    told("vector of nothing", writev(fd, 0, 0));
    told("advice", posix_fadvise(fd, 0, 0, 99));
    told("range", sync_file_range(fd, -1, 5, 0));
    told("range flags", sync_file_range(fd, 0, 5, 64));
    told("mmap of a writer", (long)mmap(0, PAGE, PROT_READ, MAP_SHARED, writes, 0));
    told("mmap to write of a reader", (long)mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reads, 0));
    told("mmap of nothing", (long)mmap(0, 0, PROT_READ, MAP_SHARED, fd, 0));
    told("mmap at", (long)mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 5));
    told("mmap neither", (long)mmap(0, PAGE, PROT_READ, 0, fd, 0));
    unsigned char *map = (void *)MUST((long)mmap(0, 4 * PAGE, PROT_READ, MAP_SHARED, reads, 0));
    told("mprotect", mprotect(map, PAGE, PROT_READ | PROT_WRITE));
    told("mprotect at", mprotect(map + 1, PAGE, PROT_READ));
    told("munmap at", munmap(map + 1, PAGE));
    told("munmap of nothing", munmap(map, 0));
    told("msync flags", msync(map, PAGE, MS_SYNC | MS_ASYNC));
    told("madvise", madvise(map, PAGE, 999));
    told("read into a read-only mapping", pread(fd, map, 100, 0));
    told("appends", pwrite(appends, "end", 3, 0));
    told("size", lseek(appends, 0, SEEK_END));
    told("copy onto itself", copy_file_range(fd, &(off_t){0}, fd, &(off_t){10}, 100, 0));
    told("copy", copy_file_range(fd, &(off_t){0}, other, &(off_t){PAGE}, 100, 0));
    MUST(close(fd));
    told("closed", write(fd, &byte, 1));
    told("closed", fsync(fd));
    told("closed", close(fd));
    // The file stays while it is mapped.
    MUST(close(reads));
    MUST(close(writes));
    MUST(close(appends));
    MUST(unlink("bad"));
    printf("%d %d\n", map[0], map[PAGE]);
    return 0;
}
