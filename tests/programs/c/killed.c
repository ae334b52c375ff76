// Processes that are killed in the middle of writes from mappings, and others that go on with the
// same files.
#include "common.h"

enum { PAGES = 16, ROUNDS = 40 };

int main(void) {
    int fd = cold_file("killed", PAGES * PAGE);
    unsigned char *map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            for (unsigned n = 0;; n++) {
                pwrite(fd, map + n % 4 * PAGE, 4 * PAGE, (4 + n % 8) * PAGE);
                map[n % PAGES * PAGE] = (unsigned char)n;
                if (n % 16 == 0) fsync(fd);
                if (n % 64 == 0 && fork() == 0) _exit(0);
            }
        }
        usleep(1000 + round * 137 % 3000);
        MUST(kill(child, SIGKILL));
        int status;
        MUST(waitpid(child, &status, 0));
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        // Locks were given back.
        CHECK(pwrite(fd, map, 8 * PAGE, 8 * PAGE) == 8 * PAGE);
        MUST(fsync(fd));
        MUST(ftruncate(fd, 8 * PAGE));
        MUST(ftruncate(fd, PAGES * PAGE));
    }
    printf("went on %d times\n", ROUNDS);
    return 0;
}
