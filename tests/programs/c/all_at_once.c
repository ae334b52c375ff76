// Threads and processes that write files from mappings of the same files, beside others that map,
// protect, lock, truncate and drop them. Each byte of a file is 0 or one that was written at its
// place in a word: the upper two are 5a, the lower two of any value, the others 0.
#include "common.h"

enum { PAGES = 32, WRITES = 10000, ROUNDS = 300, THREADS = 3 };

static int fds[2];

static unsigned draw(unsigned *seed) { return *seed = *seed * 1103515245 + 12345, *seed >> 16; }

// A copy beside another one may see half a word: where CPUs copy by bytes, and under emulation.
static int is_word(long word) {
    unsigned long first = (unsigned long)word >> 56, second = (unsigned long)word >> 48 & 0xff;
    return (word & 0xffffffff0000) == 0 && (first == 0 || first == 0x5a) && (second == 0 || second == 0x5a);
}

static void writer(unsigned seed) {
    unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[seed % 2], 0));
    for (int round = 0; round < WRITES; round++) {
        long from = draw(&seed) % (PAGES - 3) * PAGE, to = draw(&seed) % PAGES * PAGE;
        long length = (draw(&seed) % 3 + 1) * PAGE;
        // The mapping may end before: the source is not there then.
        long n = pwrite(fds[draw(&seed) % 2], map + from, length, to);
        CHECK(n >= 0 || errno == EFAULT);
        long words[PAGE / 8];
        for (int i = 0; i < PAGE / 8; i++) words[i] = 0x5a5a000000000000 | (long)(draw(&seed) & 0xffff);
        MUST(pwrite(fds[draw(&seed) % 2], words, PAGE, draw(&seed) % PAGES * PAGE));
        n = MUST(pread(fds[draw(&seed) % 2], words, PAGE, draw(&seed) % PAGES * PAGE));
        for (int i = 0; i < n / 8; i++) CHECK(is_word(words[i]));
    }
    MUST(munmap(map, PAGES * PAGE));
}

static void disturber(unsigned seed) {
    for (int round = 0; round < ROUNDS; round++) {
        int fd = fds[draw(&seed) % 2];
        unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, draw(&seed) % 4 ? MAP_SHARED : MAP_PRIVATE, fd, 0));
        long page = draw(&seed) % PAGES;
        switch (draw(&seed) % 7) {
        case 0: MUST(mprotect(map + page * PAGE, PAGE, PROT_NONE)); break;
        case 1: mlock(map, PAGES * PAGE); munlock(map, PAGES * PAGE); break;
        case 2: MUST(ftruncate(fd, page * PAGE)); MUST(ftruncate(fd, PAGES * PAGE)); break;
        case 3: MUST(madvise(map, PAGES * PAGE, MADV_DONTNEED)); break;
        case 4: MUST(msync(map, PAGES * PAGE, MS_SYNC)); break;
        case 5: posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); break;
        default: MUST(fsync(fd)); break;
        }
        MUST(munmap(map, PAGES * PAGE));
    }
}

static void *thread(void *number) {
    long n = (long)number;
    (n % 2 ? disturber : writer)(n * 77 + 5);
    return 0;
}

int main(void) {
    fds[0] = cold_file("one", 0);
    fds[1] = cold_file("two", 0);
    MUST(ftruncate(fds[0], PAGES * PAGE));
    MUST(ftruncate(fds[1], PAGES * PAGE));
    pid_t children[2];
    for (int child = 0; child < 2; child++) {
        children[child] = MUST(fork());
        if (children[child] == 0) {
            (child ? disturber : writer)(child * 1000 + 3);
            _exit(0);
        }
    }
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], 0, thread, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], 0) == 0);
    for (int child = 0; child < 2; child++) {
        int status;
        MUST(waitpid(children[child], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int file = 0; file < 2; file++) {
        long words[PAGES * PAGE / 8];
        MUST(ftruncate(fds[file], PAGES * PAGE));
        CHECK(pread(fds[file], words, sizeof words, 0) == sizeof words);
        for (unsigned i = 0; i < sizeof words / 8; i++) CHECK(is_word(words[i]));
    }
    printf("every byte is one that was written\n");
    return 0;
}
