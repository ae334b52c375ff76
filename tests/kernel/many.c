// The first program of a boot that runs several: each line of a list is a program with its
// arguments. Each runs in a folder of its own; what it prints stands between two lines of this
// program's, which begin with the byte 1: its number, and later its number and how it ended.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 64, LINE = 4096, HUNG = 1000 };

static void run(char *line) {
    char *words[WORDS + 1], *rest = line;
    int count = 0;
    while (count < WORDS && (words[count] = strsep(&rest, " "))) count++;
    words[count] = 0;
    setpgid(0, 0);
    dup2(open("/dev/null", O_RDONLY), 0);
    execv(words[0], words);
    _exit(127);
}

// How the program ended: its status as `waitpid` has it, or HUNG after so many seconds.
static int end_of(pid_t program, long seconds) {
    struct timespec pause = {.tv_nsec = 4000000}, now, start;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        if (waitpid(program, &status, WNOHANG) == program) break;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= seconds) return HUNG << 8;
        nanosleep(&pause, 0);
    }
    kill(-program, SIGKILL);
    while (waitpid(-1, 0, WNOHANG) > 0) {}
    return status;
}

int main(int count, char **arguments) {
    char line[LINE], folder[64];
    if (count != 4) return 2;
    FILE *list = fopen(arguments[1], "r");
    if (!list) return 2;
    for (int number = 0; fgets(line, sizeof line, list); number++) {
        line[strcspn(line, "\n")] = 0;
        snprintf(folder, sizeof folder, "%s/%d", arguments[3], number);
        if (mkdir(folder, 0755) || chdir(folder)) return 3;
        dprintf(1, "\1%d\n", number);
        pid_t program = fork();
        if (program < 0) return 3;
        if (program == 0) run(line);
        int status = end_of(program, atol(arguments[2]));
        dprintf(1, "\1%d %d\n", number, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : status >> 8);
        // Nothing is known of a machine on which a program hangs: what follows would be no proof.
        if (status == HUNG << 8) {
            for (;;) pause();
        }
    }
    return 0;
}
