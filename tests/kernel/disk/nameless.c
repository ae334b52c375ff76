// Files without names: made so, linked, and removed while they are in use.
#include "common.h"

int main(void) {
    struct stat status;
    char byte;
    int fd = MUST(open(".", O_TMPFILE | O_RDWR, 0600));
    CHECK(write(fd, "contents", 8) == 8);
    MUST(fstat(fd, &status));
    told("links", status.st_nlink);
    told("link", linkat(fd, "", AT_FDCWD, "named", AT_EMPTY_PATH));
    MUST(fstat(fd, &status));
    told("links", status.st_nlink);
    MUST(fsync(fd));
    MUST(close(fd));
    fd = MUST(open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600));
    CHECK(write(fd, "lost", 4) == 4);
    told("link", linkat(fd, "", AT_FDCWD, "never", AT_EMPTY_PATH));
    int gone = MUST(open("gone", O_CREAT | O_RDWR, 0600));
    CHECK(write(gone, "x", 1) == 1);
    MUST(unlink("gone"));
    told("link", linkat(gone, "", AT_FDCWD, "again", AT_EMPTY_PATH));
    CHECK(pread(gone, &byte, 1, 0) == 1 && byte == 'x');
    told("stat", stat("gone", &status));
    return 0;
}
