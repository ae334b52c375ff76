// Four processes write through shared mappings of files of a disk, with more of them than there is
// memory. Arguments: MiB of each file, and rounds.
#include "common.h"

enum { PROCESSES = 4 };

static uint64_t word(int process, int round, long page) {
    return (process + 1) * 0x100000001b3 + round * 0x9e3779b97f4a7c15 + page;
}

static int work(int process, long pages, int rounds) {
    char name[16];
    snprintf(name, sizeof name, "file%d", process);
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_EXCL, 0644));
    MUST(ftruncate(fd, pages * PAGE));
    char *map = (void *)MUST((long)mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (int round = 0; round < rounds; round++) {
        for (long page = 0; page < pages; page++) {
            volatile uint64_t *words = (void *)(map + page * PAGE);
            words[0] = words[511] = word(process, round, page);
        }
        for (long page = 0; page < pages; page++) {
            volatile uint64_t *words = (void *)(map + page * PAGE);
            CHECK(words[0] == word(process, round, page) && words[511] == words[0]);
        }
    }
    MUST(msync(map, pages * PAGE, MS_SYNC));
    for (long page = 0; page < pages; page++) {
        uint64_t words[512];
        CHECK(pread(fd, words, PAGE, page * PAGE) == PAGE);
        CHECK(words[0] == word(process, rounds - 1, page) && words[511] == words[0] && words[7] == 0);
    }
    return 0;
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    long pages = atol(arguments[1]) * ((1 << 20) / PAGE);
    for (int process = 0; process < PROCESSES; process++) {
        pid_t child = MUST(fork());
        if (child == 0) exit(work(process, pages, atoi(arguments[2])));
    }
    int bad = 0;
    for (int process = 0; process < PROCESSES; process++) {
        int status;
        MUST(wait(&status));
        if (status) printf("a process has ended with %x\n", status);
        bad |= status;
    }
    return bad ? 1 : 0;
}
