// Writes records to three files, syncs each one, and says so; every tenth time a small file is
// replaced by a new one. Goes on until the power is cut. The host knows the records: `record` in
// xtask/src/kernel/power.rs.
#include "common.h"

enum { COPIES = 300, RECORD = COPIES * 9 };

static char text[RECORD + 1];

static void make_record(int number) {
    for (int copy = 0; copy < COPIES; copy++) sprintf(text + copy * 9, "%08d\n", number);
}

static void replace(int directory, int number) {
    int fd = MUST(open("new", O_WRONLY | O_CREAT | O_TRUNC, 0644));
    CHECK(write(fd, text, RECORD) == RECORD);
    MUST(fsync(fd));
    MUST(close(fd));
    MUST(rename("new", "replaced"));
    MUST(fsync(directory));
    dprintf(1, "replaced %08d\n", number);
}

int main(void) {
    int files[3];
    int directory = MUST(open(".", O_RDONLY | O_DIRECTORY));
    for (int at = 0; at < 3; at++) {
        char name[] = {'a' + at, 0};
        files[at] = MUST(open(name, O_WRONLY | O_CREAT | O_APPEND, 0644));
    }
    MUST(fsync(directory));
    for (int number = 0;; number++) {
        make_record(number);
        CHECK(write(files[number % 3], text, RECORD) == RECORD);
        MUST(number % 2 ? fsync(files[number % 3]) : fdatasync(files[number % 3]));
        dprintf(1, "appended %08d\n", number);
        if (number % 10 == 9) replace(directory, number);
    }
}
