// Processes that wait for an empty pipe, one behind the other, are killed: the second one first.
#include "common.h"

static pid_t reader(int fd) {
    pid_t child = MUST(fork());
    if (child == 0) {
        char byte;
        _exit(read(fd, &byte, 1) == 1);
    }
    usleep(30000);
    return child;
}

static void end(const char *which, pid_t child) {
    int status;
    MUST(kill(child, SIGKILL));
    MUST(waitpid(child, &status, 0));
    printf("the %s reader: status %x\n", which, status);
}

int main(void) {
    int ends[2];
    MUST(pipe(ends));
    pid_t first = reader(ends[0]), second = reader(ends[0]);
    end("second", second);
    MUST(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    char byte;
    told("without waiting", read(ends[0], &byte, 1));
    end("first", first);
    MUST(write(ends[1], "x", 1));
    told("afterwards", read(ends[0], &byte, 1));
    return 0;
}
