// Threads that come and go, are cancelled, and write from a mapping while another one has the
// process replaced; files without a name; a large mapping.
#include "common.h"

static int fd;
static unsigned char *map;

static void *write_on(void *number) {
    for (unsigned seed = (unsigned)(long)number;; seed = seed * 1103515245 + 12345) {
        map[seed % (64 * PAGE)]++;
        pwrite(fd, map + seed % 60 * PAGE, 2 * PAGE, (seed >> 8) % 60 * PAGE);
    }
    return 0;
}

static void *wait_for_good(void *pipe) {
    char byte;
    read(*(int *)pipe, &byte, 1);
    return 0;
}

static void *end(void *nothing) { return nothing; }

int main(int count, char **arguments) {
    struct stat stat;
    if (count > 1) {
        MUST(lstat("file", &stat));
        printf("%s: %ld\n", arguments[1], (long)stat.st_size);
        return 0;
    }
    for (int only = 0; only < 2; only++) {
        int unnamed = MUST(open(".", O_TMPFILE | O_RDWR | (only ? O_EXCL : 0), 0600));
        char bytes[8], name[64];
        told("write", write(unnamed, "hello", 5));
        told("read", pread(unnamed, bytes, 8, 0));
        if (!only) {
            sprintf(name, "/proc/self/fd/%d", unnamed);
            told("link", linkat(AT_FDCWD, name, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
            MUST(lstat("linked", &stat));
            printf("%ld bytes, %ld links\n", (long)stat.st_size, (long)stat.st_nlink);
        }
        MUST(close(unnamed));
    }
    int path = MUST(open("linked", O_PATH));
    told("read of a path", read(path, &stat, 1));
    MUST(fstat(path, &stat));
    printf("%ld bytes\n", (long)stat.st_size);
    long large = 600L << 20, step = 1L << 20;
    int big = MUST(open("big", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(big, large));
    map = (void *)MUST((long)mmap(0, large, PROT_READ | PROT_WRITE, MAP_SHARED, big, 0));
    unsigned long sum = 0;
    for (long at = 0; at < large; at += step) map[at] = (unsigned char)(at / step);
    for (long at = 0; at < large; at += step) sum += map[at];
    printf("sum %lu\n", sum);
    MUST(munmap(map, large));
    MUST(ftruncate(big, 0));
    fd = cold_file("file", 64 * PAGE);
    pthread_t thread;
    for (int round = 0; round < 50; round++) {
        int pipes[2];
        void *result;
        MUST(pipe(pipes));
        CHECK(!pthread_create(&thread, 0, wait_for_good, pipes));
        usleep(100);
        pthread_cancel(thread);
        CHECK(!pthread_join(thread, &result) && result == PTHREAD_CANCELED);
        close(pipes[0]);
        close(pipes[1]);
    }
    for (int round = 0; round < 1000; round++) {
        CHECK(!pthread_create(&thread, 0, end, 0));
        CHECK(!pthread_join(thread, 0));
    }
    printf("joined\n");
    map = (void *)MUST((long)mmap(0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (int round = 0; round < 10; round++) {
        fflush(stdout);
        pid_t child = MUST(fork());
        if (child == 0) {
            for (long number = 0; number < 3; number++) CHECK(!pthread_create(&thread, 0, write_on, (void *)number));
            usleep(3000);
            execl("/proc/self/exe", "threads", "replaced", (char *)0);
            _exit(9);
        }
        int status;
        MUST(waitpid(child, &status, 0));
        printf("status %x\n", status);
    }
    return 0;
}
