// What sync, syncfs and the flusher have sent is in Linux's own files: a witness outside of the
// machine looks at them, see tests/programs/src/witness.rs.
#include "common.h"

#define BYTES (5 * PAGE + 100)

static int written(const char *name) {
    int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
    unsigned char buffer[BYTES];
    for (long at = 0; at < BYTES; at++) buffer[at] = pattern(at);
    CHECK(write(fd, buffer, BYTES) == BYTES);
    return fd;
}

static void ask(const char *when, const char *name) {
    char question[40];
    snprintf(question, sizeof question, "%s-%s", when, name);
    MUST(close(MUST(open(question, O_WRONLY | O_CREAT, 0644))));
}

// Writes to another file until there is an answer.
static void hear(const char *name) {
    char yes[40], no[40];
    snprintf(yes, sizeof yes, "yes-%s", name);
    snprintf(no, sizeof no, "no-%s", name);
    int other = MUST(open("other", O_RDWR | O_CREAT, 0644));
    for (int round = 0; round < 2000; round++) {
        CHECK(access(no, F_OK) != 0);
        if (access(yes, F_OK) == 0) {
            MUST(close(other));
            printf("%s: yes\n", name);
            return;
        }
        CHECK(pwrite(other, "x", 1, 0) == 1);
        usleep(10000);
    }
    printf("%s: no answer\n", name);
    exit(1);
}

int main(void) {
    int fd = written("sync");
    sync();
    ask("now", "sync");
    hear("sync");
    MUST(close(fd));

    fd = written("syncfs");
    int mapped = written("other");
    unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(page != MAP_FAILED);
    // Another byte, by a store to a page that is dirty already, and the right one, by a store to a
    // page that is not.
    *(volatile unsigned char *)page = pattern(0) + 1;
    MUST(syncfs(mapped));
    *(volatile unsigned char *)page = pattern(0);
    MUST(syncfs(mapped));
    ask("now", "syncfs");
    hear("syncfs");

    MUST(close(written("age")));
    ask("soon", "age");
    hear("age");
    return 0;
}
