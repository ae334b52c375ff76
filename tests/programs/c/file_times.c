// mtime and ctime: of writes, of stores through mappings, of truncation, and not of reads.
#include "common.h"

static long long mtime(int fd) {
    struct stat stat;
    MUST(fstat(fd, &stat));
    return stat.st_mtim.tv_sec * 1000000000LL + stat.st_mtim.tv_nsec;
}

static long long ctime_(int fd) {
    struct stat stat;
    MUST(fstat(fd, &stat));
    return stat.st_ctim.tv_sec * 1000000000LL + stat.st_ctim.tv_nsec;
}

static void nap(void) { usleep(20000); }

int main(void) {
    int fd = cold_file("times", 4 * PAGE);
    char byte;
    long long before = mtime(fd);
    nap();
    MUST(pread(fd, &byte, 1, 0));
    printf("read: %s\n", mtime(fd) == before ? "as before" : "changed");
    MUST(pwrite(fd, "x", 1, 0));
    printf("write: %s\n", mtime(fd) == before ? "as before" : "changed");
    before = mtime(fd);
    nap();
    CHECK(pwrite(fd, "x", 0, 0) == 0);
    printf("write of nothing: %s\n", mtime(fd) == before ? "as before" : "changed");
    unsigned char *map = (void *)MUST((long)mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    MUST(fsync(fd));
    before = mtime(fd);
    nap();
    map[5] = 'y';
    MUST(msync(map, 4 * PAGE, MS_SYNC));
    printf("store and msync: %s\n", mtime(fd) == before ? "as before" : "changed");
    before = mtime(fd);
    nap();
    map[PAGE] = 'y';
    MUST(munmap(map, 4 * PAGE));
    MUST(fsync(fd));
    printf("store, munmap and fsync: %s\n", mtime(fd) == before ? "as before" : "changed");
    before = mtime(fd);
    nap();
    MUST(ftruncate(fd, PAGE));
    printf("truncation: %s\n", mtime(fd) == before ? "as before" : "changed");
    long long changed = ctime_(fd);
    nap();
    MUST(fchmod(fd, 0600));
    printf("chmod, ctime: %s\n", ctime_(fd) == changed ? "as before" : "changed");
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    MUST(futimens(fd, times));
    printf("set: %lld\n", mtime(fd));
    struct stat stat;
    MUST(fstat(fd, &stat));
    printf("size %ld links %ld mode %o\n", (long)stat.st_size, (long)stat.st_nlink, stat.st_mode);
    return 0;
}
