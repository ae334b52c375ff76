/* Several processes at once make, change, move and remove the same names, and what is behind them. An
 * error that none of the calls can have is told. Each keeps the bytes of one file of its own. */
#include "common.h"
#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

enum { PROCESSES = 4, STEPS = 500, FOLDERS = 3, NAMES = 8, OWN = 40000 };

static uint64_t state;
static char bytes[20000], own[OWN], read_back[OWN];

static unsigned below(unsigned most) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 20) % most;
}

/* A name in the folders, or a folder itself, or one below. */
static const char *name(void) {
    static char names[4][64];
    static int turn;
    char *text = names[turn++ % 4];
    unsigned kind = below(10);
    if (kind == 0) sprintf(text, "s%u", below(FOLDERS));
    else if (kind < 3) sprintf(text, "s%u/d%u/n%u", below(FOLDERS), below(3), below(NAMES));
    else if (kind < 5) sprintf(text, "s%u/d%u", below(FOLDERS), below(3));
    else sprintf(text, "s%u/n%u", below(FOLDERS), below(NAMES));
    return text;
}

static void check(const char *call, long result) {
    static const int known[] = {ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EINVAL, ELOOP, EBUSY, EPERM,
                                ENODATA, ERANGE, ENXIO, ENODEV, EACCES, EBADF, ETXTBSY, ESPIPE, EOPNOTSUPP, 0};
    if (result != -1) return;
    for (const int *one = known; *one; one++)
        if (errno == *one) return;
    printf("%s: %s\n", call, strerror(errno));
}
#define TRY(call) check(#call, (long)(call))

static void change(int file) {
    unsigned at = below(60000), len = below(sizeof bytes);
    char *page;
    switch (below(9)) {
    case 0: TRY(pwrite(file, bytes, len, at)); break;
    case 1: TRY(pread(file, read_back, len, at)); break;
    case 2: TRY(ftruncate(file, at)); break;
    case 3: TRY(fallocate(file, below(2) ? 0 : FALLOC_FL_KEEP_SIZE, at, len + 1)); break;
    case 4: TRY(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len + 1)); break;
    case 5: TRY(fsync(file)); break;
    case 6: TRY(copy_file_range(file, &(off_t){at}, file, &(off_t){at + 30000}, len, 0)); break;
    case 7: TRY(fallocate(file, FALLOC_FL_ZERO_RANGE, at, len + 1)); break;
    default:
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        /* Another process may cut the file at any time: the kernel stores, and says so. */
        if (page != MAP_FAILED) TRY(pread(file, page, 100, 0)), munmap(page, 4096);
    }
}

static void list(const char *path) {
    DIR *folder = opendir(path);
    if (folder) while (readdir(folder)) {}
    if (folder) closedir(folder);
}

static void step(void) {
    char text[100];
    int file, flags;
    switch (below(20)) {
    case 0: TRY(mkdir(name(), 0755)); break;
    case 1: TRY(rmdir(name())); break;
    case 2: case 3: TRY(unlink(name())); break;
    case 4: TRY(rename(name(), name())); break;
    case 5: TRY(syscall(SYS_renameat2, AT_FDCWD, name(), AT_FDCWD, name(), 1)); break;
    case 6: TRY(syscall(SYS_renameat2, AT_FDCWD, name(), AT_FDCWD, name(), 2)); break;
    case 7: TRY(link(name(), name())); break;
    case 8: TRY(symlink(name(), name())); break;
    case 9: TRY(mknod(name(), S_IFIFO | 0600, 0)); break;
    case 10: list(name()); break;
    case 11: TRY(readlink(name(), text, sizeof text)); break;
    case 12: TRY(truncate(name(), below(50000))); break;
    case 13: TRY(chmod(name(), 0700 | below(0100))); break;
    case 14: TRY(lsetxattr(name(), below(2) ? "user.one" : "trusted.two", bytes, below(300), 0)); break;
    case 15: TRY(lremovexattr(name(), "user.one")); break;
    case 16:
        TRY(file = open(name(), O_TMPFILE | O_RDWR, 0600));
        if (file >= 0) TRY(linkat(file, "", AT_FDCWD, name(), AT_EMPTY_PATH)), close(file);
        break;
    case 17:
        TRY(file = open(name(), O_RDONLY | O_NONBLOCK));
        if (file >= 0 && ioctl(file, FS_IOC_GETFLAGS, &flags) == 0) {
            flags ^= FS_NODUMP_FL;
            TRY(ioctl(file, FS_IOC_SETFLAGS, &flags));
        }
        if (file >= 0) close(file);
        break;
    default:
        TRY(file = open(name(), O_RDWR | O_CREAT | O_NONBLOCK | (below(4) ? 0 : O_TRUNC), 0600));
        for (int i = 0; file >= 0 && i < 4; i++) change(file);
        if (file >= 0) close(file);
    }
}

/* Removes a tree. */
static void remove_all(const char *path) {
    struct dirent *entry;
    DIR *folder = opendir(path);
    char below[300];
    while (folder && (entry = readdir(folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (unlink(below) && errno == EISDIR) remove_all(below);
    }
    if (folder) closedir(folder);
    if (rmdir(path)) told("removed", -1);
}

static int process(int number) {
    char path[20];
    state = 0x9e3779b97f4a7c15ull * (number + 1);
    sprintf(path, "own%d", number);
    int file = open(path, O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < STEPS; i++) {
        step();
        unsigned at = below(OWN - 2000), len = below(2000);
        memset(own + at, i, len);
        if (pwrite(file, own + at, len, at) != (int)len) return 1;
    }
    ftruncate(file, OWN);
    if (pread(file, read_back, OWN, 0) != OWN || memcmp(own, read_back, OWN)) return 2;
    unlink(path);
    return 0;
}

int main(void) {
    int status;
    for (int i = 0; i < FOLDERS; i++) {
        sprintf(bytes, "s%d", i);
        MUST(mkdir(bytes, 0755));
    }
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) _exit(process(i));
    while (wait(&status) > 0) told("status", status);
    /* Some of them have become something else. */
    DIR *here = opendir(".");
    for (struct dirent *entry; (entry = readdir(here));)
        if (entry->d_name[0] == 's' && unlink(entry->d_name)) remove_all(entry->d_name);
    closedir(here);
    return 0;
}
