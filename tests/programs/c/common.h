// What the programs have in common: calls that must not fail, and a pattern for file contents.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L

#define MUST(call)                                                                  \
    ({                                                                              \
        long result_ = (long)(call);                                                \
        if (result_ == -1) {                                                        \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(errno)); \
            exit(1);                                                                \
        }                                                                           \
        result_;                                                                    \
    })

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

// The byte of the pattern at a position of a file.
static inline unsigned char pattern(long at) { return (unsigned char)(at * 7 + at / PAGE * 13 + 1); }

// A new file with the pattern, written back and out of the cache.
static inline int cold_file(const char *name, long bytes) {
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
    unsigned char *buffer = malloc(bytes);
    for (long at = 0; at < bytes; at++) buffer[at] = pattern(at);
    CHECK(pwrite(fd, buffer, bytes, 0) == bytes);
    free(buffer);
    MUST(fsync(fd));
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    return fd;
}

// musl has no names of errors.
#ifndef __GLIBC__
#define strerrorname_np strerror
#endif

// What a call returns, with the name of its error.
static inline void told(const char *what, long result) {
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(errno));
    else
        printf("%s: %ld\n", what, result);
}

// A sum of a file's bytes, for the output.
static inline unsigned long sum_of(int fd) {
    unsigned char buffer[65536];
    unsigned long sum = 0;
    long at = 0, n;
    while ((n = MUST(pread(fd, buffer, sizeof buffer, at))) > 0) {
        for (long i = 0; i < n; i++) sum = sum * 31 + buffer[i];
        at += n;
    }
    return sum;
}
